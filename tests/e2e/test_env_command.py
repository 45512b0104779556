# SPDX-License-Identifier: Apache-2.0
"""`trainctl env`: build, show, lock and remove the environment of a file, with a wheel that lies beside it."""

from __future__ import annotations

import json
import subprocess

import pytest
import wheel
from harness import wait_until


@pytest.fixture
def spec(project):
    """A file whose environment has the package tiny, from a folder: no index is asked."""
    project.script("import tiny; print('tiny', tiny.VERSION)")
    project.write(f"wheels/{wheel.name('1.0')}", wheel.content("1.0"))
    project.write("requirements.txt", "--no-index\n--find-links wheels\ntiny\n")
    return project.spec(environment={"python": {"requirements_file": "requirements.txt"}})


def test_build_show_and_remove(trainctl, spec):
    python = trainctl.ok("env", "build", spec).text.strip()
    assert subprocess.run([python, "-c", "import tiny; print(tiny.VERSION)"], capture_output=True, text=True).stdout == "1.0\n"
    (listed,) = trainctl.json("env", "ls")["items"]
    assert listed["complete"] and listed["packages"] >= 1 and python.startswith(listed["path"] + "/")
    short = listed["key"][:6]
    assert short in trainctl.ok("env", "ls").text
    shown = trainctl.ok("env", "show", short).text
    assert listed["key"] in shown and "tiny" in shown and "1.0" in shown
    assert trainctl.json("env", "show", listed["key"])["key"] == listed["key"]

    again = trainctl.json("env", "build", spec)
    assert again["python"] == python and not again["built"], "what is there is not built again"
    assert "tiny 1.0" in trainctl.ok("submit", spec).text

    wait_until(lambda: not trainctl.owned(), "the run's supervisor has left")
    removed = trainctl.ok("env", "rm", short)
    assert "removed" in removed.error and trainctl.json("env", "ls")["items"] == []
    assert "no environment" in trainctl.run("env", "show", short, code=4).error.lower()
    trainctl.run("env", "rm", short, code=4)
    assert trainctl.json("env", "build", spec)["built"]


def test_lock_stays_until_an_upgrade(trainctl, spec, project):
    lock = trainctl.ok("env", "lock", spec).text
    assert "tiny==1.0" in lock and "--hash=sha256:" in lock and trainctl.json("env", "ls")["items"] == []
    project.write(f"wheels/{wheel.name('2.0')}", wheel.content("2.0"))
    assert trainctl.ok("env", "lock", spec).text == lock
    assert "tiny==2.0" in trainctl.ok("env", "lock", spec, "--upgrade").text
    assert "tiny 2.0" in trainctl.ok("submit", spec).text


def test_an_environment_in_use_stays(trainctl, spec, project):
    project.script("import os, time, tiny\nprint('begun', flush=True)\nwhile not os.path.exists(os.environ['GO']): time.sleep(0.02)")
    go = project / "go"
    trainctl.ok("submit", "--detach", spec, "--set", f"environment_variables.GO={go}", timeout=120)
    trainctl.wait_log(trainctl.last_run(), "begun")
    (used,) = trainctl.json("env", "ls")["items"]
    assert used["in_use"] and "(in use)" in trainctl.ok("env", "ls").text
    assert "use" in trainctl.run("env", "rm", used["key"], code=5).error
    go.touch()
    trainctl.ok("wait", "@")
    wait_until(lambda: not trainctl.owned(), "the run's supervisor has left")
    (removed,) = trainctl.json("env", "rm", used["key"])["items"]
    assert removed["key"] == used["key"] and removed["bytes"] > 0


def test_a_package_that_cannot_be_had(trainctl, spec, project):
    project.write("requirements.txt", "--no-index\n--find-links wheels\ntiny==9\n")
    failed = trainctl.run("env", "build", spec, code=3)
    assert "tiny" in failed.error and "9" in failed.error and trainctl.json("env", "ls")["items"] == []
    error = json.loads(trainctl.run("env", "build", spec, "--json", code=3).out)["error"]
    assert "tiny" in error["message"]
