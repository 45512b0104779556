# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Ways to a host that differ from the usual: IPv6, a server with a banner, a configuration that takes its time."""

from __future__ import annotations

import pytest
from remote import Box, nothing_left
from sshd import Sshd, free_port

BANNER = "*** Authorised use only. ***\nTRAINCTL-x run\n"


@pytest.fixture
def box6(trainctl, scratch):
    """Listens on ::1 only; ssh finds port and key by that name."""
    server = Sshd(scratch / "box", address="::1", port=free_port(), own_tmp=True)
    text = server.ssh_config.read_text()
    server.ssh_config.write_text(text.replace("Host box\n", "Host box ::1\n"))
    yield Box(trainctl, server, scratch)
    server.clean_up()


@pytest.mark.parametrize("target", ["root@box", "root@::1", "root@[::1]"])
def test_a_host_that_only_speaks_ipv6(trainctl, box6, target):
    work = box6.workload(gate=True, target=target)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    assert trainctl.ok("exec", work.name, "--", "sh", "-c", "echo $TRAINCTL_RUN_ID").text.strip() == work.folder().name
    work.open()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    box6.trainctl.ok("target", "clean", target, "--all", "--yes")
    assert box6.server.traces() == []


def test_an_ipv6_address_with_a_port(trainctl, box6):
    text = box6.server.ssh_config.read_text()
    box6.server.ssh_config.write_text("".join(line for line in text.splitlines(keepends=True) if "Port" not in line))
    work = box6.workload(target=f"root@[::1]:{box6.server.port}")
    trainctl.ok("submit", work.spec)
    work.check()


def test_a_banner_does_no_harm(trainctl, make_box, scratch):
    (scratch / "banner").write_text(BANNER * 50)
    box = make_box(options=[f"Banner {scratch / 'banner'}"])
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    done = trainctl.run("exec", work.name, "--", "echo", "beside", code=0)
    assert (done.out, done.err) == (b"beside\n", b"")
    work.open()
    out, err = client.communicate(timeout=60)
    assert client.returncode == 0 and out == work.log and b"Authorised" not in err, err.decode()
    work.check()
    nothing_left(box)


def test_a_slow_match_exec_is_waited_for(trainctl, make_box, scratch):
    """It runs at every start of ssh; what it needs is less than the patience with a host."""
    box = make_box()
    box.server.ssh_config.write_text(f'Match exec "echo asked >> {scratch}/asked; sleep 1"\n' + box.server.ssh_config.read_text())
    work = box.workload()
    trainctl.ok("submit", work.spec)
    work.check()
    assert (scratch / "asked").read_text()
    nothing_left(box)


@pytest.mark.slow  # 5 s for the name, 45 s for the host
def test_a_match_exec_that_never_ends_is_given_up(trainctl, make_box):
    box = make_box()
    config = box.server.ssh_config.read_text()
    box.server.ssh_config.write_text('Match exec "exec sleep 600"\n' + config)
    work = box.workload()
    away = trainctl.run("submit", work.spec, code=75, timeout=150)
    assert "root@box" in away.error and work.started == 0, away
    box.server.ssh_config.write_text(config)
    trainctl.ok("submit", work.spec)
    assert work.started == 1
    nothing_left(box)
