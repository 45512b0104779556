# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""A named target behind a real sshd: what is known of its runs, how old that is, and what a lost connection looks like."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from harness import wait_until
from sshd import Sshd

# Prints what it was told to, then waits for a file in the home of the host.
WAITS = """
import os, sys, time
print('one', flush=True)
while not os.path.exists(os.path.expanduser('~/go')): time.sleep(0.02)
print('two', flush=True)
"""


@pytest.fixture
def server(trainctl, scratch):
    """A host that trainctl knows as `gpubox`."""
    sockets = scratch / "rt"
    sockets.mkdir(mode=0o700)
    trainctl.env["XDG_RUNTIME_DIR"] = str(sockets)
    made = Sshd(scratch / "box")
    trainctl.ok("target", "add", "gpubox", "root@box", "--ssh-config", made.ssh_config, "--set", "defaults.tags.on=gpubox")
    yield made
    made.clean_up()


@pytest.fixture
def waiting(trainctl, project, server) -> Path:
    """A detached run that waits for go()."""
    project.script(WAITS)
    trainctl.ok("submit", project.spec(target="gpubox", stop={"grace": "1s"}), "--detach")
    return trainctl.last_run()


def go(server: Sshd) -> None:
    (server.home / "go").touch()


def state(trainctl) -> str:
    return trainctl.json("show", "@")["state"]


def synced(trainctl, wanted: str) -> bool:
    trainctl.ok("sync")
    return state(trainctl) == wanted


def test_a_named_target_is_tested_and_used(trainctl, project, server):
    tested = trainctl.run("target", "test", "gpubox", "--json")
    assert tested.code in (0, 3)  # 3 where the disk is nearly full
    [host] = tested.json["items"]
    what = {finding["what"]: finding for finding in host["findings"]}
    assert {"latency", "clock", "host", "cpus", "memory", "gpus", "disk", "python", "programs"} <= set(what)
    assert what["clock"]["level"] == "fine" and "python3" in what["python"]["text"] and host["probe"]["limits"]["open_files"]
    assert "latency" in trainctl.run("target", "test", "gpubox").text
    project.write("data.txt", "from here\n")
    # A command's folder goes along, and the target's defaults hold.
    assert trainctl.ok("run", "--target", "gpubox", "--", "cat", "data.txt").out == b"from here\n"
    shown = trainctl.json("show", "@")
    assert (shown["target"], shown["tags"]) == ("gpubox", {"on": "gpubox"})


def test_what_keeps_us_out_is_told(trainctl, project, server):
    server.kill()
    assert "refuses connections" in trainctl.run("target", "test", "gpubox", code=75).text
    # A run that cannot begin leaves nothing behind.
    assert "refuses connections" in trainctl.run("run", "--target", "gpubox", "--", "true").error
    assert trainctl.json("ls")["items"] == []
    server.start()
    server.known_hosts.write_text("")
    assert "host key" in trainctl.run("target", "test", "gpubox", code=5).text


def test_a_plan_for_elsewhere_knows_nothing_of_here(trainctl, project, server):
    project.script("print(1)")
    here = {"VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", "/nowhere")}
    plan = trainctl.json("explain", project.spec(target="gpubox"), env=here)
    assert plan["environment"]["kind"] == "system" and plan["target"]["hosts"] == ["root@box"]
    wrong = trainctl.run("submit", project.spec(target="gpubox", environment={"python": {"venv": ".venv"}}), code=2)
    assert '".venv" has to be on gpubox' in wrong.error and "a.run.json:" in wrong.error
    many = trainctl.run("submit", project.spec(target="gpubox", resources={"nodes": 2}), code=3)
    assert "the run wants 2 nodes, the target gpubox is one machine" in many.error
    found = trainctl.ok("submit", project.spec(target="gpubox", environment={"python": {"interpreter": "python3"}}))
    assert found.out == b"1\n"


def test_states_have_an_age_and_never_a_guess(trainctl, server, waiting):
    assert wait_until(lambda: synced(trainctl, "running"), "it is seen running")
    wait_until(lambda: trainctl.ok("sync", "--logs") and trainctl.log(waiting) == b"one\n", "its log is here")
    contact = trainctl.json("show", "@")["contact"]
    assert contact["seen"] and contact["problem"] is None
    server.kill()
    go(server)  # the run ends while nobody can see it
    failed = trainctl.run("sync", code=75)
    assert "gpubox" in failed.error
    assert state(trainctl) == "running" and "refuses" in trainctl.json("show", "@")["contact"]["problem"]
    assert "unknown since" in trainctl.ok("ls").text and "unknown since" in trainctl.ok("show", "@").text
    began = time.monotonic()
    assert "gpubox" in trainctl.ok("ls", "--refresh").error
    assert time.monotonic() - began < 8
    server.start()
    listed = trainctl.json("ls", "--refresh")["items"][0]
    wait_until(lambda: synced(trainctl, "succeeded"), "the end is here")
    assert listed["name"] == "a-1" and "contact" not in trainctl.json("show", "@")
    assert trainctl.ok("logs", "@").out == b"one\ntwo\n"
    assert trainctl.json("sync")["items"] == []


def test_what_is_outstanding_comes_home_although_the_end_is_known(trainctl, project, server):
    project.script(WAITS + "open('outputs/model.txt', 'w').write('trained')\n")
    trainctl.ok("submit", project.spec(target="gpubox"), "--detach")
    go(server)
    wait_until(lambda: trainctl.json("ls", "--refresh")["items"][0]["state"] == "succeeded", "the end is seen by looking only")
    model = trainctl.last_run() / "outputs" / "model.txt"
    assert not model.exists()
    trainctl.ok("sync")
    assert model.read_text() == "trained"
    assert trainctl.json("sync")["items"] == []


def test_a_look_at_states_leaves_running_logs_there(trainctl, project, server):
    project.script("print('x' * 999 + '\\n', end='')\n" * 3 + WAITS)
    trainctl.ok("submit", project.spec(target="gpubox"), "--detach")
    run = trainctl.last_run()
    wait_until(lambda: trainctl.json("ls", "--refresh")["items"][0]["state"] == "running", "it is seen running")
    trainctl.ok("sync")
    assert not trainctl.log(run)
    wait_until(lambda: trainctl.ok("sync", "--logs") and trainctl.log(run).endswith(b"one\n"), "its log is here")
    go(server)
    wait_until(lambda: synced(trainctl, "succeeded"), "the end is here")
    assert trainctl.log(run) == (b"x" * 999 + b"\n") * 3 + b"one\ntwo\n"  # an end never comes without its log


def test_who_waits_for_many_follows_all_of_them(trainctl, project, server):
    """The second run ends, with a supervisor that had to be replaced, while the first one is waited for."""
    project.script(WAITS)
    trainctl.ok("submit", project.spec("first.run.json", target="gpubox"), "--detach")
    first = trainctl.last_run()
    project.script(WAITS.replace("~/go", "~/go-second"))
    trainctl.ok("submit", project.spec("second.run.json", target="gpubox"), "--detach")
    second = trainctl.last_run()
    waiting = trainctl.start("wait", first.name, second.name)
    trainctl.wait_log(second, "one\n")
    os.kill(trainctl.lead(second), signal.SIGKILL)
    (server.home / "go-second").touch()
    wait_until(lambda: trainctl.json("show", second.name)["state"] == "succeeded", "the second one is followed to its end", 60)
    assert waiting.poll() is None and trainctl.json("show", first.name)["state"] == "running"
    go(server)
    assert waiting.wait(timeout=60) == 0


def test_a_host_that_says_nothing_holds_nobody_up(trainctl, server, waiting):
    wait_until(lambda: synced(trainctl, "running"), "it is seen running")
    server.pause()
    began = time.monotonic()
    late = trainctl.run("sync", "--timeout", "2s", code=75)
    assert "within 2.0 s" in late.error and time.monotonic() - began < 10
    began = time.monotonic()
    assert "running" in trainctl.ok("ls").text and time.monotonic() - began < 3
    server.resume()
    go(server)
    trainctl.ok("wait", "@")


def test_following_says_what_the_connection_does(trainctl, server, waiting):
    with open(trainctl.root / "said", "wb") as said:
        follower = trainctl.start("logs", "--follow", "@", stderr=said)
    trainctl.wait_log(waiting, "one\n")
    server.kill()

    def heard() -> str:
        return (trainctl.root / "said").read_text()

    wait_until(lambda: "trying again" in heard(), "the cut is told")
    server.start()
    wait_until(lambda: "gpubox answers again" in heard(), "that it goes on is told")
    go(server)
    out, _ = follower.communicate(timeout=60)
    assert follower.returncode == 0 and out == b"one\ntwo\n"


def test_a_cancel_that_nobody_hears_is_kept(trainctl, server, waiting):
    wait_until(lambda: synced(trainctl, "running"), "it is seen running")
    server.kill()
    trainctl.run("cancel", "--no-wait", "@", code=75)
    server.start()
    trainctl.run("wait", "@", code=130)
    assert state(trainctl) == "canceled"


def test_a_dead_supervisor_is_replaced_by_who_watches(trainctl, server, waiting):
    follower = trainctl.start("attach", "@")
    trainctl.wait_log(waiting, "one\n")
    supervisor = trainctl.lead(waiting)
    os.kill(supervisor, signal.SIGKILL)
    go(server)
    assert follower.wait(timeout=60) == 0
    assert state(trainctl) == "succeeded"


def test_clean_leaves_no_trace(trainctl, server, waiting):
    refused = trainctl.run("target", "clean", "gpubox", "--all", "--yes", code=2)
    assert "a-1" in refused.error
    assert "--yes" in trainctl.run("target", "clean", "gpubox", code=2).error
    go(server)
    trainctl.ok("wait", "@")
    assert "1 run removed" in trainctl.ok("target", "clean", "gpubox", "--all", "--yes").text
    left = [path for path in (server.home / ".trainctl").rglob("*") if path.is_file()]
    assert not left, left


def test_a_host_that_is_down_from_the_start(trainctl, server, waiting):
    wait_until(lambda: trainctl.ok("sync", "--logs") and trainctl.log(waiting) == b"one\n", "its log is here")
    server.kill()
    shown = trainctl.ok("logs", "@")
    assert shown.out == b"one\n" and "gpubox: root@box refuses connections" in shown.error and "what was known" in shown.error, shown
    followers = {}
    for command in (["attach", "@"], ["logs", "--follow", "@"]):
        with open(trainctl.root / command[0], "wb") as said:
            followers[command[0]] = trainctl.start(*command, stderr=said)
    for name, follower in followers.items():
        wait_until(lambda: "trying again" in (trainctl.root / name).read_text(), f"{name} says that the host is down")
        assert follower.poll() is None
    left = trainctl.pty("logs", "--follow", "@")
    left.expect("one\r?\n.*trying again")
    left.interrupt()
    assert left.wait() == 130
    server.start()
    go(server)
    for name, follower in followers.items():
        out, _ = follower.communicate(timeout=60)
        assert follower.returncode == 0 and out == b"one\ntwo\n", (trainctl.root / name).read_text()
    assert state(trainctl) == "succeeded"


def test_cancel_waits_ten_seconds_for_a_host(trainctl, server, waiting):
    wait_until(lambda: synced(trainctl, "running"), "it is seen running")
    server.pause()
    began = time.monotonic()
    late = trainctl.run("cancel", "@", code=75)
    assert time.monotonic() - began < 15
    assert "gpubox did not answer within 10.0 s" in late.error and "the wish is kept" in late.error, late
    assert state(trainctl) == "stopping"
    server.resume()
    trainctl.run("wait", "@", code=130)
    assert state(trainctl) == "canceled"


def created(trainctl, project, server) -> Path:
    """A run whose submit was killed, and whose host was cut off, while its source was on the way."""
    project.script(WAITS)
    project.write("large.bin", os.urandom(60_000_000))
    client = trainctl.start("submit", project.spec(target="gpubox", stop={"grace": "1s"}), "--detach")
    wait_until(lambda: trainctl.runs() and (trainctl.last_run() / "plan.json").exists(), "the run is recorded")
    server.pause()
    client.kill()
    client.wait()
    return trainctl.last_run()


def test_a_start_that_never_came_there_is_told_and_ended(trainctl, project, server):
    run = created(trainctl, project, server)
    listed = trainctl.ok("ls").text
    assert "created, its start has not reached its target" in listed and "trainctl cancel a-1 gives it up" in listed, listed
    server.kill()
    trainctl.run("cancel", "@", code=75)
    assert state(trainctl) == "stopping"
    server.start()
    trainctl.ok("cancel", "@")
    assert state(trainctl) == "canceled"
    assert (server.home / ".trainctl/store/runs" / run.name / "plan.json").exists()
    # Late is never: the end is there, and whoever names the run finds it.
    assert trainctl.run("attach", "@", code=130).out == b""
    assert trainctl.json("show", "@")["attempts"] <= 1 and not list(run.glob("attempts/*/nodes/0/rank-0.jsonl"))
    trainctl.ok("rm", "@")
    assert not (server.home / ".trainctl/store/runs" / run.name).exists()


def test_a_start_that_never_came_there_is_made_up_for(trainctl, project, server):
    created(trainctl, project, server)
    server.kill()
    server.start()
    go(server)
    assert trainctl.ok("attach", "@").out == b"one\ntwo\n"
    assert state(trainctl) == "succeeded"
