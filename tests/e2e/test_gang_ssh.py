# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Runs on several machines as a user starts them: a target file with two hosts behind real sshds, each in a network
namespace of its own."""

from __future__ import annotations

import signal
import urllib.request

import pytest

from gang_ssh import hosts
from harness import wait_until
from test_gang import ALLREDUCE

# Each rank goes on when the file is there in the home of its host.
WAITS_FOR_GO = """
import os, time
print('begun', flush=True)
while not os.path.exists(os.path.expanduser('~/go')): time.sleep(0.02)
print('done', flush=True)
"""


@pytest.fixture
def pair(trainctl, project, scratch):
    with hosts(trainctl, project, scratch) as made:
        yield made


def test_two_hosts_train_together(pair, trainctl):
    pair.project.script(ALLREDUCE)
    done = trainctl.ok("submit", pair.write("together", script="train.py"), "--target", "pair")
    assert "rank 0 of 4: 6, local 0 on node 0 a" in done.text
    everything = trainctl.ok("logs", "@", "--rank", "all").text
    for rank in range(4):
        line = f"rank {rank} of 4: 6, local {rank % 2} on node {rank // 2} {'ab'[rank // 2]}"
        assert line in everything and line in trainctl.ok("logs", "@", "--rank", str(rank)).text
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["target"]) == ("succeeded", "pair")
    folder = trainctl.home / "runs" / shown["id"]
    wait_until(lambda: sorted(path.name for path in (folder / "outputs").iterdir()) == ["rank-0.txt", "rank-1.txt"], "outputs")
    assert sorted(path.name for path in (folder / "outputs.node1").iterdir()) == ["rank-2.txt", "rank-3.txt"]
    assert [row["state"] for row in trainctl.json("ls")["items"]] == ["succeeded"]
    pair.wait_nothing_runs()


def test_what_a_silent_host_keeps_back_is_fetched_later(pair, trainctl):
    """The lead's end is believed, but the copy does not count as whole before the other host has given its logs."""
    pair.project.script(WAITS_FOR_GO)
    trainctl.ok("submit", pair.write("late", script="train.py"), "--target", "pair", "--detach")
    run = trainctl.last_run()
    wait_until(lambda: trainctl.ok("sync", "--logs") and (run / "attempts/1/logs/rank-2.log").exists(), "node 1 has written")
    for server in pair.servers:
        (server.home / "go").touch()
    pair.wait_nothing_runs()
    pair.servers[1].kill()
    silent = trainctl.run("sync", "--no-collect", code=75)
    assert "refuses connections" in silent.error
    assert trainctl.json("show", "@")["state"] == "succeeded"
    assert "shown is what was known" in trainctl.ok("logs", "@", "--rank", "2").error
    pair.servers[1].start()
    trainctl.ok("sync")
    assert trainctl.log(run, name="rank-2.log") == b"begun\ndone\n"
    assert trainctl.json("sync")["items"] == []


def test_who_follows_does_not_wait_for_a_silent_host_for_ever(pair, trainctl):
    """Nor does the copy count as whole then: the next look asks for the rest."""
    pair.project.script(WAITS_FOR_GO)
    trainctl.ok("submit", pair.write("torn", script="train.py"), "--target", "pair", "--detach")
    run = trainctl.last_run()
    waiting = trainctl.start("wait", "--no-collect", run.name)
    wait_until(lambda: trainctl.log(run, name="rank-2.log") == b"begun\n", "node 1 is followed")
    pair.servers[1].kill()
    for server in pair.servers:
        (server.home / "go").touch()
    assert waiting.wait(timeout=90) == 0
    assert trainctl.json("show", "@")["state"] == "succeeded"
    pair.servers[1].start()
    assert trainctl.ok("logs", "@", "--rank", "2").out == b"begun\ndone\n"


def test_a_failing_rank_on_the_second_host_is_named(pair, trainctl):
    file = pair.write("broken", command=["sh", "-c", '[ "$RANK" != 3 ] || exit 7; exec sleep 600'])
    failed = trainctl.run("submit", file, "--target", "pair", code=1)
    said = f"rank 3 exited with code 7 on node 1 ({pair.machines[1].address})"
    shown = trainctl.json("show", "@")
    assert said in failed.error and said in shown["message"] and shown["exit_code"] == 7
    pair.wait_nothing_runs()


@pytest.mark.parametrize("by", ["command", "Ctrl-C"])
def test_cancel_reaches_both_hosts(pair, trainctl, by):
    file = pair.write("long", command=["sh", "-c", 'echo "up $RANK"; exec sleep 600'])
    following = trainctl.start("submit", file, "--target", "pair")
    wait_until(lambda: "up 3" in trainctl.run("logs", "long-1", "--rank", "3").text, "rank 3 runs")
    trainctl.ok("cancel", "@") if by == "command" else following.send_signal(signal.SIGINT)
    assert following.wait(60) == 130
    assert trainctl.json("show", "@")["state"] == "canceled"
    pair.wait_nothing_runs()


def test_a_signal_reaches_every_rank_of_both_hosts_once(pair, trainctl):
    file = pair.write("told", command=["sh", "-c", 'trap "echo usr1 $RANK" USR1; trap "exit 0" HUP; echo "up $RANK"; while :; do sleep 0.05; done'])
    following = trainctl.start("submit", file, "--target", "pair")
    for rank in range(4):
        wait_until(lambda: f"up {rank}" in trainctl.run("logs", "told-1", "--rank", str(rank)).text, f"rank {rank} runs")
    trainctl.ok("cancel", "--signal", "SIGUSR1", "@")
    for rank in range(4):
        wait_until(lambda: f"usr1 {rank}\n" in trainctl.run("logs", "told-1", "--rank", str(rank)).text, f"rank {rank} was told")
    trainctl.ok("cancel", "--signal", "SIGHUP", "@")
    assert following.wait(60) == 0
    assert trainctl.ok("logs", "@", "--rank", "all").text.count("usr1") == 4
    pair.wait_nothing_runs()


SERVES = """
import os, socketserver, threading
class Tell(socketserver.BaseRequestHandler):
    def handle(self):
        asked = b""
        while b"\\r\\n\\r\\n" not in asked: asked += self.request.recv(4096)  # what is not read when it ends resets the connection
        self.request.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\nrank " + os.environ["RANK"].encode())
server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Tell)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
threading.Event().wait()
"""


def test_every_rank_can_be_entered_and_its_ports_reached(pair, trainctl):
    pair.project.script(SERVES)
    trainctl.ok("submit", pair.write("serves", script="train.py"), "--target", "pair", "--detach")
    run = trainctl.last_run()
    for rank in (1, 2):
        port = wait_until(lambda: trainctl.ok("sync", "--logs") and trainctl.run("logs", "@", "--rank", str(rank)).text.strip(), "it listens")
        words = trainctl.ok("exec", "--rank", str(rank), "@", "--", "sh", "-c", 'echo "$RANK $NODE_RANK $PWD"').text.split()
        assert words[:2] == [str(rank), str(rank // 2)] and words[2].startswith(str(pair.servers[rank // 2].home)) and run.name in words[2]
        tunnel = trainctl.pty("tunnel", "--rank", str(rank), "@", f"0:{port}")
        here = int(tunnel.expect(r"http://127.0.0.1:(\d+) → pair:" + port).group(1))
        assert urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=60).read() == f"rank {rank}".encode()
        tunnel.interrupt()
        assert tunnel.wait() == 130
    assert "its ranks are 0 to 3" in trainctl.run("exec", "--rank", "4", "@", "--", "true", code=2).error
    trainctl.ok("cancel", "@")
    trainctl.run("wait", "@", code=130)
    pair.wait_nothing_runs()


def test_more_nodes_than_hosts_is_refused_before_anything_starts(pair, trainctl):
    file = pair.write("wide", command=["true"], resources={"nodes": 3})
    refused = trainctl.run("submit", file, "--target", "pair", code=3)
    assert "the run wants 3 nodes, the target pair is 2 machines" in refused.error
    assert not trainctl.runs()


def test_a_host_that_is_down_is_named_and_leaves_nothing(pair, trainctl):
    pair.servers[1].stop()
    down = trainctl.run("submit", pair.write("half", command=["true"]), "--target", "pair", code=75)
    assert "root@b" in down.error and not trainctl.runs()
    # A run on one machine does not need it.
    trainctl.ok("submit", pair.write("alone", command=["true"], resources={"nodes": 1}), "--target", "pair")


def test_addresses_of_the_target_are_where_ranks_meet(pair, trainctl):
    pair.describe(addresses=[machine.address for machine in pair.machines.all])
    file = pair.write("cabled", command=["sh", "-c", 'echo "meet at $MASTER_ADDR"'])
    trainctl.ok("submit", file, "--target", "pair")
    assert trainctl.ok("logs", "@", "--rank", "all").text.count(f"meet at {pair.machines[0].address}\n") == 4
