# SPDX-License-Identifier: Apache-2.0
"""Machines for tests: network namespaces on one bridge, with links that can be cut. Processes, files and clocks are those
of this machine; what differs is the network.

    with Machines(2) as machines:
        subprocess.run(machines[0].enter("ip", "addr"))
        machines[1].cut()          # packets are lost silently: the others wait for answers that never come
        machines[1].mend()
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()} (these tests need root)"


class Machine:
    def __init__(self, name: str, address: str):
        self.name = name
        self.address = address
        self.outer = name + "h"  # its end of the cable, on the bridge

    def enter(self, *argv: str) -> list[str]:
        """The command on this machine. Not `ip netns exec`, which hides control groups."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, argv)]

    def cut(self) -> None:
        ip("link", "set", self.outer, "down")

    def mend(self) -> None:
        ip("link", "set", self.outer, "up")

    def lose_address(self) -> None:
        """Its link is up, but nobody there answers to its address any more."""
        ip("-n", self.name, "addr", "del", f"{self.address}/24", "dev", "eth0")

    def find_address(self) -> None:
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")

    def slow(self, megabytes: int) -> None:
        """So much a second, in each direction: for faults in the middle of something."""
        shape = f"root tbf rate {8 * megabytes}mbit burst 256kb latency 50ms".split()
        for words in (["tc"], [*self.enter("tc")]):
            device = self.outer if words == ["tc"] else "eth0"
            subprocess.run([*words, "qdisc", "replace", "dev", device, *shape], check=True)

    def bytes_to(self) -> int:
        """That went over its link so far."""
        return int(open(f"/sys/class/net/{self.outer}/statistics/tx_bytes").read())

    def bytes_from(self) -> int:
        return int(open(f"/sys/class/net/{self.outer}/statistics/rx_bytes").read())

    def pids(self) -> list[int]:
        done = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        return [int(word) for word in done.stdout.split()]


class Machines:
    def __init__(self, count: int):
        self.id = secrets.token_hex(2)
        self.net = f"10.{200 + secrets.randbelow(50)}.{secrets.randbelow(200)}"
        self.bridge = f"tb{self.id}"
        self.all = [Machine(f"t{self.id}-{k}", f"{self.net}.{10 + k}") for k in range(count)]

    def __getitem__(self, k: int) -> Machine:
        return self.all[k]

    def __len__(self) -> int:
        return len(self.all)

    def __enter__(self) -> Machines:
        ip("link", "add", self.bridge, "type", "bridge")
        try:
            ip("addr", "add", f"{self.net}.1/24", "dev", self.bridge)
            ip("link", "set", self.bridge, "up")
            for one in self.all:
                ip("netns", "add", one.name)
                ip("link", "add", one.outer, "type", "veth", "peer", "name", "eth0", "netns", one.name)
                ip("link", "set", one.outer, "master", self.bridge, "up")
                ip("-n", one.name, "link", "set", "lo", "up")
                ip("-n", one.name, "addr", "add", f"{one.address}/24", "dev", "eth0")
                ip("-n", one.name, "link", "set", "eth0", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        for one in self.all:
            for pid in one.pids():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            subprocess.run(["ip", "netns", "del", one.name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
