# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 1200
"""The examples on a host behind a real sshd, as their pages say, with what the host itself has and builds."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import REPOSITORY
from remote import Box, nothing_left


@pytest.fixture
def box(make_box, trainctl) -> Box:
    """With this machine's uv, its cache, so that nothing is downloaded twice, and its way to the package index."""
    same = re.compile(r"PATH|(UV|PIP|SSL|REQUESTS|CURL)_\w+|\w+_proxy", re.I)
    return make_box(variables={name: value for name, value in trainctl.env.items() if same.fullmatch(name) and " " not in value})


@pytest.fixture
def example(project):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(REPOSITORY / "examples" / name, project.path / name, ignore=shutil.ignore_patterns("__pycache__", "outputs")))
    return copy


def environment(trainctl, box: Box) -> str:
    """The key of the environment that the last run had on the host."""
    [event] = [event for event in trainctl.events(trainctl.last_run()) if event["type"] == "environment"]
    assert (box.store / "environments" / event["key"] / "environment.json").exists()
    return event["key"]


@pytest.mark.network
@pytest.mark.frameworks
def test_digits_trains_in_an_environment_that_the_host_builds_once(trainctl, box, example):
    folder = example("digits")
    trainctl.ok("submit", "digits.run.json", "--target", "root@box", cwd=folder, timeout=600)
    first = trainctl.json("show", "@")
    assert first["state"] == "succeeded" and first["metrics"]["mean_accuracy"]["last"] > 0.95, first
    assert (trainctl.last_run() / "outputs" / "model.joblib").stat().st_size > 100_000
    key = environment(trainctl, box)
    assert trainctl.log(trainctl.last_run(), name="environment.log"), "what building it printed is here"
    trainctl.ok("submit", "digits.run.json", "--target", "root@box", "-p", "folds=3", cwd=folder, timeout=120)
    again = trainctl.json("show", "@")
    assert again["state"] == "succeeded" and again["metrics"]["accuracy"]["step"] == 3, again
    assert environment(trainctl, box) == key and not trainctl.log(trainctl.last_run(), name="environment.log")
    assert not (trainctl.home / "environments").exists(), "nothing was built here"
    nothing_left(box)


@pytest.mark.frameworks
def test_two_ranks_of_pytorch(trainctl, box, example):
    assert subprocess.run(["/usr/bin/python3", "-c", "import torch"]).returncode == 0, "apt-get install python3-torch"
    trainctl.ok("submit", "ddp.run.json", "--target", "root@box", cwd=example("pytorch-ddp"), timeout=300)
    shown = trainctl.json("show", "@")
    assert shown["state"] == "succeeded" and shown["metrics"]["loss"]["step"] == 20 and shown["metrics"]["loss"]["last"] < 0.05, shown
    assert len(list((trainctl.last_run() / "attempts/1/nodes/0").glob("rank-*.jsonl"))) == 2
    nothing_left(box)
