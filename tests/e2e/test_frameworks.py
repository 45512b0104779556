# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 1800
"""Real proof: every framework builds its environment from the package index and trains examples/FRAMEWORK.

Each case asserts that the model became as good as this training makes it, that its metric arrived point by point, and that
the second submit uses the environment of the first. All cases share one store, and so their environments."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import REPOSITORY, Trainctl

pytestmark = [pytest.mark.frameworks, pytest.mark.network]

EXAMPLES = REPOSITORY / "examples"
PAGE = REPOSITORY / "docs" / "from-azureml.md"
BUILD_AND_TRAIN = 900.0
# Debian packages of scripts/lib.sh that an example needs: how to see that they are there.
NEEDS = {
    "pytorch": ("python3-torch", lambda: subprocess.run(["/usr/bin/python3", "-c", "import torch"], capture_output=True).returncode == 0),
    "chainer": ("dataset-fashion-mnist", Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz").exists),
}


@dataclass(frozen=True)
class Proof:
    """An estimator of an example; `metric` must end at `reach` (at least, or at most where less is better) after `points` points."""

    example: str
    estimator: str
    metric: str
    reach: float
    points: int
    source: str
    again: str  # the parameter that makes the second submit short
    output: str
    falls: str = ""  # a loss that must end below half of where it began
    ranks: int = 1

    def __str__(self) -> str:
        return f"{self.example}-{self.estimator}"


IN_CI = [
    Proof("scikit-learn", "digits", "accuracy", 0.97, 5, "pattern", "kernel=linear", "model.joblib"),
    Proof("pytorch", "spirals", "accuracy", 0.95, 15, "pattern", "epochs=1", "model.pt", "loss"),
    Proof("keras", "spirals", "val_accuracy", 0.95, 15, "pattern", "epochs=1", "model.keras", "val_loss"),
    Proof("chainer", "fashion", "validation/main/accuracy", 0.80, 3, "chainer", "images=1000", "model.npz", "main/loss"),
    Proof("xgboost", "tumours", "test-auc", 0.96, 40, "pattern", "rounds=2", "model.json", "test-logloss"),
]
NIGHTLY = [
    Proof("tensorflow", "spirals", "validation/epoch_accuracy", 0.95, 15, "tensorboard", "epochs=1", "weights.npz", "train/epoch_loss"),
    Proof("tensorflow", "workers", "validation/epoch_accuracy", 0.95, 15, "tensorboard", "epochs=1", "weights.npz", "train/epoch_loss", 2),
    Proof("tensorflow", "servers", "validation/epoch_accuracy", 0.95, 15, "tensorboard", "epochs=1", "weights.npz", "train/epoch_loss", 3),
    Proof("keras", "keras2", "val_accuracy", 0.95, 15, "pattern", "epochs=1", "model.keras", "val_loss"),
    Proof("chainer", "chainermn", "validation/main/accuracy", 0.78, 3, "chainer", "images=1000", "model.npz", "main/loss", 2),
    Proof("lightgbm", "tumours", "valid_0/auc", 0.95, 40, "pattern", "rounds=2", "model.txt", "valid_0/binary_logloss"),
    Proof("jax", "spirals", "accuracy", 0.95, 15, "script", "epochs=1", "weights.npz", "loss"),
]
PROOFS = [pytest.param(proof, id=str(proof)) for proof in IN_CI] + [
    pytest.param(proof, id=str(proof), marks=pytest.mark.slow) for proof in NIGHTLY]


@pytest.fixture(scope="session")
def shared():
    """One store for all cases: an environment is built by the first that asks for it."""
    root = Path(tempfile.mkdtemp(prefix="tc-", dir="/var/tmp"))
    (root / "examples").mkdir()
    one = Trainctl(root / "t", root / "examples")
    yield one
    one.clean_up()
    subprocess.Popen(["rm", "-rf", root], start_new_session=True)  # tens of thousands of files: nobody waits for that


def copied(shared: Trainctl, name: str) -> Path:
    """The example in a folder of the store's own, so that a run leaves nothing in the source tree."""
    if name in NEEDS and not NEEDS[name][1]():
        assert not os.environ.get("CI"), f"scripts/test installs {NEEDS[name][0]}"
        pytest.skip(f"apt install {NEEDS[name][0]}")
    folder = shared.cwd / name
    if not folder.exists():
        shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    return folder


def series(shared: Trainctl, name: str, source: str) -> list[dict]:
    """The points of a metric of the last run, from one source."""
    items = shared.json("metrics", "@")["items"]
    found = [item for item in items if (item["name"], item["source"]) == (name, source)]
    assert found, f"no {name} from {source}: {[(item['name'], item['source']) for item in items]}"
    return found[0]["points"]


def environment(shared: Trainctl) -> tuple[str, int]:
    """The key of the last run's environment ("" for a Python that was there) and the bytes its building printed."""
    run = shared.last_run()
    [event] = [event for event in shared.events(run) if event["type"] == "environment"]
    return event.get("key") or "", len(shared.log(run, name="environment.log"))


@pytest.mark.parametrize("proof", PROOFS)
def test_trains_and_reuses_its_environment(shared: Trainctl, proof: Proof) -> None:
    folder = copied(shared, proof.example)
    file = f"{proof.estimator}.estimator.json"
    shared.ok("submit", file, cwd=folder, timeout=BUILD_AND_TRAIN)
    run = shared.json("show", "@")
    assert run["state"] == "succeeded", run

    points = series(shared, proof.metric, proof.source)
    assert len(points) == proof.points, points
    steps, times = [point["step"] for point in points], [point["t"] for point in points]
    assert steps == sorted(set(steps)) and times == sorted(times), points
    assert points[-1]["value"] >= proof.reach, points
    if proof.falls:
        losses = [point["value"] for point in series(shared, proof.falls, proof.source)]
        assert len(losses) == proof.points and losses[-1] < losses[0] * 0.6, losses
    assert (shared.last_run() / "outputs" / proof.output).stat().st_size > 1000
    logs = {path.name for path in (shared.last_run() / "attempts" / "1" / "logs").glob("*.log")} - {"environment.log"}
    assert logs >= {"std.log", *(f"rank-{rank}.log" for rank in range(1, proof.ranks))}, logs
    if proof.ranks == 2 and proof.example == "chainer":
        text = shared.ok("logs", "@", "--rank", "all").text
        assert "process 0 of 2" in text and "process 1 of 2" in text, text

    key, _ = environment(shared)
    shared.ok("submit", file, "-p", proof.again, cwd=folder, timeout=BUILD_AND_TRAIN)
    assert shared.json("show", "@")["state"] == "succeeded"
    assert environment(shared) == (key, 0), "the second submit built something"


def test_epochs_of_keras_one_at_a_time(shared: Trainctl) -> None:
    """Each call of fit() counts although Keras names no epoch then; what evaluate() prints does not."""
    folder = copied(shared, "keras")
    script = (folder / "train.py").read_text()
    [fit] = re.findall(r"^model\.fit\(.*\)\n", script, re.M)
    for verbose in ("'auto'", "1", "2"):
        one = fit.replace("epochs=options.epochs", f"epochs=1, verbose={verbose}")
        again = f"for _ in range(4):\n    {one}    model.evaluate(*spirals(600, 1), verbose={verbose})\n"
        (folder / "again.py").write_text(script.replace(fit, again))
        shared.ok("submit", "spirals.estimator.json", "--set", "entry_script=again.py", cwd=folder, timeout=BUILD_AND_TRAIN)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            assert len(series(shared, name, "pattern")) == 4, shared.ok("logs", "@").text


@pytest.mark.slow
@pytest.mark.parametrize("framework", ["scikit-learn", "tensorflow", "keras", "chainer", "xgboost", "lightgbm", "jax"])
def test_the_default_version_resolves(shared: Trainctl, framework: str) -> None:
    """PyTorch is missing here: its preset takes PyTorch's own index, which not every machine reaches."""
    folder = shared.cwd / f"default-{framework}"
    folder.mkdir()
    (folder / "a.py").write_text("")
    (folder / "a.json").write_text(f'{{"estimator": "{framework}", "entry_script": "a.py"}}')
    preset = shared.json("estimator", "show", framework)
    locked = shared.ok("env", "lock", "a.json", cwd=folder, timeout=300).text
    version = preset["default_version"]
    assert re.search(rf"^{preset['package']}(-cpu)?=={re.escape(version)}\b", locked, re.M), locked


def blocks(language: str) -> dict[str, str]:
    """File name → text, of the code blocks of the page that begin with a comment naming their file."""
    return dict(re.findall(rf"```{language}\n(?:#|//) (\S+)[^\n]*\n(.*?)```", PAGE.read_text(), re.S))


def test_the_page_for_those_who_come_from_azure_ml(shared: Trainctl) -> None:
    """Its script, written for Azure ML, trains as it stands there, with the estimator that stands there."""
    folder = shared.cwd / "moved"
    folder.mkdir()
    scripts, estimators = blocks("python"), blocks("jsonc")
    for name, text in {**scripts, **estimators}.items():
        (folder / name).write_text(text)
    assert "azureml" in scripts["train.py"] and list(estimators) == ["moved.estimator.json"]
    shared.ok("validate", "moved.estimator.json", cwd=folder)
    shared.ok("submit", "moved.estimator.json", cwd=folder, timeout=BUILD_AND_TRAIN)
    points = series(shared, "accuracy", "azureml")
    assert len(points) == 5 and points[-1]["value"] > 0.9, points
    assert (shared.last_run() / "outputs" / "model.joblib").stat().st_size > 1000


def test_the_tables_of_that_page_are_right(shared: Trainctl) -> None:
    """Each piece of JSON in them is taken by `validate`."""
    folder = shared.cwd / "tables"
    folder.mkdir()
    (folder / "a.py").write_text("")
    pieces = re.findall(r'`("(?:framework|distributed_training)": [^`]+)`', PAGE.read_text())
    assert len(pieces) >= 8, pieces
    for piece in pieces:
        framework = "" if piece.startswith('"framework"') else '"framework": "generic", '
        (folder / "a.json").write_text(f'{{{framework}{piece}, "entry_script": "a.py"}}')
        shared.ok("validate", "a.json", cwd=folder)
