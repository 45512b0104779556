# SPDX-License-Identifier: Apache-2.0
"""`trainctl import`: files of other tools become run configurations that validate and run, and nothing is left out silently.

The goldens are tests/data/import/<name>.golden.json; TRAINCTL_WRITE_GOLDENS=1 writes them anew."""

import json
import os
import shutil

import pytest

from harness import REPOSITORY

DATA = REPOSITORY / "tests" / "data" / "import"
CASES = {
    "script": ["script.runconfig"],
    "conda": ["conda.runconfig", "--input", "raw=/data/raw"],
    "docker": ["docker.runconfig"],
    "mpi": ["mpi.runconfig"],
    "ps": ["ps.runconfig"],
    "nccl": ["nccl.runconfig"],
    "mlproject": ["mlproject/MLproject", "-p", "data=points.csv"],
    "mlproject-validate": ["mlproject/MLproject", "--entry-point", "validate"],
    "mlproject-docker": ["mlproject/docker.MLproject"],
}
TRAIN = """import os, sys
print("arguments", " ".join(sys.argv[1:]))
for name in ("GREETING", "EXAMPLE_ENV_VAR", "TF_CONFIG", "RANK", "WORLD_SIZE"):
    print(name, os.environ.get(name))
"""


def leaves(value, at=""):
    """The dotted names of everything that says something."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{at}.{key}" if at else key)
    elif value not in (None, "", []):
        yield at


@pytest.mark.parametrize("name", CASES)
def test_golden(trainctl, name):
    made = trainctl.json("import", *CASES[name], cwd=DATA)
    assert made["output"] is None
    golden = DATA / f"{name}.golden.json"
    items = [[item["fate"], item["field"], item.get("to"), item.get("note"), item["position"]["line"]] for item in made["items"]]
    seen = {"configuration": made["configuration"], "files": made["files"], "items": items}
    if os.environ.get("TRAINCTL_WRITE_GOLDENS"):
        golden.write_text(json.dumps(seen, indent=1, ensure_ascii=False) + "\n")
    assert seen == json.loads(golden.read_text())


@pytest.mark.parametrize("name", sorted(json.loads((REPOSITORY / "tests/data/azureml-sdk/estimators-to-runconfig.json").read_text())))
def test_what_the_sdk_writes(trainctl, project, name):
    """Every recorded run configuration is read, every field of it is accounted for, and what comes out validates."""
    written = json.loads((REPOSITORY / "tests/data/azureml-sdk/estimators-to-runconfig.json").read_text())[name]
    written["script"] = written["script"] or (None if written["command"] else "train.py")
    (project.path / ".azureml").mkdir()
    (project.path / ".azureml" / "train.runconfig").write_text(json.dumps(written, indent=1))
    project.script(TRAIN)
    made = trainctl.json("import", ".azureml/train.runconfig", "-o", "train.run.json")
    fields = [item["field"] for item in made["items"]]
    for leaf in leaves(written):
        assert any(leaf == field or leaf.startswith(field + ".") or field.startswith(leaf + ".") for field in fields), leaf
    assert len(fields) == len(set(fields)), "nothing is reported twice"
    trainctl.ok("validate", "train.run.json")


def imported(trainctl, project, name, *arguments):
    """Puts a file where the SDK has it, imports it into the project and returns the configuration."""
    (project.path / ".azureml").mkdir(exist_ok=True)
    shutil.copy(DATA / f"{name}.runconfig", project.path / ".azureml" / "train.runconfig")
    project.script(TRAIN)
    trainctl.ok("import", ".azureml/train.runconfig", "-o", "train.run.json", *arguments)
    trainctl.ok("validate", "train.run.json")
    return json.loads((project.path / "train.run.json").read_text())


def test_script_run(trainctl, project):
    made = imported(trainctl, project, "script")
    assert "source_directory" not in made, "the project is the folder above .azureml"
    out = trainctl.ok("submit", "train.run.json").text
    assert "arguments --lr 0.10 --epochs 3 --verbose\n" in out and "GREETING hello\n" in out and "EXAMPLE_ENV_VAR None" in out


def test_data_and_conda(trainctl, project):
    (project.path / "requirements.txt").write_text("")
    (project.path / "data" / "digits").mkdir(parents=True)
    (project.path / "elsewhere").mkdir()
    made = imported(trainctl, project, "conda", "--input", "raw=elsewhere")
    assert made["inputs"]["raw"] == "elsewhere"
    assert "--data" in trainctl.ok("explain", "train.run.json").text


def test_parameter_server(trainctl, project):
    made = imported(trainctl, project, "ps")
    assert (project.path / "train.Dockerfile").read_text().startswith("FROM ")
    del made["environment"]
    (project.path / "train.run.json").write_text(json.dumps(made))
    trainctl.ok("submit", "train.run.json")
    logs = trainctl.ok("logs", "@", "--rank", "all").text
    assert logs.count('"worker"') >= 3 and '"ps"' in logs and '"chief"' not in logs


@pytest.mark.parametrize("command, words", [
    ("python train.py --lr 0.10 | tee log", ["bash", "-c", "python train.py --lr 0.10 | tee log"]),
    (["python", "train.py", "--lr", 0.10], ["python", "train.py", "--lr", "0.1"]),
])
def test_a_command_of_mpi_ranks_in_a_container(trainctl, project, command, words):
    project.write("train.runconfig", {"command": command, "communicator": "IntelMpi", "nodeCount": 2,
                                      "mpi": {"processCountPerNode": 2},
                                      "environment": {"docker": {"baseImage": "team/training:3"}}, "docker": {"useDocker": True}})
    made = trainctl.json("import", "train.runconfig", "-o", "train.run.json")
    assert made["configuration"]["command"] == ["mpiexec", "-n", "4", *words]
    looks = {item["field"]: item["note"] for item in made["items"] if item["fate"] == "changed"}
    assert "4 ranks, on one machine" in looks["communicator"] and looks["nodeCount"] == looks["communicator"]
    trainctl.ok("validate", "train.run.json")


def test_gloo(trainctl, project):
    (project.path / "conda.yml").write_text("dependencies: [python]\n")
    imported(trainctl, project, "nccl")
    wanted = trainctl.run("submit", "train.run.json", code=3)
    assert "2 nodes" in wanted.error
    made = trainctl.ok("explain", "train.run.json", "--set", "resources.nodes=1", "--set", "environment.python.conda_file=null").text
    assert "gloo" in made or "pytorch" in made


def test_mpi(trainctl, project):
    assert shutil.which("mpiexec"), "apt-get install openmpi-bin"
    imported(trainctl, project, "mpi")
    trainctl.ok("submit", "train.run.json")
    assert "arguments" in trainctl.ok("logs", "@", "--rank", "1").text


def test_mlproject(trainctl, project):
    (project.path / "MLproject").write_text("""name: tutorial
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.50}
      text: {type: string, default: "a 'b' $c"}
      data: path
    command: "python3 train.py --alpha {alpha} --text {text} {data} && echo {{done}}"
""")
    project.script(TRAIN)
    trainctl.ok("import", "MLproject", "-o", "t.run.json")
    assert "data" in trainctl.run("validate", "t.run.json", code=2).error, "a parameter without a value is an error, not an empty text"
    out = trainctl.ok("submit", "t.run.json", "-p", "data=points.csv").text
    assert "arguments --alpha 0.50 --text a 'b' $c points.csv\n" in out and "{done}" in out
    trainctl.ok("import", "MLproject", "-o", "t.run.json", "--force", "-p", "data=here.csv", "-p", "alpha=2")
    assert "--alpha 2 --text a 'b' $c here.csv\n" in trainctl.ok("submit", "t.run.json").text


def test_broken_files(trainctl, project):
    path = project.path / "x.runconfig"
    for text, place, words in (("a: [1, {b: 2\n", "x.runconfig:2:1", "not YAML"), ("script: a\nscript: b\n", "x.runconfig:2:1", "twice"),
                               ("ä: 1\n- b\n", "x.runconfig:2:1", "not YAML"), ("a: &x [*x]\n", "x.runconfig:1:", ""), ("", "x.runconfig:1:1", "empty"),
                               ("- 1\n", "x.runconfig:1:1", "no run configuration"), ("a: 1\n---\nb: 2\n", "x.runconfig:", "more than one"),
                               ('&a: "local",\n', "x.runconfig:1:", "more than one")):
        path.write_text(text)
        failed = trainctl.run("import", "x.runconfig", code=2)
        assert place in failed.error and words in failed.error, failed
        error = json.loads(trainctl.run("import", "x.runconfig", "--json", code=2).out)["error"]
        assert error["position"]["line"] >= 1
    path.write_bytes(b"a: \xff\n")
    assert "UTF-8" in trainctl.run("import", "x.runconfig", code=2).error
    trainctl.run("import", "missing.runconfig", code=4)
    (project.path / "notes.yml").write_text("hello: you\n")
    assert "--format" in trainctl.run("import", "notes.yml", code=2).error
    (project.path / "MLproject").write_text("name: x\nentry_points: {train: {command: a}}\n")
    assert "train" in trainctl.run("import", "MLproject", code=4).error
    (project.path / "out.json").write_text("mine")
    path.write_text("script: a.py\n")
    assert "--force" in trainctl.run("import", "x.runconfig", "-o", "out.json", code=2).error
    assert (project.path / "out.json").read_text() == "mine"


def test_the_example(trainctl, project):
    shutil.copytree(REPOSITORY / "examples" / "import", project.path / "import")
    folder = project.path / "import"
    trainctl.ok("import", ".azureml/train.runconfig", "-o", "train.run.json", cwd=folder)
    trainctl.ok("submit", "train.run.json", cwd=folder)
    run = trainctl.json("show", "@")
    assert run["state"] == "succeeded" and run["metrics"]["loss"]["last"] < 0.1, run
