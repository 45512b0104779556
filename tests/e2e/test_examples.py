# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Every example is run as its README says. An example folder without a test here fails the last test."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import REPOSITORY, Project

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def example(project: Project):
    """Copies an example, so that a run leaves nothing in the source tree, and returns its folder."""
    def copy(name: str) -> Path:
        shutil.copytree(EXAMPLES / name, project.path / name, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
        return project.path / name
    return copy


def finished(trainctl, code: int = 0) -> dict:
    run = trainctl.json("show", "@")
    assert run["state"] == ("succeeded" if code == 0 else "failed"), run
    return run


def test_hello_without_a_file(trainctl, example):
    folder = example("hello")
    shown = trainctl.ok("run", "hello.py", "--name", "you", cwd=folder)
    assert b"hello, you\n" in shown.out
    run = finished(trainctl)
    assert run["name"].startswith("hello-")
    assert (trainctl.last_run() / "outputs" / "greeting.txt").read_text() == "hello, you\n"


@pytest.mark.parametrize("kind", ["run", "estimator"])
def test_processes(trainctl, example, kind):
    folder = example("processes")
    trainctl.ok("submit", f"processes.{kind}.json", cwd=folder)
    finished(trainctl)
    assert trainctl.ok("logs", "@", "--rank", "all").text.count("of 3") == 3
    assert (trainctl.last_run() / "outputs" / "total.txt").read_text() == "500000500000\n"


@pytest.mark.parametrize("kind", ["run", "estimator"])
def test_pytorch_ddp(trainctl, example, kind):
    assert subprocess.run(["/usr/bin/python3", "-c", "import torch"]).returncode == 0, "apt-get install python3-torch"
    folder = example("pytorch-ddp")
    trainctl.ok("submit", f"ddp.{kind}.json", cwd=folder, timeout=300)
    assert {path.name for path in (trainctl.last_run() / "attempts/1/logs").glob("*.log")} >= {"std.log", "rank-1.log"}
    loss = finished(trainctl)["metrics"]["loss"]
    assert loss["step"] == 20 and loss["last"] < 0.05, loss
    [points] = [item["points"] for item in trainctl.json("metrics", "@", "loss")["items"]]
    assert [point["step"] for point in points] == list(range(1, 21)), points
    trainctl.ok("submit", f"ddp.{kind}.json", "--resume", "@", cwd=folder, timeout=300)
    again = finished(trainctl)["metrics"]["loss"]
    assert again["step"] == 40 and again["last"] < loss["last"], again


def test_hello_from_its_file(trainctl, example):
    folder = example("hello")
    trainctl.ok("submit", "hello.run.json", "-p", "name=you", cwd=folder)
    finished(trainctl)
    assert trainctl.ok("logs", "@").out == b"hello, you\n"
    assert b"greeting.txt" in trainctl.ok("outputs", "@").out


@pytest.mark.network
def test_digits(trainctl, example):
    folder = example("digits")
    trainctl.ok("submit", "digits.run.json", cwd=folder, timeout=600)
    run = finished(trainctl)
    assert run["metrics"]["mean_accuracy"]["last"] > 0.95, run["metrics"]
    assert run["metrics"]["accuracy"]["step"] == 10
    assert (trainctl.last_run() / "outputs" / "model.joblib").stat().st_size > 100_000
    # The second run builds nothing: no environment log of a build, and it takes seconds.
    again = trainctl.ok("submit", "digits.run.json", "-p", "folds=3", cwd=folder, timeout=60)
    assert again.seconds < 60
    assert finished(trainctl)["metrics"]["accuracy"]["step"] == 3


@pytest.mark.parametrize("spec", sorted(EXAMPLES.glob("*/*.run.json")), ids=lambda path: path.name)
def test_every_run_configuration_validates(trainctl, spec):
    trainctl.ok("validate", spec)


def test_metrics_module_is_optional_for_the_examples():
    """The examples run without trainctl too, so none may need its module."""
    for script in EXAMPLES.glob("*/*.py"):
        text = script.read_text()
        assert "import trainctl" not in text or "except ImportError" in text or "own-metrics" in str(script), script


def test_every_example_is_tested_and_explained():
    here = Path(__file__).read_text()
    for folder in sorted(entry for entry in EXAMPLES.iterdir() if entry.is_dir()):
        assert (folder / "README.md").exists(), f"{folder.name} has no README"
        tests = [here, *(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))]
        assert any(json.dumps(folder.name) in text for text in tests), f"no test runs examples/{folder.name}"
