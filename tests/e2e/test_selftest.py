# SPDX-License-Identifier: Apache-2.0
"""`trainctl selftest`: what it claims, what it leaves behind, and that it notices what is wrong."""

from __future__ import annotations

import json
import os
import signal

from harness import wait_until

CHECKS = ["end", "submit", "follow", "connection", "supervisor", "both", "cancel"]


def leftovers(trainctl) -> list[str]:
    return [path.name for path in trainctl.home.glob("selftest-*")]


def test_this_machine(trainctl):
    told = trainctl.ok("selftest", "local", "--json", "--seed", "7", timeout=300).json
    assert told["passed"] and told["seed"] == 7 and [check["check"] for check in told["checks"]] == CHECKS
    assert all(check["passed"] and check["evidence"] for check in told["checks"]), told
    assert told["interruptions"] >= 8
    assert trainctl.json("ls")["items"] == [] and leftovers(trainctl) == []
    wait_until(lambda: not trainctl.owned(), "nothing of it is left")


def test_a_person_reads_it(trainctl):
    done = trainctl.ok("selftest", "--only", "end", "--keep")
    assert "✓" in done.text and "1 of 1 checks passed" in done.text and "sha256" in done.text
    [kept] = leftovers(trainctl)
    assert f"TRAINCTL_HOME={trainctl.home / kept}" in done.error
    assert len(list((trainctl.home / kept / "runs").iterdir())) == 2


def test_wrong_words(trainctl):
    assert "there are end, submit" in trainctl.run("selftest", "--only", "nonsense", code=2).error
    assert "nowhere" in trainctl.run("selftest", "nowhere-at-all").error
    assert leftovers(trainctl) == []


def test_it_says_what_is_wrong(trainctl):
    """Where no shell is found nothing is proven."""
    done = trainctl.run("selftest", "--only", "end", "--json", env={"PATH": "/nowhere"}, code=1)
    [check] = done.json["checks"]
    assert done.json["passed"] is False and check["passed"] is False and check["error"]["message"]
    assert leftovers(trainctl) == []


def test_an_interrupted_one_cleans_up(trainctl):
    process = trainctl.start("selftest", "--only", "cancel")
    wait_until(lambda: list(trainctl.home.glob("selftest-*/runs/*/attempts/1/logs/std.log")), "a run of it writes")
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert leftovers(trainctl) == []
    wait_until(lambda: not trainctl.owned(), "nothing of it is left")
