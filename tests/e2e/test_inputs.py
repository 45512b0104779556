# SPDX-License-Identifier: Apache-2.0
"""inputs of a run on this machine: paths, copies, outputs of other runs, and what cannot be had."""

from __future__ import annotations

import os
import subprocess

import pytest

READ = ("import os, pathlib\npath = pathlib.Path(os.environ['TRAINCTL_INPUT_DATA'])\n"
        "print(path)\nprint(sorted(p.name for p in path.iterdir()) if path.is_dir() else path.read_text())\n")


def submit(trainctl, project, inputs: dict, **fields):
    project.write("a.run.json", {"script": "train.py", "inputs": inputs, **fields})
    return trainctl.run("submit", "a.run.json")


def test_a_path_is_used_where_it_is(trainctl, project):
    project.script(READ)
    data = project.write("data/x.txt", "content")
    done = submit(trainctl, project, {"data": "data/x.txt"})
    assert done.code == 0 and done.text.splitlines() == [str(data), "content"], done
    done = submit(trainctl, project, {"data": {"path": "data/", "mode": "link"}})
    assert done.text.splitlines() == [str(project / "data"), "['x.txt']"], done


@pytest.mark.parametrize("command", [True, False])
def test_a_copy_may_be_changed(trainctl, project, command):
    project.script(READ + "(path / 'x.txt' if path.is_dir() else path).write_text('spoiled')\n")
    data = project.write("data/x.txt", "content")
    os.symlink("x.txt", project / "data" / "link")
    fields = {"arguments": ["--data", "${{inputs.data}}"]} if command else {}
    for source, text in (("data/x.txt", "content"), ("data", "['link', 'x.txt']")):
        done = submit(trainctl, project, {"data": {"source": source, "mode": "copy"}}, **fields)
        path, shown = done.text.splitlines()
        assert done.code == 0 and shown == text and str(trainctl.home) in path and path.endswith("/" + source.split("/")[-1]), done
        assert data.read_text() == "content"
    explained = trainctl.ok("explain", "a.run.json").text
    assert "(copied)" in explained and "\x01" not in explained
    script = trainctl.ok("explain", "--format", "sh", "a.run.json").out
    (project / "by-hand.sh").write_bytes(script)
    by_hand = subprocess.run(["bash", "by-hand.sh"], cwd=project.path, env=trainctl.env, capture_output=True, text=True)
    assert by_hand.returncode == 0 and by_hand.stdout.splitlines()[1] == "['link', 'x.txt']", by_hand
    assert b"\x01" not in script and data.read_text() == "content"


def test_outputs_of_another_run(trainctl, project):
    project.write("first.py", "import os\nout = os.environ['TRAINCTL_OUTPUTS']\nopen(out + '/model.bin', 'w').write('weights')\n"
                              "open(out + '/notes.txt', 'w').write('n')\n")
    project.write("first.run.json", {"script": "first.py", "outputs": {"model": {"path": "model.bin"}}})
    trainctl.ok("submit", "first.run.json")
    project.script(READ)
    for source, text in (("run:first-1/model", "weights"), ("run:first/model.bin", "weights"), ("run:@/notes.txt", "n")):
        done = submit(trainctl, project, {"data": source}, name="second")
        assert done.code == 0 and done.text.splitlines()[1] == text, done
        trainctl.ok("rm", "second")
    done = submit(trainctl, project, {"data": "run:first"})
    assert done.text.splitlines()[1] == "['model.bin', 'notes.txt']", done
    assert trainctl.json("show", "--plan", "@")["inputs"]["data"]["path"].startswith(str(trainctl.home))

    done = submit(trainctl, project, {"data": "run:first/modle"})
    assert done.code == 4 and 'first-1 has no output "modle"' in done.error and "model, notes.txt" in done.error, done
    assert "a.run.json:" in done.error, done
    done = submit(trainctl, project, {"data": "run:nobody-7/model"})
    assert done.code == 4 and 'no run "nobody-7"' in done.error, done
    assert submit(trainctl, project, {"data": "run:first/../../../plan.json"}).code == 4


def test_outputs_of_a_run_that_goes_on(trainctl, project):
    name = trainctl.ok("run", "--detach", "--", "sleep", "600").text.strip()
    project.script(READ)
    done = submit(trainctl, project, {"data": f"run:{name}/x"})
    assert done.code == 3 and f"{name} has not ended" in done.error, done
    trainctl.ok("cancel", name)


@pytest.mark.parametrize("source, message", [
    ("data/typo.txt", 'did you mean "data/type.txt"?'),
    ("nowhere/at/all", '"nowhere/at/all" is not there'),
    ("~/nowhere", '"~/nowhere" is not there'),
    ("https://example.org/x.csv", "is a URL"),
    ("host:data", "is no absolute path of the target"),
    ("data:digits@3", "is registered data"),
    ("model:digits", "is a registered model"),
    ({"source": "data/type.txt", "mode": "download"}, "there is nothing to download"),
])
def test_what_cannot_be_had_is_said_before_the_start(trainctl, project, source, message):
    project.script(READ)
    project.write("data/type.txt", "x")
    done = submit(trainctl, project, {"data": source})
    assert done.code == 2 and message in done.error and "a.run.json:" in done.error, done
    assert trainctl.json("ls")["items"] == []
    if source != "~/nowhere":
        checked = trainctl.run("--json", "validate", "a.run.json", code=2).json["error"]
        assert checked["field"] == "inputs.data" and checked["position"]["line"] > 0, checked


def test_an_input_that_goes_before_it_is_copied(trainctl, project):
    project.script(READ)
    gone = project.write("gone.txt", "x")
    project.spec(script="train.py", inputs={"data": {"source": "gone.txt", "mode": "copy"}}, resources={"cpus": 1})
    trainctl.ok("explain", "a.run.json")
    gone.chmod(0o600)
    gone.unlink()
    os.mkfifo(gone)
    done = trainctl.run("submit", "a.run.json")
    assert done.code != 0 and "gone.txt" in done.error, done


def test_a_path_of_the_target_is_looked_for_when_the_run_starts(trainctl, project, scratch):
    project.script(READ)
    (scratch / "there.txt").write_text("of the host")
    assert submit(trainctl, project, {"data": f"host:{scratch}/there.txt"}).code == 0
    gone = submit(trainctl, project, {"data": "host:/nowhere/at/all"})
    assert gone.code == 3 and "the input data is not on" in gone.error and "/nowhere/at/all" in gone.error
