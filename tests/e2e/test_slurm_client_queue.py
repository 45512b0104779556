# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""Slurm's queue through the command: what it refuses, what it takes and never starts, how often it is asked, and what it forgets."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from harness import jsonl, wait_until
from slurm import Cluster
from slurm_runs import cluster, define, shell, stream  # noqa: F401  (fixtures)

REFUSED = {
    "constraint": ({"constraint": "moon"}, "Slurm refused the job: Invalid feature specification"),
    "memory": ({"options": ["--mem=900G"]}, "Slurm refused the job: Memory specification can not be satisfied"),
    "gpus": ({"gres": "gpu:9"}, "Slurm refused the job: Requested node configuration is not available"),
    "partition": ({"partition": "nowhere"}, "Slurm refused the job: invalid partition specified: nowhere"),
    "nodelist": ({"nodelist": "n9"}, "Slurm refused the job: Invalid node name specified"),
    "reservation": ({"reservation": "none"}, "Slurm refused the job: Requested reservation is invalid"),
    "licenses": ({"licenses": "moon:1"}, "Slurm refused the job: Invalid license specification"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_slurm_refuses_ends_at_once(shell, stream, what: str) -> None:
    slurm, words = REFUSED[what]
    define(shell, "wish", **slurm)
    run = stream(gate=False, target="wish")
    refused = shell.run("submit", run.spec, code=3)
    assert words in refused.error, refused
    assert words in run.show()["message"] and run.listed()["message"] == run.show()["message"]
    assert (run.show()["state"], run.show()["cause"], run.started()) == ("failed", "start", [])
    shell.run("wait", run.name, code=3)


FLAGGED = {
    "cpus": ({"options": ["--cpus-per-task=64"]}, "asks for more than its partition can ever give"),
    "nodes": ({"options": ["--nodes=5"]}, "asks for more nodes than its partition allows"),
    "dependency": ({"dependency": "afterok:{failed}"}, "the job it depends on did not end as it should"),
    "constraint": ({"constraint": "fast", "options": ["--hold"]}, "no node has what it asks for"),
}


@pytest.mark.parametrize("what", FLAGGED)
def test_what_slurm_takes_and_never_starts_is_flagged(cluster: Cluster, shell, stream, what: str) -> None:
    slurm, words = FLAGGED[what]
    if what == "dependency":
        failed = stream(name="failed", code=3, gate=False)
        shell.run("submit", failed.spec, code=1)
        slurm = {"dependency": f"afterok:{failed.job()}"}
    define(shell, "wish", **slurm)
    run = stream(target="wish")
    client = shell.pty("submit", run.spec)
    if what == "constraint":
        client.expect("held")
        cluster.run("scontrol", "update", "NodeName=n[1-2]", "AvailableFeatures=slow", "ActiveFeatures=slow")
        cluster.run("scontrol", "release", run.job())
    try:
        client.expect(words + ".*it will not start as it is")
        assert words in run.show()["message"] and words in shell.ok("ls").text and run.show()["state"] == "queued"
        shell.ok("cancel", run.name)
        assert client.wait() == 130
    finally:
        cluster.run("scontrol", "update", "NodeName=n[1-2]", "AvailableFeatures=fast", "ActiveFeatures=fast")
    run.check("canceled", "canceled", ["none"])


# Writes down who asked: the process that runs it, and the one above that.
COUNTED = """#!/bin/sh
echo "begin $PPID $(cut -d' ' -f4 /proc/$PPID/stat)" >> "$0.log"
/usr/bin/squeue "$@"
code=$?
echo "end $PPID -" >> "$0.log"
exit $code
"""


class Counted:
    """From now on the squeue of the command that writes down who asked."""

    def __init__(self, shell):
        self.tool = shell.root / "tools" / "squeue"
        self.tool.parent.mkdir()
        self.tool.write_text(COUNTED)
        self.tool.chmod(0o755)
        shell.env["PATH"] = f"{self.tool.parent}:{shell.env['PATH']}"

    def lines(self) -> list[list[str]]:
        log = Path(f"{self.tool}.log")
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def calls(self) -> list[list[str]]:
        return [line[1:] for line in self.lines() if line[0] == "begin"]


def test_ten_runs_are_watched_by_one_squeue(shell, stream) -> None:
    """Whoever waits for ten runs asks once for all of them, never twice at a time, and less and less often."""
    runs = [stream(name=f"r{i}").submit() for i in range(10)]
    for run in runs:
        run.job()
    counted = Counted(shell)
    waiting = shell.start("wait", *(run.name for run in runs))
    wait_until(lambda: len(counted.calls()) >= 5, "it has asked some times")
    for run in runs:
        run.open()
    assert waiting.wait(120) == 0
    assert len({above for _, above in counted.calls()}) == 1, counted.lines()
    assert [line[0] for line in counted.lines()][: 2 * len(counted.calls()) - 1: 2] == ["begin"] * len(counted.calls()), counted.lines()
    assert len(counted.calls()) < len(runs), counted.lines()
    for run in runs:
        run.check("succeeded", "exit", ["all"])


@pytest.mark.slow
@pytest.mark.parametrize("held", [True, False])
def test_ten_cancels_at_once(shell, stream, capsys, held: bool) -> None:
    """Each is a process of its own on the submit host and asks for itself until its run has ended; how often is printed. (Eight jobs
    run at a time here.)"""
    define(shell, "held", options=["--hold"] if held else [])
    runs = [stream(name=f"r{i}", target="held").submit() for i in range(10 if held else 8)]
    for run in runs:
        run.job() if held else run.wait_half()
    counted = Counted(shell)
    shell.ok("cancel", *(run.name for run in runs))
    calls = counted.calls()
    alone = [asker for asker, above in calls if above == "1"]
    assert alone, counted.lines()
    with capsys.disabled():
        print(f"\n{len(runs)} cancels of {'waiting' if held else 'running'} jobs: {len(calls)} calls of squeue, "
              f"{len(alone)} by {len(set(alone))} processes that cancel")
    for run in runs:
        run.check("canceled", "canceled", ["none" if held else "half"])


@pytest.fixture
def forgetful(cluster: Cluster):
    """The controller forgets what is over when it looks, which is once a minute."""
    cluster.change(MinJobAge=2)
    yield
    cluster.change(MinJobAge=300)


@pytest.mark.slow
def test_what_the_controller_has_forgotten(cluster: Cluster, shell, stream, forgetful) -> None:
    """Nobody looked meanwhile. A run that wrote its end has it; one that did not is lost, when the evidence is old enough; one that waits
    is neither."""
    define(shell, "soon", evidence_after="2s")
    define(shell, "held", evidence_after="2s", options=["--hold"])
    done, killed = (stream(name=name, target="soon", code=7, gate=name == "killed").submit() for name in ("done", "killed"))
    canceled, waiting = (stream(name=name, target="held").submit() for name in ("canceled", "waiting"))
    killed.wait_half()
    os.kill(jsonl(killed.there() / "events.jsonl")[0]["pid"], signal.SIGKILL)
    waiting.job()
    cluster.run("scancel", canceled.job())
    wait_until(lambda: list(cluster.jobs().values()) == ["PENDING"], "the others are forgotten", 180)
    shell.run("wait", done.name, code=1)
    assert done.check("failed", "exit", ["all"], jobs=0)["exit_code"] == 7
    for run, part in ((canceled, "none"), (killed, "half")):
        assert "Slurm has forgotten job" in shell.run("wait", run.name, code=1).error
        run.check("lost", "lost", [part], jobs=0)
    shell.ok("ls", "--refresh")
    assert waiting.show()["state"] == "queued"
    cluster.run("scontrol", "release", waiting.job())
    waiting.open()
    shell.ok("wait", waiting.name)
    waiting.check("succeeded", "exit", ["all"])
