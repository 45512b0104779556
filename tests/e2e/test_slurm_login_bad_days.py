# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""Bad days between this machine, a login node behind a real sshd, and the jobs of a real Slurm: links that are cut, servers that die, a
login node that restarts, commands that are killed. After each there is exactly one job of the run, it started once, each byte of the log
is there once, the end is true, and nothing is left."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from harness import wait_until
from remote import Box, Work, nothing_left, proxied_box
from slurm import Cluster
from slurm_runs import SEED, cluster  # noqa: F401  (a fixture)
from test_bad_days_ssh import random_day

# Waits before it asks, or between its answer and telling it, for as long as the test wants.
SBATCH = """#!/bin/sh
while [ -e "$0.before" ]; do touch "$0.asked"; sleep 0.02; done
/usr/bin/sbatch "$@" > "$0.$$"; code=$?
while [ -e "$0.after" ]; do touch "$0.answered"; sleep 0.02; done
cat "$0.$$"
exit $code
"""


@pytest.fixture
def tools(scratch: Path) -> Path:
    """Where the login node finds sbatch first."""
    place = scratch / "tools"
    place.mkdir()
    (place / "sbatch").write_text(SBATCH)
    (place / "sbatch").chmod(0o755)
    return place


@pytest.fixture
def box(cluster: Cluster, trainctl, scratch: Path, tools: Path):
    variables = {"SLURM_CONF": cluster.env["SLURM_CONF"], "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    with proxied_box(trainctl, scratch, own_tmp=False, variables=variables) as box:
        target = trainctl.user_home / ".config" / "trainctl" / "targets" / "cluster.json"
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps({"type": "target", "host": "root@box", "launcher": "slurm", "slurm": {"partition": "main"}}))
        try:
            yield box
        finally:
            cluster.run("scancel", "--user=root", check=False)
            for hold in tools.glob("sbatch.[ab][fe]*"):
                hold.unlink()


def work_of(box: Box, **options) -> Work:
    return box.workload(target="cluster", **options)


def jobs_of(cluster: Cluster, work: Work) -> list[str]:
    lines = cluster.run("squeue", "-h", "-t", "all", "-o", "%i|%k").stdout.splitlines()
    return [line for line in lines if line.endswith(f"|trainctl:{work.folder().name}")]


def followed(box: Box, trainctl):
    work = work_of(box, gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    return work, client


def went_on(box: Box, cluster: Cluster, work: Work, client) -> None:
    """The command ended as if nothing had happened, and so did the run; there was one job."""
    out, err = client.communicate(timeout=180)
    assert client.returncode == 0 and out == work.log, err.decode()
    all_is_well(box, cluster, work)


def all_is_well(box: Box, cluster: Cluster, work: Work) -> None:
    work.check()
    assert len(jobs_of(cluster, work)) == 1
    wait_until(lambda: not set(cluster.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING"}, "no job is left")
    nothing_left(box, "cluster")


def reboot_login_node(box: Box) -> None:
    """Everything on it dies, it comes back with another boot id; the nodes work on."""
    here = os.readlink("/proc/self/ns/net")
    box.server.kill()
    for pid in box.server.processes():
        try:
            if os.readlink(f"/proc/{pid}/ns/net") == here:
                os.kill(pid, signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue
    box.server.boot += 1
    box.server.boot_file.write_text(f"00000000-0000-4000-8000-{box.server.boot:012d}\n")
    box.server.start()


def test_the_link_is_down_while_the_job_works(cluster: Cluster, trainctl, box) -> None:
    """ssh gives the link up. ls comes back and says since when nothing is known; the same command goes on at the exact byte."""
    work, client = followed(box, trainctl)
    box.proxy.pause()
    trainctl.ok("ls", "--refresh", timeout=30)
    wait_until(lambda: "running, unknown since" in trainctl.ok("ls").text, "ls says since when")
    assert trainctl.json("show", work.name)["contact"]["problem"]
    work.open()
    wait_until(work.ended_there, "it has ended there")
    assert client.poll() is None
    box.proxy.resume()
    went_on(box, cluster, work, client)


def test_the_link_is_cut_again_and_again(cluster: Cluster, trainctl, box) -> None:
    work, client = followed(box, trainctl)
    for _ in range(3):
        before = box.proxy.opened
        box.proxy.cut(reset=True)
        wait_until(lambda before=before: box.proxy.opened > before, "the client is back")
    work.open()
    went_on(box, cluster, work, client)


def test_sshd_dies_again_and_again(cluster: Cluster, trainctl, box) -> None:
    work, client = followed(box, trainctl)
    for _ in range(3):
        box.server.kill()
        box.server.start()
        wait_until(box.server.sessions, "the client is back")
    work.open()
    went_on(box, cluster, work, client)


def test_the_login_node_restarts_while_the_job_works(cluster: Cluster, trainctl, box) -> None:
    work, client = followed(box, trainctl)
    reboot_login_node(box)
    wait_until(box.server.sessions, "the client is back")
    assert work.started == 1
    work.open()
    went_on(box, cluster, work, client)


@pytest.mark.parametrize("hold", ["before", "after"])
@pytest.mark.parametrize("fault", ["cut", "reboot"])
def test_while_sbatch_is_called(cluster: Cluster, trainctl, box, tools: Path, hold: str, fault: str) -> None:
    """Before the controller has the job, and when it has it and nobody was told: one job."""
    work = work_of(box)
    (tools / f"sbatch.{hold}").touch()
    client = trainctl.start("submit", work.spec)
    wait_until((tools / ("sbatch.asked" if hold == "before" else "sbatch.answered")).exists, "sbatch is called")
    if fault == "cut":
        box.proxy.cut(reset=True)
    else:
        reboot_login_node(box)
    (tools / f"sbatch.{hold}").unlink()
    went_on(box, cluster, work, client)


POINTS = ["recorded", "there", "asked", "answered"]


@pytest.mark.parametrize("point", POINTS)
def test_the_command_is_killed_in_a_submit(cluster: Cluster, trainctl, box, tools: Path, point: str) -> None:
    """And another one takes it up."""
    work = work_of(box)
    reached = {"recorded": lambda: work.folder(), "there": lambda: (box.store / "runs" / work.folder().name).exists(),
               "asked": (tools / "sbatch.asked").exists, "answered": (tools / "sbatch.answered").exists}[point]
    hold = tools / ("sbatch.after" if point == "answered" else "sbatch.before")
    hold.touch()
    client = trainctl.start("submit", work.spec)
    wait_until(reached, point)
    os.killpg(client.pid, signal.SIGKILL)
    assert client.wait() == -signal.SIGKILL
    hold.unlink()
    again = trainctl.ok("attach", work.name)
    assert again.out == work.log
    all_is_well(box, cluster, work)


def random_days(cluster: Cluster, box: Box, trainctl, count: int) -> Counter[str]:
    source, happened = random.Random(SEED), Counter()
    trainctl.ok("run", "--target", "cluster", "--", "true")  # brings the runner
    for number in range(count):
        try:
            happened += random_day(box, trainctl, source, target="cluster")
        except AssertionError as error:
            raise AssertionError(f"day {number} of seed {SEED}: {error}") from None
    comments = cluster.run("squeue", "-h", "-t", "all", "-o", "%k").stdout.split()
    runs = [run.name for run in trainctl.runs()]
    assert len(runs) == count + 1 and all(comments.count(f"trainctl:{run}") == 1 for run in runs), (runs, comments)
    nothing_left(box, "cluster")
    return happened


def test_random_days(cluster: Cluster, trainctl, box) -> None:
    random_days(cluster, box, trainctl, 3)


@pytest.mark.slow
def test_many_random_days(cluster: Cluster, trainctl, box, capsys) -> None:
    happened = random_days(cluster, box, trainctl, 60)
    with capsys.disabled():
        print(f"\n60 days of seed {SEED}: {happened.total()} faults: {dict(happened)}")
