# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Looking at runs and ending them: ls, show, logs, metrics, outputs, wait, cancel, rm, attach; pipes that close."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import signal
import subprocess

import pytest
from harness import wait_until

FIELDS = {"id", "name", "state", "cause", "exit_code", "message", "target", "experiment", "created", "started", "ended", "seconds",
          "attempts", "parameters", "metrics", "tags"}
METRICS = "import trainctl\nfor step in range(5):\n    trainctl.log(loss=1.0 / (step + 1), accuracy=step / 10, step=step)\n"


def gated(trainctl, project, *words: str, text: str = "begun") -> str:
    """Starts a run that prints `text` and goes on until the file `go` appears; returns its name."""
    script = f"echo {text}; while [ ! -e '{project / 'go'}' ]; do sleep 0.02; done; echo ended"
    name = trainctl.ok("run", "--detach", *words, "--", "sh", "-c", script).text.strip()
    trainctl.wait_log(trainctl.last_run(), text)
    trainctl.wait_event(trainctl.last_run(), "state", state="running")
    return name


def test_ls_and_show_say_the_same(trainctl, project):
    project.script(METRICS)
    trainctl.ok("run", "--tag", "team=vision", "--experiment", "digits-svc", "train.py", "--lr", "0.1")
    listed = trainctl.json("ls")
    assert listed["next"] is None and len(listed["items"]) == 1
    one, shown = listed["items"][0], trainctl.json("show", "@")
    assert FIELDS <= one.keys() and {key: one[key] for key in FIELDS} == {key: shown[key] for key in FIELDS}
    assert one["metrics"]["loss"] == {"last": 0.2, "best": 0.2, "step": 4}
    assert one["parameters"] == {"lr": 0.1} and one["tags"] == {"team": "vision"} and one["experiment"] == "digits-svc"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", one["created"])


def test_ls_filters_sorts_and_pages(trainctl):
    for number in range(3):
        trainctl.run("run", "--name", f"r{number}", "-p", f"x={number}", "--", "sh", "-c", f"exit {number}")

    def names(*words: str) -> list[str]:
        return [item["name"] for item in trainctl.json("ls", *words)["items"]]

    assert names() == ["r2-1", "r1-1", "r0-1"]
    assert names("--state", "failed") == ["r2-1", "r1-1"]
    assert names("--sort", "created") == ["r0-1", "r1-1", "r2-1"]
    assert names("--since", "1h") == ["r2-1", "r1-1", "r0-1"]
    between = trainctl.json("show", "r1")["created"]
    assert names("--since", between) == ["r2-1", "r1-1"]
    assert names("--since", between, "--where", "exit_code = 2") == ["r2-1"] and names("--since", "2999-01-01") == []
    page = trainctl.json("ls", "--limit", "2")
    assert page["next"] and [item["name"] for item in page["items"]] == ["r2-1", "r1-1"]
    assert names("--limit", "2", "--after", page["next"]) == ["r0-1"]
    rows = list(csv.DictReader(io.StringIO(trainctl.ok("ls", "--csv").text)))
    assert [(row["name"], row["exit_code"]) for row in rows] == [("r2-1", "2"), ("r1-1", "1"), ("r0-1", "0")]
    trainctl.run("ls", "--where", "no such thing >", code=2)
    trainctl.run("ls", "--state", "suceeded", code=2)


def test_numbers_are_compared_however_they_were_typed(trainctl, project):
    project.script("import sys; print(sys.argv[1:])")
    for number, rate in enumerate(["0.10", "1e-4", "0.01", "auto"]):
        assert f"'{rate}'" in trainctl.ok("run", "--name", f"r{number}", "train.py", "--lr", rate).text

    def names(*words: str) -> list[str]:
        return [item["name"] for item in trainctl.json("ls", *words)["items"]]

    assert names("--where", "parameters.lr < 0.001") == ["r1-1"]
    assert names("--where", "parameters.lr = 0.1") == ["r0-1"]
    assert names("--where", "parameters.lr = '0.10'") == names("--where", "parameters.lr ~ '*10'") == ["r0-1"]
    assert names("--sort", "parameters.lr")[:3] == ["r1-1", "r2-1", "r0-1"]
    assert trainctl.json("show", "r1")["parameters"] == {"lr": "1e-4"}


def test_ls_without_runs(trainctl):
    assert trainctl.json("ls")["items"] == []
    trainctl.ok("ls")


def test_metrics_in_every_form(trainctl, project):
    project.script(METRICS)
    trainctl.ok("run", "train.py")
    shown = trainctl.json("metrics", "@")
    assert {"loss", "accuracy"} <= {item["name"] for item in shown["items"]}
    assert "loss" in trainctl.ok("metrics", "@").text
    rows = list(csv.DictReader(io.StringIO(trainctl.ok("metrics", "@", "--csv").text)))
    assert [float(row["value"]) for row in rows if row["name"] == "accuracy"] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_metric_patterns(trainctl, project):
    project.script("for i in range(3): print(f'epoch {i}: loss {1 / (i + 1):.3f}')")
    project.spec(metrics={"patterns": ["epoch {step}: loss {loss}"]})
    trainctl.ok("submit", "a.run.json")
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == 0.333


def test_logs_tail_and_timestamps(trainctl):
    trainctl.ok("run", "--", "sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done; printf end")
    assert trainctl.ok("logs", "--tail", "2").out == b"line 5\nend"
    assert trainctl.ok("logs", "--tail", "0").out == b""
    assert trainctl.ok("logs", "--tail", "99").out.startswith(b"line 1\n")
    lines = trainctl.ok("logs", "--timestamps", "@").text.splitlines()
    assert len(lines) == 6 and all(re.match(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d", line) for line in lines)
    assert lines[0].endswith("  line 1")
    assert trainctl.ok("logs", "--since", "1h").out.endswith(b"line 5\nend")
    trainctl.run("logs", "--since", "whenever", code=2)
    trainctl.run("logs", "--rank", "3", code=4)


def test_logs_verify(trainctl):
    trainctl.ok("run", "--", "printf", "12345")
    done = trainctl.json("logs", "--verify", "@")
    assert done["size"] == done["recorded"] == 5 and done["whole"]
    assert done["sha256"] == hashlib.sha256(b"12345").hexdigest()
    log = trainctl.last_run() / "attempts/1/logs/std.log"
    log.write_bytes(b"123")
    assert "gap" in trainctl.run("logs", "--verify", "@", code=6).error


def test_logs_of_a_failed_run_are_fine(trainctl):
    trainctl.run("run", "--", "sh", "-c", "echo x; exit 9", code=9)
    assert trainctl.ok("logs", "@").out == b"x\n"
    trainctl.ok("show", "@")
    trainctl.run("attach", "@", code=1)


def test_logs_follow_to_the_end(trainctl, project):
    gated(trainctl, project)
    assert trainctl.ok("logs", "@").out == b"begun\n"  # without --follow: what is there
    follower = trainctl.start("logs", "--follow", "@")
    assert follower.stdout.read(6) == b"begun\n"
    project.write("go", "")
    assert follower.communicate(timeout=60)[0] == b"ended\n" and follower.returncode == 0


def test_logs_into_a_closed_pipe(trainctl):
    trainctl.ok("run", "--", "sh", "-c", "yes | head -c 3000000")
    process = trainctl.start("logs", "@")
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(60) == 0 and process.stderr.read() == b""


def test_attach_into_a_closed_pipe_leaves_the_run_alone(trainctl, project):
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "while [ ! -e go ]; do echo x; done; echo ended").text.strip()
    process = trainctl.start("attach", name)
    assert process.stdout.readline() == b"x\n"
    process.stdout.close()
    assert process.wait(60) == 0
    project.write("go", "")
    trainctl.ok("wait", name)
    assert trainctl.ok("logs", name).out.endswith(b"x\nended\n")


def test_two_attached_commands_see_identical_bytes(trainctl, project):
    name = gated(trainctl, project)
    both = [trainctl.start("attach", name) for _ in range(2)]
    assert [process.stdout.read(6) for process in both] == [b"begun\n"] * 2
    project.write("go", "")
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (out, process.returncode) == (b"ended\n", 0), err
        assert f"✓ {name} succeeded" in err.decode()
    assert trainctl.ok("attach", name).out == b"begun\nended\n"


def test_wait(trainctl, project):
    name = gated(trainctl, project)
    done = trainctl.run("wait", name, "--timeout", "200ms", code=8)
    assert done.seconds < 20
    assert trainctl.run("wait", "--json", name, "--timeout", "0s", code=8).json["error"]["code"] == "timeout"
    project.write("go", "")
    trainctl.ok("wait", name)
    trainctl.run("run", "--name", "bad", "--", "false")
    trainctl.run("wait", name, "bad", code=1)


def test_cancel(trainctl, project):
    project.script("import time\ntry:\n    print('begun', flush=True)\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('saved', flush=True)\n    raise")
    name = trainctl.ok("run", "--detach", "train.py").text.strip()
    trainctl.wait_log(trainctl.last_run(), "begun\n")
    follower = trainctl.start("attach", name)
    trainctl.ok("cancel", name)
    out, err = follower.communicate(timeout=60)
    assert follower.returncode == 130 and b"begun\nsaved\n" in out, err
    run = trainctl.json("show", name)
    assert run["state"] == "canceled" and run["cause"] == "canceled"
    trainctl.ok("cancel", name)  # the wish is fulfilled already
    trainctl.run("wait", name, code=130)


def test_cancel_of_a_script_that_ignores_every_signal(trainctl, project):
    project.script("import signal, time\nfor s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)\n"
                   "print('begun', flush=True)\nwhile True: time.sleep(60)")
    project.spec(stop={"grace": "400ms"})
    trainctl.ok("submit", "--detach", "a.run.json")
    trainctl.wait_log(trainctl.last_run(), "begun")
    assert trainctl.ok("cancel", "@").seconds < 30
    assert trainctl.json("show", "@")["state"] == "canceled"
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def test_cancel_with_a_signal_of_ones_own(trainctl, project):
    trainctl.ok("run", "--detach", "--", "sh", "-c", "trap 'echo usr1; exit 0' USR1; echo begun; while :; do sleep 0.02; done")
    trainctl.wait_log(trainctl.last_run(), "begun")
    trainctl.ok("cancel", "--signal", "SIGUSR1", "@")
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "@").out.endswith(b"\nusr1\n")  # the shell may say first that its sleep got it too
    trainctl.run("cancel", code=2)


def test_an_interrupted_removal_is_finished_by_gc(trainctl):
    trainctl.ok("run", "--", "true")
    run = trainctl.last_run()
    run.rename(run.parent / f".{run.name}.removed")
    assert trainctl.json("ls")["items"] == []
    trainctl.ok("store", "gc")
    assert list(run.parent.iterdir()) == []


def test_rm(trainctl, project):
    name = gated(trainctl, project)
    trainctl.run("run", "--name", "other", "--", "true", code=0)
    done = trainctl.run("rm", "other-1", name, code=2)
    assert f"trainctl cancel {name}" in done.error
    assert len(trainctl.runs()) == 2  # all or nothing
    project.write("go", "")
    trainctl.ok("wait", name)
    trainctl.ok("rm", "other-1", name)
    assert trainctl.runs() == [] and trainctl.json("ls")["items"] == []
    trainctl.run("show", name, code=4)
    assert trainctl.ok("run", "--detach", "--name", "other", "--", "true").out == b"other-2\n"  # never used again
    trainctl.ok("wait", "@")


def test_outputs_are_listed_and_copied(trainctl, project):
    project.script("import os, pathlib\nout = pathlib.Path(os.environ['TRAINCTL_OUTPUTS'])\n(out / 'sub').mkdir()\n"
                   "(out / 'model.bin').write_bytes(bytes(range(256)))\n(out / 'sub/a b.txt').write_text('x')\n"
                   "pathlib.Path('outputs/relative').write_text('r')")
    trainctl.ok("run", "train.py")
    assert trainctl.ok("outputs", "@").text.splitlines() == ["model.bin", "relative", "sub/a b.txt"]
    recorded = {"path": "model.bin", "size": 256, "sha256": hashlib.sha256(bytes(range(256))).hexdigest()}
    assert recorded in trainctl.json("outputs", "@")["items"]
    trainctl.ok("outputs", "@", "--copy", "got")
    assert (project / "got/model.bin").read_bytes() == bytes(range(256)) and (project / "got/sub/a b.txt").exists()
    assert "--force" in trainctl.run("outputs", "@", "--copy", "got").error
    trainctl.ok("outputs", "@", "sub", "--copy", "got", "--force")
    trainctl.run("outputs", "@", "nothing", code=4)
    assert "outputs: model.bin" in trainctl.ok("attach", "@").error


def test_sigint_without_a_terminal_cancels_and_waits(trainctl, project):
    process = trainctl.start("run", "--", "sh", "-c", "echo begun; while :; do sleep 0.02; done")
    assert process.stdout.read(6) == b"begun\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert trainctl.json("show", "@")["state"] == "canceled"


def test_a_second_sigint_leaves_the_run_behind(trainctl, project):
    project.script("import signal, time\nsignal.signal(signal.SIGINT, lambda *a: print('asked', flush=True))\nprint('begun', flush=True)\n"
                   "while True: time.sleep(0.05)")
    project.spec(stop={"grace": "60s"})
    process = trainctl.start("submit", "a.run.json")
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    process.send_signal(signal.SIGINT)
    trainctl.wait_log(run, "asked")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert trainctl.json("show", "@")["state"] == "stopping"


def test_sighup_detaches(trainctl, project):
    process = trainctl.start("run", "--", "sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended")
    assert process.stdout.read(6) == b"begun\n"
    process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 130
    project.write("go", "")
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "@").out == b"begun\nended\n"


def test_stdout_on_a_full_device(trainctl):
    trainctl.ok("run", "--", "echo", "x")
    with open("/dev/full", "wb") as full:
        process = trainctl.start("logs", "@", stdout=full, stderr=subprocess.PIPE)
        assert b"No space left" in process.communicate(timeout=60)[1]
    assert process.returncode == 6


@pytest.mark.parametrize("words", [["help"], ["help", "--all"], ["run", "--help"], ["schema", "run"], ["completion", "bash"],
                                   ["completion", "zsh"], ["completion", "fish"], ["--version"], ["target", "show", "local"],
                                   ["env", "ls"], ["store", "check"]])
def test_commands_without_a_run(trainctl, words):
    assert trainctl.ok(*words).error == "" or words[0] in ("env", "store")


def test_best_is_what_the_goal_says(trainctl, project):
    project.script("import trainctl\nfor step, loss in enumerate([0.5, 0.2, 0.9]):\n"
                   "    trainctl.log(loss=loss, accuracy=1 - loss, other=loss, step=step)\n")
    project.spec(script="train.py", metrics={"primary": "other", "goal": "minimize"})
    trainctl.ok("submit", "a.run.json")
    wanted = {"loss": 0.2, "accuracy": 0.8, "other": 0.2}
    for metrics in (trainctl.json("show", "@")["metrics"], trainctl.json("ls")["items"][0]["metrics"],
                    {item["name"]: item for item in trainctl.json("metrics", "@")["items"]}):
        assert {name: metrics[name]["best"] for name in wanted} == wanted, metrics
    table = trainctl.ok("metrics", "@").text
    assert re.search(r"^\* other .*0\.2 @ 1", table, re.M) and re.search(r"^accuracy .*0\.8 @ 1", table, re.M), table
    project.spec(script="train.py", metrics={"primary": "loss"})  # no goal: its name says it
    trainctl.ok("submit", "a.run.json")
    assert trainctl.json("show", "--plan", "@")["metrics"]["goal"] == "minimize"
    assert trainctl.json("show", "@")["metrics"]["loss"]["best"] == 0.2


def test_a_run_that_a_run_started_knows_its_parent(trainctl, project):
    project.script("import subprocess\nsubprocess.run(['trainctl', 'run', '--', 'true'], check=True)\n")
    trainctl.ok("run", "train.py")
    parent = next(item for item in trainctl.json("ls")["items"] if item["name"] == "train-1")
    listed = trainctl.ok("ls", "--where", f"parent = {parent['id']}", "--columns", "name", "--csv").text
    assert listed.splitlines() == ["name", "true-1"], listed


def test_outputs_that_are_not_there(trainctl):
    trainctl.ok("run", "--", "true")
    done = trainctl.run("outputs", "@", "--copy", "out", code=4)
    assert "no outputs to copy" in done.error and done.error.count("error:") == 1, done
    assert "no outputs" in trainctl.ok("outputs", "@").error


def test_what_the_script_logs_is_found_again(trainctl, project):
    project.script("import trainctl\ntrainctl.log_params(lr=9, depth=3, model='svc')\ntrainctl.log_text('note', 'it went\\nwell', step=2)\n"
                   "trainctl.log(loss=0.5, step=1)\ntrainctl.log_params(depth=4)")
    trainctl.ok("run", "train.py", "--lr", "0.1")
    shown, listed = trainctl.json("show", "@"), trainctl.json("ls")["items"][0]
    # What was asked for stays; what only the script knows is added, its last word counts.
    assert shown["parameters"] == listed["parameters"] == {"lr": 0.1, "depth": 4, "model": "svc"}
    assert shown["texts"] == [{"name": "note", "step": 2, "text": "it went\nwell", "file": None}]
    text = trainctl.ok("show", "@").text
    assert "depth=4" in text and "note (step 2): it went" in text
    assert len(trainctl.json("ls", "--where", "parameters.depth = 4 and parameters.lr < 1")["items"]) == 1
    trainctl.ok("store", "rebuild")
    assert trainctl.json("ls")["items"][0]["parameters"] == shown["parameters"]


def test_of_several_ranks_the_first_one_speaks(trainctl, project):
    project.script("import os, trainctl\nrank = int(os.environ['RANK'])\nfor step in range(3):\n    trainctl.log(loss=rank + step / 10, step=step)")
    project.spec(distribution={"processes_per_node": 3})
    done = trainctl.ok("submit", "a.run.json")
    assert "loss 0.2 (best 0)" in done.error, done
    shown, listed = trainctl.json("show", "@"), trainctl.json("ls")["items"][0]
    assert shown["metrics"]["loss"] == listed["metrics"]["loss"] == {"last": 0.2, "best": 0, "step": 2}


def test_a_failing_rank_is_named_with_its_log(trainctl, project):
    project.script("import os, sys, time\nif os.environ['RANK'] == '1':\n    sys.exit('ValueError: of rank one')\ntime.sleep(600)")
    project.spec(distribution={"processes_per_node": 2}, stop={"grace": "1s"})
    done = trainctl.run("submit", "a.run.json", code=1)
    assert "ValueError: of rank one" in done.error and "--rank 1" in done.error, done


def test_outputs_by_declared_name_and_without_pipes(trainctl, project):
    project.script("import os\nopen(os.environ['TRAINCTL_OUTPUT_MODEL'], 'w').write('m')\nos.mkfifo('outputs/pipe')")
    project.spec(outputs={"model": {"path": "models/final.bin"}})
    trainctl.ok("submit", "a.run.json")
    assert trainctl.ok("outputs", "@", "model").text.splitlines() == ["models/final.bin"]
    assert [item["path"] for item in trainctl.json("outputs", "@")["items"]] == ["models/final.bin"]
    trainctl.ok("outputs", "@", "--copy", "got")
    assert (project / "got/models/final.bin").read_text() == "m"


def test_signals_have_names(trainctl, project):
    name = gated(trainctl, project)
    for wrong in ("", "SIGFOO"):
        assert "is no signal" in trainctl.run("cancel", name, "--signal", wrong, code=2).error
    assert trainctl.json("show", name)["state"] == "running"
    project.write("go", "")
    trainctl.ok("wait", name)
    assert "has ended" in trainctl.run("cancel", name, "--signal", "SIGUSR1", code=4).error


def test_a_run_that_waits_hears_no_signals_and_says_so(trainctl, project):
    every_cpu = ["--set", f"resources.cpus={len(os.sched_getaffinity(0))}"]
    first = gated(trainctl, project, *every_cpu)
    second = trainctl.ok("run", "--detach", *every_cpu, "--", "true").text.strip()
    wait_until(lambda: trainctl.json("show", second)["state"] == "queued", "the second one waits")
    assert "the run is queued: there is no process" in trainctl.run("cancel", "--signal", "SIGUSR1", second, code=75).error
    project.write("go", "")
    assert [trainctl.ok("wait", name).code for name in (first, second)] == [0, 0]


def test_one_long_text_does_not_widen_every_line(trainctl):
    trainctl.ok("run", "--tag", "long=" + "x" * 20000, "--", "true")
    trainctl.ok("run", "--tag", "long=y", "--", "true")
    lines = trainctl.ok("ls", "--columns", "tags.long,name").text.splitlines()
    assert min(len(line) for line in lines) < 200, [len(line) for line in lines]
