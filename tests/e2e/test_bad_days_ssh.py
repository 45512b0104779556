# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Bad days between this machine and an ssh host: links that are silent or cut, servers that die, a key that changes, a laptop that
sleeps. After each no run is lost, none started twice, each byte of the log is there once and the end is true.

Real ones: ssh gives up a silent link after 45 s (ServerAliveInterval 15, three times); here after 4 s, by the same options.
"""

from __future__ import annotations

import os
import signal
import time

import pytest
from faultproxy import FaultProxy
from harness import wait_until
from remote import Box, nothing_left
from sshd import Sshd

GIVEN_UP = 6.0  # seconds after which ssh has surely given up a silent link


@pytest.fixture
def box(trainctl, scratch):
    server = Sshd(scratch / "box")
    with FaultProxy((server.address, server.port)) as proxy:
        yield Box(trainctl, server, scratch, proxy)
        proxy.resume()
        server.clean_up()


def ended_there(box: Box, work) -> bool:
    events = box.store / "runs" / work.folder().name / "attempts/1/events.jsonl"
    return b'"type":"end"' in events.read_bytes()


def sleep_through(seconds: float) -> None:
    """The length of a fault, not a wait for something."""
    time.sleep(seconds)


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:  # it has gone meanwhile
            pass


@pytest.mark.parametrize("seconds", [1.0, GIVEN_UP])
def test_the_link_is_down_while_it_runs(box, trainctl, seconds):
    """It ends meanwhile; short: the same connection goes on; long: ssh gave it up, and another one goes on at the byte."""
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    box.proxy.pause()
    work.open()
    wait_until(lambda: ended_there(box, work), "it has ended on the host")
    sleep_through(seconds)
    assert client.poll() is None, client.communicate()
    box.proxy.resume()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


def test_the_server_dies_again_and_again(box, trainctl):
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    for _ in range(3):
        box.server.kill()
        box.server.start()
        wait_until(box.server.sessions, "the client is back")
    work.open()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


def test_the_laptop_sleeps(box, trainctl):
    """Everything here stands still for longer than ssh's patience, then goes on."""
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    here = [client.pid, *box.masters(), *(pid for pid, command in trainctl.owned().items() if command.startswith("ssh"))]
    signal_all(here, signal.SIGSTOP)
    box.proxy.pause()
    work.open()
    wait_until(lambda: ended_there(box, work), "it has ended on the host")
    box.proxy.cut(reset=True)  # a router has forgotten the connection
    box.proxy.resume()
    signal_all(here, signal.SIGCONT)
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


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
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
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
