# SPDX-License-Identifier: Apache-2.0
"""A client of the runner protocol (docs/runner-protocol.md) over the pipes of a `trainctl-runner stdio`."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any, Mapping, Sequence

from harness import PATIENCE
from runner import RUNNER

HELLO, REQUEST, REPLY, NOTE, DATA, CREDIT, END, CANCEL, ERROR = range(1, 10)


class Refused(Exception):
    """An error frame."""


class Runner:
    def __init__(self, store: Path, env: Mapping[str, str], program: Sequence[str | Path] = (RUNNER,)):
        store.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([*program, "stdio", store], env=dict(env), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, start_new_session=True)
        self.buffer = b""
        self.next = 1
        self.frames: dict[int, deque] = defaultdict(deque)
        kind, hello = self.receive(0)
        assert kind == HELLO, (kind, hello)
        self.hello = json.loads(hello)
        self.send(HELLO, 0, json.dumps({"protocol": [1, 1]}).encode())

    def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
        self.process.stdin.write(struct.pack("<IBI", len(payload), kind, stream) + payload)
        self.process.stdin.flush()

    def receive(self, stream: int, timeout: float = 60) -> tuple[int, bytes] | None:
        """The next frame of that stream; None when none came in time."""
        deadline = time.monotonic() + timeout * PATIENCE
        while not self.frames[stream]:
            if len(self.buffer) >= 9:
                length, kind, number = struct.unpack("<IBI", self.buffer[:9])
                if len(self.buffer) >= 9 + length:
                    self.frames[number].append((kind, self.buffer[9:9 + length]))
                    self.buffer = self.buffer[9 + length:]
                    continue
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                return None
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            assert data, "the runner has closed its side"
            self.buffer += data
        return self.frames[stream].popleft()

    def ask(self, operation: str, **members: Any) -> dict:
        stream = self.open(operation, **members)
        frame = self.receive(stream)
        assert frame, f"no answer to {operation}"
        kind, payload = frame
        if kind == ERROR:
            raise Refused(json.loads(payload))
        return json.loads(payload)

    def open(self, operation: str, **members: Any) -> int:
        stream, self.next = self.next, self.next + 1
        self.send(REQUEST, stream, json.dumps({"op": operation, **members}).encode())
        return stream

    def watch(self, run: str) -> "Watch":
        return Watch(self, self.open("watch", runs=[{"run": run}]))

    def close(self) -> int:
        self.process.stdin.close()
        return self.process.wait(30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Watch:
    """What a watch brings, kept: files by path, observations in order."""

    def __init__(self, runner: Runner, stream: int):
        self.runner, self.stream = runner, stream
        self.files: dict[str, bytearray] = defaultdict(bytearray)
        self.observed: list[dict] = []
        self.ended: dict | None = None
        self.file = ""

    def pump(self, timeout: float = 0.2) -> bool:
        frame = self.runner.receive(self.stream, timeout)
        if not frame:
            return False
        kind, payload = frame
        if kind == NOTE:
            note = json.loads(payload)
            if "observed" in note:
                self.observed.append(note["observed"])
            elif note.get("ended"):
                self.ended = note
            else:
                self.file = note["file"]
        elif kind == DATA:
            self.files[self.file] += payload
            self.runner.send(CREDIT, self.stream, struct.pack("<I", len(payload)))
        elif kind == ERROR:
            raise Refused(json.loads(payload))
        return True

    def until(self, condition, what: str, timeout: float = 60) -> Any:
        deadline = time.monotonic() + timeout * PATIENCE
        while not (value := condition()):
            self.pump()
            assert time.monotonic() < deadline, f"waited for {what}; observed: {self.observed}, files: {dict(self.files)}"
        return value

    def says(self, text: str, timeout: float = 60) -> dict:
        """Waits for an observation whose message has that text."""
        return self.until(lambda: next((one for one in self.observed if text in one["message"]), None), f"{text!r}", timeout)

    def end(self, timeout: float = 60) -> dict:
        """Waits until the run has ended; returns its `end` event."""
        self.until(lambda: self.ended, "the end", timeout)
        last = max((name for name in self.files if name.endswith("/events.jsonl") and name.count("/") == 2),
                   key=lambda name: int(name.split("/")[1]))
        events = [json.loads(line) for line in self.files[last].splitlines()]
        return [event for event in events if event["type"] == "end"][-1]
