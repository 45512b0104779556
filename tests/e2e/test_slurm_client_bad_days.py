# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""Bad days of a real Slurm as whoever uses the command sees them: jobs that are put back, canceled by others, without a controller, without
nodes, without time. After each the run is there, each attempt started once, its logs are byte for byte what follows from the seed, its end
is true, and `target clean` leaves nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import wait_until
from slurm import Cluster
from slurm_runs import cluster, define, shell, stream  # noqa: F401  (fixtures)


def test_a_requeue_is_a_second_attempt(cluster: Cluster, shell, stream) -> None:
    run = stream().submit()
    follower = shell.start("attach", run.name)
    run.wait_half()
    job = run.job()
    cluster.run("scontrol", "requeue", job)
    wait_until(lambda: "after a requeue Slurm waits" in (run.show()["message"] or ""), "show says why it waits")
    assert run.show()["state"] == run.listed()["state"] == "queued"
    cluster.skip_requeue_delay(job)
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0 and out == run.part("all"), err.decode()
    assert "retrying: Slurm has put the job back into the queue" in err.decode() and "attempt 2" in err.decode()
    assert run.check("succeeded", "exit", ["half", "rest"])["exit_code"] == 0
    assert re.search(r"\nattempts +2: failed( \(exit \d+\))?, succeeded\n", shell.ok("show", run.name).text)
    assert shell.ok("attach", run.name).out == run.part("rest") and list(run.jobs()) == [job]  # from its last attempt on


def test_scancel_by_somebody_else(cluster: Cluster, shell, stream) -> None:
    run = stream().submit()
    waiter = shell.start("wait", run.name)
    run.wait_half()
    cluster.run("scancel", run.job())
    assert waiter.wait(60) == 130 and "canceled in Slurm" in waiter.stderr.read().decode()
    shown = run.check("canceled", "canceled", ["half"])
    assert "canceled in Slurm" in shown["message"] and "canceled in Slurm" in shell.ok("ls").text
    define(shell, "held", options=["--hold"])
    held = stream(name="held", target="held").submit()
    wait_until(lambda: shell.ok("ls", "--refresh") and "held" in (held.show()["message"] or ""), "show says that it is held")
    cluster.run("scancel", held.job())
    assert "canceled in Slurm" in shell.run("wait", held.name, code=130).error
    held.check("canceled", "canceled", ["none"])


def test_the_controller_dies_and_comes_back(cluster: Cluster, shell, stream) -> None:
    """No controller is needed to see a run, nor for its end. What is submitted meanwhile says what it waits for, and is one job."""
    run, late = stream(code=3).submit(), stream(name="late", gate=False)
    follower = shell.start("attach", run.name)
    run.wait_half()
    cluster.wait_saved(run.job())
    cluster.kill_controller()
    try:
        submitting = shell.start("submit", late.spec)
        wait_until(lambda: "controller, which does not answer" in (late.show()["message"] or ""), "the late one says what it waits for", 90)
        shown = shell.ok("ls", "--refresh", timeout=30).text
        assert "controller, which does not answer" in shown and run.listed()["state"] == "running" and late.listed()["state"] == "queued"
        run.open()
        assert follower.wait(60) == 1 and run.show()["exit_code"] == 3
    finally:
        cluster.start_controller()
    out, err = submitting.communicate(timeout=120)
    assert submitting.returncode == 0 and out == late.part("all"), err.decode()
    run.check("failed", "exit", ["all"])
    late.check("succeeded", "exit", ["all"])
    wait_until(lambda: cluster.idle() == 2, "the nodes are in service", 60)


@contextmanager
def powered_off(cluster: Cluster, node: str, declared: bool) -> Iterator[None]:
    """Everything on the node dies. Slurm notices after SlurmdTimeout, or is told. At the end of the block it is in service again."""
    cluster.power_off(node)
    if declared:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=dead")
    try:
        yield
    finally:
        cluster.start_node(node)
        if declared:
            resume = ("scontrol", "update", f"NodeName={node}", "State=RESUME")
            wait_until(lambda: cluster.run(*resume, check=False).returncode == 0, "the node may work")
        wait_until(lambda: cluster.idle() == 2, "the node is back", 90)


NOTICED = [True, pytest.param(False, marks=pytest.mark.slow)]


@pytest.mark.parametrize("declared", NOTICED)
def test_its_node_dies(cluster: Cluster, shell, stream, declared: bool) -> None:
    run = stream().submit()
    follower = shell.start("attach", run.name)
    run.wait_half()
    job, node = run.job(), run.nodes()[0]
    with powered_off(cluster, node, declared):
        cluster.skip_requeue_delay(job)
        out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0 and out == run.part("all"), err.decode()
    assert f"retrying: node {node} was lost, Slurm has " in err.decode(), err.decode()
    run.check("succeeded", "exit", ["half", "rest"])
    assert run.end_of(1)["cause"] == "node"


@pytest.mark.parametrize("declared", NOTICED)
def test_a_node_dies_that_is_not_the_batch_host(cluster: Cluster, shell, stream, declared: bool) -> None:
    """The job waits until there are two nodes again. Who is named as lost is lost."""
    run = stream(ranks=2).submit()
    follower = shell.start("attach", run.name)
    run.wait_half()
    job, nodes = run.job(), run.nodes()
    with powered_off(cluster, nodes[1], declared):
        wait_until(lambda: run.jobs()[job] == "PENDING", "the job is in the queue again", 120)
    cluster.skip_requeue_delay(job)
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0 and out == run.part("all"), err.decode()
    run.check("succeeded", "exit", ["half", "rest"])
    first = run.end_of(1)
    assert first["cause"] == "node" and first["message"].startswith("a node of the job was lost"), first


def test_drained_before_it_begins(cluster: Cluster, shell, stream) -> None:
    run = stream(gate=False)
    cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=maintenance")
    try:
        screen = shell.pty("submit", run.spec)
        screen.expect("the nodes it needs are down, drained or reserved")
        assert run.show()["state"] == "queued" and "down, drained or reserved" in run.show()["message"]
        assert "down, drained or reserved" in shell.ok("ls").text and "will not start" not in run.show()["message"]
    finally:
        cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME")
    assert screen.wait(90) == 0
    run.check("succeeded", "exit", ["all"])


def test_the_time_limit_of_the_script(cluster: Cluster, shell, stream) -> None:
    run = stream(saves="warned", limits={"timeout": "3s"}, retry={"max": 1, "on": ["time_limit"], "backoff": "100ms", "resume": True},
                 stop={"signal": "SIGINT", "grace": "2s", "warn": "2s", "warn_signal": "SIGUSR2"}).submit()
    follower = shell.start("attach", run.name)
    job = run.job()
    cluster.skip_requeue_delay(job)
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0 and out == run.part("all"), err.decode()
    run.check("succeeded", "exit", ["half", "rest"])
    assert run.end_of(1)["cause"] == "time_limit" and list(run.jobs()) == [job]


def test_too_little_time_left_for_another_try(cluster: Cluster, shell, stream) -> None:
    """A job of two minutes puts itself back; one that has time tries again inside."""
    for name, time, restarts in (("short", "2m", 1), ("long", "10m", 0)):
        define(shell, name, time=time)
        retry = {"max": 1, "on": ["exit:3"], "backoff": "100ms", "resume": True}
        run = stream(name=name, target=name, code=3, gate=False, retry=retry).submit()
        follower = shell.start("attach", run.name)
        job = run.job()
        if restarts:
            cluster.skip_requeue_delay(job)
        out, err = follower.communicate(timeout=120)
        assert follower.returncode == 1 and out == run.part("all") + run.part("rest"), err.decode()
        run.check("failed", "exit", ["all", "rest"])
        assert f"Restarts={restarts}" in cluster.run("scontrol", "show", "job", job, "-o").stdout
