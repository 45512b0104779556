# SPDX-License-Identifier: Apache-2.0
"""The server that the tests of remote hosts use: it is real, and does what its methods say."""

from __future__ import annotations

import subprocess

import pytest
from faultproxy import DOWN, Fault, FaultProxy
from harness import wait_until
from sshd import Sshd


@pytest.fixture
def host(scratch):
    one = Sshd(scratch / "box")
    yield one
    one.clean_up()


def ssh(host: Sshd, command: str, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(["ssh", "-T", "-n", "-F", host.ssh_config, "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *options, "box", command],
                          capture_output=True, text=True, timeout=60)


def test_a_session_and_what_it_leaves(host):
    assert ssh(host, "echo $HOME").stdout.strip() == str(host.home)
    ssh(host, "echo x > ~/left; setsid -f sleep 600 > /dev/null 2>&1 < /dev/null")
    wait_until(lambda: list(host.processes().values()) == ["sleep 600"], "the process it left")
    host.kill()
    assert ssh(host, "true").returncode == 255 and len(host.processes()) == 1
    host.start()
    before = ssh(host, "cat $TRAINCTL_BOOT_ID_FILE").stdout
    host.reboot()
    assert ssh(host, "cat $TRAINCTL_BOOT_ID_FILE").stdout not in ("", before)
    assert host.processes() == {} and host.files() == ["left"]


def test_a_changed_key_is_refused(host):
    host.kill()
    host.change_host_key()
    host.start()
    done = ssh(host, "true")
    assert done.returncode == 255 and "HOST IDENTIFICATION HAS CHANGED" in done.stderr


def test_a_flipped_byte_is_noticed_by_ssh(host):
    """Encryption is above TCP's checksum: what is flipped below it never reaches us as data."""
    with FaultProxy((host.address, host.port)) as proxy:
        host.write_ssh_config(proxy.port)
        assert ssh(host, "echo through").stdout == "through\n"
        proxy.arm(Fault("flip", 20_000, DOWN))
        done = ssh(host, "head -c 200000 /dev/zero")
        assert done.returncode == 255 and len(done.stdout) < 200_000 and done.stdout.strip("\0") == ""
