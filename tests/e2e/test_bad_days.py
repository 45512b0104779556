# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Bad days of a run: killed commands and supervisors, hostile output, damaged stores, full disks.

Each ends in the right state, cause, exit code and one clear message; logs are byte-identical to what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import alive, jsonl, wait_until

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


def test_a_cancel_says_that_the_supervisor_is_stopped(trainctl):
    name, run = detached(trainctl)
    supervisor = holder(run)
    os.kill(supervisor, signal.SIGSTOP)
    cancel = trainctl.start("cancel", name)
    line = cancel.stderr.readline().decode()
    assert f"process {supervisor}" in line and f"kill -CONT {supervisor}" in line and name in line
    os.kill(supervisor, signal.SIGCONT)
    _, err = cancel.communicate(timeout=60)
    assert cancel.returncode == 0 and trainctl.json("show", name)["state"] == "canceled", err


def test_a_stopped_script_can_be_canceled(trainctl, project):
    name, run = detached(trainctl)
    pid = next(line for line in jsonl(run / "attempts/1/nodes/0/rank-0.jsonl") if line["type"] == "start")["pid"]
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


def test_a_flood_of_a_gigabyte(trainctl):
    flood(trainctl, 1024)


# What may reach a terminal: text, line ends, tabs, bells and colours.
HARMLESS = re.compile(rb"(?:\x1b\[[0-9;]*[mKGHJ]|[^\x00-\x06\x0b\x0c\x0e-\x1f\x7f])*")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "megabyte"])
def test_hostile_output_on_a_terminal(trainctl, project, name):
    """A terminal is shown nothing that changes its title, asks it for an answer or leaves it in another mode."""
    project.write("control", HOSTILE[name])
    trainctl.ok("run", "--", "cat", "control")
    session = trainctl.pty("logs", "@")
    assert session.wait() == 0
    assert HARMLESS.fullmatch(session.seen), session.seen
    for harm in (b"\x1b]", b"\x1b[?1049h", b"\x9b"):
        assert harm not in session.seen.replace("\u009b".encode(), b""), session.seen
    session = trainctl.pty("attach", "@")
    assert session.wait() == 0
    assert b"\x1b]" not in session.seen and b"\x1b[?1049h" not in session.seen


TRUNCATES = ["sh", "-c", "echo before; while [ ! -e go ]; do sleep 0.02; done; : > /dev/stdout; echo after; while [ -e go ]; do sleep 0.02; done"]


def test_a_script_truncates_its_own_log(trainctl, project):
    """Who watches sees both; what is stored is what the script left."""
    process = trainctl.start("run", "--", *TRUNCATES)
    assert process.stdout.read(7) == b"before\n"
    project.write("go", "")
    assert process.stdout.read(6) == b"after\n"
    os.unlink(project / "go")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b""), err
    assert trainctl.ok("logs", "@").out == b"after\n" == trainctl.ok("attach", "@").out
    assert trainctl.json("logs", "--verify", "@")["sha256"] == hashlib.sha256(b"after\n").hexdigest()
    assert trainctl.json("show", "@")["state"] == "succeeded"


def test_a_truncated_log_is_a_new_epoch(trainctl, project):
    process = trainctl.start("run", "--json", "--", *TRUNCATES)
    seen = []
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] != "log":
            continue
        seen.append((event["epoch"], event["offset"], event["text"]))
        if event["text"] == "before\n":
            project.write("go", "")
        else:
            os.unlink(project / "go")
    assert process.wait(60) == 0 and seen == [(1, 0, "before\n"), (2, 0, "after\n")]


def test_a_script_closes_its_output(trainctl):
    done = trainctl.run("run", "--", "sh", "-c", "echo before; exec >&- 2>&-; echo lost; exit 5", code=5)
    assert done.out == b"before\n" == trainctl.ok("logs", "@").out


def test_daemons_do_not_outlive_the_run(trainctl, project):
    done = trainctl.ok("run", "--", "sh", "-c", "setsid sleep 600 > /dev/null 2>&1 < /dev/null & echo begun")
    assert done.out == b"begun\n" and "warning" in done.error
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def test_a_script_that_forks_and_ends(trainctl):
    """The log ends with the last rank: what a leftover writes later is not of the run, and none is left."""
    done = trainctl.ok("run", "--", "sh", "-c", "(trap '' TERM INT HUP; setsid sh -c 'while :; do echo late; sleep 0.05; done') & echo begun")
    assert done.out.startswith(b"begun\n") or b"begun\n" in done.out
    assert trainctl.ok("logs", "@").out == done.out
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def test_a_script_that_ignores_sigterm_meets_its_time_limit(trainctl, project):
    project.spec(command=["sh", "-c", "trap '' INT TERM HUP; echo begun; while :; do sleep 0.02; done"], limits={"timeout": "200ms"},
                 stop={"grace": "200ms"})
    assert trainctl.run("submit", "a.run.json", code=124).out == b"begun\n"
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"]) == ("timed_out", "time_limit")
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def test_a_script_that_stops_itself(trainctl, project):
    """SIGSTOP is no end: the run goes on, its limits count, a continued script ends as usual."""
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; kill -STOP $$; echo continued").text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    pid = wait_until(lambda: [line for line in jsonl(run / "attempts/1/nodes/0/rank-0.jsonl") if line["type"] == "start"], "a start")[0]["pid"]
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T", "it is stopped")
    assert trainctl.json("show", name)["state"] == "running"
    trainctl.run("wait", name, "--timeout", "200ms", code=8)
    os.kill(pid, signal.SIGCONT)
    trainctl.ok("wait", name)
    assert trainctl.ok("logs", name).out == b"begun\ncontinued\n"
    project.spec(command=["sh", "-c", "kill -STOP $$"], limits={"timeout": "300ms"}, stop={"grace": "200ms"})
    trainctl.run("submit", "a.run.json", code=124)
    assert trainctl.json("show", "@")["cause"] == "time_limit"


def test_fifty_thousand_output_files(trainctl, project, scratch):
    project.script("for i in range(50000): open(f'outputs/{i:05}', 'w').close()")
    trainctl.ok("run", "train.py", timeout=300)
    assert len(trainctl.json("outputs", "@")["items"]) == 50000
    trainctl.ok("rm", "@")
    assert trainctl.runs() == []


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
    assert first.name in trainctl.run("store", "check", code=6).text
