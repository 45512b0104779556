# SPDX-License-Identifier: Apache-2.0
"""`trainctl submit` killed at its n-th system call, children too: then ordinary commands find a store that is whole, a run that
never started twice, and its true end. SYSCALLS and the invariants I1-I7 are those of docs/reliability.md."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from harness import Trainctl, wait_until

# ctest: timeout 1800

SYSCALLS = ["openat", "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "mkdir", "link", "clone", "clone3", "fork", "execve",
            "flock", "read", "pipe2", "symlink"]
SEED = int(os.environ.get("TRAINCTL_TEST_SEED", "20261123"))
SAMPLES = 110  # with the 40 of test_runner_faults.py: 150


def kill_at(trainctl: Trainctl, call: str, n: int, follow: bool) -> tuple[int, str]:
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"]
    if follow:
        command.insert(1, "-f")
    done = subprocess.run([*command, *trainctl.argv("submit", "--detach", "k.run.json")], env=trainctl.environment(), cwd=trainctl.cwd,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, text=True)
    return done.returncode, done.stdout.strip()


def check_recovered(trainctl: Trainctl, starts, code: int, printed: str) -> str:
    """Invariants after the kill, through ordinary commands."""
    listed = trainctl.run("ls", "--json", timeout=60)
    assert listed.code == 0, listed
    planned = [run for run in trainctl.runs() if (run / "plan.json").exists()]
    if code == 0 and printed:
        assert planned, f"I1: {printed} was printed, there is no run"
    state = "nothing"
    if planned:
        attached = trainctl.run("attach", planned[-1].name, timeout=120)
        shown = trainctl.json("show", planned[-1].name)
        state = shown["state"]
        assert state in ("succeeded", "failed", "lost", "canceled"), (state, attached)  # I4, and I7 below
        assert attached.code == {"succeeded": 0, "canceled": 130}.get(state, 3 if shown["cause"] in ("start", "environment") else 1), attached
        if state == "succeeded":
            attempt = sorted((planned[-1] / "attempts").iterdir())[-1]
            assert (attempt / "logs" / "std.log").read_bytes() == b"done\n"  # I3
    seen = starts.read_text().split() if starts.exists() else []
    assert len(seen) == len(set(seen)), f"I2: an attempt started twice: {seen}"
    if not planned:
        assert not seen, "I2: started without a record"
    checked = trainctl.run("store", "check", timeout=60)
    assert checked.code == 0 or not planned, checked  # I5
    wait_until(lambda: not trainctl.owned(), "I6: no process is left of an ended run")
    return state


def write_project(scratch: Path, name: str) -> tuple[Path, Path]:
    """The folder of a run, and the file that its script appends each start to."""
    project, starts = scratch / f"source-{name}", scratch / f"starts-{name}"
    project.mkdir()
    script = project / "count.sh"
    script.write_text(f"#!/bin/sh\necho $TRAINCTL_ATTEMPT >> {starts}\necho done\n")
    script.chmod(0o755)
    (project / "k.run.json").write_text('{"name": "k", "command": ["./count.sh"], "retry": {"backoff": "100ms"}}')
    return project, starts


def one_kill(new_trainctl, scratch, call: str, n: int, follow: bool) -> str:
    name = f"{call}-{n}-{int(follow)}"
    trainctl = new_trainctl(name)
    trainctl.cwd, starts = write_project(scratch, name)
    try:
        code, printed = kill_at(trainctl, call, n, follow)
        return check_recovered(trainctl, starts, code, printed)
    finally:
        trainctl.clean_up()


def test_killed_at_sampled_system_calls(new_trainctl, scratch):
    cases = random.Random(SEED).sample([(c, n, f) for c in SYSCALLS for n in range(1, 25) for f in (False, True)], SAMPLES)
    outcomes: dict[str, int] = {}
    for call, n, follow in cases:
        try:
            state = one_kill(new_trainctl, scratch, call, n, follow)
        except AssertionError as problem:
            raise AssertionError(f"killed at {call} number {n}, children too: {follow}, seed {SEED}") from problem
        outcomes[state] = outcomes.get(state, 0) + 1
    print(outcomes)
    assert outcomes.get("succeeded", 0) > SAMPLES // 4, outcomes


def most_calls(new_trainctl, scratch, call: str) -> int:
    """How often one process of a `submit` that nobody kills makes the call, at most."""
    trainctl = new_trainctl(f"{call}-count")
    project = write_project(scratch, f"{call}-count")[0]
    traces = scratch / f"traces-{call}"
    traces.mkdir()
    command = ["strace", "-qq", "-ff", "-o", traces / "of", "-e", f"trace={call}"]
    subprocess.run([*command, *trainctl.argv("submit", "--detach", "k.run.json")], env=trainctl.environment(), cwd=project,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True)
    trainctl.clean_up()
    return max(len(path.read_bytes().splitlines()) for path in traces.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("call", SYSCALLS)
def test_killed_at_every_system_call(new_trainctl, scratch, call):
    most = most_calls(new_trainctl, scratch, call) + 2
    for follow in (False, True):
        for n in range(1, most + 1):
            one_kill(new_trainctl, scratch, call, n, follow)
