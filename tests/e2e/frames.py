# SPDX-License-Identifier: Apache-2.0
"""A small client of the runner protocol (docs/runner-protocol.md) over a runner's stdin and stdout."""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import time
from typing import Any, Sequence

from harness import DEFAULT_TIMEOUT, PATIENCE

HELLO, REQUEST, REPLY, NOTE, DATA, CREDIT, END, CANCEL, ERROR = range(1, 10)


class RunnerClient:
    """`with RunnerClient([runner, "stdio", store]) as client: client.request(op="find", run=…)`."""

    def __init__(self, argv: Sequence[Any], **options: Any):
        self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, **options)
        self.buffer = b""
        self.stream = 0
        self.hello = self._json(HELLO, 0)
        self.send(HELLO, 0, {"protocol": self.hello["protocol"]})

    def __enter__(self) -> RunnerClient:
        return self

    def __exit__(self, *_: Any) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(DEFAULT_TIMEOUT * PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()

    def send(self, kind: int, stream: int, payload: Any = b"") -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.process.stdin.write(struct.pack("<IBI", len(data), kind, stream) + data)

    def frame(self, timeout: float = DEFAULT_TIMEOUT) -> tuple[int, int, bytes]:
        """The next frame: type, stream, payload."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            if len(self.buffer) >= 9:
                length, kind, stream = struct.unpack_from("<IBI", self.buffer)
                if len(self.buffer) >= 9 + length:
                    payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
                    return kind, stream, payload
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.process.stdout], [], [], left)[0], "the runner says nothing"
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            assert piece, "the runner closed the connection"
            self.buffer += piece

    def _json(self, kind: int, stream: int) -> dict:
        got, of, payload = self.frame()
        assert (got, of) == (kind, stream), (got, of, payload)
        return json.loads(payload)

    def open(self, **request: Any) -> int:
        self.stream += 1
        self.send(REQUEST, self.stream, request)
        return self.stream

    def request(self, **request: Any) -> dict:
        """The reply of an operation that has one."""
        return self._json(REPLY, self.open(**request))

    def watch(self, run: str) -> tuple[dict[str, bytes], dict]:
        """Everything of a run until its end: its files, and the note that it has ended."""
        stream = self.open(op="watch", runs=[{"run": run, "cursors": {}}])
        files: dict[str, bytes] = {}
        ended, file = {}, ""
        while True:
            kind, of, payload = self.frame()
            assert of == stream and kind != ERROR, payload
            if kind == NOTE:
                note = json.loads(payload)
                ended = note if note.get("ended") else ended
                file = note.get("file", "")
            elif kind == DATA:
                files[file] = files.get(file, b"") + payload
                self.send(CREDIT, stream, struct.pack("<I", len(payload)))
            elif kind == END:
                return files, ended
