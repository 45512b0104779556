# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""`trainctl selftest` where users need it: on an ssh host and on a Slurm cluster."""

from __future__ import annotations

import os

import pytest
from remote import nothing_left
from slurm_runs import cluster, shell  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow


def proven(tested: dict, interruptions: int) -> None:
    assert tested["passed"] and [one["check"] for one in tested["checks"] if not (one["passed"] and one["evidence"])] == [], tested
    assert len(tested["checks"]) >= 6 and tested["interruptions"] >= interruptions, tested


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a host with a /var/tmp of its own")
def test_an_ssh_host(make_box, trainctl):
    box = make_box()
    proven(trainctl.json("selftest", "root@box", timeout=300), 10)
    assert list((box.store / "runs").iterdir()) == []
    nothing_left(box)


def test_a_slurm_cluster(cluster, shell):  # noqa: F811
    proven(shell.json("selftest", "slurm", timeout=600), 5)
    assert not set(cluster.jobs().values()) & {"PENDING", "RUNNING"}
