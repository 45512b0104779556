# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that does to a connection what networks do: delay, silence, cuts, resets, half-closed streams, a slow drip,
flipped bytes. Loopback only.

    with FaultProxy(("127.0.0.1", sshd_port)) as proxy:
        proxy.arm(Fault("reset", after=20_000))    # the next connection dies when that many bytes have gone through
        …connect to proxy.port…
        proxy.pause(); proxy.resume()              # the link is down: nothing is told to either side
        proxy.cut()                                # all connections that are open now

What a fault does is a function of the bytes that went through, never of time, so the same seed gives the same faults
wherever the bytes are the same.
"""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass

UP, DOWN, BOTH = "up", "down", "both"  # up: from the client to the server
KINDS = ("delay", "cut", "reset", "half_close", "drip", "flip", "silence")
PIECE = 1 << 14


@dataclass
class Fault:
    """What happens to one connection when `after` bytes went through in `direction`.

    delay       every piece from there on waits `seconds`
    drip        from there on `pace` bytes at a time, `seconds` between them
    cut         both sides see an orderly end
    reset       both sides see a reset
    half_close  the receiver of this direction sees an end; the other direction goes on
    flip        one bit of the next byte is turned over
    silence     from there on nothing goes through in this direction, and nobody is told
    """

    kind: str
    after: int = 0
    direction: str = BOTH
    seconds: float = 0.02
    pace: int = 200
    done: bool = False  # it has happened

    def __post_init__(self) -> None:
        assert self.kind in KINDS and self.direction in (UP, DOWN, BOTH), self


def random_fault(source: random.Random, most: int) -> Fault:
    """A fault at a random point of the first `most` bytes; small offsets as likely as large ones."""
    after = int(most ** source.random())
    return Fault(source.choice(KINDS), after, source.choice((UP, DOWN, BOTH)), seconds=source.choice((0.001, 0.01)))


class FaultProxy:
    def __init__(self, server: tuple[str, int]):
        self.server = server
        self.opened = 0  # connections so far
        self.bytes = {UP: 0, DOWN: 0}  # that came in so far
        self._faults: list[Fault] = []
        self._links: set[_Link] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._refusing = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def arm(self, *faults: Fault) -> None:
        """The next connection gets the first of them, the one after that the second …"""
        with self._lock:
            self._faults.extend(faults)

    def disarm(self) -> None:
        """Faults that no connection has met are forgotten."""
        with self._lock:
            self._faults.clear()

    def pause(self) -> None:
        """The link is down: what is sent arrives when it is up again, unless an end gives up before."""
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def refuse(self, refusing: bool = True) -> None:
        """New connections end at once."""
        self._refusing = refusing

    def cut(self, reset: bool = False) -> int:
        """Ends all open connections; how many there were."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.end(reset)
        return len(links)

    @property
    def open(self) -> int:
        with self._lock:
            return len(self._links)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        self.resume()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refusing:
                    raise ConnectionRefusedError
                server = socket.create_connection(self.server, timeout=10)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self.opened += 1
                fault = self._faults.pop(0) if self._faults else None
                link = _Link(client, server, fault, self._flowing, self.bytes)
                self._links.add(link)
            link.start(self._forget)

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection: a thread for each direction."""

    def __init__(self, client: socket.socket, server: socket.socket, fault: Fault | None, flowing: threading.Event, count: dict[str, int]):
        self.client, self.server, self.fault, self.flowing, self.count = client, server, fault, flowing, count
        self.running = 2
        self.lock = threading.Lock()
        self.ended = threading.Event()
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self, forget) -> None:
        def both(source: socket.socket, sink: socket.socket, direction: str) -> None:
            try:
                self._pump(source, sink, direction)
            except (OSError, ValueError):  # ValueError: closed by the other direction while it was waited for
                self.end()
            with self.lock:
                self.running -= 1
                last = self.running == 0
            if last:
                self.end()
                forget(self)

        threading.Thread(target=both, args=(self.client, self.server, UP), daemon=True).start()
        threading.Thread(target=both, args=(self.server, self.client, DOWN), daemon=True).start()

    def end(self, reset: bool = False) -> None:
        self.ended.set()
        for side in (self.client, self.server):
            try:
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    side.close()
                else:
                    side.shutdown(socket.SHUT_RDWR)
                    side.close()
            except OSError:
                pass

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        fault = self.fault if self.fault and self.fault.direction in (direction, BOTH) else None
        seen = 0
        while True:
            while not select.select([source], [], [], 0.5)[0]:
                if source.fileno() < 0:
                    return
            piece = source.recv(PIECE)
            self.count[direction] += len(piece)
            self.flowing.wait()
            if not piece:
                if fault and fault.kind == "silence" and seen > fault.after:
                    self.ended.wait()  # the end is not told either
                else:
                    sink.shutdown(socket.SHUT_WR)
                return
            before, seen = seen, seen + len(piece)
            if fault is None or seen <= fault.after:
                sink.sendall(piece)
                continue
            clean = max(0, fault.after - before)
            sink.sendall(piece[:clean])
            if not self._strike(fault, sink, piece[clean:]):
                return

    def _strike(self, fault: Fault, sink: socket.socket, rest: bytes) -> bool:
        """The fault meets these bytes; whether the direction goes on."""
        first, fault.done = not fault.done, True
        if fault.kind == "delay":
            time.sleep(fault.seconds)
        elif fault.kind == "drip":
            for at in range(0, len(rest), fault.pace):
                sink.sendall(rest[at:at + fault.pace])
                time.sleep(fault.seconds)
            return True
        elif fault.kind == "flip" and first:
            rest = bytes([rest[0] ^ 0x10]) + rest[1:]
        elif fault.kind in ("cut", "reset"):
            self.end(reset=fault.kind == "reset")
            return False
        elif fault.kind == "half_close":
            sink.shutdown(socket.SHUT_WR)
            return False
        elif fault.kind == "silence":
            return True
        sink.sendall(rest)
        return True
