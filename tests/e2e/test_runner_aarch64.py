# SPDX-License-Identifier: Apache-2.0
"""The runner for aarch64 hosts, on QEMU's user emulation.

What the emulation cannot tell is left to real machines: it passes system calls on to this machine's kernel, so times, the
namespaces and /proc are this machine's; the scripts of these runs are programs of this machine; and a child that executes
the runner again (containers, `exec-rank`) would need it registered with the kernel, which a test must not do to a machine.
"""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from harness import BIN_DIR, jsonl, wait_until
from runner import PYTHON, Run
from stdio import Runner

RUNNER = BIN_DIR / "trainctl-runner-aarch64"
EMULATED = ["qemu-aarch64-static", str(RUNNER)]
MAX_BYTES = 6 << 20  # it is sent to a host once; 4.5 MB when this was written


@pytest.fixture(autouse=True)
def built():
    assert RUNNER.exists(), f"{RUNNER} is missing: cmake --build {BIN_DIR.parent} --target trainctl-runner-aarch64"


@pytest.fixture
def run(scratch):
    made = []

    def make(*argv, **plan):
        made.append(Run(scratch / "store", list(argv), **plan))
        made[-1].runner = EMULATED
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


def test_it_is_a_static_program_for_aarch64(scratch):
    head = RUNNER.read_bytes()
    assert head[:5] == b"\x7fELF\x02" and int.from_bytes(head[18:20], "little") == 183  # EM_AARCH64
    segments, count = int.from_bytes(head[32:40], "little"), int.from_bytes(head[56:58], "little")
    kinds = [int.from_bytes(head[at:at + 4], "little") for at in range(segments, segments + 56 * count, 56)]
    assert 3 not in kinds  # PT_INTERP: it asks for no loader
    subprocess.run(["aarch64-linux-gnu-strip", "-o", scratch / "stripped", RUNNER], check=True)
    assert (scratch / "stripped").stat().st_size < MAX_BYTES


def test_it_has_the_version_of_the_others():
    versions = {subprocess.run([*argv, "--version"], capture_output=True, check=True).stdout for argv in (EMULATED, [BIN_DIR / "trainctl-runner"])}
    assert len(versions) == 1, versions


def test_hello_and_probe(scratch):
    client = Runner(scratch / "store", os.environ, EMULATED)
    assert client.hello["protocol"] == [1, 1] and {"probe", "launch", "watch", "fetch"} <= set(client.hello["operations"])
    probe = client.ask("probe")
    assert probe["arch"] == "aarch64" and probe["os"] and probe["cpus"] >= 1 and probe["memory"] > 0
    assert client.close() == 0


def test_supervise(run):
    one = run("sh", "-c", "echo out; echo err >&2; exit 7")
    end = one.supervise()
    assert (end["state"], end["cause"], end["exit_code"], end["next"]) == ("failed", "exit", 7, None)
    assert one.log() == b"out\nerr\n" and end["logs"] == {"std.log": 8}
    assert one.rank()["exit"]["code"] == 7 and not one.members()


def test_ranks_and_metrics(run):
    one = run(PYTHON, "-c", "import os; print('rank', os.environ['RANK'])",
              processes_per_node=2, distribution={"type": "processes"})
    assert one.supervise()["state"] == "succeeded"
    assert one.log(0) == b"rank 0\n" and one.log(1) == b"rank 1\n"


def test_a_stop_ends_the_whole_tree(run):
    one = run("sh", "-c", "trap '' INT TERM; setsid sleep 600 & echo begun; while :; do sleep 0.05; done", stop={"grace_ms": 200})
    process = one.start()
    one.logged(b"begun")
    one.request(type="cancel")
    assert one.wait_end()["state"] == "canceled" and process.wait(60) == 0
    wait_until(lambda: not one.members(), "nothing of it is left")


def test_launch_watch_and_fetch(scratch, run):
    plan = json.loads((run("sh", "-c", "for i in 1 2 3; do echo line $i; done").root / "plan.json").read_text())
    store = scratch / "elsewhere"
    client = Runner(store, {"TRAINCTL_SLOTS": str(scratch / "slots"), "PATH": "/usr/bin:/bin"}, EMULATED)
    assert client.ask("launch", plan=plan)["new"] is True
    assert client.ask("launch", plan=plan)["new"] is False
    watch = client.watch(plan["id"])
    assert watch.end()["state"] == "succeeded" and watch.files["attempts/1/logs/std.log"] == b"line 1\nline 2\nline 3\n"
    assert client.close() == 0
    kinds = [event["type"] for event in jsonl(store / "runs" / plan["id"] / "attempts/1/events.jsonl")]
    assert kinds.count("end") == 1
