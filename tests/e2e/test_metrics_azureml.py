# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Scripts written for the Azure ML SDK v1: our stand-in for azureml.core.Run, and the output of the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import jsonl

REAL_RUN = '''
class Run:
    @classmethod
    def get_context(cls): return cls()
    def log(self, name, value): print("Attempted to log scalar metric {}:\\n{}".format(name, value))
'''


def lines(run: Path, source: str = "azureml") -> list[dict]:
    return jsonl(run / "attempts/1/metrics" / f"{source}-r0.jsonl")


def points(run: Path, source: str = "azureml") -> list[tuple]:
    return [(line["name"], line["step"], line["value"]) for line in lines(run, source) if "type" not in line]


def test_an_unmodified_script(trainctl, project):
    project.write("notes.txt", "hello")
    project.script(
        "from azureml.core.run import Run\n"
        "from azureml.core import Workspace, Dataset\n"
        "run = Run.get_context()\n"
        "for value in (0.5, 0.25): run.log('loss', value)\n"
        "run.log('odd', float('nan')); run.log('word', 'text')\n"
        "run.log_list('accuracy', [0.1, 0.2])\n"
        "run.log_row('curve', x=1, y=2.5); run.log_row('curve', x=2, y=3.5)\n"
        "run.log_table('table', {'a': [1, 2], 'b': [3, 4]})\n"
        "run.log_confusion_matrix('matrix', {'schema_type': 'confusion_matrix', 'data': {'matrix': [[1]]}})\n"
        "run.tag('team', 'vision')\n"
        "run.upload_file('outputs/up/notes.txt', 'notes.txt')\n"
        "with run.child_run('fold') as child: child.log('loss', 0.125)\n"
        "run.complete()\n"
        "print(run.get_metrics()['loss'], run.tags, run.experiment.name, run.id[:2])\n"
        "try: Workspace.from_config()\n"
        "except RuntimeError as error: print(error)\n")
    done = trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    assert done.text.startswith("[0.5, 0.25] {'team': 'vision'} Default 0")
    assert "azureml.core.Workspace needs the Azure ML SDK" in done.text
    assert points(run) == [
        ("loss", 0, 0.5), ("loss", 1, 0.25), ("odd", 0, "NaN"), ("accuracy", 0, 0.1), ("accuracy", 1, 0.2),
        ("curve/x", 0, 1), ("curve/y", 0, 2.5), ("curve/x", 1, 2), ("curve/y", 1, 3.5),
        ("table/a", 0, 1), ("table/b", 0, 3), ("table/a", 1, 2), ("table/b", 1, 4), ("fold/loss", 0, 0.125)]
    assert json.loads((run / "outputs/matrix.json").read_text())["schema_type"] == "confusion_matrix"
    assert (run / "outputs/up/notes.txt").read_text() == "hello"
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == 0.25


def test_inputs_by_name(trainctl, project):
    project.write("data.csv", "1\n")
    project.script("from azureml.core import Run\nprint(open(Run.get_context().input_datasets['digits']).read())")
    project.spec(inputs={"digits": "data.csv"})
    assert trainctl.ok("submit", "a.run.json").text == "1\n\n"


def test_outside_a_run_it_prints(trainctl, project):
    project.script("import os\nfor n in ('TRAINCTL_RUN_ID', 'TRAINCTL_METRICS'): os.environ.pop(n)\n"
                   "from azureml.core import Run\nrun = Run.get_context(); run.log('loss', 0.5)\nprint(run.id.startswith('OfflineRun'))")
    assert trainctl.ok("run", "train.py").text == "Attempted to log scalar metric loss:\n0.5\nTrue\n"


def test_the_real_package_is_used_where_it_is_installed(trainctl, project, scratch):
    site = scratch / "site"
    (site / "azureml/core").mkdir(parents=True)
    (site / "azureml/__init__.py").write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
    (site / "azureml/core/__init__.py").write_text(REAL_RUN)
    # As in an environment: found behind PYTHONPATH.
    project.script(f"import sys\nsys.path.append({str(site)!r})\n"
                   "import azureml, azureml.core\nfrom azureml.core import Run\nprint(azureml.core.__file__)\n"
                   "Run.get_context().log('acc', 0.9)\nRun.get_context().log('acc', 0.95)\n")
    done = trainctl.ok("run", "train.py")
    assert done.text.startswith(str(site / "azureml/core/__init__.py"))
    run = trainctl.last_run()
    assert points(run, "pattern") == [("acc", None, 0.9), ("acc", None, 0.95)] and lines(run) == []


@pytest.mark.frameworks
@pytest.mark.network
@pytest.mark.slow
def test_the_real_azureml_core(trainctl, project):
    """A script of an Azure ML user with the SDK it was written for: outside of Azure that prints, and we read."""
    project.script("import azureml.core\nfrom azureml.core import Run\nprint('azureml-core', azureml.core.VERSION)\n"
                   "run = Run.get_context()\n"
                   "for step in range(3): run.log('acc', 0.5 + step / 10)\n"
                   "run.log_list('losses', [0.5, 0.25])\nrun.log_row('point', x=1.5, y=2)\n")
    project.spec(environment={"python": {"version": "3.11", "packages": ["azureml-core==1.61.0.post4", "setuptools<80"]}})
    done = trainctl.ok("submit", "a.run.json", timeout=900)
    assert "azureml-core 1.61.0" in done.text, done
    run = trainctl.last_run()
    assert [p for p in points(run, "pattern") if p[0] == "acc"] == [("acc", None, 0.5), ("acc", None, 0.6), ("acc", None, 0.7)]
    assert lines(run) == [], "our stand-in has given way"


def test_other_parts_of_azureml_stay_importable(trainctl, project, scratch):
    site = scratch / "site"
    (site / "azureml/data").mkdir(parents=True)
    (site / "azureml/data/__init__.py").write_text("WORD = 'real'\n")
    project.script(f"import sys\nsys.path.append({str(site)!r})\n"
                   "from azureml.data import WORD\nfrom azureml.core import Run\nprint(WORD); Run.get_context().log('a', 1)\n")
    assert trainctl.ok("run", "train.py").text == "real\n"
    assert points(trainctl.last_run()) == [("a", 0, 1)]


def test_presets_read_what_frameworks_print(trainctl, project):
    project.script(
        "print('Epoch 1/2'); print('\\r 30/60 [====>.....] - ETA: 0s - loss: 0.9', end='')\n"
        "print('\\r60/60 [====] - 1s 3ms/step - loss: 0.5 - accuracy: 0.75', end='')\n"
        "print('\\r60/60 [====] - 1s 3ms/step - loss: 0.5 - accuracy: 0.75 - val_loss: 0.25')\n"
        "print('Epoch 2/2'); print('60/60 - 1s - 3ms/step - loss: 0.25')\n"
        "print(\"{'loss': 1.5, 'learning_rate': '5e-05', 'epoch': 0.1}\")\n"
        "print('[3]\\ttrain-rmse:0.5\\tvalid_1\\'s auc: 0.75')\n")
    project.spec(metrics={"patterns": ["preset:keras", "preset:huggingface", "preset:xgboost"]})
    trainctl.ok("submit", "a.run.json")
    found = points(trainctl.last_run(), "pattern")
    assert found == [("loss", 1, 0.5), ("accuracy", 1, 0.75), ("val_loss", 1, 0.25), ("loss", 2, 0.25),
                     ("loss", 2, 1.5), ("learning_rate", 2, 5e-05), ("epoch", 2, 0.1),
                     ("train-rmse", 3, 0.5), ("valid_1/auc", 3, 0.75)]
