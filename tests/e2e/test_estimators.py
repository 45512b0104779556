# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Estimators through the real binary: explain, validate, schema, presets of one's own, and the page that describes them."""

import json
import re
import shutil

import pytest

from harness import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
PAGE = REPOSITORY / "docs" / "estimators.md"


@pytest.fixture
def example(project):
    """Copies an example, so that a run leaves nothing in the source tree, and returns its folder."""
    def copy(name: str):
        shutil.copytree(EXAMPLES / name, project.path / name, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
        return project.path / name
    return copy


def write(project, name: str, text: str):
    path = project.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("spec", sorted(EXAMPLES.glob("*/*.estimator.json")), ids=lambda path: path.name)
def test_every_example_validates_and_explains(trainctl, spec):
    trainctl.ok("validate", spec)
    shown = trainctl.json("explain", spec)
    assert shown["estimator"]["preset"] == "built in"
    assert "framework" not in shown["spec"]


def test_explain_shows_both_sides(trainctl, example):
    folder = example("scikit-learn")
    text = trainctl.ok("explain", "digits.estimator.json", cwd=folder).text
    assert text.startswith("Estimator  scikit-learn 1.9.1 (built in)\n"), text
    assert re.search(r'framework_version: 1\.9\.1 +→ environment\.python\.packages: \["scikit-learn==1\.9\.1","scipy","joblib"\]', text), text
    assert "python train.py --kernel rbf --c 1.0 --shuffle" in text, text
    origins = trainctl.ok("explain", "digits.estimator.json", "--origin", cwd=folder).text
    assert re.search(r"environment\.python\.version +>=3\.11,<3\.15 +estimator scikit-learn", origins), origins


def test_all_mistakes_in_one_go(trainctl, project):
    write(project, "bad.json", """{
  "type": "estimator",
  "framework": "chainer",
  "framework_version": "7.3",
  "entry_script": "missing.py",
  "script_params": { "--lr": {} },
  "distributed_training": { "type": "parameter_server", "workers": 2 },
  "use_gpu": "yes",
  "pip_packages": ["--index-url=x"],
  "user_managed": true,
  "vm_priority": "low",
  "shm_sise": "2g",
  "limits": { "timeout": 7200 }
}
""")
    failed = trainctl.run("validate", "bad.json", code=2)
    lines = [line for line in failed.error.splitlines() if "error" in line]
    assert len(lines) >= 9, failed
    for place in ("4:24", "6:30", "7:37", "7:57", "8:14", "9:19", "11:18", "12:3", "13:26"):
        assert f"bad.json:{place}" in failed.error, (place, failed.error)
    assert "did you mean" in failed.error


def test_conda_packages_are_packages_of_the_index(trainctl, project):
    write(project, "train.py", "")
    write(project, "a.json", '{"estimator": "generic", "script": "train.py", "conda_packages": ["python=3.11", "scipy=1.11"]}')
    shown = trainctl.json("explain", "a.json")
    assert shown["environment"]["python"] == "==3.11.*", shown["environment"]
    assert shown["environment"]["packages"] == ["scipy==1.11.*"], shown["environment"]
    write(project, "a.json", '{"estimator": "generic", "script": "train.py", "conda_packages": ["no-such-thing-in-pip"]}')
    failed = trainctl.run("explain", "a.json", code=2)
    assert "no-such-thing-in-pip" in failed.error and "no known counterpart" in failed.error, failed


def test_unknown_framework_and_version(trainctl, project):
    write(project, "a.json", '{"framework": "pytroch", "script": "a.py"}')
    assert 'did you mean "pytorch"?' in trainctl.run("validate", "a.json", code=2).error
    write(project, "a.json", '{"framework": "tensorflow", "framework_version": "2.135", "script": "a.py"}')
    write(project, "a.py", "")
    assert "newer than what this trainctl knows" in trainctl.ok("explain", "a.json").error
    write(project, "a.json", '{"framework": "tensorflow", "framework_version": "1.16", "script": "a.py"}')
    failed = trainctl.run("validate", "a.json", code=2)
    assert "there is no TensorFlow 1.16" in failed.error and "near it: 1.15.5" in failed.error, failed


@pytest.mark.network
def test_a_version_that_does_not_exist(trainctl, project):
    """Newer than what the preset knows is left to the resolver: its own words first, and what there is instead."""
    write(project, "a.py", "")
    write(project, "a.json", '{"estimator": "scikit-learn", "entry_script": "a.py", "framework_version": "1.77"}')
    done = trainctl.run("submit", "a.json", code=3)
    last = done.error.strip().splitlines()[-1]
    assert re.search(r"failed: Because only scikit-learn<=\S+ is available and you require scikit-learn==1\.77", last), done
    assert re.search(r"\(.*\b1\.\d+\.\d+", last), last
    assert trainctl.json("show", "@")["cause"] == "environment"


def test_estimator_ls_and_show(trainctl):
    names = {item["name"] for item in trainctl.json("estimator", "ls")["items"]}
    assert {"scikit-learn", "tensorflow", "keras", "pytorch", "chainer", "generic", "xgboost", "lightgbm", "jax"} <= names
    assert "scikit-learn" in trainctl.ok("estimator", "ls").text
    shown = trainctl.json("estimator", "show", "torch")
    assert shown["name"] == "pytorch" and "gloo" in shown["distributions"]
    assert "torch==" in trainctl.ok("estimator", "show", "pytorch").text
    assert 'did you mean "keras"?' in trainctl.run("estimator", "show", "kears", code=4).error


def test_a_framework_of_ones_own(trainctl, project):
    """A JSON file is enough: in the project, or beside the user's configuration."""
    write(project, ".trainctl/estimators/ours.json", '{"title": "Ours", "variables": {"OURS": "1"}, "aliases": ["us"]}')
    write(project, "a.py", "import os; print('ours is', os.environ['OURS'])")
    write(project, "a.json", '{"estimator": "us", "script": "a.py"}')
    assert b"ours is 1" in trainctl.ok("submit", "a.json").out
    user = trainctl.user_home / ".config" / "trainctl" / "estimators"
    user.mkdir(parents=True)
    (user / "ours.json").write_text('{"variables": {"OURS": "2"}}')
    assert b"ours is 1" in trainctl.ok("submit", "a.json").out, "the project's preset wins"
    (project.path / ".trainctl/estimators/ours.json").unlink()
    write(project, "a.json", '{"estimator": "ours", "script": "a.py"}')
    assert b"ours is 2" in trainctl.ok("submit", "a.json").out
    assert "ours" in {item["name"] for item in trainctl.json("estimator", "ls")["items"]}


@pytest.mark.parametrize("kind", ["run", "estimator", "estimator-preset"])
def test_schemas(trainctl, kind):
    printed = trainctl.ok("schema", kind).text
    assert printed == (REPOSITORY / "schemas" / f"{kind}.schema.json").read_text()
    assert json.loads(printed)["title"] == f"trainctl {kind}"


def test_generic(trainctl, example):
    folder = example("generic")
    trainctl.ok("submit", "monte-carlo.estimator.json", cwd=folder)
    run = trainctl.json("show", "@")
    assert run["state"] == "succeeded" and run["name"].startswith("monte-carlo-")
    assert abs(run["metrics"]["pi"]["last"] - 3.1416) < 0.02 and run["metrics"]["pi"]["step"] == 200000
    plan = json.loads((trainctl.last_run() / "plan.json").read_text())
    assert plan["estimator"]["framework"] == "generic" and plan["estimator"]["written"]["script"] == "pi.py", plan["estimator"]
    assert "script_params" not in plan["spec"] and plan["spec"]["parameters"], "beside what it stands for"


def blocks(language: str) -> list[tuple[str, str]]:
    """(file name, text) of the code blocks of the page that begin with a comment naming a file."""
    found = re.findall(rf"```{language}\n// (\S+)[^\n]*\n(.*?)```", PAGE.read_text(), re.S)
    assert found, f"{PAGE.name} shows no {language} file"
    return found


def test_the_files_of_the_page_are_right(trainctl, project):
    """Every JSON file the page shows is taken as it stands there: presets first, then what uses them."""
    for script in ("train.py", "pkg/train.py", "requirements.txt", "environment.yml"):
        write(project, script, "dependencies:\n  - python=3.11\n" if script.endswith("yml") else "")
    (project.path / "checkpoints").mkdir()
    files = blocks("jsonc")
    for name, text in files:
        write(project, name, text)
    estimators = [name for name, _ in files if name.endswith(".estimator.json")]
    assert len(estimators) >= 5
    for name in estimators:
        trainctl.ok("validate", name)
        assert trainctl.json("explain", name)["estimator"]["framework"]


def test_the_page_names_every_field(trainctl):
    page = PAGE.read_text()
    run = json.loads((REPOSITORY / "schemas/run.schema.json").read_text())["properties"]
    estimator = json.loads((REPOSITORY / "schemas/estimator.schema.json").read_text())["properties"]
    preset = json.loads((REPOSITORY / "schemas/estimator-preset.schema.json").read_text())["properties"]
    for name in [*(set(estimator) - set(run)), *preset]:
        assert f"`{name}`" in page, f"{PAGE.name} does not name {name}"
    for item in trainctl.json("estimator", "ls")["items"]:
        assert f"`{item['name']}`" in page, item["name"]
