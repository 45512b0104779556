# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Numbers of processes come round: the recorded pid of a supervisor, a waiter or a script that died belongs to somebody else, in the
same boot. Really so: in a pid namespace, whose next number can be chosen. The stranger is never signalled, and the run's end is true.

While a waiter lives the kernel gives nobody its supervisor's number (its session has it), so there the record is changed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Trainctl, jsonl, wait_until
from remote import Box, nothing_left
from sshd import Sshd, tree

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: pid namespaces")
# All numbers have four digits: a record can be changed in its place.
INIT = "import signal\nopen('/proc/sys/kernel/ns_last_pid', 'w').write('5000')\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: signal.pause()"
# Becomes the process with that number, leads a session as scripts do, and writes down every signal it gets.
STRANGER = """
import os, signal, sys
wanted, told = int(sys.argv[1]), sys.argv[2]
def next_is(number):
    with open('/proc/sys/kernel/ns_last_pid', 'w') as last: last.write(str(number - 1))
while True:
    next_is(wanted)
    child = os.fork()
    if child == 0: break
    os.waitpid(child, 0)
next_is(7000)  # so that nobody gets the next number by chance
if os.getpid() != wanted: os._exit(0)
os.setsid()
def tell(number, frame):
    with open(told, 'a') as file: file.write(signal.Signals(number).name + '\\n')
for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, tell)
with open(told, 'w'): pass
while True: signal.pause()
"""


class Numbers:
    """A pid namespace. `enter` are the words before a command in it."""

    def __init__(self, scratch: Path):
        self.scratch, self.strangers = scratch, {}
        self.keeper = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", INIT],
                                       stdout=subprocess.PIPE)
        assert self.keeper.stdout.readline() == b"up\n"
        self.enter = ["nsenter", "-t", str(tree(self.keeper.pid)[1]), "--pid", "--mount"]

    def outside(self, inner: int) -> int | None:
        """The number by which this process is known outside."""
        for pid in tree(self.keeper.pid) + [int(name) for name in os.listdir("/proc") if name.isdigit()]:
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                same = os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{self.enter[2]}/ns/pid")
            except OSError:
                continue
            if same and f"\nNSpid:\t{pid}\t{inner}\n" in status:
                return pid
        return None

    def kill(self, inner: int) -> None:
        os.kill(self.outside(inner), signal.SIGKILL)
        wait_until(lambda: self.outside(inner) is None, f"process {inner} is gone")

    def take(self, inner: int) -> None:
        """A stranger has this number from now on."""
        told = self.scratch / f"signals-{inner}"
        process = subprocess.Popen([*self.enter, sys.executable, "-c", STRANGER, str(inner), str(told)])
        wait_until(told.exists, "the number is taken")
        self.strangers[inner] = (told, self.outside(inner), process)

    def pass_on(self, old: list[int]) -> None:
        """All these die, and strangers have their numbers."""
        for number in old:
            self.kill(number)
        for number in old:
            self.take(number)

    def check(self) -> None:
        """Nobody has touched them."""
        assert self.strangers
        for inner, (told, outer, _) in self.strangers.items():
            assert self.outside(inner) == outer and told.read_text() == "", f"{inner} got {told.read_text()}"
            assert "State:\tS" in Path(f"/proc/{outer}/status").read_text()

    def clean_up(self) -> None:
        os.kill(int(self.enter[2]), signal.SIGKILL)  # all its processes end with it
        self.keeper.wait()
        self.keeper.stdout.close()
        for _, _, process in self.strangers.values():
            process.wait()


@pytest.fixture
def numbers(scratch):
    made = Numbers(scratch)
    yield made
    made.clean_up()


@pytest.fixture(params=["local", "ssh"])
def box(request, trainctl: Trainctl, scratch, numbers: Numbers):
    """A run's processes are in the namespace: with trainctl, or with the host."""
    if request.param == "ssh":
        server = Sshd(scratch / "box", own_tmp=True, prefix=numbers.enter)
        yield Box(trainctl, server, scratch)
        server.clean_up()
    else:
        wrapper = scratch / "inside"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(numbers.enter)} {trainctl.binary} "$@"\n')
        wrapper.chmod(0o755)
        trainctl.binary = wrapper
        yield LocalBox(trainctl, scratch)


class LocalBox(Box):
    """Runs of the workload on this machine."""

    def __init__(self, trainctl: Trainctl, scratch: Path):
        self.trainctl, self.scratch, self.submitted, self.starts = trainctl, scratch, 0, scratch / "starts"
        self.starts.mkdir()

    @property
    def store(self) -> Path:
        return self.trainctl.home

    def workload(self, *args, **fields):
        return super().workload(*args, target="local", **fields)


def begin(box: Box):
    """A run in its middle; nobody follows it."""
    work = box.workload(gate=True, stop={"grace": "500ms"})
    box.trainctl.ok("submit", work.spec, "--detach")
    run = box.store / "runs" / wait_until(lambda: work.folder(), "it is recorded").name
    wait_until(lambda: work.half in (run / "attempts/1/logs/std.log").read_bytes(), "its first half")
    return work, run


def supervisor(run: Path) -> int:
    return [event for event in jsonl(run / "attempts/1/events.jsonl") if event["type"] == "attempt"][-1]["pid"]


def adopted(run: Path) -> bool:
    return any(event["type"] == "attempt" and event["adopted"] for event in jsonl(run / "attempts/1/events.jsonl"))


def finish(box: Box) -> None:
    if not isinstance(box, LocalBox):
        nothing_left(box)


@pytest.mark.parametrize("command", ["cancel", "attach"])
def test_a_stranger_has_the_supervisors_number(box, trainctl, numbers, command):
    """The run is adopted, by its waiter nothing is lost."""
    work, run = begin(box)
    old, other = supervisor(run), 9000
    numbers.kill(old)
    numbers.take(other)
    events = run / "attempts/1/events.jsonl"
    before = events.read_text()
    assert before.count(f'"pid":{old},') == 1
    events.write_text(before.replace(f'"pid":{old},', f'"pid":{other},'))
    if command == "cancel":
        trainctl.ok("cancel", work.name)
        trainctl.run("wait", work.name, code=130)
        work.check("canceled")
    else:
        work.open()
        assert trainctl.ok("attach", work.name).out == work.log
        work.check()
    assert adopted(run) and supervisor(run) not in (old, other)
    numbers.check()
    finish(box)


@pytest.mark.parametrize("command", ["cancel", "attach"])
def test_strangers_have_the_numbers_of_supervisor_and_waiter(box, trainctl, numbers, command):
    """The script goes on: a cancel ends it and nobody else; of an end that nobody saw it is said that it was not seen."""
    work, run = begin(box)
    start = next(line for line in jsonl(run / "attempts/1/nodes/0/rank-0.jsonl") if line["type"] == "start")
    old = [supervisor(run), start["waiter"]]
    numbers.pass_on(old)
    script = numbers.outside(start["pid"])
    assert script
    if command == "cancel":
        trainctl.ok("cancel", work.name)
        trainctl.run("wait", work.name, code=130)
        work.check("canceled")
    else:
        work.open()
        assert trainctl.run("attach", work.name, code=1).out == work.log
        shown = trainctl.json("show", work.name)
        assert (shown["state"], shown["cause"], work.started) == ("lost", "lost", 1), shown
    assert adopted(run) and not numbers.outside(start["pid"])
    numbers.check()
    finish(box)


@pytest.mark.parametrize("command", ["cancel", "attach"])
def test_strangers_have_all_numbers_of_a_run_that_died(box, trainctl, numbers, command):
    """Nobody saw how the script ended: the run is lost (or what was asked for), and no stranger is taken for it."""
    work, run = begin(box)
    start = next(line for line in jsonl(run / "attempts/1/nodes/0/rank-0.jsonl") if line["type"] == "start")
    old = [supervisor(run), start["waiter"], start["pid"]]
    numbers.pass_on(old)
    trainctl.run(command, work.name)
    code = trainctl.run("wait", work.name).code
    shown = trainctl.json("show", work.name)
    assert (code, shown["state"]) in ([(1, "lost"), (130, "canceled")] if command == "cancel" else [(1, "lost")]), shown
    assert (shown["exit_code"], shown["attempts"], work.started) == (None, 1, 1), shown
    assert trainctl.ok("logs", work.name).out == work.half
    numbers.check()
    finish(box)
