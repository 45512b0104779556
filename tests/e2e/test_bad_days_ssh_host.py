# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Bad days of the host itself: it restarts, its disk is full, its home is read-only, its kernel is old. What cannot work says so before anything was started; what can, does."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import wait_until
from remote import Box, nothing_left
from sshd import Sshd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
NEWER_CALLS = "pidfd_open,close_range,openat2,statx,clone3,copy_file_range,getrandom"


@pytest.fixture
def make_box(trainctl, scratch):
    servers: list[Sshd] = []

    def make(**options) -> Box:
        servers.append(Sshd(scratch / "box", **options))
        return Box(trainctl, servers[-1], scratch)

    yield make
    for server in servers:
        server.clean_up()


@contextmanager
def mounted(place: Path, *words: str):
    """A tmpfs there, for the time of the block."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *words, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_the_host_restarts_in_the_middle(make_box, trainctl):
    """Evidence of the same machine: another boot, no exit. The run is lost, not failed, and not started again."""
    box = make_box()
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    box.server.reboot()
    _, err = client.communicate(timeout=120)
    assert client.returncode == 1, err.decode()
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["cause"]) == ("lost", "lost") and work.started == 1
    assert trainctl.ok("logs", work.name).out == work.half
    nothing_left(box)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


def test_the_disk_of_the_host_is_full(make_box, trainctl, scratch):
    with mounted(scratch / "box" / "home", "-o", "size=160m,mode=700") as home:
        box = make_box()
        filler = fill(home)
        work = box.workload()
        refused = trainctl.run("submit", work.spec)
        assert refused.code in (3, 6) and "root@box" in refused.error and work.started == 0, refused
        filler.unlink()
        again = box.workload(lines=200, gate=True)
        client = trainctl.start("submit", again.spec)
        again.wait_half()
        filler = fill(home)
        again.open()
        wait_until(lambda: again.started and not [c for c in box.server.processes().values() if "work" in c], "its script has ended")
        filler.unlink()
        client.communicate(timeout=120)
        assert again.started == 1 and trainctl.json("show", again.name)["state"] in ("succeeded", "failed")
        log = trainctl.ok("logs", again.name).out  # behind what it wrote may stand what its shell says of the full disk
        assert log.startswith(again.log) or again.log.startswith(log)
        last = box.workload()
        trainctl.ok("submit", last.spec)
        last.check()
        box.server.clean_up()


def test_a_read_only_home(make_box, trainctl, scratch):
    with mounted(scratch / "box" / "home", "-o", "size=1m,mode=700,ro"):
        box = make_box()
        work = box.workload()
        refused = trainctl.run("submit", work.spec, code=3)
        assert "root@box" in refused.error and "directory" in refused.error and work.started == 0, refused
        box.server.clean_up()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_kernel_without_the_newer_calls(make_box, trainctl):
    inject = f"strace -f -qq -o /dev/null -e trace={NEWER_CALLS} -e inject={NEWER_CALLS}:error=ENOSYS"
    box = make_box(options=[f'ForceCommand exec {inject} sh -c "$SSH_ORIGINAL_COMMAND"'])
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    work.open()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    canceled = box.workload(gate=True)
    trainctl.ok("submit", canceled.spec, "--detach")
    wait_until(lambda: canceled.started, "it has started")
    trainctl.run("cancel", canceled.name)
    assert trainctl.run("wait", canceled.name).code == 130
    canceled.check("canceled")
    nothing_left(box)
