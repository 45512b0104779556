# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""The link or the command is lost at stages of a run on a host that are not its script: the runner is on its way, the environment is
being built, the next attempt waits."""

from __future__ import annotations

import sys

import pytest
from faultproxy import UP, Fault
from harness import wait_until
from remote import Box, Work, nothing_left, proxied_box

A_PART = 1 << 20


@pytest.fixture
def box(trainctl, scratch):
    with proxied_box(trainctl, scratch) as box:
        yield box


def lose(box: Box, client, how: str) -> None:
    """What happens to a command on a terminal, or to its link."""
    if how == "cut":
        box.proxy.cut(reset=True)
    elif how == "kill":
        client.process.kill()
        client.wait()
    else:
        client.interrupt()


def finish(box: Box, work: Work) -> None:
    """Whatever became of the command: the same again, or attach, ends in the one run."""
    trainctl = box.trainctl
    if trainctl.run("show", work.name).code == 4:  # nothing was recorded
        trainctl.ok("submit", work.spec)
    else:
        work.open()
        assert trainctl.ok("attach", work.name).out == work.log
    work.check()


@pytest.mark.parametrize("how", ["cut", pytest.param("kill", marks=pytest.mark.slow), pytest.param("Ctrl-C", marks=pytest.mark.slow)])
def test_the_runner_is_on_its_way(box, trainctl, how):
    """No part of it is ever started, and none is left."""
    box.proxy.arm(Fault("delay", after=1, direction=UP, seconds=0.001))
    work = box.workload()
    client = trainctl.pty("submit", work.spec)
    wait_until(lambda: box.proxy.bytes[UP] > A_PART, "a part of the runner")
    assert not box.runners(), "it was faster than the fault"
    lose(box, client, how)
    if how == "Ctrl-C":
        client.interrupt()  # the first asks, the second leaves at once
    client.wait()
    finish(box, work)
    assert len(box.runners()) == 1
    wait_until(lambda: not list((box.server.home / ".trainctl/bin").glob(".*")), "no part is left")
    nothing_left(box)


@pytest.mark.parametrize("how", ["cut", "kill", "Ctrl-C"])
def test_the_environment_is_being_built(box, trainctl, scratch, how):
    """The host builds it to its end, once, whoever looks; then the run starts."""
    gate, built = scratch / "built.gate", scratch / "built"
    step = f"echo built >> {built}; while [ ! -e {gate} ]; do sleep 0.02; done"
    work = box.workload(environment={"python": {"interpreter": sys.executable}, "setup": [step]})
    client = trainctl.pty("submit", work.spec)
    wait_until(built.exists, "it is being built")
    wait_until(lambda: trainctl.json("show", work.name)["state"] == "preparing", "that is seen here")
    lose(box, client, how)
    if how == "Ctrl-C":
        client.expect("etach")
        client.send("d")
        assert client.wait() == 130
    gate.touch()
    if how == "cut":
        assert client.wait(timeout=60) == 0, client.text
        assert f"line 199 {work.log.split()[-1].decode()}" in client.text
    finish(box, work)
    assert built.read_text() == "built\n"
    nothing_left(box)


@pytest.mark.parametrize("how", ["cut", "kill"])
def test_the_next_attempt_waits(box, trainctl, how):
    """It begins on the host without anybody; each attempt starts once, and whoever looks sees both."""
    work = box.workload(code=5, retry={"max": 1, "on": ["exit:5"], "backoff": "1s"})
    client = trainctl.pty("submit", work.spec)
    run = wait_until(lambda: work.folder(), "it is recorded")
    assert trainctl.wait_end(run)["next"] == "retry"
    assert not (box.store / "runs" / run.name / "attempts/2/logs/std.log").exists()
    lose(box, client, how)
    if how == "cut":
        assert client.wait(timeout=60) == 1, client.text
    trainctl.run("wait", work.name, code=1)
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["exit_code"], shown["attempts"]) == ("failed", 5, 2) and work.started == 2, shown
    assert [trainctl.ok("logs", work.name, "--attempt", attempt).out for attempt in (1, 2)] == [work.log] * 2
    nothing_left(box)
