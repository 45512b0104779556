# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Bad days between this machine and an ssh host: links that are silent, cut, slow or flip bytes, servers that die, a laptop that
sleeps. After each no run is lost, none started twice, each byte of the log is there once and the end is true.

Real ones: ssh gives up a silent link after 45 s (ServerAliveInterval 15, three times); here after 4 s, by the same options.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest
from faultproxy import Fault, random_fault
from harness import wait_until
from remote import Box, Work, nothing_left, proxied_box

SEED = int(os.environ.get("TRAINCTL_TEST_SEED", "20261129"))
GIVEN_UP = 6.0  # seconds after which ssh has surely given up a silent link


@pytest.fixture
def box(trainctl, scratch):
    with proxied_box(trainctl, scratch) as box:
        yield box


def sleep_through(seconds: float) -> None:
    """The length of a fault, not a wait for something."""
    time.sleep(seconds)


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has gone meanwhile
            pass


def followed(box: Box, trainctl) -> tuple[Work, subprocess.Popen]:
    """A run and the command that submitted it, which has shown its first half."""
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    return work, client


def went_on(box: Box, work: Work, client: subprocess.Popen) -> None:
    """The command ended as if nothing had happened, and so did the run."""
    out, err = client.communicate(timeout=180)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


@pytest.mark.parametrize("seconds", [1.0, GIVEN_UP])
def test_the_link_is_down_while_it_runs(box, trainctl, seconds):
    """It ends meanwhile; short: the same connection goes on; long: ssh gave it up, and another one goes on at the byte."""
    work, client = followed(box, trainctl)
    box.proxy.pause()
    work.open()
    wait_until(work.ended_there, "it has ended on the host")
    sleep_through(seconds)
    assert client.poll() is None, client.communicate()
    box.proxy.resume()
    went_on(box, work, client)


@pytest.mark.parametrize("when", ["before", "launch", "cancel"])
def test_the_link_is_down_for_a_command(box, trainctl, when):
    """A command that needs the host waits, or gives up with 75; the same command again does what was wanted, once."""
    work = box.workload(gate=True)
    if when == "before":
        box.proxy.pause()
        client = trainctl.start("submit", work.spec, "--detach")
        sleep_through(1.0)
    elif when == "launch":
        box.workload().box.trainctl.ok("run", "--target", "root@box", "--", "true")  # the runner is there, the connection is warm
        box.proxy.pause()
        client = trainctl.start("submit", work.spec, "--detach")
        sleep_through(GIVEN_UP)
    else:
        trainctl.ok("submit", work.spec, "--detach")
        wait_until(lambda: work.started, "it has started")
        box.proxy.pause()
        client = trainctl.start("cancel", work.name)
        sleep_through(GIVEN_UP)
    box.proxy.resume()
    client.communicate(timeout=120)
    assert client.returncode in (0, 75)
    if when == "cancel":
        trainctl.run("cancel", work.name)
        assert trainctl.run("wait", work.name).code == 130
        work.check("canceled")
    else:
        work.open()
        assert trainctl.ok("attach", work.name).out == work.log
        work.check()
    nothing_left(box)


def test_the_server_dies_again_and_again(box, trainctl):
    work, client = followed(box, trainctl)
    for _ in range(3):
        box.server.kill()
        box.server.start()
        wait_until(box.server.sessions, "the client is back")
    work.open()
    went_on(box, work, client)


@pytest.mark.slow  # silence counts as broken after 45 s
def test_the_shared_connection_stops_while_it_is_followed(box, trainctl):
    work, client = followed(box, trainctl)
    for master in box.masters():
        os.kill(master, signal.SIGSTOP)
    work.open()
    went_on(box, work, client)


def test_the_laptop_sleeps(box, trainctl):
    """Everything here stands still for longer than ssh's patience, then goes on."""
    work, client = followed(box, trainctl)
    here = [client.pid, *box.masters(), *(pid for pid, command in trainctl.owned().items() if command.startswith("ssh"))]
    signal_all(here, signal.SIGSTOP)
    box.proxy.pause()
    work.open()
    wait_until(work.ended_there, "it has ended on the host")
    box.proxy.cut(reset=True)  # a router has forgotten the connection
    box.proxy.resume()
    signal_all(here, signal.SIGCONT)
    went_on(box, work, client)


def test_two_commands_follow_one_run_through_a_cut(box, trainctl):
    work = box.workload(gate=True)
    trainctl.ok("submit", work.spec, "--detach")
    clients = [trainctl.start("attach", work.name) for _ in range(2)]
    work.wait_half()
    box.proxy.cut(reset=True)
    work.open()
    for client in clients:
        out, err = client.communicate(timeout=120)
        assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


def test_the_host_key_changes_in_the_middle(box, trainctl):
    """Somebody else may be answering there: never retried, never accepted; the run is not ended by it."""
    work, client = followed(box, trainctl)
    box.server.kill()
    box.server.change_host_key()
    box.server.start()
    _, err = client.communicate(timeout=120)
    assert client.returncode == 5 and "host key" in err.decode(), err.decode()
    box.server.write_known_hosts()  # the person has looked, and accepts it
    work.open()
    assert trainctl.ok("attach", work.name).out == work.log
    work.check()
    nothing_left(box)


@pytest.mark.parametrize("kind", ["flip", "half_close", "drip"])
def test_a_fault_while_the_runner_is_sent(box, trainctl, kind):
    """The first connection carries megabytes; what arrives wrong or not at all is never used."""
    work = box.workload()
    box.proxy.arm(Fault(kind, 300_000, "up", seconds=0.0005, pace=4000))
    trainctl.run("submit", work.spec)
    if trainctl.run("attach", work.name).code == 4:  # nothing was recorded: submit again
        trainctl.ok("submit", work.spec)
    work.check()
    assert len(box.runners()) == 1
    nothing_left(box)


def random_day(box: Box, trainctl, source: random.Random, **fields) -> Counter[str]:
    """One run (with these fields) through connections with faults at random bytes, commands repeated as a person would; the faults
    that happened."""
    work = box.workload(seed=source.randrange(1 << 31), lines=source.choice((50, 400, 3000)), code=source.choice((0, 0, 5)), **fields)
    faults = [random_fault(source, 60_000) for _ in range(source.randrange(1, 4))]
    for master in box.masters():  # the next command opens a connection, and meets the first fault
        os.kill(master, signal.SIGKILL)
    box.proxy.arm(*faults)
    words = "; ".join(f"{fault.kind} at {fault.after} {fault.direction}" for fault in faults)
    codes = [trainctl.run("submit", work.spec, timeout=180).code]
    while codes[-1] not in (0, 1) and len(codes) < 8:
        again = trainctl.run("attach", work.name, timeout=180)
        codes.append(again.code if again.code != 4 else trainctl.run("submit", work.spec, timeout=180).code)
    box.proxy.disarm()
    box.proxy.cut()  # what is looked at now is no command of the day
    try:
        assert codes[-1] == (1 if work.code else 0), codes
        trainctl.ok("outputs", work.name, "--pull")  # they may have been cut off behind the end: a warning says so
        work.check("failed" if work.code else "succeeded")
    except (AssertionError, OSError) as error:
        raise AssertionError(f"{words}: {error}") from None
    return Counter(fault.kind for fault in faults if fault.done)


def random_days(box: Box, trainctl, count: int) -> Counter[str]:
    source, happened = random.Random(SEED), Counter()
    trainctl.ok("run", "--target", "root@box", "--", "true")  # brings the runner
    for number in range(count):
        state = source.getstate()
        try:
            happened += random_day(box, trainctl, source)
        except AssertionError as error:
            raise AssertionError(f"day {number} of seed {SEED}: {error}\n{state[1][-1]}") from None
    nothing_left(box)
    return happened


def test_random_days(box, trainctl):
    random_days(box, trainctl, 5)


@pytest.mark.slow
def test_many_random_days(box, trainctl, capsys):
    happened = random_days(box, trainctl, 300)
    with capsys.disabled():
        print(f"\n300 days of seed {SEED}: {happened.total()} faults: {dict(happened)}")
