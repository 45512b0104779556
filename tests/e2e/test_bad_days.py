# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Bad days of a run: killed commands and supervisors, hostile output, damaged stores, full disks.

Each ends in the right state, cause, exit code and one clear message; logs are byte-identical to what was written.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import Trainctl, alive, wait_until

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
LOOP = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended"]


def detached(trainctl) -> tuple[str, Path]:
    """A run that goes on until the file `go` appears."""
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    trainctl.wait_log(trainctl.last_run(), "begun")
    return name, trainctl.last_run()


def holder(run: Path) -> int:
    """The pid that holds the supervisor's lock, 0 when nobody does."""
    inode = os.stat(run / "supervisor.lock").st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" not in fields and int(fields[5].split(":")[2]) == inode:
            return int(fields[4])
    return 0


# -- killed ------------------------------------------------------------------------------------------------------------


def test_the_command_is_killed_while_attached(trainctl, project):
    process = trainctl.start("run", "--", *LOOP)
    assert process.stdout.read(6) == b"begun\n"
    process.kill()
    process.wait()
    project.write("go", "")
    assert trainctl.ok("attach", "@").out == b"begun\nended\n"


def test_the_supervisor_is_killed_and_the_attached_command_adopts(trainctl, project):
    name, run = detached(trainctl)
    attached = trainctl.start("attach", name)
    assert attached.stdout.read(6) == b"begun\n"
    first = holder(run)
    assert first
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: holder(run) not in (0, first), "a new supervisor")
    project.write("go", "")
    out, err = attached.communicate(timeout=60)
    assert (out, attached.returncode) == (b"ended\n", 0), err
    run_now = trainctl.json("show", name)
    assert run_now["state"] == "succeeded" and run_now["attempts"] == 1


def test_all_are_killed_and_the_run_is_lost(trainctl):
    name, run = detached(trainctl)
    os.kill(holder(run), signal.SIGKILL)
    wait_until(lambda: not trainctl.kill_owned(), "nothing of the run is left")
    trainctl.run("attach", name, code=1)
    shown = trainctl.json("show", name)
    assert shown["state"] == "lost" and shown["cause"] == "lost"


def test_a_lock_held_by_a_stopped_supervisor(trainctl, project):
    name, run = detached(trainctl)
    supervisor = holder(run)
    os.kill(supervisor, signal.SIGSTOP)
    try:
        trainctl.ok("ls")
        assert trainctl.json("show", name)["state"] == "running"
        assert trainctl.ok("logs", name).out == b"begun\n"
        trainctl.run("wait", name, "--timeout", "300ms", code=8)
        assert holder(run) == supervisor  # nobody takes over what is not dead
    finally:
        os.kill(supervisor, signal.SIGCONT)
    project.write("go", "")
    trainctl.ok("wait", name)


def test_a_stopped_script_can_be_canceled(trainctl, project):
    name, run = detached(trainctl)
    start = next(line for line in (run / "attempts/1/nodes/0/rank-0.jsonl").read_text().splitlines() if '"start"' in line)
    pid = int(re.search(r'"pid":(\d+)', start).group(1))
    os.kill(pid, signal.SIGSTOP)
    trainctl.ok("cancel", name)
    assert trainctl.json("show", name)["state"] == "canceled" and not alive(pid)


# -- output --------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "nul": b"a\0b\0\0c\n\0",
    "carriage": b"10%\r50%\r100%\r\n\r\r",
    "megabyte": b"x" * (1 << 20) + b"\n" + b"y" * (1 << 20),
    "utf8": b"\xff\xfe caf\xe9 \xc3\n\xed\xa0\x80\n\xf0\x9f\x98",
    "escapes": b"\x1b[2J\x1b]0;t\x07\x1b[?1049h\x9b31m\n",
    "unfinished": b"no newline at the end",
    "nothing": b"",
    "all": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_output_is_byte_identical(trainctl, project, content):
    project.write("control", content)
    done = trainctl.ok("run", "--", "cat", "control")
    assert done.out == content
    assert trainctl.ok("logs", "@").out == content
    assert trainctl.ok("attach", "@").out == content
    assert trainctl.json("logs", "--verify", "@")["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_output_as_json_holds_every_byte(trainctl, project, content):
    import base64

    project.write("control", content)
    got = b""
    for event in trainctl.ok("run", "--json", "--", "cat", "control").events:
        if event["type"] == "log":
            assert event["offset"] == len(got)
            got += base64.b64decode(event["base64"]) if "base64" in event else event["text"].encode()
    assert got == content


def flood(trainctl, megabytes: int) -> None:
    body = (b"0123456789abcdef" * 63 + b"0123456789abcde\n") * 1024
    wanted = hashlib.sha256()
    for _ in range(megabytes):
        wanted.update(body)
    code = ("import sys\nbody = (b'0123456789abcdef' * 63 + b'0123456789abcde\\n') * 1024\n"
            f"for _ in range({megabytes}): sys.stdout.buffer.write(body)")
    process = trainctl.start("run", "--", "python3", "-c", code, stderr=subprocess.DEVNULL)
    seen = hashlib.sha256()
    while block := process.stdout.read(1 << 20):
        seen.update(block)
    assert process.wait(60) == 0 and seen.digest() == wanted.digest()
    assert trainctl.json("logs", "--verify", "@")["sha256"] == wanted.hexdigest()


def test_a_flood(trainctl):
    flood(trainctl, 200)


@pytest.mark.slow
def test_a_flood_of_a_gigabyte(trainctl):
    flood(trainctl, 1024)


def test_a_script_truncates_its_own_log(trainctl):
    done = trainctl.ok("run", "--", "sh", "-c", "echo before; : > /dev/stdout; echo after")
    assert b"after\n" in done.out or b"after\n" in trainctl.ok("logs", "@").out
    assert trainctl.json("show", "@")["state"] == "succeeded"


def test_a_script_closes_its_output(trainctl):
    done = trainctl.run("run", "--", "sh", "-c", "echo before; exec >&- 2>&-; sleep 0.2; exit 5", code=5)
    assert done.out == b"before\n"


def test_daemons_do_not_outlive_the_run(trainctl, project):
    done = trainctl.ok("run", "--", "sh", "-c", "setsid sleep 600 > /dev/null 2>&1 < /dev/null & echo begun")
    assert done.out == b"begun\n" and "warning" in done.error
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def test_many_output_files(trainctl, project):
    project.script("import os\nfor i in range(3000): open(f'outputs/{i:05}', 'w').close()")
    trainctl.ok("run", "train.py")
    assert len(trainctl.ok("outputs", "@").text.splitlines()) == 3000


@pytest.mark.slow
def test_fifty_thousand_output_files(trainctl, project):
    project.script("import os\nfor i in range(50000): open(f'outputs/{i:05}', 'w').close()")
    trainctl.ok("run", "train.py", timeout=300)
    assert len(trainctl.json("outputs", "@")["items"]) == 50000


# -- stores ---------------------------------------------------------------------------------------------------------------


@root_only
def test_a_store_of_somebody_else_is_refused(trainctl):
    trainctl.ok("run", "--", "true")
    os.chown(trainctl.home, 12345, 12345)
    for words in (["ls"], ["run", "--detach", "--", "true"], ["show", "@"]):
        done = trainctl.run(*words)
        assert done.code in ((5,) if words[0] != "run" else (5, 125)) and str(trainctl.home) in done.error, done
    os.chown(trainctl.home, 0, 0)
    trainctl.ok("ls")


def test_a_store_that_others_can_write_is_refused(trainctl):
    trainctl.ok("run", "--", "true")
    trainctl.home.chmod(0o770)
    assert "chmod" in trainctl.run("ls", code=5).error
    trainctl.home.chmod(0o700)
    trainctl.ok("ls")


def test_what_is_made_is_private(trainctl):
    trainctl.ok("run", "--", "sh", "-c", "echo x; echo y > made")
    assert trainctl.home.stat().st_mode & 0o077 == 0
    for path in trainctl.last_run().rglob("*"):
        if not path.is_symlink() and "work" not in path.relative_to(trainctl.last_run()).parts:
            assert path.stat().st_mode & 0o077 == 0, path


def indexes(trainctl) -> list[Path]:
    return [path for path in trainctl.home.rglob("*") if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"]


@pytest.mark.parametrize("damage", ["delete", "garbage", "truncate", "middle"])
def test_the_index_is_damaged_while_a_run_goes_on(trainctl, project, damage):
    for _ in range(3):
        trainctl.ok("run", "--", "true")
    name, run = detached(trainctl)
    assert len(trainctl.json("ls")["items"]) == 4
    files = indexes(trainctl)
    assert files
    for path in files:
        if damage == "delete":
            for one in path.parent.glob(path.name + "*"):
                one.unlink()
        elif damage == "garbage":
            path.write_bytes(b"this is no database" * 1000)
        elif damage == "truncate":
            os.truncate(path, 1000)
        else:
            with open(path, "r+b") as file:
                file.seek(4096)
                file.write(os.urandom(8192))
    listed = trainctl.json("ls")["items"]
    assert [item["state"] for item in listed] == ["running", "succeeded", "succeeded", "succeeded"]
    project.write("go", "")
    trainctl.ok("wait", name)
    assert trainctl.json("ls")["items"][0]["state"] == "succeeded"
    trainctl.ok("store", "check")


def test_a_damaged_run_does_not_hide_the_others(trainctl):
    trainctl.ok("run", "--", "true")
    trainctl.ok("run", "--", "true")
    first = trainctl.runs()[0]
    (first / "plan.json").write_text("{ not json")
    shutil.rmtree(trainctl.home / "index", ignore_errors=True)
    for path in indexes(trainctl):
        path.unlink()
    assert "true-2" in trainctl.ok("ls").text
    assert trainctl.run("store", "check").code in (0, 6)


@root_only
def test_a_read_only_store(trainctl, project):
    trainctl.ok("run", "--", "echo", "kept")
    subprocess.run(["mount", "--bind", trainctl.home, trainctl.home], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", trainctl.home], check=True)
        assert trainctl.ok("logs", "@").out == b"kept\n"
        assert trainctl.ok("show", "@").out
        done = trainctl.run("run", "--detach", "--", "true")
        assert done.code in (5, 6, 125) and "ead-only" in done.error
    finally:
        subprocess.run(["umount", "-l", trainctl.home], check=True)


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


@root_only
def test_the_disk_becomes_full_during_the_run(small_disk, project):
    trainctl = small_disk("6m")
    trainctl.run("run", "--", "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' x; exit 3")
    shown = trainctl.json("show", "@")
    assert shown["state"] == "failed" and shown["cause"] in ("exit", "disk_full"), shown
    assert trainctl.ok("logs", "@").out.startswith(b"xxxx")
    trainctl.ok("rm", "@")
    trainctl.ok("run", "--", "true")


@root_only
def test_the_disk_is_full_before_the_start(small_disk, project):
    trainctl = small_disk("8m")
    trainctl.ok("ls")
    ballast = os.open(trainctl.home / "ballast", os.O_WRONLY | os.O_CREAT)
    with pytest.raises(OSError, match="No space"):
        while True:
            os.write(ballast, b"x" * 4096)
    os.close(ballast)
    done = trainctl.run("run", "--detach", "--", "true")
    assert done.code in (6, 125) and "No space left" in done.error, done
    (trainctl.home / "ballast").unlink()
    trainctl.ok("run", "--", "true")


@root_only
def test_no_inodes(small_disk, project):
    trainctl = small_disk("20m", inodes=60)
    project.script("print(1)")
    for number in range(100):
        project.write(f"data/{number}", "x")
    done = trainctl.run("run", "train.py")
    assert done.code in (1, 3, 6) and "No space left" in done.error, done
