# SPDX-License-Identifier: Apache-2.0
"""The proxy of the bad days itself: each fault does what it says, at the byte it says."""

from __future__ import annotations

import random
import socket
import threading

import pytest
from faultproxy import DOWN, KINDS, UP, Fault, FaultProxy, random_fault
from harness import wait_until

CONTENT = bytes(range(256)) * 200


@pytest.fixture
def proxy():
    """In front of a server that sends back what it got."""
    server = socket.create_server(("127.0.0.1", 0))

    def echo(connection: socket.socket) -> None:
        try:
            while piece := connection.recv(1 << 14):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    with FaultProxy(server.getsockname()) as one:
        yield one
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def exchange(proxy: FaultProxy, content: bytes = CONTENT) -> tuple[bytes, str]:
    """Sends the content and reads what comes back: the bytes, and how it ended ("end", "reset", "silence")."""
    got = b""
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.settimeout(2)

        def send() -> None:
            try:
                client.sendall(content)
                client.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            while piece := client.recv(1 << 14):
                got += piece
            return got, "end"
        except TimeoutError:
            return got, "silence"
        except OSError:
            return got, "reset"
        finally:
            sender.join()


def test_without_a_fault(proxy):
    assert exchange(proxy) == (CONTENT, "end")


@pytest.mark.parametrize("after", [0, 1, 20_000])
def test_cut_and_reset(proxy, after):
    for kind, how in (("cut", {"end", "reset"}), ("reset", {"reset"})):
        proxy.arm(Fault(kind, after, DOWN))
        got, end = exchange(proxy)
        assert end in how and CONTENT.startswith(got) and len(got) <= after, (kind, end, len(got))
    assert exchange(proxy) == (CONTENT, "end")  # the next connection is whole


def test_half_close_flip_delay_and_drip(proxy):
    proxy.arm(Fault("half_close", 5_000, UP))
    assert exchange(proxy) == (CONTENT[:5_000], "end")
    proxy.arm(Fault("flip", 5_000, UP))
    got, end = exchange(proxy)
    assert end == "end" and [at for at, (a, b) in enumerate(zip(got, CONTENT)) if a != b] == [5_000] and len(got) == len(CONTENT)
    for kind in ("delay", "drip"):
        proxy.arm(Fault(kind, 40_000, UP, seconds=0.001))
        assert exchange(proxy) == (CONTENT, "end")


def test_silence_and_a_link_that_is_down(proxy):
    proxy.arm(Fault("silence", 5_000, DOWN))
    assert exchange(proxy) == (CONTENT[:5_000], "silence")
    proxy.pause()
    with socket.create_connection(("127.0.0.1", proxy.port)) as client:
        client.sendall(b"hello")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(5)
        proxy.resume()
        client.settimeout(10)
        assert client.recv(5) == b"hello"
        assert proxy.cut(reset=True) >= 1
        with pytest.raises(ConnectionResetError):
            client.recv(5)
    wait_until(lambda: proxy.open == 0, "nothing is left open")


def test_refused_connections(proxy):
    proxy.refuse()
    assert exchange(proxy)[0] == b""
    proxy.refuse(False)
    assert exchange(proxy) == (CONTENT, "end")


def test_a_seed_gives_the_same_faults():
    def faults(seed: int) -> list[Fault]:
        source = random.Random(seed)
        return [random_fault(source, 50_000) for _ in range(200)]

    assert faults(7) == faults(7) != faults(8)
    assert {fault.kind for fault in faults(7)} == set(KINDS)
