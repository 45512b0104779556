# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Locks held by a stopped process: a command ends within its deadline and names who holds it, or goes on without. And several
commands on one run at once."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import wait_until

LOOP = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended"]


class StoppedHolder:
    """Another process that took a lock and was stopped (Ctrl-Z, a debugger, a frozen container)."""

    def __init__(self, path: Path):
        code = "import fcntl, sys, time\nfile = open(sys.argv[1], 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(600)"
        self.process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"held\n"
        self.pid = self.process.pid
        os.kill(self.pid, signal.SIGSTOP)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def stopped_holder():
    """Takes the lock at a path and stops; ended with the test, or earlier by .end()."""
    made: list[StoppedHolder] = []

    def make(path: Path) -> StoppedHolder:
        made.append(StoppedHolder(path))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_the_index_is_locked_and_is_read_as_it_is(trainctl, stopped_holder):
    trainctl.ok("run", "--", "true")
    trainctl.ok("ls")
    holder = stopped_holder(trainctl.home / "index.lock")
    trainctl.ok("run", "--", "echo", "x")  # needs no index
    listed = trainctl.ok("ls")
    assert "true-1" in listed.text and f"process {holder.pid}" in listed.error and "as of" in listed.error
    assert trainctl.json("show", "@")["name"] == "echo-2" or trainctl.json("show", "@")["name"] == "echo-1"
    assert trainctl.ok("logs", "@").out == b"x\n"
    holder.end()
    assert "echo-1" in trainctl.ok("ls").text


def test_the_index_is_locked_and_was_never_made(trainctl, stopped_holder):
    """Nothing can be read: ls, ls --watch and store rebuild give up after their 30 s (all at once, so that the test takes as long)."""
    trainctl.ok("run", "--", "true")
    trainctl.ok("ls")
    for path in trainctl.home.glob("index.db*"):
        path.unlink()
    holder = stopped_holder(trainctl.home / "index.lock")
    started = [trainctl.start(*words) for words in (["ls"], ["ls", "--watch"], ["store", "rebuild"])]
    for process in started:
        _, err = process.communicate(timeout=120)
        assert process.returncode in (6, 8) and f"locked by process {holder.pid}" in err.decode(), (process.args, process.returncode, err)
    holder.end()
    assert "true-1" in trainctl.ok("ls").text


def test_the_snapshot_store_is_being_cleaned(trainctl, project, stopped_holder):
    project.script("print('x')")
    trainctl.ok("run", "train.py")
    holder = stopped_holder(trainctl.home / "snapshots" / "gc.lock")
    project.script("print('y')")
    done = trainctl.run("run", "train.py")
    assert done.code == 8 and f"locked by process {holder.pid}" in done.error, done
    holder.end()
    assert trainctl.ok("run", "train.py").out == b"y\n"


def test_the_snapshot_store_is_being_written(trainctl, project, stopped_holder):
    """What is stored already needs no lock; new files wait for it."""
    project.script("print('x')")
    trainctl.ok("run", "train.py")
    holder = stopped_holder(trainctl.home / "snapshots" / "lock")
    assert trainctl.ok("run", "train.py").out == b"x\n"
    project.script("print('y')")
    process = trainctl.start("run", "train.py")
    wait_until(lambda: sleeps(process.pid), "it waits for the lock")
    holder.end()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"y\n"), err


def sleeps(pid: int) -> bool:
    """The process is in a nanosleep, as one is that polls for a lock."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def test_the_slots_are_locked(trainctl, project, stopped_holder):
    """The run is queued and says who stops it; canceled while it waits, or going on when the lock is free."""
    slots = trainctl.root / "slots"
    trainctl.env["TRAINCTL_SLOTS"] = str(slots)
    project.spec(command=["echo", "x"], resources={"cpus": 1})
    trainctl.ok("submit", "a.run.json")
    holder = stopped_holder(slots / "lock")
    name = trainctl.ok("submit", "--detach", "a.run.json").text.strip()
    first = trainctl.last_run()

    def said() -> bool:
        return any(f"process {holder.pid}" in event.get("message", "") for event in trainctl.events(first))

    wait_until(said, "who holds the lock is said")
    assert trainctl.json("show", name)["state"] == "queued"
    trainctl.ok("cancel", name)
    assert trainctl.json("show", name)["state"] == "canceled"
    shown = trainctl.run("target", "show", "local")
    assert shown.code in (0, 6, 8) and f"process {holder.pid}" in shown.text + shown.error, shown
    other = trainctl.ok("submit", "--detach", "a.run.json").text.strip()
    wait_until(lambda: trainctl.json("show", other)["state"] == "queued", "it is queued")
    holder.end()
    trainctl.ok("wait", other)
    assert trainctl.ok("logs", other).out == b"x\n"


def test_an_environment_is_being_built(trainctl, project, stopped_holder):
    """Building may take hours, so there is no deadline of its own: it is said who builds, and a cancel or a limit ends it."""
    project.script("print('x')")
    project.spec(environment={"python": {"version": f"{sys.version_info.major}.{sys.version_info.minor}", "packages": []}})
    trainctl.ok("submit", "--detach", "a.run.json")
    first = trainctl.last_run()
    begun = wait_until(lambda: re.search(rb"building the environment (\w+)", trainctl.log(first, name="environment.log")), "a build has begun")
    trainctl.ok("cancel", "@")
    holder = stopped_holder(next((trainctl.home / "environments" / ".flock").glob(f"{begun[1].decode()}*.build")))
    for limits, words, state in (({}, ["cancel", "@"], "canceled"), ({"start_timeout": "500ms"}, ["wait", "@"], "timed_out")):
        project.spec(environment={"python": {"version": f"{sys.version_info.major}.{sys.version_info.minor}", "packages": []}}, limits=limits)
        trainctl.ok("submit", "--detach", "a.run.json")
        run = trainctl.last_run()
        wait_until(lambda: b"waiting for the environment" in trainctl.log(run, name="environment.log"), "the wait is said")
        trainctl.run(*words)
        assert trainctl.json("show", "@")["state"] == state
    holder.end()


def test_the_builder_of_a_shared_environment_is_killed(trainctl, project):
    """Two runs want the same environment; who builds it is killed with everything it started; the other one builds it and trains."""
    uv, gate = shutil.which("uv"), project.path / "go"
    assert uv, "scripts/test installs uv"
    slow = project.write("bin/uv", f"""#!/bin/sh
if [ "$1" = venv ]; then echo slow >&2; while [ ! -e {gate} ]; do sleep 0.05; done; fi
exec {uv} "$@"
""")
    slow.chmod(0o755)
    trainctl.env["PATH"] = f"{slow.parent}:{trainctl.env['PATH']}"
    project.script("print('trained')")
    project.spec(environment={"python": {"version": f"{sys.version_info.major}.{sys.version_info.minor}", "packages": []}})
    trainctl.ok("submit", "--detach", "a.run.json")
    first = trainctl.last_run()
    wait_until(lambda: b"slow" in trainctl.log(first, name="environment.log"), "the first one builds")
    before = set(trainctl.owned())
    trainctl.ok("submit", "--detach", "a.run.json")
    second = trainctl.last_run()
    wait_until(lambda: b"waiting for the environment" in trainctl.log(second, name="environment.log"), "the second one waits")
    for pid in before & set(trainctl.owned()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: b"slow" in trainctl.log(second, name="environment.log"), "the second one builds")
    gate.write_text("")
    assert trainctl.wait_end(second)["state"] == "succeeded"
    assert trainctl.log(second) == b"trained\n"


def test_the_supervisors_lock_is_held_by_a_stranger(trainctl, project, stopped_holder):
    """The supervisor was killed and somebody else (a stopped command of an older version) sits on its lock: reading works, a wait ends
    at its limit, and a removal is refused."""
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    trainctl.wait_event(run, "state", state="running")
    os.kill(trainctl.lead(run), signal.SIGKILL)
    holder = stopped_holder(run / "supervisor.lock")
    assert trainctl.json("show", name)["state"] == "running"
    assert trainctl.ok("logs", name).out == b"begun\n"
    trainctl.run("wait", name, "--timeout", "200ms", code=8)
    trainctl.ok("cancel", "--no-wait", name)
    assert trainctl.run("rm", name).code != 0 and run.exists()
    holder.end()
    trainctl.run("wait", name, code=130)


# -- several commands on one run --------------------------------------------------------------------------------------------


def test_attached_following_and_canceling_at_once(trainctl):
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600").text.strip()
    trainctl.wait_log(trainctl.last_run(), "begun")
    readers = [trainctl.start(*words) for words in (["attach", name], ["attach", name], ["logs", "--follow", name], ["wait", name])]
    for process in readers[:3]:
        assert process.stdout.read(6) == b"begun\n"
    cancels = [trainctl.start("cancel", name) for _ in range(5)]
    for process in cancels:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    for process, code in zip(readers, (130, 130, 0, 130)):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (code, b""), (process.args, err)
    shown = trainctl.json("show", name)
    assert shown["state"] == "canceled" and shown["cause"] == "canceled"
    assert len([event for event in trainctl.events(trainctl.last_run()) if event["type"] == "end"]) == 1


def test_ten_commands_adopt_one_run_at_once(trainctl, project):
    """All find its supervisor dead; one of them gives it a new one."""
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    os.kill(trainctl.lead(run), signal.SIGKILL)
    started = [trainctl.start("attach", name) for _ in range(10)]
    trainctl.wait_event(run, "attempt", adopted=True)
    project.write("go", "")
    for process in started:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"begun\nended\n"), err
    adopted = [event for event in trainctl.events(run) if event["type"] == "attempt"]
    assert [event["adopted"] for event in adopted] == [False, True]


def test_removing_and_reading_at_once(trainctl):
    for number in range(10):
        trainctl.ok("run", "--", "echo", str(number))
    names = [f"echo-{number}" for number in range(1, 11)]
    removals = [trainctl.start("rm", name) for name in names]
    readers = [trainctl.start("ls", "--json") for _ in range(5)]
    codes = []
    for process in removals:
        _, err = process.communicate(timeout=60)
        codes.append((process.returncode, err))
    for process in readers:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert all(code == 0 for code, _ in codes), codes
    assert trainctl.json("ls")["items"] == [] and trainctl.runs() == []


# -- the index is damaged while it is watched ---------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["delete", "garbage", "truncate", "empty", "middle", "folder"])
def test_the_index_is_damaged_while_it_is_watched(trainctl, project, damage):
    trainctl.ok("run", "--", "true")
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    trainctl.wait_log(trainctl.last_run(), "begun")
    watch = trainctl.start("ls", "--watch", "--json")
    seen = b""
    os.set_blocking(watch.stdout.fileno(), False)

    def shows(state: str) -> bool:
        nonlocal seen
        assert watch.poll() is None, watch.stderr.read()
        seen += watch.stdout.read() or b""
        return f'"name":"{name}"'.encode() in seen.replace(b" ", b"") and f'"state":"{state}"'.encode() in seen.replace(b" ", b"")

    wait_until(lambda: shows("running"), "the run is shown")
    harm(trainctl.home / "index.db", damage)
    project.write("go", "")
    trainctl.ok("wait", name)
    seen = b""
    wait_until(lambda: shows("succeeded"), "the end is shown")
    watch.send_signal(signal.SIGINT)
    _, err = watch.communicate(timeout=60)
    assert watch.returncode == 0 and b"error" not in err, err
    assert [item["state"] for item in trainctl.json("ls")["items"]] == ["succeeded", "succeeded"]
    trainctl.ok("store", "check")


def harm(path: Path, damage: str) -> None:
    if damage in ("delete", "folder"):
        for one in path.parent.glob(path.name + "*"):
            one.unlink()
        if damage == "folder":
            path.mkdir()
            (path / "thing").touch()
    elif damage == "garbage":
        path.write_bytes(b"this is no database" * 1000)
    elif damage == "truncate":
        os.truncate(path, 1000)
    elif damage == "empty":
        os.truncate(path, 0)
    else:
        with open(path, "r+b") as file:
            file.seek(4096)
            file.write(os.urandom(8192))


def test_a_lock_of_ours_is_no_flock_of_a_child(trainctl, project):
    """A script that goes on after its run was ended by force must not hold our locks: they are closed on exec and in waiters."""
    trainctl.ok("run", "--", "sh", "-c", "ls -l /proc/self/fd")
    assert ".lock" not in trainctl.ok("logs", "@").text
    with open(trainctl.last_run() / "supervisor.lock") as file:

        def free() -> bool:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # an OSError is "not yet": the supervisor lives a little longer
            return True

        wait_until(free, "nobody holds the lock of an ended run")
