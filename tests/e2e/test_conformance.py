# SPDX-License-Identifier: Apache-2.0
"""What every target promises (tests/unit/target/conformance.cpp), of a host behind a real sshd and a real ssh."""

from __future__ import annotations

import json
import re
import subprocess

from harness import BIN_DIR

PROGRAM = (BIN_DIR / "unit-target", "--filenames-as-tags", "[#conformance]")


def test_a_host_behind_sshd_keeps_every_promise(trainctl, make_box):
    box = make_box()
    definition = {"name": "box", "type": "ssh", "hosts": ["root@box"], "ssh_config": str(box.server.ssh_config)}
    listed = subprocess.run([*PROGRAM, "--list-tests"], capture_output=True, text=True).stdout
    cases = int(re.search(r"^(\d+) matching test cases", listed, re.M).group(1))
    assert cases >= 9, listed
    done = subprocess.run(PROGRAM, text=True, capture_output=True, timeout=120,
                          env=trainctl.environment({"TRAINCTL_CONFORMANCE_TARGET": json.dumps(definition)}))
    assert done.returncode == 0, done.stdout + done.stderr
    # Each leaves a run there, if only one that was given up before it began: that is where they were.
    assert len(list((box.store / "runs").iterdir())) == cases, done.stdout
    assert "Starting session" in (box.server.folder / "sshd.log").read_text()
