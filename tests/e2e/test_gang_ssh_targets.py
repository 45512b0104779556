# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""What is done to a target of several ssh hosts as a whole: looking at it, cleaning it, proving it. One of them may be down."""

from __future__ import annotations

import os
import urllib.request

import pytest
from gang_ssh import hosts
from test_gang_ssh import SERVES

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces, a /var/tmp for each host")


@pytest.fixture
def trio(trainctl, project, scratch):
    """Three hosts that share no folder at all."""
    with hosts(trainctl, project, scratch, count=3, own_tmp=True) as made:
        yield made


def used(trio) -> None:
    """A run has been on all hosts."""
    work = trio.workload("used")
    work.open()
    trio.trainctl.ok("submit", work.spec)
    work.check()
    assert all(server.traces() for server in trio.servers)


def test_each_host_is_tested_and_all_are_cleaned(trio, trainctl):
    used(trio)
    items = trainctl.json("target", "test", "pair", code=None)["items"]
    assert [item["host"] for item in items] == ["root@a", "root@b", "root@c"] and all(item["findings"] for item in items)
    text = trainctl.run("target", "test", "pair").text
    assert [line for line in text.splitlines() if line.startswith("root@")] == ["root@a", "root@b", "root@c"]
    trainctl.ok("target", "clean", "pair", "--all", "--yes")
    assert [server.traces() for server in trio.servers] == [[], [], []]


@pytest.mark.parametrize("down", [0, 1])
def test_one_host_is_down_and_the_others_are_done(trio, trainctl, down):
    used(trio)
    trio.servers[down].kill()
    name = f"root@{'abc'[down]}"
    tested = trainctl.json("target", "test", "pair", code=75)["items"]
    assert [item["host"] for item in tested if "error" in item] == [name] and len(tested) == 3
    assert all(item["findings"] for item in tested if "error" not in item)
    cleaned = trainctl.run("target", "clean", "pair", "--all", "--yes", code=75)
    assert f"{name} refuses connections" in cleaned.error, cleaned
    assert [bool(server.traces()) for server in trio.servers] == [k == down for k in range(3)]
    trio.servers[down].start()
    trainctl.ok("target", "clean", "pair", "--all", "--yes")
    assert trio.servers[down].traces() == []


def test_exec_a_tunnel_and_a_followed_log_share_a_host_that_allows_one_session(make_box, trainctl, project):
    """Who finds the shared connection taken makes one of its own."""
    make_box(options=["MaxSessions 1"])
    project.script(SERVES)
    trainctl.ok("submit", project.spec(target="root@box", environment_variables={"RANK": "0"}), "--detach")
    following = trainctl.pty("logs", "-f", "@")
    port = following.expect(r"(\d{4,5})\r?\n").group(1)
    tunnel = trainctl.pty("tunnel", "@", f"0:{port}")
    here = int(tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1))
    for _ in range(3):
        assert trainctl.ok("exec", "@", "--", "echo", "beside").out == b"beside\n"
        assert urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=60).read() == b"rank 0"
    assert following.process.poll() is None
    tunnel.interrupt()
    assert tunnel.wait() == 130
    trainctl.ok("cancel", "@")
    assert following.wait() == 130 or trainctl.json("show", "@")["state"] == "canceled"


@pytest.mark.slow
def test_a_target_of_several_hosts_is_proven(trio, trainctl):
    """Its runs are on one machine."""
    tested = trainctl.json("selftest", "pair", timeout=300)
    assert tested["passed"] and tested["interruptions"] >= 10, tested
    trio.wait_nothing_runs()
    trainctl.ok("target", "clean", "pair", "--all", "--yes")
    assert [server.traces() for server in trio.servers] == [[], [], []]
