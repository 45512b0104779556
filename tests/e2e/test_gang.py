# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Runs on several machines: supervisors that talk to each other without any client. The machines are network namespaces
with real links."""

from __future__ import annotations

import json
import time

import pytest

from gang import Gang, RunnerError
from harness import jsonl, wait_until
from netns import Machines
from runner import PYTHON

# Every rank adds up the numbers of all ranks over a socket at MASTER_ADDR.
ALLREDUCE = """
import os, socket, sys, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    server = socket.create_server(place)
    peers = [server.accept()[0] for _ in range(world - 1)]
    total = rank + sum(int(peer.makefile().readline()) for peer in peers)
    for peer in peers:
        peer.sendall(f"{total}\\n".encode())
else:
    while True:
        try:
            peer = socket.create_connection(place, timeout=20)
            break
        except OSError:
            time.sleep(0.02)
    peer.sendall(f"{rank}\\n".encode())
    total = int(peer.makefile().readline())
print(f"rank {rank} of {world}: {total}, local {os.environ['LOCAL_RANK']} on node {os.environ['NODE_RANK']} {os.environ['HOST']}")
open(os.path.join(os.environ["TRAINCTL_OUTPUTS"], f"rank-{rank}.txt"), "w").write(str(total))
"""
# Says on which attempt it is and stays.
STAY = 'echo "attempt $TRAINCTL_ATTEMPT" >>"$TRAINCTL_OUTPUTS/../../../../started-$RANK"; exec sleep 600'


@pytest.fixture
def gang(scratch):
    """gang(argv, …) on two machines."""
    with Machines(2) as machines:
        yield lambda *argv, **plan: Gang(scratch, machines, list(argv), **plan)


def ranks_of(gang: Gang) -> list[int]:
    """The pids of all ranks that have begun and not ended, of the newest attempt of each node."""
    found = []
    for node in gang.nodes:
        for path in sorted(node.root.glob("attempts/*/nodes/*/rank-*.jsonl")):
            lines = {line["type"]: line for line in jsonl(path)}
            if "start" in lines and "exit" not in lines:
                found.append(lines["start"]["pid"])
    return found


def test_two_nodes_train_together(gang):
    run = gang(PYTHON, "-c", ALLREDUCE).start()
    end = run.end()
    assert end["state"] == "succeeded", run.nodes[0].events()
    for node in run.nodes:
        for rank in (2 * node.k, 2 * node.k + 1):
            assert f"rank {rank} of 4: 6, local {rank % 2} on node {node.k} host{node.k}" in node.log(rank)
            assert end["logs"]["std.log" if rank == 0 else f"rank-{rank}.log"] == len(node.log(rank))
    # Each host holds its own part, and nothing of the others.
    assert not (run.nodes[1].attempt(1) / "events.jsonl").exists()
    assert not (run.nodes[0].attempt(1) / "nodes" / "1").exists()
    listed = jsonl(run.nodes[1].attempt(1) / "nodes" / "1" / "outputs.jsonl")
    assert {entry.get("path") for entry in listed} >= {"rank-2.txt", "rank-3.txt"}
    assert run.nodes[1].events()[-1]["type"] == "end"
    run.wait_gone()


def test_the_rank_that_failed_first_is_named_with_its_node(gang):
    run = gang("sh", "-c", '[ "$RANK" != 3 ] || { sleep 0.3; exit 7; }; exec sleep 600').start()
    end = run.end()
    assert (end["state"], end["cause"], end["exit_code"], end["rank"], end["on_node"]) == ("failed", "exit", 7, 3, 1)
    assert end["message"] == f"rank 3 exited with code 7 on node 1 ({run.machines[1].address})"
    assert run.nodes[0].rank(0)["exit"]["signal"] == "SIGTERM"
    run.wait_gone()


def test_cancel_ends_every_rank_on_every_node(gang):
    run = gang("sh", "-c", "exec sleep 600").start()
    run.wait_running()
    run.cancel()
    end = run.end()
    assert (end["state"], end["cause"], end["message"]) == ("canceled", "canceled", "enough")
    assert run.nodes[1].rank(2)["exit"]["signal"] == "SIGTERM"
    assert run.nodes[1].events()[-1]["state"] == "canceled"
    run.wait_gone()


def test_a_node_that_is_cut_off_is_the_cause_and_ends_its_own_ranks(gang):
    run = gang("sh", "-c", STAY, silence=2, limits={"queue_timeout_ms": 1500}).start()
    run.wait_running()
    run.machines[1].cut()
    end = run.end()
    assert (end["state"], end["cause"], end["on_node"], end["next"]) == ("failed", "node", 1, "retry")
    assert end["message"] == f"node 1 ({run.machines[1].address}) was not heard for 2.0 s"
    # Node 1 comes to the same by itself, and goes.
    wait_until(lambda: "exit" in run.nodes[1].rank(2) and "exit" in run.nodes[1].rank(3), "node 1 has ended its ranks")
    assert [event["message"] for event in run.nodes[1].events() if event.get("state") == "stopping"] == [
        "node 0 was not heard for 2.0 s"]
    last = run.end(2)
    assert (last["state"], last["cause"]) == ("timed_out", "queue_timeout")
    assert f"waits for a client to reach node 1 ({run.machines[1].address})" in [
        event.get("message") for event in run.nodes[0].events(2)]
    run.wait_gone()


def test_a_node_that_comes_back_takes_part_in_the_next_attempt(gang):
    script = 'echo $TRAINCTL_ATTEMPT $RANK; [ "$TRAINCTL_ATTEMPT" = 2 ] || exec sleep 600'
    run = gang("sh", "-c", script, silence=1.5).start()
    run.wait_running()
    run.machines[1].cut()
    assert run.end()["cause"] == "node"
    wait_until(lambda: "queued" in run.nodes[0].states(2), "attempt 2 waits")
    run.machines[1].mend()
    # A client finds node 1 without its supervisor, and starts it again.
    wait_until(lambda: not [pid for pid, line in run.members().items() if "supervise" in line and "host1" in line], "gone")
    run.prepare(only=[1])
    assert run.end(2)["state"] == "succeeded"
    assert run.nodes[1].log(3, 2) == "2 3\n"
    run.wait_gone()


def test_a_retry_is_attempt_2_on_all_nodes(gang):
    script = 'echo $TRAINCTL_ATTEMPT; [ "$TRAINCTL_ATTEMPT$RANK" != 12 ] || exit 5; [ $TRAINCTL_ATTEMPT = 2 ] || exec sleep 600'
    run = gang("sh", "-c", script, retry={"max": 1, "on": ["exit:5"], "backoff_ms": 10}).start()
    assert run.end()["next"] == "retry"
    assert run.end(2)["state"] == "succeeded"
    assert [node.log(2 * node.k, 2) for node in run.nodes] == ["2\n"] * len(run.nodes)
    assert run.nodes[1].log(2, 1) == "1\n"  # the others may be ended before they have begun
    run.wait_gone()


def test_a_killed_node_supervisor_is_started_again_and_rejoins(gang):
    run = gang("sh", "-c", STAY).start()
    run.wait_running()
    before = ranks_of(run)
    run.kill(run.nodes[1].supervisor())
    run.prepare(only=[1])
    wait_until(lambda: run.nodes[1].adopted(), "adopted")
    assert ranks_of(run) == before
    run.cancel()
    assert run.end()["state"] == "canceled"
    assert run.nodes[1].rank(2)["exit"]["signal"] == "SIGTERM"
    assert all((node.root / f"started-{rank}").read_text() == "attempt 1\n" for node in run.nodes for rank in (2 * node.k, 2 * node.k + 1))
    run.wait_gone()


def test_a_killed_lead_is_adopted_and_still_leads(gang):
    run = gang("sh", "-c", STAY).start()
    run.wait_running()
    before = ranks_of(run)
    run.kill(run.nodes[0].supervisor())
    run.go()  # as any client command does
    wait_until(lambda: run.nodes[0].adopted(), "adopted")
    assert ranks_of(run) == before
    run.cancel()
    assert run.end()["state"] == "canceled"
    assert run.nodes[1].rank(3)["exit"]["signal"] == "SIGTERM"
    run.wait_gone()


def test_without_go_nothing_starts_and_everybody_leaves(gang):
    run = gang("sh", "-c", STAY, silence=1)
    run.prepare()
    run.wait_gone()
    assert not (run.nodes[0].root / "attempts").exists() and not (run.nodes[1].root / "attempts").exists()
    run.silence = 60
    run.start()  # the same run, by a client that has come back
    run.wait_running()
    run.cancel()
    assert run.end()["state"] == "canceled"


def test_go_needs_no_client_any_more(gang):
    run = gang(PYTHON, "-c", ALLREDUCE)
    run.prepare()
    run.nodes[0].ask("go", run=run.id)  # every connection is closed by now
    assert run.end()["state"] == "succeeded"
    again = run.go()
    assert again["state"] == "succeeded" and not again["new"]


def test_a_node_that_cannot_reach_node_0_is_an_error_of_prepare(gang):
    run = gang("true", silence=3)
    run.machines[1].cut()
    begin = time.monotonic()
    with pytest.raises(RunnerError) as caught:
        run.prepare()
    assert "node 1 cannot reach node 0: " in str(caught.value) and run.machines[0].address in str(caught.value)
    assert time.monotonic() - begin < 15
    run.wait_gone()


def test_tensorflow_gets_the_addresses_of_all_nodes(gang):
    run = gang("sh", "-c", "echo $TF_CONFIG", distribution={"type": "tensorflow", "workers": 4}).start()
    assert run.end()["state"] == "succeeded"
    cluster = [json.loads(node.log(rank))["cluster"]["worker"] for node in run.nodes for rank in (2 * node.k, 2 * node.k + 1)]
    assert cluster == [cluster[0]] * 4 and len(set(cluster[0])) == 4
    assert [place.split(":")[0] for place in cluster[0]] == [run.machines[k].address for k in (0, 0, 1, 1)]


def test_a_stranger_with_another_key_is_not_heard(gang):
    run = gang("sh", "-c", STAY, silence=2)
    run.prepare(only=[])
    wanted = {"node": 0, "nodes": 2, "silence_ms": 2000}
    real = run.nodes[0].ask("prepare", plan=run.plan, gang=wanted)["gang"]
    with pytest.raises(RunnerError, match="cannot reach node 0"):
        run.nodes[1].ask("prepare", plan=run.plan, gang={**real, "node": 1, "key": "00" * 32})
    run.wait_gone()


def test_two_pytorch_ranks_on_two_machines(gang):
    script = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
loss = model(torch.ones(2, 4) * (dist.get_rank() + 1)).sum()
loss.backward()
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
gradient = next(model.parameters()).grad[0, 0].item()
print(f"rank {dist.get_rank()} of {dist.get_world_size()}: {total.item():.0f}, gradient {gradient:.0f}")
"""
    run = gang("/usr/bin/python3", "-c", script, distribution={"type": "pytorch", "backend": "gloo"}, processes_per_node=1).start()
    end = run.end(timeout=120)
    assert end["state"] == "succeeded", [node.log(node.k) for node in run.nodes]
    for node in run.nodes:
        assert f"rank {node.k} of 2: 3, gradient 3\n" in node.log(node.k)
