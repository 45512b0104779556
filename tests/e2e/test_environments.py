# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 1200
"""Environments with the real uv, pip and bash: built once, by one, whole or not at all; errors in the resolver's words.

The module is driven through `environment-driver` (tests/support/environment_driver.cpp).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import BIN_DIR, alive, wait_until

DRIVER = BIN_DIR / "environment-driver"
HIDDEN = re.compile(r"^(PYTHON.*|VIRTUAL_ENV|UV_.*|PIP_REQUIRE.*|CONDA_.*|PYENV_VERSION|TRAINCTL_.*)$")


@pytest.fixture(scope="session")
def uv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real uv."""
    found = shutil.which("uv")
    folder = tmp_path_factory.mktemp("uv")
    if found:
        (folder / "bin").mkdir()
        (folder / "bin" / "uv").symlink_to(found)
        return folder / "bin"
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, "uv"], capture_output=True)
    if done.returncode != 0:
        pytest.skip("uv cannot be installed: " + done.stderr.decode(errors="replace")[-300:])
    return folder / "bin"


class Environments:
    """One root of environments and a process environment of its own."""

    def __init__(self, folder: Path, programs: Path | None):
        self.folder = folder
        self.root = folder / "envs"
        self.source = folder / "src"
        self.home = folder / "home"
        self.source.mkdir()
        self.home.mkdir()
        path = [p for p in os.environ["PATH"].split(":") if not (Path(p) / "uv").exists()]
        self.env = {k: v for k, v in os.environ.items() if not HIDDEN.match(k)}
        self.env["PYENV_ROOT"] = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
        self.env["HOME"] = str(self.home)
        if programs:
            self.env["UV_CACHE_DIR"] = str(programs.parent / "cache")  # shared: each package is fetched once
        self.env["PATH"] = ":".join(([str(programs)] if programs else []) + path)

    def start(self, *arguments: object, **variables: str) -> subprocess.Popen:
        return subprocess.Popen([str(DRIVER), *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                stdin=subprocess.PIPE, env={**self.env, **variables}, cwd=self.folder)

    def call(self, *arguments: object, **variables: str) -> dict:
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=300)
        self.log = err.decode(errors="replace")
        result = json.loads(out)
        assert (process.returncode == 0) == ("error" not in result), self.log
        return result

    def request(self, name: str = "request", /, **fields: object) -> Path:
        given = self.folder / "input.json"
        given.write_text(json.dumps(fields))
        made = self.call("request", given, self.source)
        assert "error" not in made, made
        self.made = made
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(made["request"]))
        return file

    def ensure(self, request: Path, **variables: str) -> dict:
        return self.call("ensure", self.root, request, **variables)

    def built(self) -> list[Path]:
        return [p for p in self.root.iterdir() if len(p.name) == 64] if self.root.exists() else []


@pytest.fixture
def envs(scratch: Path, uv_folder: Path) -> Environments:
    return Environments(scratch, uv_folder)


@pytest.fixture
def pip_envs(scratch: Path) -> Environments:
    return Environments(scratch, None)


def imports(built: dict, module: str) -> bool:
    return subprocess.run([built["python"], "-c", f"import {module}"], capture_output=True).returncode == 0


def test_packages_are_built_once_compiled_and_found_again_at_once(envs: Environments) -> None:
    request = envs.request(packages=["six==1.17.0", "attrs"])
    built = envs.ensure(request)
    assert built["built"] and imports(built, "six") and imports(built, "attr"), built
    assert "six==1.17.0\n" in built["freeze"]
    root = Path(built["root"])
    assert root == envs.root / built["key"]
    assert list(root.rglob("six*.pyc")), "not compiled to bytecode"
    assert "--hash=sha256:" in (root / "requirements.lock").read_text()
    assert built["variables"]["VIRTUAL_ENV"] == built["root"]
    assert built["variables"]["PATH"].startswith(f"{root}/bin:")
    record = json.loads((root / "environment.json").read_text())
    assert record["packages"] == 2 and record["tool"].startswith("uv ")

    # Again: no uv, no network, no Python is started.
    hidden = {"PATH": ":".join(p for p in envs.env["PATH"].split(":")[1:]), "UV_OFFLINE": "1"}
    times = [envs.call("time", envs.root, request, **hidden) for _ in range(5)]
    assert not any(t["built"] for t in times) and not envs.log.strip()
    assert min(t["took_us"] for t in times) < 20_000  # 1 ms on an idle machine


def test_ten_builders_at_once_build_once_and_say_who_builds(envs: Environments) -> None:
    request = envs.request(packages=["six"])
    processes = [envs.start("ensure", envs.root, request) for _ in range(10)]
    results = []
    logs = ""
    for process in processes:
        out, err = process.communicate(timeout=300)
        results.append(json.loads(out))
        logs += err.decode()
    assert all("error" not in r for r in results), results
    assert sum(r["built"] for r in results) == 1
    assert len({r["key"] for r in results}) == 1
    assert logs.count("building the environment") == 2  # once as a phase, once in the log
    assert re.search(r"waiting for the environment [0-9a-f]{6} \(being built by pid \d+ for \d+ s\)", logs)


def test_a_killed_builder_leaves_nothing_that_counts(envs: Environments) -> None:
    request = envs.request(packages=["six", "attrs"])
    seen = set()
    for phase in (b"resolving", b"building", b"installing"):
        process = envs.start("ensure", envs.root, request)
        for line in process.stderr:
            if line.startswith(b"phase: " + phase):
                break
        process.kill()
        process.wait()
        seen.add(phase)
        listed = envs.call("ls", envs.root)["items"]
        assert all(not item["complete"] for item in listed), listed
    built = envs.ensure(request)
    assert built["built"] and imports(built, "six") and imports(built, "attr")
    assert [p.name for p in envs.built()] == [built["key"]]
    assert not list((envs.root / ".work").iterdir())


def test_programs_that_outlive_a_killed_builder_are_ended_by_the_next(envs: Environments, uv_folder: Path) -> None:
    """uv itself dies with its builder, its children may not: nobody builds into the same folder beside them."""
    fake = envs.folder / "fake"
    fake.mkdir()
    pid_file = envs.folder / "orphan"
    (fake / "uv").write_text(
        "#!/bin/sh\n"
        f'case "$*" in *"pip sync"*) [ -e {pid_file} ] || {{ setsid sh -c "echo \\$\\$ > {pid_file}.tmp; mv {pid_file}.tmp {pid_file};'
        f' exec sleep 600" & wait; }} ;; esac\nexec {uv_folder}/uv "$@"\n'
    )
    (fake / "uv").chmod(0o755)
    envs.env["PATH"] = f"{fake}:{envs.env['PATH']}"
    request = envs.request(packages=["six"])
    first = envs.start("ensure", envs.root, request)
    wait_until(pid_file.exists, "the program of the build")
    orphan = int(pid_file.read_text())
    first.kill()
    first.wait()
    assert alive(orphan)
    built = envs.ensure(request)
    assert built["built"] and imports(built, "six")
    assert "its builder was killed" in envs.log
    wait_until(lambda: not alive(orphan), "the end of the program")


def test_errors_are_the_resolvers_words_and_near_versions(envs: Environments) -> None:
    error = envs.ensure(envs.request(packages=["six==1.15.5"]))["error"]
    assert error["code"] == "cannot_start"
    assert error["message"].startswith("Because there is no version of six==1.15.5")
    assert "1.15.0" in error["hint"] and "1.16.0" in error["hint"]
    error = envs.ensure(envs.request(packages=["six==9.*"]))["error"]
    assert error["message"].startswith("Because only six<=") and "six has 1." in error["hint"], error
    error = envs.ensure(envs.request(packages=["scikit-lern"]))["error"]
    assert error["hint"] == "did you mean scikit-learn?"
    assert envs.built() == []


def test_without_a_network_the_error_is_clear_and_what_is_built_works(envs: Environments) -> None:
    request = envs.request(packages=["six"])
    envs.ensure(request)
    assert not envs.ensure(request, UV_OFFLINE="1")["built"]
    error = envs.ensure(envs.request("other", packages=["attrs"]), UV_OFFLINE="1", UV_CACHE_DIR=str(envs.folder / "empty"))["error"]
    assert error["code"] == "unavailable" and error["retryable"]
    assert error["message"].startswith("the package index cannot be reached")


def test_pip_does_it_where_uv_is_missing(pip_envs: Environments) -> None:
    request = pip_envs.request(packages=["six==1.17.0"])
    built = pip_envs.ensure(request)
    assert built["tool"].startswith("pip ") and imports(built, "six")
    assert "six==1.17.0 --hash=sha256:" in (Path(built["root"]) / "requirements.lock").read_text()
    assert list(Path(built["root"]).rglob("six*.pyc"))
    error = pip_envs.ensure(pip_envs.request(packages=["six==1.15.5"]))["error"]
    assert "six==1.15.5" in error["message"] and "1.15.0" in error["hint"]
    error = pip_envs.ensure(pip_envs.request(packages=["torch"], torch_backend="cpu"))["error"]
    assert "needs uv" in error["message"]


def test_setup_lines_run_once_and_their_variables_are_kept(envs: Environments) -> None:
    count = envs.folder / "count"
    lines = [f"echo x >> {count}", "export CUDA_HOME=/opt/cuda; export PATH=/opt/cuda/bin:$PATH", "helper() { export MADE=yes; }", "helper"]
    request = envs.request(packages=["six"], setup=lines)
    built = envs.ensure(request)
    assert built["variables"]["CUDA_HOME"] == "/opt/cuda" and built["variables"]["MADE"] == "yes"
    assert built["variables"]["PATH"].startswith(f"{built['root']}/bin:/opt/cuda/bin:")
    again = envs.ensure(request)
    assert count.read_text() == "x\n" and again["variables"] == built["variables"]
    # The same lines without anything to install.
    only = envs.ensure(envs.request("only", setup=lines))
    assert only["variables"]["CUDA_HOME"] == "/opt/cuda" and count.read_text() == "x\n"


def test_a_failing_setup_line_shows_its_output(envs: Environments) -> None:
    error = envs.ensure(envs.request(setup=["export A=1", "echo no such module; false"]))["error"]
    assert error["message"] == "setup line failed (exit 1): echo no such module; false\nno such module"
    error = envs.ensure(envs.request(setup=["exit 0"]))["error"]
    assert "ended the shell" in error["message"]


def test_a_requirements_file_with_includes(envs: Environments) -> None:
    (envs.source / "requirements.txt").write_text("-r more/base.txt\n")
    (envs.source / "more").mkdir()
    (envs.source / "more" / "base.txt").write_text("six  # any\n-c limits.txt\n")
    (envs.source / "more" / "limits.txt").write_text("six<1.17\n")
    request = envs.request()
    assert envs.made["description"] == "requirements.txt: 1 package (found in the source directory)"
    (envs.source / "more" / "base.txt").unlink()  # the request stands on its own
    assert "six==1.16.0\n" in envs.ensure(request)["freeze"]


def test_a_translated_conda_file(envs: Environments) -> None:
    file = envs.source / "environment.yml"
    file.write_text("name: demo\ndependencies:\n  - python>=3.8\n  - attrs\n  - pip:\n    - six==1.17.0\nvariables:\n  OMP_NUM_THREADS: '2'\n")
    built = envs.ensure(envs.request(conda_file=str(file)))
    assert "attrs==" in built["freeze"] and "six==1.17.0" in built["freeze"]
    assert built["variables"]["OMP_NUM_THREADS"] == "2"


def test_a_conda_file_that_needs_conda(envs: Environments) -> None:
    file = envs.source / "environment.yml"
    file.write_text("dependencies:\n  - python=3.11\n  - r-base\n")
    request = envs.request(conda_file=str(file))
    assert "r-base" in envs.made["notes"][0]
    error = envs.ensure(request)["error"]
    assert "none is on PATH" in error["message"]

    fake = envs.folder / "conda"
    fake.mkdir()
    (fake / "micromamba").write_text(
        "#!/bin/sh\nset -e\necho \"$@\" >> calls\n"
        'test "$1 $2 $3" = "create -y -p" && grep -q r-base "$6"\n'
        f'mkdir -p "$4/bin" "$4/lib/python3.11/site-packages/numpy-1.26.4.dist-info"\nln -s {sys.executable} "$4/bin/python"\n'
    )
    (fake / "micromamba").chmod(0o755)
    built = envs.ensure(request, PATH=f"{fake}:{envs.env['PATH']}")
    assert built["tool"] == "micromamba" and built["freeze"] == "numpy==1.26.4\n"
    assert built["variables"]["CONDA_PREFIX"] == built["root"]
    assert not envs.ensure(request)["built"]  # conda is not needed any more


def test_a_uv_project_is_installed_as_locked(envs: Environments, uv_folder: Path) -> None:
    (envs.source / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "0.1"\nrequires-python = ">=3.8"\ndependencies = ["six"]\n'
        '[project.optional-dependencies]\nextra = ["attrs"]\n[dependency-groups]\ntrain = ["toml"]\n'
    )
    subprocess.run([uv_folder / "uv", "lock", "-q"], cwd=envs.source, check=True, env={**envs.env, "UV_PYTHON_DOWNLOADS": "never"})
    built = envs.ensure(envs.request(project=str(envs.source), groups=["train"], extras=["extra"]))
    assert {line.split("==")[0] for line in built["freeze"].split()} == {"attrs", "six", "toml"}
    plain = envs.ensure(envs.request("plain"))
    assert plain["key"] != built["key"] and plain["freeze"].startswith("six==")
    error = envs.ensure(envs.request(project=str(envs.source), extras=["other"]))["error"]
    assert "other" in error["message"]


def test_a_uv_project_without_uv(pip_envs: Environments) -> None:
    (pip_envs.source / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "0.1"\n')
    (pip_envs.source / "uv.lock").write_text("version = 1\n")
    assert "needs uv" in pip_envs.ensure(pip_envs.request())["error"]["message"]


def test_an_environment_in_use_is_not_removed(envs: Environments) -> None:
    built = envs.ensure(envs.request(packages=["six"]))
    user = envs.start("hold", envs.root, built["key"])
    assert user.stdout.readline() == b"held\n"
    assert envs.call("ls", envs.root)["items"][0]["in_use"]
    error = envs.call("rm", envs.root, built["key"][:8])["error"]
    assert error["code"] == "denied" and "in use" in error["message"]
    user.communicate(b"x")
    assert envs.call("rm", envs.root, built["key"][:8])["bytes"] > 1000
    assert envs.built() == [] and envs.call("ls", envs.root)["items"] == []
    assert envs.call("hold", envs.root, built["key"])["error"]["code"] == "not_found"


def test_a_lock_is_kept_until_it_is_upgraded(envs: Environments) -> None:
    request = envs.request(packages=["six<1.17"])
    envs.ensure(request)
    lock = next((envs.root / "locks").iterdir())
    lock.write_text(lock.read_text().replace("six==1.16.0", "six==1.15.0"))
    assert "six==1.15.0" in lock.read_text()
    upgraded = envs.call("lock", envs.root, request)["lock"]
    assert upgraded.startswith("six==1.16.0") and lock.read_text() == upgraded


def test_a_root_that_cannot_be_written(envs: Environments) -> None:
    request = envs.request(packages=["six"])
    envs.root.write_text("a file is in the way")
    error = envs.ensure(request)["error"]
    assert str(envs.root) in error["message"] and "TRAINCTL_HOME" in error["hint"]


def test_a_full_disk_is_said_and_leaves_nothing(envs: Environments) -> None:
    fake = envs.folder / "fake"
    fake.mkdir()
    (fake / "uv").write_text(
        "#!/bin/sh\ncase \"$*\" in\n*'pip compile'*) echo six==1.17.0;;\n"
        f"*venv*) for last; do :; done; mkdir -p $last/bin; ln -s {sys.executable} $last/bin/python;;\n"
        "*'pip sync'*) echo 'error: Failed to install: six-1.17.0' >&2; echo '  cause: No space left on device (os error 28)' >&2; exit 2;;\nesac\n"
    )
    (fake / "uv").chmod(0o755)
    error = envs.ensure(envs.request(packages=["six"]), PATH=f"{fake}:{envs.env['PATH']}")["error"]
    assert error["code"] == "store" and error["message"].startswith("the disk became full: ")
    assert envs.built() == []


def test_a_python_that_is_not_there_lists_what_is(envs: Environments) -> None:
    error = envs.ensure(envs.request(version="3.4", packages=["six"]))["error"]
    assert error["message"] == "Python 3.4 is not installed here"
    assert error["hint"].startswith("found: 3.")
