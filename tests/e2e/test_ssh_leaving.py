# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Who watches a run on a host can always leave: no key waits for a network."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
from faultproxy import Fault
from harness import PtySession, jsonl, wait_until
from remote import Box, Work, proxied_box

AT_ONCE = 3.0  # seconds: a person waits for a second or two
LARGE = 80_000_000


@pytest.fixture
def box(trainctl, scratch):
    with proxied_box(trainctl, scratch) as box:
        yield box


def watched(box: Box, trainctl) -> tuple[Work, PtySession]:
    """A run that goes on, on the screen of a command whose host has just stopped to answer: its port takes connections and
    says nothing."""
    work = box.workload(gate=True)
    screen = trainctl.pty("submit", work.spec)
    screen.expect("line 99 ")
    box.proxy.pause()
    box.proxy.cut()
    screen.expect("unreachable for|trying again", timeout=10)
    return work, screen


def answer(screen: PtySession, key: str) -> None:
    """Ctrl-C, and what to do about the run."""
    screen.interrupt()
    screen.expect("goes on. ")
    screen.send(key)


def test_ctrl_c_twice_leaves_a_run_whose_host_is_silent(box, trainctl):
    work, screen = watched(box, trainctl)
    answer(screen, "c")
    screen.expect("canceling work1-1; Ctrl-C again leaves it to itself")
    screen.expect("the wish is kept and told as soon as root@box answers", timeout=AT_ONCE)
    screen.interrupt()
    assert screen.wait(timeout=AT_ONCE) == 130, screen.text
    assert "work1-1 has not confirmed the cancel yet; the wish is kept: trainctl wait work1-1" in screen.text
    box.proxy.resume()
    trainctl.run("wait", "work1-1", code=130, timeout=60)
    work.check("canceled")


def test_a_run_whose_host_is_silent_can_be_left_to_itself(box, trainctl):
    work, screen = watched(box, trainctl)
    answer(screen, "d")
    assert screen.wait(timeout=AT_ONCE) == 130, screen.text
    assert "trainctl attach work1-1 comes back to it" in screen.text
    box.proxy.resume()
    work.open()
    assert trainctl.run("wait", "work1-1", timeout=60).code == 0
    work.check()


def test_a_wait_for_a_silent_host_ends_with_a_word(box, trainctl):
    work = box.workload(gate=True)
    trainctl.ok("submit", work.spec, "--detach")
    wait_until(lambda: work.started, "it runs")
    box.proxy.pause()
    box.proxy.cut()
    before = box.proxy.opened
    waiting = trainctl.start("wait", "work1-1")
    wait_until(lambda: box.proxy.opened > before, "it tries to reach the host")
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=AT_ONCE)
    assert waiting.returncode == 130 and b"interrupted" in err, (waiting.returncode, err)


def test_a_cancel_is_told_when_the_host_answers_again(box, trainctl):
    work, screen = watched(box, trainctl)
    answer(screen, "c")
    screen.expect("canceling")
    box.proxy.resume()
    assert screen.wait(timeout=60) == 130, screen.text
    work.check("canceled")


def test_a_cancel_that_is_killed_is_told_all_the_same(box, trainctl):
    work = box.workload(gate=True)
    trainctl.ok("submit", work.spec, "--detach")
    wait_until(lambda: work.started, "it runs")
    box.proxy.pause()
    box.proxy.cut()
    canceling = trainctl.start("cancel", "work1-1")
    wait_until(lambda: list((trainctl.last_run() / "control").glob("*.json")), "the wish is kept")
    os.killpg(canceling.pid, signal.SIGKILL)
    box.proxy.resume()
    trainctl.run("wait", "work1-1", code=130, timeout=60)
    work.check("canceled")


def test_a_cancel_that_was_told_needs_nobody(box, trainctl):
    work = box.workload(gate=True, stop={"signal": "SIGUSR2", "grace": "1s"}, command=["sh", "-c", "trap 'echo stopping' USR2; echo started >> $STARTS; echo on; while :; do sleep 0.05; done"])
    trainctl.ok("submit", work.spec, "--detach")
    wait_until(lambda: work.started, "it runs")
    there = box.store / "runs" / trainctl.last_run().name
    canceling = trainctl.start("cancel", "work1-1")
    wait_until(lambda: list((there / "control").glob("*.json")), "the host was told")
    os.killpg(canceling.pid, signal.SIGKILL)
    wait_until(lambda: [event for event in jsonl(there / "attempts/1/events.jsonl") if event["type"] == "end"], "it ends without us")
    trainctl.run("wait", "work1-1", code=130, timeout=60)
    assert trainctl.json("show", "work1-1")["state"] == "canceled" and work.started == 1


def uploading(box: Box, trainctl, project, link: Fault) -> PtySession:
    """`attach` of a run whose submit died while it sent a large file, over a slow link."""
    block = hashlib.shake_256(b"noise").digest(1 << 20)
    large: Path = box.scratch / "large.bin"
    large.write_bytes(b"".join(bytes([i]) + block for i in range(LARGE >> 20)))
    project.write("a.run.json", {"command": "echo never", "target": "root@box", "inputs": {"d": str(large)}})
    client = trainctl.start("submit", "a.run.json")
    wait_until(lambda: box.partial(), "the upload")
    os.killpg(client.pid, signal.SIGKILL)
    box.proxy.arm(link)
    box.proxy.cut()
    screen = trainctl.pty("attach", "@")
    wait_until(lambda: link.done, "the upload goes on")
    return screen


def test_ctrl_c_gives_up_an_upload(box, trainctl, project):
    """At 1 MB/s it would take more than a minute."""
    screen = uploading(box, trainctl, project, Fault("drip", after=1, direction="up", pace=20_000))
    screen.interrupt()
    assert screen.wait(timeout=30) == 130, screen.text
    shown = trainctl.json("show", "@")
    assert shown["state"] == "canceled" and not trainctl.log(trainctl.last_run()), shown
    assert box.partial().stat().st_size < LARGE


def test_ctrl_c_twice_leaves_an_upload_over_a_link_that_takes_nothing(box, trainctl, project):
    screen = uploading(box, trainctl, project, Fault("silence", after=3_000_000, direction="up"))
    screen.interrupt()
    wait_until(lambda: list((trainctl.last_run() / "control").glob("*.json")), "the wish is kept")
    screen.interrupt()
    assert screen.wait(timeout=AT_ONCE) == 130, screen.text
    assert "has not confirmed the cancel yet" in screen.text
    trainctl.run("wait", "@", code=130, timeout=60)
    assert trainctl.json("show", "@")["state"] == "canceled"
