# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Kernels and sandboxes that lack a system call: each is answered with ENOSYS for trainctl, its supervisor, waiter and script alike.
A retry, a cancel, a time limit, a snapshot and an adoption end as they do with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import Trainctl, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")

# What the product calls by itself on this path: here the injection must have happened, or the test would show nothing.
USED = ["close_range", "pidfd_open", "getrandom", "fallocate", "inotify_init1", "inotify_add_watch", "copy_file_range", "ioctl", "sendfile"]
# What the C library may call, by its version and the processor; the end must be the same anyway.
MAYBE = ["openat2", "clone3", "statx", "renameat2", "faccessat2", "pidfd_send_signal", "rseq", "membarrier", "epoll_pwait2", "prlimit64"]
EVERYTHING = ",".join(USED + MAYBE)


class Without:
    """Runs trainctl on a kernel without those calls."""

    def __init__(self, trainctl: Trainctl, calls: str):
        self.trainctl, self.calls = trainctl, calls
        self.trace = trainctl.root / "trace"
        self.seen = False

    def argv(self, *words: str) -> list[str]:
        return ["strace", "-f", "-qq", "-o", str(self.trace), "-e", f"trace={self.calls}", "-e", f"inject={self.calls}:error=ENOSYS",
                *self.trainctl.argv(*words)]

    def start(self, *words: str) -> subprocess.Popen:
        process = subprocess.Popen(self.argv(*words), env=self.trainctl.environment(), cwd=self.trainctl.cwd, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.trainctl.processes.append(process)
        return process

    def run(self, *words: str) -> tuple[int, bytes]:
        return self.end(self.start(*words))

    def end(self, process: subprocess.Popen) -> tuple[int, bytes]:
        """Exit code and stdout; strace stays until supervisor and waiter have ended too."""
        out, _ = process.communicate(timeout=60)
        self.seen = self.seen or b"ENOSYS" in self.trace.read_bytes()
        return process.returncode, out


def shown(trainctl: Trainctl) -> tuple:
    run = trainctl.json("show", "@")
    return run["state"], run["cause"], run["exit_code"], run["attempts"]


def check_ends(trainctl: Trainctl, project, without: Without) -> None:
    project.write("value", "7\n")
    large = project.write("large", os.urandom(2 << 20))  # kept as a file of its own, so it is cloned or copied by the kernel
    project.write("train.sh", "read value < value\necho attempt $TRAINCTL_ATTEMPT $value\necho x > outputs/made\n"
                  "[ $TRAINCTL_ATTEMPT = 2 ] || exit 3\n")
    project.spec(command=["sh", "train.sh"], retry={"max": 1, "on": ["exit:3"], "backoff": "10ms"})
    assert without.run("submit", "a.run.json") == (0, b"attempt 1 7\nattempt 2 7\n")
    assert shown(trainctl) == ("succeeded", None, 0, 2) or shown(trainctl) == ("succeeded", "exit", 0, 2)
    assert without.run("outputs", "@") == (0, b"made\n")
    for attempt in ("1", "2"):
        assert (trainctl.last_run() / "attempts" / attempt / "work" / "large").read_bytes() == large.read_bytes()

    project.spec("slow.run.json", command=["sh", "-c", "echo begun; exec sleep 600"], limits={"timeout": "300ms"})
    assert without.run("submit", "slow.run.json") == (124, b"begun\n")
    assert shown(trainctl)[:2] == ("timed_out", "time_limit")

    ended = len(trainctl.runs())
    process = without.start("run", "--", "sh", "-c", "echo begun; sleep 600 & sleep 600")
    wait_until(lambda: len(trainctl.runs()) > ended, "the run")
    trainctl.wait_log(trainctl.last_run(), "begun")
    trainctl.ok("cancel", "@")
    assert without.end(process) == (130, b"begun\n")
    assert shown(trainctl)[:2] == ("canceled", "canceled")
    wait_until(lambda: not trainctl.owned(), "no process of the run is left")


def check_adoption(trainctl: Trainctl, project, without: Without) -> None:
    """Waiter and supervisor are killed: the next supervisor watches a process that is not its child."""
    trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done")
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    for pid in (trainctl.lead(run), trainctl.waiter(run)):
        os.kill(pid, signal.SIGKILL)
    process = without.start("attach", "@")
    trainctl.wait_event(run, "attempt", adopted=True)
    project.write("go", "")
    assert without.end(process)[0] == 1
    assert shown(trainctl)[:2] == ("lost", "lost")


@pytest.mark.parametrize("call", [*USED, ",".join(MAYBE), EVERYTHING, *(pytest.param(call, marks=pytest.mark.slow) for call in MAYBE)],
                         ids=[*USED, "of-the-library", "everything", *MAYBE])
def test_without_a_system_call(trainctl, project, call):
    known = subprocess.run(["strace", "-o", "/dev/null", "-e", f"trace={call}", "true"], capture_output=True)
    if known.returncode != 0:
        pytest.skip("this strace or processor does not know it")
        call = "statx"
    without = Without(trainctl, call)
    check_ends(trainctl, project, without)
    check_adoption(trainctl, project, without)
    assert without.seen or call not in USED, f"nothing called {call}"


def test_with_all_system_calls(trainctl, project):
    """The same checks with nothing taken away (getpid is traced, and never fails)."""
    without = Without(trainctl, "getpid")
    without.argv = lambda *words: ["strace", "-f", "-qq", "-o", str(without.trace), "-e", "trace=getpid", *trainctl.argv(*words)]
    check_ends(trainctl, project, without)
    check_adoption(trainctl, project, without)


STUBBORN = "trap '' INT TERM; setsid sh -c 'trap \"\" INT TERM; echo far; exec sleep 600' & while :; do sleep 0.02; done"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("hide", ["mount -t tmpfs tmpfs /sys/fs/cgroup", "mount -o bind,ro /sys/fs/cgroup /sys/fs/cgroup",
                                  "mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/unified && touch /sys/fs/cgroup/cgroup.procs"],
                         ids=["hidden", "read-only", "empty"])
def test_without_control_groups(trainctl, project, hide):
    """Nothing to kill a group by: the tree is walked until it is empty, fled processes too."""
    project.spec(command=["sh", "-c", STUBBORN], stop={"grace": "100ms"})
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", f'{hide}; exec "$@"', "sh", *trainctl.argv("submit", "a.run.json")],
                               env=trainctl.environment(), cwd=trainctl.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    trainctl.processes.append(process)
    trainctl.wait_log(trainctl.last_run(), "far")
    trainctl.ok("cancel", "@")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"far\n"), err
    assert shown(trainctl)[:2] == ("canceled", "canceled")
    wait_until(lambda: not trainctl.owned(), "nothing is left of it")
