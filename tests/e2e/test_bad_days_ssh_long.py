# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 1800
"""A link that is down for minutes, with the patience that users have (ssh gives a silent link up after 45 s): in real time, so
only in scripts/test --nightly."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import pytest
from faultproxy import DOWN
from harness import wait_until
from remote import nothing_left, proxied_box

LARGE = 200 << 20
IN_FLIGHT = 8 << 20


@pytest.fixture
def box(trainctl, scratch):
    with proxied_box(trainctl, scratch) as box:
        (scratch / "ssh-bin" / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {box.server.ssh_config} "$@"\n')
        yield box


def size(path: Path | None) -> int:
    return path.stat().st_size if path and path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60, 600])
def test_the_link_is_down_for_minutes(box, trainctl, seconds):
    """One command follows a run that ends meanwhile, another one is in the middle of collecting a large file."""
    brings = box.workload(lines=2, command=["sh", "-c", f"echo started >> $STARTS; head -c {LARGE} /dev/urandom > outputs/result"])
    trainctl.ok("submit", brings.spec, "--no-collect")
    run = brings.folder()
    follows = box.workload(gate=True)
    following = trainctl.start("submit", follows.spec)
    follows.wait_half()
    before = box.proxy.bytes[DOWN]
    collecting = trainctl.start("wait", brings.name)
    wait_until(lambda: size(next((run / "attempts/1/.collect").glob("*"), None)) > 8 << 20, "the copy")
    box.proxy.pause()
    assert collecting.poll() is None, "it was faster than the fault"
    follows.open()
    time.sleep(seconds)  # the length of the fault
    assert following.poll() is None, following.communicate()
    box.proxy.resume()
    out, err = following.communicate(timeout=120)
    assert following.returncode == 0 and out == follows.log, err.decode()
    follows.check()
    _, err = collecting.communicate(timeout=120)
    assert collecting.returncode == 0, err.decode()
    if not (run / "outputs" / "result").exists():
        assert f"trainctl outputs {brings.name} --pull" in err.decode()
        trainctl.ok("outputs", brings.name, "--pull", timeout=60)
    there = box.outputs(run) / "result"
    assert hashlib.sha256((run / "outputs" / "result").read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()
    assert box.proxy.bytes[DOWN] - before < LARGE + IN_FLIGHT and brings.started == 1
    nothing_left(box)
