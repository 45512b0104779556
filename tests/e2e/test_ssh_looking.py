# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""What is seen here of runs on hosts: metrics without anybody following, hosts that say nothing beside one that does, limits that end a
run there, and what a script tells TensorBoard and MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from faultproxy import FaultProxy
from harness import PATIENCE, wait_until
from remote import Box, nothing_left
from sshd import Sshd
from test_metrics_mlflow import CLIENT

WAITS = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"


@pytest.fixture
def box(make_box) -> Box:
    return make_box()


@pytest.mark.parametrize("look", [["sync"], ["ls", "--refresh"]], ids=" ".join)
def test_a_metric_is_seen_without_following(trainctl, project, box, scratch, look):
    project.script("import trainctl\nfor step in range(3): trainctl.log(step=step, loss=1 / (step + 1))\n" + WAITS)
    trainctl.ok("submit", project.spec(target="root@box", arguments=[str(scratch / "go")]), "--detach")
    there = box.store / "runs" / trainctl.last_run().name
    wait_until(lambda: any(b'"loss"' in path.read_bytes() for path in there.glob("attempts/1/metrics/*.jsonl")), "it is logged there")
    assert "loss" not in trainctl.json("show", "@")["metrics"]
    trainctl.ok(*look)
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == pytest.approx(1 / 3)
    assert [run["name"] for run in trainctl.json("ls", "--where", "metrics.loss < 0.4")["items"]] == ["a-1"]
    (scratch / "go").touch()
    trainctl.ok("wait", "@")
    nothing_left(box)


def test_silent_hosts_do_not_keep_a_good_one_from_being_seen(trainctl, scratch, box):
    """Two hosts whose links swallow everything, with and without a connection: all three are asked at once, for one deadline."""
    servers, proxies = [], []
    try:
        for name in ("mute1", "mute2"):
            servers.append(Sshd(scratch / name, alias=name))
            proxies.append(FaultProxy((servers[-1].address, servers[-1].port)))
            servers[-1].write_ssh_config(proxies[-1].port)
            with open(box.server.ssh_config, "a") as config:
                config.write(servers[-1].ssh_config.read_text())
        works = [box.workload(gate=True, target=f"root@{name}") for name in ("mute1", "mute2", "box")]
        for work in works:
            trainctl.ok("submit", work.spec, "--detach")
            wait_until(lambda: work.started, "it runs")
        wait_until(lambda: {run["state"] for run in trainctl.json("ls", "--refresh")["items"]} == {"running"}, "all are seen running")
        for proxy in proxies:
            proxy.pause()
        proxies[1].cut()
        for work in works:
            work.open()
        good = box.store / "runs" / works[2].folder().name / "attempts/1/events.jsonl"
        wait_until(lambda: b'"type":"end"' in good.read_bytes(), "the good one has ended")
        listed = trainctl.run("ls", "--refresh", "--json")
        states = {run["name"]: run["state"] for run in listed.json["items"]}
        assert states == {"work1-1": "running", "work2-1": "running", "work3-1": "succeeded"}, listed
        assert listed.seconds < 10 * PATIENCE, "5 s for all, not for each"
        text = trainctl.ok("ls").text
        assert text.count("unknown since") == 2, text
        for proxy in proxies:
            proxy.resume()
        for work in works:
            assert trainctl.ok("attach", work.name).out == work.log
            work.check()
    finally:
        for proxy in proxies:
            proxy.resume()
            proxy.close()
        for server in servers:
            server.clean_up()


EATS = "import time\ndata = bytearray(600_000_000)\nfor at in range(0, len(data), 4096): data[at] = 1\ntime.sleep(600)"


@pytest.mark.parametrize("fields, state, cause, said", [
    ({"command": "echo begun; exec sleep 600", "limits": {"timeout": "500ms"}}, "timed_out", "time_limit", "ran longer than its limit of 0.5 s"),
    ({"command": "echo begun; exec sleep 600", "limits": {"idle": "500ms"}}, "timed_out", "idle_timeout", "wrote nothing for 0.5 s"),
    ({"command": ["/usr/bin/python3", "-c", EATS], "resources": {"memory": "200MB"}}, "failed", "memory_limit", "was stopped by its memory limit"),
], ids=["timeout", "idle", "memory"])
def test_a_limit_ends_a_run_on_a_host(trainctl, project, box, fields, state, cause, said):
    """The cause is told here as there, and nothing of the run is left."""
    project.write("a.run.json", {"target": "root@box", "stop": {"grace": "500ms"}, **fields})
    done = trainctl.run("submit", "a.run.json")
    shown = trainctl.json("show", "@")
    assert (shown["state"], shown["cause"]) == (state, cause) and done.code not in (0, 75), (shown, done)
    assert said in done.error and said in trainctl.ok("show", "@").text, done
    nothing_left(box)


def test_a_script_that_fails_on_a_host_is_tried_again(trainctl, project, box):
    work = box.workload(code=7, retry={"max": 2, "on": ["exit:7"], "backoff": "10ms"})
    done = trainctl.run("submit", work.spec, code=1)
    assert done.out == 3 * work.log and work.started == 3
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["exit_code"], shown["attempts"]) == ("failed", 7, 3)
    assert [trainctl.ok("logs", work.name, "--attempt", attempt).out for attempt in (1, 2, 3)] == [work.log] * 3
    nothing_left(box)


def test_tensorboard_files_and_mlflow_calls_of_a_host_are_seen_here(trainctl, project, box, scratch):
    """While the script runs, by who asks; and as a whole at its end. The endpoint is on the host, where the script is."""
    project.write("tfevents.py", Path(__file__).with_name("tfevents.py").read_text())
    project.write("client.py", CLIENT)
    project.script("from client import *\nfrom tfevents import Writer\n"
                   "Writer('logs').scalar('tb', 0.5, 1)\nmetric('flow', 0.25, 1)\n"
                   "call('PUT', 'note.txt', raw=b'from there', base=ARTIFACTS)\n" + WAITS +
                   "metric('flow', 0.125, 2)\nWriter('logs').scalar('tb', 0.75, 2)\n")
    trainctl.ok("submit", project.spec(target="root@box", arguments=[str(scratch / "go")]), "--detach")

    def values() -> dict[str, float]:
        trainctl.ok("sync")
        found = trainctl.json("show", "@")["metrics"]
        return {name: found[name]["last"] for name in ("tb", "flow") if name in found}

    wait_until(lambda: values() == {"tb": 0.5, "flow": 0.25}, "both are seen while it runs")
    (scratch / "go").touch()
    trainctl.ok("wait", "@")
    assert values() == {"tb": 0.75, "flow": 0.125}
    assert (trainctl.last_run() / "outputs/note.txt").read_text() == "from there"
    nothing_left(box)
