# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import time

import pytest


def test_points_have_the_published_shape(script):
    before = time.time()
    assert script.run('trainctl.log(loss=0.3, step=1)\ntrainctl.log({"val/loss": .1, "n": 7}, step=2, lr=1e-7)') == ""
    assert script.raw().startswith(b'{"t":')
    first = script.lines()[0]
    assert list(first) == ["t", "step", "name", "value", "rank"]
    assert before - 1 < first["t"] < time.time() + 1
    assert first["rank"] == 0
    assert script.points() == [("loss", 1, 0.3), ("val/loss", 2, 0.1), ("n", 2, 7), ("lr", 2, 1e-7)]


def test_numbers_of_all_kinds(script):
    errors = script.run(
        """
        import decimal, fractions
        class Scalar:
            def item(self): return 2.5
        class Odd(float):
            def __repr__(self): return "odd"
        inf = float("inf")
        trainctl.log(a=float("nan"), b=inf, c=-inf, d=True, e=10**400, f=2**60, g=Scalar(), h=Odd(1.5))
        trainctl.log(i=decimal.Decimal("0.1"), j=fractions.Fraction(1, 4), k=-0.0, l=5e-324, m=-(10**400))
        """
    )
    assert errors == ""
    values = {name: value for name, _, value in script.points()}
    assert values == {
        "a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1, "e": "Infinity", "f": 2.0**60, "g": 2.5, "h": 1.5,
        "i": 0.1, "j": 0.25, "k": 0.0, "l": 5e-324, "m": "-Infinity",
    }  # fmt: skip


def test_what_is_no_number_is_said_once_and_the_rest_is_kept(script):
    errors = script.run(
        """
        class Bad:
            def __float__(self): raise RuntimeError("boom")
        class Vector:
            def item(self): raise ValueError("only one element")
        for i in range(3):
            trainctl.log(a="0.3", b=None, c=[1], d=Bad(), e=Vector(), good=i, f=1j)
            trainctl.log("text")
            trainctl.log(None)
            trainctl.log()
            trainctl.log({})
        """
    )
    assert [value for name, _, value in script.points() if name == "good"] == [0, 1, 2]
    assert len(script.points()) == 3
    assert errors.count("metric d:") == 1 and errors.count("trainctl:") == 7, errors


def test_steps(script):
    errors = script.run(
        """
        class Scalar:
            def item(self): return 3
        for step in (None, 0, -1, 2**62, True, 2.0, Scalar(), 2.7, "x", float("nan"), 10**30):
            trainctl.log(v=1, step=step)
        """
    )
    assert [step for _, step, _ in script.points()] == [None, 0, -1, 2**62, 1, 2, 3, 2, None, None, None]
    assert errors.count("trainctl:") == 1


def test_names_are_escaped_and_cut(script):
    errors = script.run(
        r"""
        trainctl.log({'q"\\\n\x00': 1, "größe \U0001f600": 2, "x\ud800": 3, 5: 4, "a" * 300: 5, "a" * 299 + "b": 6})
        trainctl.log(metrics=7)
        trainctl.log({"\U0001f600" * 250: 8})
        """
    )
    names = [name for name, _, _ in script.points()]
    assert names[:4] == ['q"\\\n\x00', "größe \U0001f600", "x?", "5"]
    assert len(names[4]) == len(names[5]) == 250 and names[4] != names[5]
    assert names[6:] == ["metrics", "\U0001f600" * 250]
    assert errors.count("was cut") == 1


def test_a_call_with_many_values_keeps_every_line_whole(script):
    script.run("trainctl.log({'metric/%d' % i: i for i in range(5000)}, step=1)")
    assert [value for _, _, value in script.points()] == list(range(5000))


def test_rank_from_the_environment(script):
    script.env["RANK"] = "3"
    script.run("trainctl.log(a=1)")
    assert script.lines(3)[0]["rank"] == 3
    script.env["TRAINCTL_RANK"] = "5"
    script.run("trainctl.log(a=1)")
    assert script.lines(5)[0]["rank"] == 5


def test_outside_a_run_nothing_happens(script):
    for name in ("TRAINCTL_METRICS", "TRAINCTL_OUTPUTS", "TRAINCTL_RUN_ID"):
        del script.env[name]
    errors = script.run(
        """
        import os
        trainctl.log(a=1); trainctl.log({"a": object()}); trainctl.log_params(a=1); trainctl.log_text("a", "b")
        assert trainctl.log_file("missing") is None and trainctl.run_id() is None
        assert sorted(os.listdir(".")) == ["outputs"]
        assert trainctl.outputs("m", "x.bin") == os.path.abspath("outputs/m/x.bin") and os.path.isdir("outputs/m")
        """
    )
    assert errors == ""
    assert not os.path.exists(script.metrics)


def test_params_texts_files(script):
    errors = script.run(
        r"""
        import argparse, os
        trainctl.log_params(lr=0.1, model="svc", layers=[1, 2], n=None, x=float("nan"), o=object(), s="\ud800", big="y" * 9000)
        trainctl.log_params(argparse.Namespace(seed=7))
        trainctl.log_params({"a": {"b": float("inf")}})
        trainctl.log_text("note", "short ü")
        trainctl.log_text("long/er", "ü" * 5000, step=4)
        os.mkdir("plots")
        open("plots/roc.png", "wb").write(b"123")
        assert trainctl.log_file("plots/roc.png") == trainctl.outputs("roc.png")
        assert open(trainctl.outputs("roc.png"), "rb").read() == b"123"
        trainctl.log_file("plots", name="all/plots")
        trainctl.log_file(".", name="everything")
        trainctl.log_file(trainctl.outputs("roc.png"))
        assert trainctl.log_file("plots/roc.png", name="../escape") is None
        assert trainctl.log_file("missing") is None
        assert trainctl.run_id() == "01jdabc"
        """
    )
    lines = script.lines()
    params = {line["name"]: line for line in lines if line["type"] == "param"}
    assert params["lr"]["value"] == 0.1 and params["layers"]["value"] == [1, 2] and params["n"]["value"] is None
    assert params["x"]["value"] == "NaN" and params["s"]["value"] == "?" and params["seed"]["value"] == 7
    assert params["o"]["value"].startswith("<object") and "inf" in params["a"]["value"]
    assert params["big"]["truncated"] is True and len(params["big"]["value"]) > 3500
    texts = {line["name"]: line for line in lines if line["type"] == "text"}
    assert texts["note"]["text"] == "short ü" and texts["note"]["step"] is None
    assert texts["long/er"]["file"] == "texts/long_er-4.txt" and texts["long/er"]["step"] == 4
    with open(os.path.join(script.outputs, "texts", "long_er-4.txt"), encoding="utf-8") as file:
        assert file.read() == "ü" * 5000
    files = [(line["name"], line["bytes"]) for line in lines if line["type"] == "file"]
    assert files[:2] == [("roc.png", 3), ("all/plots", 3)] and files[3] == ("roc.png", 3)
    assert os.path.exists(os.path.join(script.outputs, "everything", "plots", "roc.png"))
    assert not os.path.exists(os.path.join(script.outputs, "everything", "outputs"))
    assert not os.path.exists(str(script.folder / "escape"))
    assert "missing" not in errors and errors.count("trainctl:") == 1  # log_file: said once
    assert not [n for n in os.listdir(script.outputs) if n.endswith(".partial")]


def test_forked_children_and_threads_write_whole_lines(script):
    script.run(
        """
        import os, threading
        trainctl.log(start=1)
        children = []
        for child in range(4):
            pid = os.fork()
            if pid == 0:
                for i in range(2000): trainctl.log({"c%d" % child: i, "d%d" % child: i}, step=i)
                os._exit(0)
            children.append(pid)
        def work(thread):
            for i in range(2000): trainctl.log({"t%d" % thread: i}, step=i)
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
        """
    )
    series = {}
    for name, step, value in script.points():
        assert step is None or step == value
        series.setdefault(name, []).append(value)
    assert series.pop("start") == [1]
    assert len(series) == 12 and all(values == list(range(2000)) for values in series.values())


def test_closed_descriptors_are_opened_again_and_never_hit_a_stranger(script):
    script.run(
        """
        import os
        trainctl.log(a=1)
        os.closerange(3, 4096)
        own = [open("own-%d" % i, "wb") for i in range(100)]
        trainctl.log(a=2)
        pid = os.fork()
        if pid == 0:
            os.closerange(3, 4096)
            trainctl.log(a=3)
            os._exit(0)
        os.waitpid(pid, 0)
        assert all(os.path.getsize("own-%d" % i) == 0 for i in range(100))
        """
    )
    assert [value for _, _, value in script.points()] == [1, 2, 3]


def test_sigkill_loses_nothing(script):
    process = script.start(
        """
        import sys
        i = 0
        while True:
            trainctl.log(a=i, b=i, step=i)
            i += 1
            if i % 1000 == 0: print(i, flush=True)
        """,
        stdout=subprocess.PIPE,
    )
    for _ in range(5):
        seen = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    text = script.raw()
    assert text.count(b"\n") >= 2 * seen
    script.run("trainctl.log(after=1)")  # ends a torn line, if there is one, before it goes on
    whole = script.raw().split(b"\n")
    assert whole[-1] == b"" and b'"name":"after"' in whole[-2]
    torn = 0 if text.endswith(b"\n") else 1
    steps = [line for line in whole[: -2 - torn] if line]
    assert all(line.endswith(b',"rank":0}') for line in steps)


def test_a_folder_that_cannot_be_made_is_said_once(script):
    with open(script.metrics, "w") as file:
        file.write("a file in the way")
    errors = script.run("for i in range(1000): trainctl.log(a=i)")
    assert errors.count("trainctl:") == 1 and "not recorded" in errors


def test_full_disk_is_said_once(script):
    os.mkdir(script.metrics)
    os.symlink("/dev/full", os.path.join(script.metrics, "script-r0.jsonl"))
    errors = script.run("for i in range(1000): trainctl.log(a=i)\ntrainctl.log_params(a=1)")
    assert errors.count("trainctl:") == 1 and "No space left" in errors


def test_stderr_closed_as_well(script):
    os.mkdir(script.metrics)
    os.symlink("/dev/full", os.path.join(script.metrics, "script-r0.jsonl"))
    script.run("import os\nos.close(2)\nfor i in range(10): trainctl.log(a=i)")


def test_a_short_write_leaves_the_next_line_whole(script):
    """A file size limit cuts a write like a full disk does, at every offset of a line in turn."""
    script.run(
        """
        import os, resource
        trainctl.log(a=0)
        path = os.path.join(os.environ["TRAINCTL_METRICS"], "script-r0.jsonl")
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        line = os.path.getsize(path)
        for cut in range(0, 2 * line + 6):
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(path) + cut, hard))
            trainctl.log(a=1, b=1, step=cut)
            trainctl.log(lost=1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            trainctl.log(c=1, step=cut)
        """
    )
    kept = []
    for text in script.raw().split(b"\n"):
        if text.startswith(b"{") and text.endswith(b"}"):
            kept.append(json.loads(text.decode()))
        assert text.count(b'{"t"') <= 1, text  # no line is glued to a torn one
    points = [(p["name"], p["step"]) for p in kept if p["name"] != "lost"]
    assert len(points) == len(set(points))  # nothing twice
    cuts = [step for name, step in points if name == "c"]
    assert cuts == list(range(len(cuts))) and len(cuts) > 100


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_disk_that_fills_and_is_freed(script):
    os.mkdir(script.metrics)
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", script.metrics], stderr=subprocess.DEVNULL):
        pytest.skip("this machine does not let us mount")
    try:
        errors = script.run(
            """
            import os
            filler = os.path.join(os.environ["TRAINCTL_METRICS"], "filler")
            open(filler, "wb").write(b"x" * 40000)
            for i in range(2000): trainctl.log(a=i)
            os.unlink(filler)
            trainctl.log(after=1)
            """
        )
        assert errors.count("trainctl:") == 1
        lines = [line for line in script.raw().split(b"\n") if line]
        assert b'"after"' in lines[-1] and lines[-1].endswith(b"}")
        assert sum(not line.endswith(b"}") for line in lines) <= 1
        assert len(lines) > 100
    finally:
        subprocess.call(["umount", script.metrics])


def test_importing_is_cheap(script):
    """No module beyond what the interpreter itself has loaded."""
    code = "import os, sys; before = set(sys.modules); import trainctl; print(sorted(set(sys.modules) - before - {'time'}))"
    out = subprocess.check_output([script.python, "-S", "-c", code], env=script.env)
    assert out.decode().strip() == "['trainctl']"
