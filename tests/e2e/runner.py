# SPDX-License-Identifier: Apache-2.0
"""Run folders made by hand, supervised by the real trainctl-runner."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import BIN_DIR, alive, jsonl, wait_until

RUNNER = BIN_DIR / "trainctl-runner"
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def ulid() -> str:
    value = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    text = ""
    for _ in range(26):
        value, digit = divmod(value, 32)
        text = ALPHABET[digit] + text
    return text


class Run:
    """runs/<ulid>/ with a plan.json."""

    def __init__(self, store: Path, argv: list[str], kind: str = "exec", **plan):
        self.id = ulid()
        self.root = store / "runs" / self.id
        self.root.mkdir(parents=True)
        document = {"format": 1, "id": self.id, "name": "t-1", "command": {"kind": kind, "argv": argv},
                    "source": {"kind": "none"}, **plan}
        (self.root / "plan.json").write_text(json.dumps(document))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("TRAINCTL_", "PYTHON"))}
        self.env["TRAINCTL_SLOTS"] = str(store / "slots")
        self.processes: list[subprocess.Popen] = []
        self.runner: list = [RUNNER]  # how the runner is started

    def start(self, **more) -> subprocess.Popen:
        process = subprocess.Popen([*self.runner, "supervise", self.root], env=self.env, stdin=subprocess.DEVNULL,
                                   start_new_session=True, **more)
        self.processes.append(process)
        return process

    def supervise(self, timeout: float = 60) -> dict:
        """To the end; returns the final `end` event."""
        process = self.start()
        assert process.wait(timeout) == 0
        return self.end()

    def attempts(self) -> list[int]:
        folder = self.root / "attempts"
        return sorted(int(p.name) for p in folder.iterdir()) if folder.exists() else []

    def attempt(self, n: int = 0) -> Path:
        return self.root / "attempts" / str(n or self.attempts()[-1])

    def events(self, n: int = 0) -> list[dict]:
        return jsonl(self.attempt(n) / "events.jsonl") if self.attempts() else []

    def states(self, n: int = 0) -> list[str]:
        return [e["state"] for e in self.events(n) if e["type"] == "state"]

    def end(self, n: int = 0) -> dict:
        ends = [e for e in self.events(n) if e["type"] == "end"]
        assert len(ends) == 1, self.events(n)
        return ends[0]

    def rank(self, r: int = 0, n: int = 0) -> dict[str, dict]:
        return {e["type"]: e for e in jsonl(self.attempt(n) / "nodes" / "0" / f"rank-{r}.jsonl")}

    def log(self, r: int = 0, n: int = 0) -> bytes:
        return (self.attempt(n) / "logs" / ("std.log" if r == 0 else f"rank-{r}.log")).read_bytes()

    def started(self, r: int = 0, n: int = 0) -> dict:
        return wait_until(lambda: self.rank(r, n)["start"], "the rank has started")

    def logged(self, text: bytes, r: int = 0) -> None:
        wait_until(lambda: text in self.log(r), f"{text!r} in the log")

    def request(self, **fields) -> str:
        """As a client does: tmp + link."""
        control = self.root / "control"
        control.mkdir(exist_ok=True)
        name = ulid()
        draft = control / f".{name}"
        draft.write_text(json.dumps(fields))
        os.link(draft, control / f"{name}.json")
        draft.unlink()
        return name

    def wait_end(self, timeout: float = 60) -> dict:
        return wait_until(lambda: [e for e in self.events() if e["type"] == "end" and not e["next"]], "the end",
                          timeout)[0]

    def members(self) -> list[int]:
        """Live processes that carry this run's marker or supervise it."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if self.id.encode() in text and alive(int(entry.name)):
                found.append(int(entry.name))
        return found

    def clean_up(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for pid in self.members():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


PYTHON = sys.executable
