# SPDX-License-Identifier: Apache-2.0
"""Adds the numbers up to --upto, each process every n-th of them. Only the standard library."""

import argparse
import os
import socket
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--upto", type=int, default=1000)
upto = parser.parse_args().upto

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
part = sum(range(rank + 1, upto + 1, world))
print(f"rank {rank} of {world}: {part}")

if rank == 0:
    total = part
    with socket.create_server(place, backlog=world) as server:
        for _ in range(world - 1):
            link, _ = server.accept()
            with link, link.makefile() as stream:
                total += int(stream.readline())
    print(f"total {total}")
    (Path(os.environ["TRAINCTL_OUTPUTS"]) / "total.txt").write_text(f"{total}\n")
else:
    deadline = time.monotonic() + 60
    while True:
        try:
            link = socket.create_connection(place)
            break
        except ConnectionRefusedError:  # rank 0 is not there yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    with link:
        link.sendall(f"{part}\n".encode())
