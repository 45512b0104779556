# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests through the real binaries. The classes behind them are in harness.py.

    def test_hello(trainctl, project):
        project.script("print('hello')")
        assert trainctl.ok("run", "train.py").out == b"hello\\n"

`trainctl` and `project` belong together: commands run in the project's folder. `new_trainctl()` makes a further, separate
store. Binaries come from build/dev/bin, or from TRAINCTL_BIN_DIR.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]
from harness import BIN_DIR, Project, Trainctl  # noqa: E402
from remote import Box  # noqa: E402
from runner import Run  # noqa: E402
from sshd import Sshd  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "network: needs a package registry")
    config.addinivalue_line("markers", "frameworks: builds the environment of a framework and trains in it")
    for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(name, None)
    if not (BIN_DIR / "trainctl").exists():
        raise pytest.UsageError(f"{BIN_DIR}/trainctl is missing: cmake --preset dev && cmake --build --preset dev")


@pytest.fixture
def scratch():
    """A temporary folder with a short path (Unix sockets allow 107 bytes), on a real file system."""
    path = Path(tempfile.mkdtemp(prefix="tc-", dir="/var/tmp"))
    yield path
    for folder, folders, _ in os.walk(path):  # tests make unreadable folders; a plain rmtree would leave them
        for name in folders:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), 0o700)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def project(scratch: Path) -> Project:
    """An empty source directory."""
    return Project(scratch / "project")


@pytest.fixture
def new_trainctl(scratch: Path, project: Project):
    """Makes separate stores: `new_trainctl("other")`."""
    made: list[Trainctl] = []

    def make(name: str = "t") -> Trainctl:
        made.append(Trainctl(scratch / name, project.path))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@pytest.fixture
def trainctl(new_trainctl) -> Trainctl:
    """The built trainctl with a fresh store, home and working directory."""
    return new_trainctl()


@pytest.fixture
def make_box(trainctl: Trainctl, scratch: Path):
    """Makes hosts behind a real sshd that ssh knows as `box`; the options are those of sshd.Sshd."""
    servers: list[Sshd] = []

    def make(**options) -> Box:
        servers.append(Sshd(scratch / "box", **{"own_tmp": os.geteuid() == 0, **options}))
        return Box(trainctl, servers[-1], scratch)

    yield make
    for server in servers:
        server.clean_up()


@pytest.fixture
def run(scratch: Path):
    """Runs made by hand for the runner alone: run("sh", "-c", "…", limits={…}) → runner.Run."""
    made: list[Run] = []

    def make(*argv: str, **plan) -> Run:
        made.append(Run(scratch / "store", list(argv), **plan))
        return made[-1]

    yield make
    for one in made:
        one.clean_up()
