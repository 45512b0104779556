# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Which cipher a connection gets: the faster one of OpenSSH's own, and only where nobody has decided anything."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from sshd import Sshd

DEFAULT, FAST = "chacha20-poly1305@openssh.com", "aes256-gcm@openssh.com"
# An old ssh: nothing can be put at the head of its list.
OLD_SSH = """#!/bin/sh
case "$*" in *Ciphers=^*) echo "command-line line 0: Bad SSH2 cipher spec '^aes256-gcm@openssh.com'." >&2; exit 255;; esac
exec {ssh} "$@"
"""


@pytest.fixture
def host(trainctl, scratch):
    server = Sshd(scratch / "box", options=["LogLevel DEBUG1"])
    sockets = scratch / "rt"
    sockets.mkdir(mode=0o700)
    trainctl.env["XDG_RUNTIME_DIR"] = str(sockets)
    trainctl.ok("target", "add", "there", "box", "--ssh-config", server.ssh_config, "--directory", server.home / "there")
    yield server
    server.clean_up()


def ciphers(host: Sshd) -> list[str]:
    """Of the connections so far, as the server negotiated them."""
    lines = (host.folder / "sshd.log").read_text().splitlines()
    return [line.split("cipher: ", 1)[1].split()[0] for line in lines if "kex: server->client cipher: " in line]


def processor_has_aes() -> bool:
    facts = Path("/proc/cpuinfo").read_text().split()
    return "aes" in facts


def run(trainctl, **options) -> None:
    trainctl.ok("run", "--target", "there", "--", "true", **options)


def test_where_nothing_is_said_the_faster_default_is_taken(trainctl, host):
    run(trainctl)
    assert ciphers(host) == [FAST if processor_has_aes() else DEFAULT]


@pytest.mark.parametrize("said", ["  Ciphers aes128-ctr,chacha20-poly1305@openssh.com\n", "  ciphers=aes128-ctr\n", "Include more/*.conf\n"])
def test_what_the_configuration_says_stays(trainctl, host, said):
    more = host.folder / "more"
    more.mkdir()
    (more / "a.conf").write_text("Host *\n  Ciphers aes128-ctr\n")
    host.write_ssh_config(host.port, said.replace("more/", f"{more}/"))
    run(trainctl)
    assert ciphers(host) == ["aes128-ctr"]


def test_a_host_without_it_gets_another_one(trainctl, scratch, host):
    host.kill()
    host.options.append("Ciphers aes256-ctr,aes192-ctr")
    host.start()
    run(trainctl)
    assert ciphers(host)[-1] in ("aes192-ctr", "aes256-ctr")


def test_an_old_ssh_is_asked_again_without_it(trainctl, scratch, host):
    real, old = scratch / "real-ssh", scratch / "old-ssh"
    shutil.copy2("/usr/bin/ssh", real)
    old.write_text(OLD_SSH.format(ssh=real))
    old.chmod(0o755)
    argv = trainctl.argv("run", "--target", "there", "--", "echo", "there")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", f'mount --bind {old} /usr/bin/ssh && exec "$@"', "sh", *argv],
                          env=trainctl.env, cwd=trainctl.root, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "there\n"), done.stderr
    assert ciphers(host) == [DEFAULT]
