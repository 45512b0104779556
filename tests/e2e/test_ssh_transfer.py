# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""What goes over the link to a host, measured: only what the host has not, and after a cut only the rest."""

from __future__ import annotations

import random
import re

import pytest
from faultproxy import DOWN, UP, Fault
from remote import Box, proxied_box

LARGE = 100 << 20  # above 64 MiB the part that came is kept
CUT_AT = 40 << 20
IN_FLIGHT = 8 << 20  # what ssh and the kernels hold, and a cut takes with it


@pytest.fixture
def box(trainctl, scratch):
    """A host that has the runner already."""
    with proxied_box(trainctl, scratch) as box:
        trainctl.ok("run", "--target", "root@box", "--", "true")
        yield box


def measured(box: Box, direction: str, command) -> int:
    """The bytes that came to the link from that side meanwhile."""
    before = box.proxy.bytes[direction]
    command()
    return box.proxy.bytes[direction] - before


def cut_next(box: Box, direction: str) -> Fault:
    """The next connection is cut in the middle of a large file."""
    fault = Fault("cut", after=CUT_AT, direction=direction)
    box.proxy.arm(fault)
    box.proxy.cut()
    return fault


def test_one_changed_file_of_many_is_all_that_is_sent(box, trainctl, project):
    source = random.Random(1)
    for i in range(300):
        project.write(f"d{i % 7}/f{i}.bin", source.randbytes(4000))
    project.write("a.run.json", {"command": "cat d1/f1.bin | wc -c", "target": "root@box"})
    first = measured(box, UP, lambda: trainctl.ok("submit", "a.run.json"))
    project.write("d1/f1.bin", source.randbytes(5000))
    second = measured(box, UP, lambda: trainctl.ok("submit", "a.run.json"))
    assert trainctl.ok("logs", "@").text == "5000\n"
    assert first > 1_200_000 and second < 60_000, (first, second)


def test_after_a_cut_upload_only_the_rest_is_sent_and_said(box, trainctl, project, scratch):
    large = scratch / "large.bin"
    large.write_bytes(random.Random(2).randbytes(LARGE))
    project.write("a.run.json", {"command": "wc -c < ${{inputs.d}}", "target": "root@box", "inputs": {"d": str(large)}})
    fault = cut_next(box, UP)

    def both() -> None:
        lost = trainctl.run("submit", "a.run.json", code=75)
        assert fault.done and "attach a-1 goes on" in lost.error, lost
        box.proxy.arm(Fault("delay", after=1, direction=UP, seconds=0.001))  # slow enough to be looked at
        screen = trainctl.pty("submit", "a.run.json")
        screen.expect(r"inputs: [\d.]+ MB of [\d.]+ MB, [\d.]+ [KM]B/s \(([\d.]+) MB were there\)", timeout=60)
        assert screen.wait(timeout=120) == 0, screen.text
        there = re.search(r"inputs: \d files?, [\d.]+ MB in [\d.]+ s, [\d.]+ [KM]B/s \(([\d.]+) MB were there\)", screen.text)
        assert CUT_AT - IN_FLIGHT < float(there.group(1)) * 1e6 < CUT_AT + 1e6, screen.text

    sent = measured(box, UP, both)
    assert trainctl.ok("logs", "@").text == f"{LARGE}\n"
    assert LARGE < sent < LARGE + IN_FLIGHT, sent


def test_after_a_cut_collect_only_the_rest_comes(box, trainctl, project):
    project.write("a.run.json", {"command": f"head -c {LARGE} /dev/urandom > outputs/large.bin", "target": "root@box"})
    trainctl.ok("submit", "a.run.json", "--no-collect")
    fault = cut_next(box, DOWN)

    def both() -> None:
        lost = trainctl.run("outputs", "@", "--pull", code=75)
        assert fault.done, lost
        trainctl.ok("outputs", "@", "--pull", timeout=60)

    came = measured(box, DOWN, both)
    assert (trainctl.last_run() / "outputs" / "large.bin").stat().st_size == LARGE
    assert LARGE < came < LARGE + IN_FLIGHT, came
