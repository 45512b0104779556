# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""`trainctl selftest` where users need it: on an ssh host and on a Slurm cluster."""

from __future__ import annotations

import os

import pytest
from remote import nothing_left
from slurm_runs import cluster, shell  # noqa: F401  (fixtures)
from sshd import masters


def proven(tested: dict, interruptions: int) -> None:
    assert tested["passed"] and [one["check"] for one in tested["checks"] if not (one["passed"] and one["evidence"])] == [], tested
    assert len(tested["checks"]) >= 6 and tested["interruptions"] >= interruptions, tested


def connections(box) -> int:
    """How many the host has accepted so far."""
    return (box.server.folder / "sshd.log").read_text().count("Accepted publickey")


def test_the_connections_of_a_host_are_cut(make_box, trainctl):
    """Whether a connection was cut is for the host to say; the connections of the user's other commands are left alone."""
    box = make_box()
    assert trainctl.ok("run", "--target", "root@box", "--", "echo", "mine").text == "mine\n"
    [mine] = masters(box.sockets)
    before = connections(box)
    tested = trainctl.json("selftest", "root@box", "--only", "connection", timeout=300)
    assert tested["passed"] and tested["interruptions"] >= 3, tested
    assert connections(box) - before >= 1 + 3, "the first one, and one behind each cut"
    assert masters(box.sockets) == [mine]
    assert not list(box.sockets.glob("t??????")), "its sockets are gone"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a host with a /var/tmp of its own")
def test_an_ssh_host(make_box, trainctl):
    box = make_box()
    proven(trainctl.json("selftest", "root@box", timeout=300), 10)
    assert list((box.store / "runs").iterdir()) == []
    nothing_left(box)


@pytest.mark.slow
def test_a_slurm_cluster(cluster, shell):  # noqa: F811
    proven(shell.json("selftest", "slurm", timeout=600), 5)
    assert not set(cluster.jobs().values()) & {"PENDING", "RUNNING"}
