# SPDX-License-Identifier: Apache-2.0
"""`trainctl init`: the first configuration of a folder."""

from __future__ import annotations

import json

import pytest

SCRIPT = "import sys; print('trained', sys.argv[1:])"


def test_a_fresh_folder_is_ready_to_submit(trainctl, project):
    project.script(SCRIPT)
    done = trainctl.ok("init")
    assert done.text == "wrote train.run.json\n" and "trainctl submit train.run.json" in done.error
    trainctl.ok("validate", "train.run.json")
    assert "trained []" in trainctl.ok("submit", "train.run.json").text
    assert trainctl.json("show", "@")["name"] == "train-1"


def test_what_is_commented_out_works_too(trainctl, project):
    project.script(SCRIPT)
    trainctl.ok("init")
    written = (project / "train.run.json").read_text()
    open_lines = [line.replace("  // ", "  ", 1) if line.startswith("  // ") else line for line in written.splitlines()]
    project.write("all.run.json", "\n".join(open_lines))
    trainctl.ok("validate", "all.run.json")
    spec = trainctl.json("explain", "all.run.json")["spec"]
    assert spec["limits"]["timeout"] == "2h" and spec["environment"]["python"]["packages"] == ["scikit-learn"]
    assert spec["metrics"] == {"primary": "accuracy", "goal": "maximize"}


def test_a_file_that_exists_is_left_alone(trainctl, project):
    project.script(SCRIPT)
    mine = project.write("train.run.json", '{"script": "train.py", "name": "mine"}')
    before = mine.read_bytes()
    failed = trainctl.run("init", code=2)
    assert "train.run.json exists" in failed.error and "--force" in failed.error and mine.read_bytes() == before
    trainctl.ok("init", "-o", "other.run.json")
    assert mine.read_bytes() == before
    trainctl.ok("init", "--force")
    assert json.loads(trainctl.ok("validate", "train.run.json", "--json").out) and mine.read_bytes() != before


@pytest.mark.parametrize("there, chosen", [(["main.py", "train.py", "a.py"], "train.py"), (["main.py", "a.py"], "main.py"),
                                           (["fit.py", "notes.txt"], "fit.py")])
def test_the_script_that_is_meant(trainctl, project, there, chosen):
    for name in there:
        project.script(SCRIPT, name)
    made = trainctl.json("init")
    assert f'"script": "{chosen}"' in (project / made["file"]).read_text()


def test_no_script_or_too_many(trainctl, project):
    assert "trainctl init SCRIPT" in trainctl.run("init", code=4).error
    for name in ("b.py", "a.py"):
        project.script(SCRIPT, name)
    failed = trainctl.run("init", code=2)
    assert "2 Python scripts" in failed.error and "trainctl init a.py" in failed.error
    assert "no c.py" in trainctl.run("init", "c.py", code=4).error
    assert "no file" in trainctl.run("init", ".", code=2).error
    assert sorted(path.name for path in project.path.iterdir()) == ["a.py", "b.py"]


def test_names_that_need_care(trainctl, project):
    project.script(SCRIPT, 'my "first" model.py')
    made = trainctl.json("init")
    trainctl.ok("validate", made["file"])
    assert "trained []" in trainctl.ok("submit", made["file"]).text


@pytest.mark.parametrize("script, file", [("train.py", "configs/a.run.json"), ("src/train.py", "a.run.json"), ("src/train.py", "src/a.run.json"),
                                          ("src/train.py", "configs/deep/a.run.json"), ("../elsewhere/train.py", "a.run.json")])
def test_the_file_may_lie_elsewhere(trainctl, project, script, file):
    project.script(SCRIPT, script)
    project.write("requirements.txt", "")
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    trainctl.ok("init", project / script if script.startswith("..") else script, "-o", file)
    trainctl.ok("validate", file)
    assert "trained []" in trainctl.ok("submit", file).text


@pytest.mark.parametrize("name, field", [("requirements.txt", "requirements_file"), ("uv.lock", "project")])
def test_the_environment_that_is_there(trainctl, project, name, field):
    project.script(SCRIPT)
    project.write("pyproject.toml", '[project]\nname = "p"\nversion = "1"\n')
    project.write(name, "")
    trainctl.ok("init")
    trainctl.ok("validate", "train.run.json")
    assert field in (project / "train.run.json").read_text()
