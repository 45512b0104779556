# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""What every target promises (tests/unit/target/conformance.cpp), of jobs of a real Slurm."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from harness import BIN_DIR
from slurm import Cluster
from slurm_runs import cluster, shell  # noqa: F401  (fixtures)

PROGRAM = (BIN_DIR / "unit-target", "--filenames-as-tags", "[#conformance]")


def test_a_cluster_keeps_every_promise(cluster: Cluster, shell, scratch: Path) -> None:
    definition = {"name": "cluster", "type": "slurm", "launcher": "slurm", "directory": str(scratch / "shared")}
    listed = subprocess.run([*PROGRAM, "--list-tests"], capture_output=True, text=True).stdout
    cases = int(re.search(r"^(\d+) matching test cases", listed, re.M).group(1))
    done = subprocess.run([*PROGRAM, "--durations", "yes"], text=True, capture_output=True, timeout=240,
                          env=shell.environment({"TRAINCTL_CONFORMANCE_TARGET": json.dumps(definition)}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((scratch / "shared" / "store" / "runs").iterdir())) == cases, done.stdout
    assert len([state for state in cluster.jobs().values() if state != "PENDING"]) >= cases // 2, cluster.jobs()
