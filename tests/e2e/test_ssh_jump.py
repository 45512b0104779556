# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""A host that is reached only through another one (ProxyJump in the user's ssh_config)."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import wait_until
from netns import Machines
from remote import Box, nothing_left
from sshd import Sshd

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
JUMP_PORT, BOX_PORT = 2201, 2202


@pytest.fixture
def place(scratch):
    """The jump host on the network, and behind it the box, which listens only where the jump host is."""
    with Machines(1) as machines:
        machine = machines[0]
        jump = Sshd(scratch / "jump", address=machine.address, port=JUMP_PORT, prefix=machine.enter(), alias="jump")
        server = Sshd(scratch / "box", port=BOX_PORT, prefix=machine.enter(), own_tmp=True)
        server.write_ssh_config(BOX_PORT, "  ProxyJump jump\n")
        with open(server.ssh_config, "a") as config:
            config.write(jump.ssh_config.read_text())
        yield jump, server
        for one in (server, jump):
            one.clean_up()


def test_a_host_behind_a_jump_host(trainctl, scratch, place):
    jump, server = place
    box = Box(trainctl, server, scratch)
    direct = subprocess.run([scratch / "ssh-bin" / "ssh", "-o", "ProxyJump=none", "box", "true"], capture_output=True)
    assert direct.returncode == 255, "the box is reached without the jump host"
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    assert jump.sessions() and not jump.traces(), "the jump host only passes bytes on"
    jump.kill()
    jump.start()
    wait_until(jump.sessions, "the client is back through the jump host")
    work.open()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    for master in box.masters():
        os.kill(master, 9)
    jump.kill()
    away = trainctl.run("submit", work.spec, code=75)
    assert "root@box" in away.error and work.started == 1, away
    jump.start()
    nothing_left(box)
