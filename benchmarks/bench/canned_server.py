# SPDX-License-Identifier: Apache-2.0
"""canned_server.py: an HTTP server that answers `{}` to everything, as cheaply as Python can: what a client could reach at best.
Prints its port and serves until its stdin ends."""

import socket
import sys
import threading

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    while data := connection.recv(1 << 20):
        pending += data
        while (end := pending.find(b"\r\n\r\n")) >= 0:
            length = next((int(line.split(b":")[1]) for line in pending[:end].split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
            if len(pending) < end + 4 + length:
                break
            pending = pending[end + 4 + length:]
            connection.sendall(REPLY)


def accept(listener: socket.socket) -> None:
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
sys.stdin.read()
