# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Bad days of runs on several ssh hosts: supervisors and whole machines die, links are cut, the client is killed in the middle
of a submit. After each no rank was started twice, each byte of each log is there and the end is true.

Machines give each other up after a minute without a word; here after seconds, by stdio_filter.py."""

from __future__ import annotations

import pytest
from gang_ssh import GangWork, Pair, hosts
from harness import wait_until
from remote import impatient_ssh, workload_log

SILENCE = 2000  # ms


@pytest.fixture
def pair(trainctl, project, scratch):
    with hosts(trainctl, project, scratch) as made:
        yield made


@pytest.fixture
def short(pair):
    """Whose machines give each other up after seconds."""
    pair.stand_between()
    pair.shorten_silence(SILENCE)
    impatient_ssh(pair.trainctl, pair.scratch)
    return pair


def detached(pair: Pair, name: str, **options) -> GangWork:
    """A run that nobody watches, half through on all hosts."""
    work = pair.workload(name, **options)
    pair.trainctl.ok("submit", work.spec, "--detach")
    work.wait_half()
    return work


@pytest.mark.parametrize("node", [0, 1])
@pytest.mark.parametrize("command", ["attach", "sync", pytest.param("wait", marks=pytest.mark.slow)])
def test_a_killed_supervisor_is_replaced_by_whoever_comes(pair, trainctl, node, command):
    """Before the others miss it: they go on in the same attempt."""
    work = detached(pair, "orphan")
    work.kill_supervisor(node)
    if command == "sync":
        trainctl.ok("sync")
        work.wait_adopted(node)
        assert work.show()["state"] == "running"
        work.open()
        pair.wait_nothing_runs()
        trainctl.ok("sync")
    else:
        client = trainctl.start(command, work.name)
        work.wait_adopted(node)
        work.open()
        assert client.wait(60) == 0, client.communicate()
    work.check()


def test_a_node_that_misses_its_supervisor_too_long_is_said_and_waited_for(short, trainctl):
    """The lead gives it up. Who reaches the lead alone reads why the run waits; who reaches the node, goes on with it."""
    work = detached(short, "missed")
    work.kill_supervisor(1)
    wait_until(lambda: work.events(0, 2), "the lead has given the attempt up")
    short.servers[1].kill()
    why = f"waits for a client to reach node 1 ({short.machines[1].address})"
    wait_until(lambda: trainctl.run("sync", code=75) and work.show()["message"] == why, "it is said what it waits for")
    shown = work.show()
    assert shown["state"] == "queued" and shown["attempts"] == 2
    assert why in trainctl.ok("show", work.name).text
    assert [row["state"] for row in trainctl.json("ls")["items"]] == ["queued"]
    [end] = [event for event in work.events(0, 1) if event["type"] == "end"]
    assert (end["cause"], end["on_node"], end["next"]) == ("node", 1, "retry")
    short.servers[1].start()
    work.open()
    trainctl.ok("wait", work.name)
    work.check(attempts=2)


def test_nodes_that_miss_the_lead_too_long_are_not_taken_for_done(short, trainctl):
    """They have ended their ranks: what goes on to its good end on node 0 is half a run."""
    work = detached(short, "headless")
    work.kill_supervisor(0)
    wait_until(lambda: any(event["type"] == "end" for event in work.events(1)), "node 1 has given up")
    work.wait_supervisor_gone(1)
    client = trainctl.start("wait", work.name)
    work.wait_adopted(0)
    work.open()
    assert client.wait(60) == 0, client.communicate()
    [end] = [event for event in work.events(0, 1) if event["type"] == "end"]
    assert (end["state"], end["cause"], end["next"]) == ("failed", "node", "retry") and "node 1" in end["message"]
    work.check(attempts=2)


def test_a_host_that_dies_ends_the_attempt_and_takes_part_in_the_next(short, trainctl):
    work = detached(short, "struck")
    client = trainctl.start("attach", work.name)
    short.lose_host(1, silent=False)
    why = f"waits for a client to reach node 1 ({short.machines[1].address})"
    wait_until(lambda: (shown := work.show())["state"] == "queued" and shown["message"] == why, "it waits for node 1")
    told = trainctl.ok("show", work.name, "--events").text
    assert f'"message":"node 1 ({short.machines[1].address}) was not heard for {SILENCE / 1000:.1f} s"' in told and '"cause":"node"' in told
    work.open()
    short.bring_back(1)
    assert client.wait(90) == 0, client.communicate()
    work.check(attempts=2)


@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_lead_s_host_dies_the_others_stop_and_nobody_guesses(short, trainctl, again):
    """What became of the run only that host can tell: lost, by another boot. Whoever wants it begins again."""
    work = detached(short, "beheaded", retry={"backoff": "10ms", **({"max": 1, "on": ["lost"]} if again else {})})
    trainctl.ok("sync")
    client = trainctl.start("wait", work.name)
    short.lose_host(0, silent=again)
    wait_until(lambda: any(event["type"] == "end" for event in work.events(1)), "node 1 has given up")
    wait_until(lambda: "unknown since" in trainctl.ok("ls").text, "it is said that nobody knows")
    assert "unknown since" in trainctl.ok("show", work.name).text and work.show()["state"] == "running"
    assert trainctl.run("sync", code=75).error and client.poll() is None
    assert work.log_there(1) == workload_log(2, 100)
    wait_until(lambda: not short.left(), "nothing runs anywhere")
    work.open()
    short.bring_back(0)
    assert client.wait(90) == (0 if again else 1), client.communicate()
    shown = work.check(**({"attempts": 2} if again else {"state": "lost"}))
    assert again or shown["message"] == "the machine was restarted while it ran"


def killed_submit(pair: Pair, node: int, operation: str) -> GangWork:
    """Of a client that died when this was the next thing for that node to hear."""
    hold = pair.filter_of(pair.servers[node]) / "hold"
    hold.write_text(operation)
    work = pair.workload("torn")
    work.open()
    client = pair.trainctl.start("submit", work.spec, "--detach")
    wait_until(hold.with_name("held").exists, f"it asks node {node} to {operation}")
    client.kill()
    client.wait()
    hold.unlink()
    assert "its start has not reached its target" in pair.trainctl.ok("ls").text
    return work


def removed_everywhere(work: GangWork) -> None:
    work.pair.wait_nothing_runs()
    work.trainctl.ok("rm", work.name)
    assert not [path for server in work.pair.servers for path in (server.home / ".trainctl" / "store" / "runs").glob("*")]


def never_started(work: GangWork) -> bool:
    return not any(work.starts(1, rank) for rank in work.ranks)


PREPARED = pytest.mark.parametrize("node, operation", [(1, "prepare"), (0, "go")])


@PREPARED
def test_what_a_killed_client_had_prepared_begins_once(short, trainctl, node, operation):
    work = killed_submit(short, node, operation)
    assert never_started(work)
    assert trainctl.ok("attach", work.name).out == workload_log(1, 200)
    work.check()
    removed_everywhere(work)


@pytest.mark.slow  # node 1 has no end to tell, and is given its time
@PREPARED
def test_what_a_killed_client_had_prepared_can_be_given_up(short, trainctl, node, operation):
    work = killed_submit(short, node, operation)
    trainctl.ok("cancel", work.name)
    trainctl.run("wait", work.name, code=130)
    assert work.show()["state"] == "canceled" and never_started(work)
    removed_everywhere(work)


@pytest.mark.slow  # it may still be begun for a minute
def test_what_a_killed_client_had_prepared_ends_if_nobody_begins_it(short, trainctl):
    work = killed_submit(short, 0, "go")
    assert "was never started" in trainctl.run("wait", work.name, code=3, timeout=120).error
    shown = work.show()
    assert (shown["state"], shown["cause"]) == ("failed", "start") and never_started(work)
    removed_everywhere(work)


@pytest.mark.parametrize("how", ["reset", "silent"])
def test_the_links_to_all_hosts_are_cut_while_it_runs(pair, trainctl, how):
    """Each byte of each rank is here once, and the same command saw it through."""
    pair.lead_through_proxies()
    work = pair.workload("cut", lines=2000, per_node=2)
    client = trainctl.start("submit", work.spec)
    run = wait_until(trainctl.runs, "it is recorded")[0]
    for rank in work.ranks:
        name = "std.log" if rank == 0 else f"rank-{rank}.log"
        wait_until(lambda: trainctl.log(run, name=name) == workload_log(1 + rank, 1000), f"half of rank {rank} is here")
    for proxy in pair.proxies:
        proxy.cut(reset=True) if how == "reset" else proxy.pause()
    work.open()
    pair.wait_nothing_runs()
    if how == "silent":
        wait_until(lambda: "unknown since" in trainctl.ok("ls").text, "ssh has given up")
        assert work.show()["state"] == "running"
    for proxy in pair.proxies:
        proxy.resume()
    out, err = client.communicate(timeout=90)
    assert client.returncode == 0 and out == workload_log(1, 2000), err.decode()
    work.check()
