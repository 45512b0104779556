# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""A real link that is down for a while: the host is a network namespace with a cable of its own. The kernel's answers are those of a
network (packets lost in silence, "No route to host"), unlike those of a proxy, which acknowledges what goes nowhere.

ssh gives a silent link up after 4 s here, by the options that give it 45 s for users."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import wait_until
from netns import Machine, Machines
from remote import Box, Work, nothing_left
from sshd import Sshd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
PORT = 2201
LARGE = 80 << 20  # above 64 MiB the part that came is kept
SOME = 32 << 20
IN_FLIGHT = 12 << 20  # what ssh and the kernels hold, and headers
PACE = 60  # MB a second
BLIP, GIVEN_UP = 1.0, 6.0  # seconds: too short for anybody to notice; longer than ssh's patience


@pytest.fixture
def machine():
    with Machines(1) as machines:
        yield machines[0]


@pytest.fixture
def box(trainctl, scratch, machine: Machine):
    server = Sshd(scratch / "box", address=machine.address, port=PORT, prefix=machine.enter(), own_tmp=True)
    try:
        yield Box(trainctl, server, scratch)
    finally:
        machine.mend()
        server.clean_up()


def bring_runner(trainctl) -> None:
    trainctl.ok("run", "--target", "root@box", "--", "true")


def last(seconds: float) -> None:
    """The length of a fault, not a wait for something."""
    time.sleep(seconds)


def mend(machine: Machine) -> None:
    """Until packets come through: the kernel here remembers for a moment that nobody was there."""
    machine.mend()
    wait_until(lambda: socket.create_connection((machine.address, PORT), timeout=5).close() is None, "the host is reached again")


def size(path: Path | None) -> int:
    return path.stat().st_size if path and path.exists() else 0


def ended_there(box: Box, work: Work) -> bool:
    return b'"type":"end"' in (box.store / "runs" / work.folder().name / "attempts/1/events.jsonl").read_bytes()


@pytest.mark.parametrize("seconds", [pytest.param(BLIP, marks=pytest.mark.slow), GIVEN_UP])
def test_the_link_is_down_while_a_log_is_followed(box, trainctl, machine, seconds):
    work = box.workload(lines=4000, gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    machine.cut()
    work.open()
    wait_until(lambda: ended_there(box, work), "it has ended on the host")
    last(seconds)
    assert client.poll() is None, client.communicate()
    machine.mend()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


@pytest.mark.parametrize("what", [pytest.param("source", marks=pytest.mark.slow), "inputs"])
def test_the_link_is_down_while_files_are_sent(box, trainctl, machine, project, scratch, what):
    """For long: the command gives up with 75 and says how it goes on; then only the rest is sent, and it starts once."""
    bring_runner(trainctl)
    large = (scratch if what == "inputs" else project.path) / "large.bin"
    large.write_bytes(random.Random(7).randbytes(LARGE))
    machine.slow(PACE)
    work = box.workload(gate=True, **({"inputs": {"d": str(large)}} if what == "inputs" else {}))
    before = machine.bytes_to()
    client = trainctl.start("submit", work.spec)
    wait_until(lambda: client.poll() is not None or size(box.partial()) > SOME, "a part is there")
    assert client.poll() is None, client.communicate()
    machine.cut()
    _, err = client.communicate(timeout=60)
    assert client.returncode == 75 and f"attach {work.name} goes on" in err.decode(), err.decode()
    assert work.started == 0
    mend(machine)
    work.open()
    attached = trainctl.ok("attach", work.name, timeout=120)
    assert attached.out == work.log
    sent = machine.bytes_to() - before
    assert LARGE < sent < LARGE + IN_FLIGHT, sent
    work.check()
    nothing_left(box)


@pytest.mark.slow
def test_a_blip_while_files_are_sent_is_not_noticed(box, trainctl, machine, scratch):
    large = scratch / "large.bin"
    large.write_bytes(random.Random(8).randbytes(LARGE))
    bring_runner(trainctl)
    machine.slow(PACE)
    work = box.workload(inputs={"d": str(large)})
    client = trainctl.start("submit", work.spec)
    wait_until(lambda: size(box.partial()) > SOME, "a part is there")
    machine.cut()
    last(BLIP)
    machine.mend()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    nothing_left(box)


@pytest.mark.parametrize("moment", [pytest.param("recorded here", marks=pytest.mark.slow), "arrived there"])
def test_the_link_is_down_during_the_launch(box, trainctl, machine, moment):
    """Nobody knows whether the launch has come there; the same run is launched again, and starts once."""
    bring_runner(trainctl)
    known = set((box.store / "runs").iterdir())
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec, "--detach")
    if moment == "recorded here":
        wait_until(lambda: len(trainctl.runs()) == 2, "it is recorded")
    else:
        wait_until(lambda: set((box.store / "runs").iterdir()) - known, "its folder is on the host")
    machine.cut()
    last(GIVEN_UP)
    machine.mend()
    client.communicate(timeout=60)
    assert client.returncode in (0, 75)
    work.open()
    assert trainctl.ok("attach", work.name).out == work.log
    work.check()
    nothing_left(box)


def test_the_link_is_down_while_outputs_come_home(box, trainctl, machine):
    """The end is true whatever becomes of them; they are partial until they are asked for again, and then only the rest comes."""
    make = f'echo started >> "$STARTS"; head -c {LARGE} /dev/urandom > outputs/result; echo made'
    work = box.workload(command=["sh", "-c", make])
    trainctl.ok("submit", work.spec, "--no-collect")
    run = work.folder()
    machine.slow(PACE)
    before = machine.bytes_from()
    client = trainctl.start("outputs", work.name, "--pull")
    wait_until(lambda: size(next((run / "attempts/1/.collect").glob("*"), None)) > SOME, "the copy")
    machine.cut()
    _, err = client.communicate(timeout=120)
    assert client.returncode == 75 and "root@box" in err.decode(), err.decode()
    had = size(next((run / "attempts/1/.collect").glob("*"), None))
    assert had > SOME and trainctl.json("show", work.name)["state"] == "succeeded"
    mend(machine)
    trainctl.ok("outputs", work.name, "--pull", timeout=120)
    came = machine.bytes_from() - before
    assert LARGE < came < LARGE + IN_FLIGHT, came
    there = box.outputs(run) / "result"
    assert hashlib.sha256((run / "outputs" / "result").read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()
    assert work.started == 1 and trainctl.ok("logs", work.name).out == b"made\n"
    nothing_left(box)


def test_the_link_is_down_beside_a_run(box, trainctl, machine, scratch):
    """What exec started may end, and says why; the tunnel stays open, and carries again when the link is back."""
    work = box.workload(gate=True)
    trainctl.ok("submit", work.spec, "--detach")
    wait_until(lambda: work.started, "it has started")
    beside = trainctl.start("exec", work.name, "--", "sh", "-c", "echo up; exec sleep 600")
    assert beside.stdout.readline() == b"up\n"
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    serve = "import socket, sys\ns = socket.create_server(('127.0.0.1', int(sys.argv[1])))\nwhile True: s.accept()[0].sendall(b'hello')"
    server = subprocess.Popen(machine.enter("/usr/bin/python3", "-c", serve, port))
    tunnel = trainctl.pty("tunnel", work.name, f"0:{port}")
    here = int(tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1))

    def hello() -> bool:
        with socket.create_connection(("127.0.0.1", here), timeout=30) as peer:
            return peer.recv(5) == b"hello"

    wait_until(hello, "the tunnel carries")
    with socket.create_connection(("127.0.0.1", here), timeout=60) as peer:
        assert peer.recv(5) == b"hello"
        machine.cut()
        _, err = beside.communicate(timeout=60)
        assert beside.returncode == 255 and "the connection to root@box was lost" in err.decode(), (beside.returncode, err.decode())
        try:
            assert peer.recv(5) == b"", "it ended"
        except ConnectionError:
            pass
    with pytest.raises((ConnectionError, AssertionError)):
        assert hello()
    tunnel.expect("No route to host|timed out")
    early = trainctl.run("exec", work.name, "--", "true", code=75)
    assert "there is no way to root@box" in early.error or "root@box does not answer" in early.error, early
    mend(machine)
    wait_until(hello, "the tunnel carries again")
    tunnel.interrupt()
    assert tunnel.wait() == 130
    server.kill()
    server.wait()
    work.open()
    assert trainctl.ok("attach", work.name).out == work.log
    work.check()
    nothing_left(box)


def test_there_is_no_route_at_a_submit(box, trainctl, machine):
    machine.lose_address()
    subprocess.run(["ip", "neigh", "flush", "to", machine.address], check=True)
    work = box.workload()
    away = trainctl.run("submit", work.spec, code=75)
    assert "there is no way to root@box" in away.error and "No route to host" in away.error, away
    assert work.started == 0
    machine.find_address()
    trainctl.ok("submit", work.spec)
    work.name = trainctl.json("ls")["items"][0]["name"]
    work.check()
    nothing_left(box)
