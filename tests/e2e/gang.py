# SPDX-License-Identifier: Apache-2.0
"""A run on several machines, driven by the runner protocol as a client does it: `prepare` everywhere, `go` on node 0."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

from harness import jsonl, wait_until
from netns import Machines
from runner import RUNNER, ulid

HELLO, REQUEST, REPLY, ERROR = 1, 2, 3, 9


class RunnerError(Exception):
    pass


class Connection:
    """One `trainctl-runner stdio`; requests one after the other."""

    def __init__(self, argv: list[str], env: dict[str, str]):
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.stream = 0
        assert self.receive()[0] == HELLO
        self.send(HELLO, 0, {"protocol": [1, 1]})

    def send(self, kind: int, stream: int, body: dict) -> None:
        payload = json.dumps(body).encode()
        self.process.stdin.write(struct.pack("<IBI", len(payload), kind, stream) + payload)
        self.process.stdin.flush()

    def receive(self) -> tuple[int, int, dict]:
        head = self.process.stdout.read(9)
        assert len(head) == 9, "the runner closed the connection"
        length, kind, stream = struct.unpack("<IBI", head)
        return kind, stream, json.loads(self.process.stdout.read(length))

    def ask(self, op: str, **fields) -> dict:
        self.stream += 1
        self.send(REQUEST, self.stream, {"op": op, **fields})
        kind, _, body = self.receive()
        if kind == ERROR:
            raise RunnerError(body["message"])
        assert kind == REPLY
        return body

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Node:
    def __init__(self, gang: "Gang", k: int):
        self.gang, self.k, self.machine = gang, k, gang.machines[k]
        self.store = gang.scratch / f"host{k}"
        self.root = self.store / "runs" / gang.id
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(("TRAINCTL_", "PYTHON"))}
        self.env["TRAINCTL_SLOTS"] = str(gang.scratch / f"slots{k}")
        self.env["HOST"] = f"host{k}"

    def ask(self, op: str, **fields) -> dict:
        connection = Connection(self.machine.enter(RUNNER, "stdio", self.store), self.env)
        try:
            return connection.ask(op, **fields)
        finally:
            connection.close()

    def attempt(self, n: int) -> Path:
        return self.root / "attempts" / str(n)

    def events(self, n: int = 1) -> list[dict]:
        lead = self.attempt(n) / "events.jsonl"
        return jsonl(lead if self.k == 0 else self.attempt(n) / "nodes" / str(self.k) / "events.jsonl")

    def states(self, n: int = 1) -> list[str]:
        return [event["state"] for event in self.events(n) if event["type"] == "state"]

    def adopted(self, n: int = 1) -> bool:
        return any(event["type"] == "attempt" and event["adopted"] for event in self.events(n))

    def rank(self, r: int, n: int = 1) -> dict[str, dict]:
        return {line["type"]: line for line in jsonl(self.attempt(n) / "nodes" / str(self.k) / f"rank-{r}.jsonl")}

    def log(self, r: int, n: int = 1) -> str:
        path = self.attempt(n) / "logs" / ("std.log" if r == 0 else f"rank-{r}.log")
        return path.read_text() if path.exists() else ""

    def supervisor(self, n: int = 1) -> int:
        """The pid of the attempt's last supervisor here."""
        return wait_until(lambda: [event for event in self.events(n) if event["type"] == "attempt"], "a supervisor")[-1]["pid"]


class Gang:
    """`argv` with the ranks' variables on each of `machines`; fields of the plan as keywords."""

    def __init__(self, scratch: Path, machines: Machines, argv: list[str], silence: float = 60, **plan):
        self.scratch, self.machines, self.id, self.silence = scratch, machines, ulid(), silence
        fields = {"distribution": {"type": "processes"}, "processes_per_node": 2, **plan}
        self.plan = {"format": 1, "id": self.id, "name": "t-1", "command": {"kind": "exec", "argv": argv},
                     "source": {"kind": "none"}, "resources": {"nodes": len(machines)},
                     "stop": {"signal": "SIGTERM", "grace_ms": 2000}, **fields}
        self.nodes = [Node(self, k) for k in range(len(machines))]

    def prepare(self, only: list[int] | None = None) -> None:
        wanted = {"node": 0, "nodes": len(self.nodes), "silence_ms": int(self.silence * 1000)}
        gang = self.nodes[0].ask("prepare", plan=self.plan, gang=wanted)["gang"]
        for node in self.nodes[1:]:
            if only is None or node.k in only:
                node.ask("prepare", plan=self.plan, gang={**gang, "node": node.k})

    def go(self) -> dict:
        return self.nodes[0].ask("go", run=self.id)

    def start(self) -> "Gang":
        self.prepare()
        self.go()
        return self

    def wait_running(self, n: int = 1) -> None:
        """Every rank of every node has begun."""
        per = self.plan["processes_per_node"]
        for node in self.nodes:
            for rank in range(node.k * per, (node.k + 1) * per):
                wait_until(lambda: "start" in node.rank(rank, n), f"rank {rank} on node {node.k} of attempt {n}")

    def end(self, n: int = 1, timeout: float = 60) -> dict:
        found = wait_until(lambda: [event for event in self.nodes[0].events(n) if event["type"] == "end"],
                           f"the end of attempt {n}; events {self.nodes[0].events(n)}", timeout)
        assert len(found) == 1
        return found[0]

    def cancel(self) -> None:
        self.nodes[0].ask("request", run=self.id, id=ulid(), request={"type": "cancel", "reason": "enough"})

    def members(self) -> dict[int, str]:
        """Live processes on the machines, with their command lines."""
        found = {}
        for machine in self.machines.all:
            for pid in machine.pids():
                try:
                    found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                except OSError:
                    continue
        return found

    def wait_gone(self, timeout: float = 60) -> None:
        try:
            wait_until(lambda: not self.members(), "nothing is left on the machines", timeout)
        except AssertionError:
            raise AssertionError(f"still there: {self.members()}") from None

    @staticmethod
    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
