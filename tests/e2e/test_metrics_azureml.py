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


def test_no_call_breaks_a_training(trainctl, project):
    """One name for values and for rows, columns of any name, lists in pieces, nonsense: recorded as far as it goes."""
    project.script(
        "from azureml.core import Run\nrun = Run.get_context()\n"
        "run.log_row('loss', a=1); run.log('loss', 0.5); run.log('acc', 1); run.log_row('acc', b=2)\n"
        "run.log_table('table', {'name': [1], 'description': [2], 'self': [3]})\n"
        "run.log_list('list', [1, 2]); run.log_list('list', [3]); run.log('list', 4)\n"
        "run.log('bad', 1, step='x'); run.log_table('bad', 5); run.log_image('bad'); run.log_image('../bad', path='train.py')\n"
        "run.log_image('bad', path='missing.png'); run.upload_file('../../bad', 'train.py'); run.upload_file('bad', 'missing')\n"
        "run.upload_folder('bad', 'missing'); run.set_tags('nonsense'); run.log_confusion_matrix('bad', {1j: 2, (3,): 4})\n"
        "print(run.get_metrics('loss'), run.get_metrics()['list'])\n")
    done = trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    assert "{'loss': 0.5} [1, 2, 3, 4]" in done.text
    assert [p for p in points(run) if p[0] != "bad"] == [
        ("loss/a", 0, 1), ("loss", 0, 0.5), ("acc", 0, 1), ("acc/b", 0, 2),
        ("table/name", 0, 1), ("table/description", 0, 2), ("table/self", 0, 3),
        ("list", 0, 1), ("list", 1, 2), ("list", 2, 3), ("list", 3, 4)]
    for word in ("log: ", "log_table: ", "log_image: ", "upload_file: ", "upload_folder: ", "set_tags: "):
        assert f"trainctl (azureml): {word}" in done.text, word
    assert list((run / "outputs").rglob("*bad*")) == []


def test_a_full_disk_breaks_no_training(trainctl, project):
    """Each write beyond 2,000 bytes of a file fails, as on a full disk."""
    project.write("large.bin", "x" * 5000)
    project.script(
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "from azureml.core import Run\nrun = Run.get_context()\n"
        "class Plot:\n    def savefig(self, path):\n        with open(path, 'w') as file: file.write('x' * 5000)\n"
        "run.upload_file('a.bin', 'large.bin'); run.upload_file('b.bin', open('large.bin')); run.upload_folder('c', '.')\n"
        "run.log_image('d', plot=Plot()); run.log_confusion_matrix('e', 'x' * 5000)\n"
        "for step in range(100): run.log('loss', step)\n"
        "print('trained')\n")
    assert "trained" in trainctl.ok("run", "train.py").text
    run = trainctl.last_run()
    kept = sorted(str(file.relative_to(run / "outputs")) for file in (run / "outputs").rglob("*") if file.is_file())
    assert kept == ["c/train.py"], "no file is kept in part"
    assert 10 < len(points(run)) < 100


def test_images_folders_and_documents(trainctl, project):
    project.write("plot.svg", "<svg/>")
    project.write("folder/sub/a.txt", "a")
    project.script(
        "from azureml.core import Run\nrun = Run.get_context()\n"
        "class Plot:\n    def savefig(self, path): open(path, 'w').write('png' if path.endswith('.png') else '?')\n"
        "run.log_image('roc', path='plot.svg'); run.log_image('deep/curve', plot=Plot())\n"
        "run.upload_folder('kept', 'folder'); run.upload_folder('all', '.')\n"
        "run.upload_files(['one.txt'], ['folder/sub/a.txt'])\n"
        "run.log_accuracy_table('table', {'a': 1}); run.log_residuals('residuals', '{\"b\": 2}')\n"
        "run.log_predictions('predictions', {'c': 3})\n"
        "run.download_file('outputs/kept/sub/a.txt', 'back.txt'); print(open('back.txt').read())\n"
        "try: run.download_file('missing')\nexcept FileNotFoundError: print('missing')\n"
        "print(run.get_file_names())\n"
        "print(run.get_details()['runId'] == run.id, run.get_details()['status'], run.get_status())\n"
        "run.fail('too bad', error_code=3); print(run.get_details()['status'])\n")
    done = trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    files = ["all/folder/sub/a.txt", "all/plot.svg", "all/train.py", "images/deep/curve.png", "images/roc.svg",
             "kept/sub/a.txt", "one.txt", "predictions.json", "residuals.json", "table.json"]
    assert done.text.splitlines() == ["a", "missing", str([f"outputs/{file}" for file in files]), "True Running Running", "Failed"]
    assert (run / "outputs/images/deep/curve.png").read_text() == "png"
    assert [json.loads((run / f"outputs/{name}.json").read_text()) for name in ("table", "residuals", "predictions")] == [
        {"a": 1}, {"b": 2}, {"c": 3}]
    assert sorted(line["name"] for line in lines(run) if line.get("type") == "file") == files
    assert [line["text"] for line in lines(run) if line.get("type") == "text"] == ["too bad"]
    assert trainctl.json("show", "@")["state"] == "succeeded", "the exit code of the process decides"


def test_the_experiment_has_its_name(trainctl, project):
    project.script("import os\nfrom azureml.core import Run\n"
                   "print(Run.get_context().experiment.name, os.environ.get('TRAINCTL_EXPERIMENT'))")
    project.spec(experiment="mnist")
    assert trainctl.ok("submit", "a.run.json").text == "mnist mnist\n"
    assert trainctl.ok("run", "train.py").text == "Default None\n"


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


def test_epochs_of_keras_one_at_a_time(trainctl, project):
    """fit(epochs=1) in a loop: Keras prints no "Epoch 1/1", and one bar over another."""
    project.script(
        "for epoch in range(20):\n"
        "    print('\\r 1/60 [>...] - ETA: 0s - loss: 9.0', end='')\n"
        "    print('\\r60/60 [====] - 1s 3ms/step - loss: %s' % (1 / (epoch + 1)), end='')\n"
        "    print('\\r60/60 [====] - 1s 3ms/step - loss: %s - val_loss: 0.5' % (1 / (epoch + 1)))\n"
        "    print('\\r10/10 [====] - 0s 3ms/step - loss: 7.0')\n")
    project.spec(metrics={"patterns": ["preset:keras"]})
    trainctl.ok("submit", "a.run.json")
    found = points(trainctl.last_run(), "pattern")
    assert [value for name, _, value in found if name == "loss"] == [1 / (epoch + 1) for epoch in range(20)]
    assert [name for name, _, _ in found].count("val_loss") == 20
    assert trainctl.ok("metrics", "@", "loss", "--csv").text.count("\n") == 21
