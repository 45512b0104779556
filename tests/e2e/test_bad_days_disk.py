# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Full disks, no inodes left, read-only stores: on small tmpfs mounts (root only). What fails is said once, with its exit code; when
there is room again everything works."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Trainctl, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")


@pytest.fixture
def small_disk(scratch, project):
    """A trainctl whose store lies on a small file system; `make(size, inodes)`."""
    made: list[Trainctl] = []

    def make(size: str, inodes: int = 0) -> Trainctl:
        one = Trainctl(scratch / "full", project.path)
        one.home.mkdir()
        options = f"size={size},mode=700" + (f",nr_inodes={inodes}" if inodes else "")
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", one.home], check=True)
        made.append(one)
        return one

    yield make
    for one in made:
        one.clean_up()
        subprocess.run(["umount", "-l", one.home], check=True)


def free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def fill(folder: Path, leave: int = 0) -> Path:
    """Takes all space but `leave` bytes; returns the file that holds it."""
    ballast = folder / "ballast"
    fd = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)
    os.posix_fallocate(fd, 0, free_bytes(folder) - leave)
    try:
        while leave == 0 and os.write(fd, b"x" * 4096):
            os.lseek(fd, 0, os.SEEK_END)
    except OSError as error:
        assert error.errno == errno.ENOSPC
    os.close(fd)
    return ballast


def take_inodes(folder: Path, leave: int = 0) -> Path:
    """Takes all inodes but `leave`; returns the folder that holds them."""
    ballast = folder / "ballast"
    ballast.mkdir(mode=0o700)
    for number in range(os.statvfs(folder).f_ffree - leave):
        (ballast / str(number)).touch()
    return ballast


def give_back(ballast: Path) -> None:
    if ballast.is_dir():
        subprocess.run(["rm", "-r", ballast], check=True)
    else:
        ballast.unlink()


def check_whole(trainctl: Trainctl) -> None:
    """There is room again: the store is whole, and runs go on."""
    trainctl.ok("store", "check")
    assert trainctl.ok("run", "--", "echo", "again").out == b"again\n"
    trainctl.ok("ls")


# -- during the run ------------------------------------------------------------------------------------------------------


def test_the_log_fills_the_disk(small_disk):
    trainctl = small_disk("6m")
    done = trainctl.run("run", "--", "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; exit 3", code=3)
    assert "the disk is full" in done.error
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"], shown["exit_code"]) == ("failed", "disk_full", 3), shown
    assert trainctl.ok("logs", "@").out.startswith(b"xxxx")
    trainctl.ok("rm", "@")
    check_whole(trainctl)


def test_the_script_fills_the_disk_and_fails(small_disk, project):
    trainctl = small_disk("8m")
    project.script("print('begun', flush=True)\nwith open('outputs/big', 'wb', buffering=0) as file:\n    while file.write(bytes(65536)): pass")
    done = trainctl.run("run", "train.py", code=1)
    assert "No space left on device" in done.text and "the disk is full" in done.error
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"], shown["exit_code"]) == ("failed", "disk_full", 1)
    trainctl.ok("rm", "@")
    check_whole(trainctl)


def test_the_disk_was_full_and_the_script_made_room(small_disk, project):
    """A script that fails of its own with room on the disk is an ordinary failure."""
    trainctl = small_disk("8m")
    project.script("import os\ntry:\n    with open('outputs/big', 'wb', buffering=0) as file:\n        while file.write(bytes(65536)): pass\n"
                   "except OSError: pass\nos.unlink('outputs/big')\nraise SystemExit(4)")
    trainctl.run("run", "train.py", code=1)
    shown = trainctl.json("show", "@")
    assert (shown["cause"], shown["exit_code"]) == ("exit", 4)


def test_the_script_fills_the_disk_and_succeeds(small_disk, project):
    """The end has its place reserved: it is durable on the full disk."""
    trainctl = small_disk("8m")
    project.script("try:\n    with open('outputs/big', 'wb', buffering=0) as file:\n        while file.write(bytes(4096)): pass\nexcept OSError: pass")
    trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    assert free_bytes(trainctl.home) < 65536
    assert trainctl.events(run)[-1]["type"] == "end" and trainctl.events(run)[-1]["state"] == "succeeded"
    assert trainctl.json("show", "@")["state"] == "succeeded"
    trainctl.ok("rm", "@")
    check_whole(trainctl)


def test_the_disk_is_full_while_a_run_is_canceled(small_disk):
    trainctl = small_disk("8m")
    trainctl.ok("ls")
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600").text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    ballast = fill(trainctl.home)
    done = trainctl.run("cancel", name)
    assert done.code == 6 and "No space left" in done.error, done  # the request is durable or it is refused
    assert trainctl.json("show", name)["state"] == "running"
    give_back(ballast)
    trainctl.ok("cancel", name)
    assert trainctl.json("show", name)["state"] == "canceled"
    check_whole(trainctl)


def test_no_inodes_during_the_run(small_disk, project):
    trainctl = small_disk("20m", inodes=120)
    project.script("for number in range(1000): open(f'outputs/{number}', 'w').close()")
    done = trainctl.run("run", "train.py", code=1)
    assert "No space left on device" in done.text
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"], shown["exit_code"]) == ("failed", "disk_full", 1), shown
    trainctl.ok("rm", "@")
    check_whole(trainctl)


# -- before the start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["space", "inodes"])
def test_full_before_the_start(small_disk, kind):
    trainctl = small_disk("8m", inodes=200)
    trainctl.ok("run", "--", "true")
    trainctl.ok("ls")
    ballast = fill(trainctl.home) if kind == "space" else take_inodes(trainctl.home)
    done = trainctl.run("run", "--", "true", code=125)
    assert done.error.count("No space left on device") == 1 and done.error.startswith("error: "), done
    assert len(trainctl.json("ls")["items"]) in (1, 2)  # what was not recorded is not there
    assert trainctl.ok("show", "true-1").out
    give_back(ballast)
    check_whole(trainctl)


@pytest.mark.parametrize("kind", ["space", "inodes"])
def test_full_during_the_snapshot(small_disk, project, kind):
    trainctl = small_disk("16m", inodes=400)
    project.script("print('ran')")
    trainctl.ok("run", "train.py")
    for number in range(40):
        project.write(f"data/{number}", os.urandom(100_000))
    ballast = fill(trainctl.home, leave=1 << 20) if kind == "space" else take_inodes(trainctl.home, leave=2)
    before = trainctl.runs()
    done = trainctl.run("run", "train.py")
    assert done.code == 6 and done.error.count("No space left on device") == 1, done
    assert trainctl.runs() == before
    give_back(ballast)
    assert trainctl.ok("run", "train.py").out == b"ran\n"
    check_whole(trainctl)


@pytest.mark.parametrize("kind", ["space", "inodes"])
def test_full_when_the_copy_is_made(small_disk, project, kind):
    """The snapshot is there; there is no room for the run's own copy of it."""
    trainctl = small_disk("24m", inodes=400)
    project.script("print('ran')")
    for number in range(40):
        project.write(f"data/{number}", os.urandom(100_000))
    assert trainctl.ok("run", "train.py").out == b"ran\n"
    ballast = fill(trainctl.home, leave=2 << 20) if kind == "space" else take_inodes(trainctl.home, leave=40)
    done = trainctl.run("run", "train.py")
    assert done.code == 3 and done.error.count("No space left on device") == 1, done
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"]) == ("failed", "start") or (shown["state"], shown["cause"]) == ("failed", "disk_full"), shown
    give_back(ballast)
    assert trainctl.ok("run", "train.py").out == b"ran\n"
    check_whole(trainctl)


@pytest.mark.parametrize("leave", range(0, 24))
def test_every_number_of_inodes(small_disk, project, leave):
    """However many are left, the launch either works or ends with one message; nothing hangs, nothing is damaged."""
    trainctl = small_disk("8m", inodes=200)
    project.spec(command=["echo", "x"], retry={"backoff": "10ms"})
    trainctl.ok("submit", "a.run.json")
    ballast = take_inodes(trainctl.home, leave=leave)
    done = trainctl.run("submit", "a.run.json")
    if done.code == 0:
        assert done.out == b"x\n"
    else:
        assert done.code in (3, 6) and re.search("No space left on device|the disk is full", done.error), done
    give_back(ballast)
    trainctl.run("attach", "@")  # starts what was recorded and never began
    shown = trainctl.json("show", "@")
    unstarted = (done.code, shown["state"]) == (3, "failed") and shown["cause"] in ("start", "environment")
    assert shown["state"] == "succeeded" or unstarted, (done, shown)
    check_whole(trainctl)


def test_the_outputs_cannot_be_copied(small_disk, project, scratch):
    """Collecting into a full disk: the copy fails and says so, the run and its outputs stay."""
    trainctl = small_disk("8m")
    project.script("open('outputs/model', 'wb').write(bytes(300_000))")
    trainctl.ok("run", "train.py")
    fill(trainctl.home)
    (trainctl.home / "copies").mkdir()
    done = trainctl.run("outputs", "@", "--copy", trainctl.home / "copies", code=6)
    assert done.error.count("No space left on device") == 1, done
    assert trainctl.ok("outputs", "@").out == b"model\n"
    trainctl.ok("outputs", "@", "--copy", scratch / "elsewhere")
    assert next((scratch / "elsewhere").rglob("model")).stat().st_size == 300_000


def test_the_index_finds_no_room(small_disk):
    """Reading a store on a full disk works with the index that is there."""
    trainctl = small_disk("8m")
    for _ in range(3):
        trainctl.ok("run", "--", "true")
    trainctl.ok("ls")
    ballast = fill(trainctl.home)
    assert len(trainctl.json("ls")["items"]) == 3
    give_back(ballast)
    check_whole(trainctl)


# -- read-only -------------------------------------------------------------------------------------------------------------


@contextmanager
def read_only(folder: Path):
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


LOOKING = (["show", "@"], ["logs", "@"], ["logs", "--verify", "@"], ["metrics", "@"], ["outputs", "@"],
           ["wait", "@"], ["attach", "@"], ["env", "ls"], ["target", "show", "local"])
CHANGING = ((["run", "--", "true"], 125), (["run", "train.py"], 6), (["submit", "a.run.json"], 6), (["rm", "@"], 6),
            (["store", "rebuild"], 6))


def test_a_read_only_store(trainctl, project):
    project.script("import trainctl\ntrainctl.log(loss=0.5)\nopen('outputs/made', 'w').close()\nprint('kept')")
    project.spec()
    trainctl.ok("run", "train.py")
    with read_only(trainctl.home):
        for words in LOOKING:
            done = trainctl.run(*words)
            assert done.code == 0, done
        assert trainctl.ok("logs", "@").out == b"kept\n"
        assert trainctl.json("metrics", "@")
        for words, code in CHANGING:
            done = trainctl.run(*words)
            assert done.code == code and done.error.count("Read-only file system") == 1, done
    check_whole(trainctl)
    assert len(trainctl.runs()) == 2


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "new-index"])
def test_listing_a_read_only_store(trainctl, indexed):
    trainctl.ok("run", "--", "true")
    if indexed:
        trainctl.ok("ls")
    trainctl.ok("run", "--", "true")
    with read_only(trainctl.home):
        assert [item["name"] for item in trainctl.json("ls")["items"]] == ["true-2", "true-1"]
        assert "true-1" in trainctl.ok("ls").text


def test_a_store_that_becomes_read_only_while_a_run_goes_on(trainctl, project):
    """Its supervisor has its files open, the cancel cannot be written: said. Afterwards it can."""
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600").text.strip()
    wait_until(lambda: trainctl.json("show", name)["state"] == "running", "the run is recorded as running")
    with read_only(trainctl.home):
        assert trainctl.json("show", name)["state"] == "running"
        done = trainctl.run("cancel", name, code=6)
        assert "Read-only file system" in done.error
        trainctl.run("wait", name, "--timeout", "200ms", code=8)
    trainctl.ok("cancel", name)
    assert trainctl.json("show", name)["state"] == "canceled"


def test_a_home_that_cannot_be_made(trainctl, scratch):
    home = scratch / "locked"
    home.mkdir()
    with read_only(home):
        for words, code in ((["run", "--", "true"], 125), (["ls"], 6), (["show", "@"], 6)):
            done = trainctl.run(*words, env={"TRAINCTL_HOME": str(home / "store")})
            assert done.code == code and "Read-only file system" in done.error and "TRAINCTL_HOME" in done.error, done


def test_a_script_that_exceeds_its_file_size(trainctl, project):
    """A limit of the shell (ulimit -f) that everything inherits: the log cannot grow, the end is true."""
    argv = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *trainctl.argv("run", "--", "head", "-c", "1000000", "/dev/zero")]
    done = subprocess.run(argv, env=trainctl.environment(), cwd=project.path, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    shown = trainctl.json("show", "@")
    assert done.returncode == 128 + signal.SIGXFSZ and b"SIGXFSZ" in done.stderr, done
    assert (shown["state"], shown["cause"]) == ("failed", "signal"), shown
    assert done.stdout == bytes(64 * 1024) == trainctl.ok("logs", "@").out
