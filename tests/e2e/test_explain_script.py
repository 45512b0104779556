# SPDX-License-Identifier: Apache-2.0
"""`trainctl explain --format sh`: a script for people that makes the environment and runs the training without trainctl."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import wheel
from harness import REPOSITORY

FILES = sorted(str(path.relative_to(REPOSITORY / "examples")) for path in (REPOSITORY / "examples").glob("*/*.json")
               if path.name.endswith((".run.json", ".estimator.json")) or path.name == "run.json")


def checked(script: str) -> str:
    """The shell understands it, and no version became a redirection."""
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert not re.search(r"^python(?!3 )\S* -m venv", script, re.M), script
    return script


def execute(script: str, trainctl, project, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(["bash", "-s"], input=script, text=True, capture_output=True, cwd=project.path, timeout=300,
                          env={**trainctl.environment(), **variables})


@pytest.mark.parametrize("file", FILES)
def test_the_scripts_of_all_examples_are_understood(trainctl, file):
    path = REPOSITORY / "examples" / file
    script = checked(trainctl.ok("explain", "--format", "sh", path.name, cwd=path.parent).text)
    assert re.search(r" -m venv \S|^python=|^uv sync|^conda env create", script, re.M), script


def programs(folder, **texts: str) -> str:
    """A folder to put first on PATH; returns PATH."""
    folder.mkdir()
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text("#!/bin/sh\n" + text + "\n")
        (folder / name.replace("_", ".")).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_python_that_fits_is_chosen_and_trainctl_can_be_imported(trainctl, project, scratch):
    project.script("import sys, trainctl\ntrainctl.log(loss=1.0, step=1)\ntrainctl.log_params(lr=1)\n"
                   "open(trainctl.outputs('model'), 'w').write('m')\nprint('ran in', sys.prefix)")
    spec = project.spec(environment={"python": {"version": ">=3.7,<3.12"}})
    script = checked(trainctl.ok("explain", "--format", "sh", spec).text)
    used = scratch / "used"
    path = programs(scratch / "bin", python3="exit 1", python3_15="exit 127", python3_11=f"echo chosen >> {used}; exec {sys.executable} \"$@\"")
    done = execute(script, trainctl, project, PATH=path)
    assert done.returncode == 0 and "ran in /" in done.stdout and "/env\n" in done.stdout, done
    assert used.read_text().count("chosen") == 2, "asked, then used"
    assert "outputs: " in done.stderr and not (project / "outputs").exists()


def test_no_python_fits(trainctl, project):
    project.script("print('never')")
    script = checked(trainctl.ok("explain", "--format", "sh", project.spec(environment={"python": {"version": "==3.6.*,!=3.6.9"}})).text)
    done = execute(script.replace("python3.6", "python3.6-is-not-here"), trainctl, project)
    assert done.returncode == 1 and "no Python on PATH fits ==3.6.*,!=3.6.9" in done.stderr and "never" not in done.stdout


def test_packages_with_constraints(trainctl, project):
    for version in ("1.0", "2.0"):
        project.write(f"wheels/{wheel.name(version)}", wheel.content(version))
    project.write("limits.txt", "tiny<2\n")
    project.write("requirements.txt", "--no-index\n--find-links wheels\n-c limits.txt\ntiny\n")
    project.script("import tiny; print('tiny', tiny.VERSION)")
    spec = project.spec(environment={"python": {"version": ">=3.7", "requirements_file": "requirements.txt",
                                                "build_constraints": ["setuptools<70"]}})
    done = execute(checked(trainctl.ok("explain", "--format", "sh", spec).text), trainctl, project)
    assert done.returncode == 0 and "tiny 1.0" in done.stdout, done


def test_what_pip_cannot_do_is_done_by_uv_or_said(trainctl, project):
    project.script("print()")
    python = {"packages": ["torch"], "index_urls": ["https://${INDEX_HOST}/a%20b/$simple"], "build_constraints": ["numpy<2"]}
    script = checked(trainctl.ok("explain", "--format", "sh", project.spec(environment={"python": python})).text)
    assert '/bin/pip" install --extra-index-url "https://${INDEX_HOST}/a%20b/\\$simple" -r ' in script
    assert re.search(r"^# pip takes the best version of all indexes", script, re.M)
    assert 'PIP_CONSTRAINT="$work/build-constraints.txt"' in script and re.search("^# pip has no constraints for builds", script, re.M)
    script = checked(trainctl.ok("explain", "--format", "sh", project.spec(environment={"python": {**python, "torch_backend": "cpu"}})).text)
    assert "--torch-backend cpu" in script and "/bin/pip\"" not in script
    assert '--build-constraint "$work/build-constraints.txt"' in script and "# torch_backend: only uv" in script
