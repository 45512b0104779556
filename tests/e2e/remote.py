# SPDX-License-Identifier: Apache-2.0
"""A host behind a real sshd and what must be true of runs there, whatever happened on the way."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faultproxy import FaultProxy
from harness import REPOSITORY, Trainctl, jsonl, wait_until
from sshd import Sshd, masters

# Lines that follow from a seed. Each start is one line in a file that is only appended to. It ends when the gate is there, so
# that a test decides in which moment something happens; without a gate it runs through. Files are named by arguments and not
# by variables: such a launch comes with the command that starts the runner where no connection is open.
WORKLOAD = """
echo started >> "$4"
i=0; x=$1
while [ $i -lt $2 ]; do
  x=$(( (x * 1103515245 + 12345) & 2147483647 ))
  echo "line $i $x"
  i=$((i + 1))
  if [ $i -eq $(($2 / 2)) ]; then while [ -n "$5" ] && [ ! -e "$5" ]; do sleep 0.02; done; fi
done
echo done > "$TRAINCTL_OUTPUTS/result"
exit $3
"""


def workload_log(seed: int, lines: int) -> bytes:
    x, log = seed, []
    for i in range(lines):
        x = (x * 1103515245 + 12345) & 2147483647
        log.append(f"line {i} {x}\n")
    return "".join(log).encode()


def impatient_ssh(trainctl: Trainctl, scratch: Path, *options: str) -> None:
    """An ssh that gives a silent link up after 4 s instead of the 45 s of users: the first value of an option wins."""
    wrapper = scratch / "ssh-bin" / "ssh"
    wrapper.parent.mkdir(exist_ok=True)
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {" ".join(options)} -o ServerAliveInterval=1 -o ServerAliveCountMax=3 '
                       '-o ConnectTimeout=5 "$@"\n')
    wrapper.chmod(0o755)
    trainctl.env["PATH"] = f"{wrapper.parent}:{trainctl.env['PATH']}"


class Box:
    """A host, and a trainctl whose ssh knows it as `box`; through a fault proxy when one is given."""

    def __init__(self, trainctl: Trainctl, server: Sshd, scratch: Path, proxy: FaultProxy | None = None):
        self.server, self.trainctl, self.proxy, self.scratch = server, trainctl, proxy, scratch
        if proxy:
            server.write_ssh_config(proxy.port)
        impatient_ssh(trainctl, scratch, "-F", str(server.ssh_config))
        self.sockets = scratch / "rt"
        self.sockets.mkdir(mode=0o700, exist_ok=True)
        trainctl.env["XDG_RUNTIME_DIR"] = str(self.sockets)
        self.starts = scratch / "starts"
        self.starts.mkdir(exist_ok=True)
        self.submitted = 0

    @property
    def store(self) -> Path:
        return self.server.home / ".trainctl" / "store"

    def runners(self) -> list[Path]:
        return sorted((self.server.home / ".trainctl" / "bin").glob("trainctl-runner-*"))

    def partial(self) -> Path | None:
        """A file that has come in part."""
        return next((self.store / "snapshots" / "partial").glob("*"), None)

    def outputs(self, run: Path) -> Path:
        """Where the first attempt of a run writes its outputs there."""
        return self.store / "runs" / run.name / "attempts" / "1" / "work" / "outputs"

    def masters(self) -> list[int]:
        """The processes that hold our shared connections."""
        return masters(self.sockets)

    # -- runs of the workload ----------------------------------------------------------------------------------------------

    def workload(self, seed: int = 1, lines: int = 200, code: int = 0, gate: bool = False, **fields) -> Work:
        self.submitted += 1
        return Work(self, self.submitted, seed, lines, code, gate, fields)


class Work:
    """One run of the workload on a box."""

    def __init__(self, box: Box, number: int, seed: int, lines: int, code: int, gate: bool, fields: dict):
        self.box, self.code = box, code
        self.log = workload_log(seed, lines)
        self.half = workload_log(seed, lines // 2)
        self.starts = box.starts / str(number)
        self.gate = box.starts / f"{number}.gate"
        arguments = [str(seed), str(lines), str(code), str(self.starts), str(self.gate) if gate else ""]
        variables = {"environment_variables": {"STARTS": str(self.starts)}} if "command" in fields else {}
        self.spec = box.scratch / "project" / f"work{number}.run.json"
        self.spec.parent.mkdir(parents=True, exist_ok=True)
        self.spec.write_text(json.dumps({"name": f"work{number}", "command": ["sh", "-c", WORKLOAD, "work", *arguments],
                                         **variables, "target": "root@box", "outputs": {"result": {}},
                                         "resources": {"cpus": 0.01},  # so that it holds a slot
                                         "stop": {"grace": "500ms"}, **fields}))
        self.name = f"work{number}-1"

    def open(self) -> None:
        """Lets the second half begin."""
        self.gate.touch()

    @property
    def started(self) -> int:
        return self.starts.read_text().count("started") if self.starts.exists() else 0

    def folder(self) -> Path:
        """Its run folder here; KeyError until there is one."""
        shown = self.box.trainctl.run("show", self.name, "--json").json
        return self.box.trainctl.home / "runs" / shown["id"]

    def ended_there(self) -> bool:
        """The host has the end of its first attempt."""
        return b'"type":"end"' in (self.box.store / "runs" / self.folder().name / "attempts/1/events.jsonl").read_bytes()

    def wait_half(self) -> Path:
        run = wait_until(lambda: self.folder(), f"{self.name} is recorded")
        self.box.trainctl.wait_log(run, self.half)
        return run

    def check(self, state: str = "succeeded", outputs: bool = True) -> None:
        """I1 to I4 and I7: it is there, it started once, its log is what it wrote, its end is true."""
        trainctl = self.box.trainctl
        shown = trainctl.json("show", self.name)
        assert shown["state"] == state and shown["attempts"] == 1, shown
        assert self.started == 1, f"{self.name} started {self.started} times"
        ranks = jsonl(trainctl.home / "runs" / shown["id"] / "attempts/1/nodes/0/rank-0.jsonl")
        assert [line["type"] for line in ranks].count("start") == 1, ranks
        log = trainctl.ok("logs", self.name).out
        if state == "canceled":
            assert self.log.startswith(log)
            return
        assert log == self.log and shown["exit_code"] == self.code, (len(log), len(self.log), shown["exit_code"])
        assert trainctl.json("logs", self.name, "--verify")["sha256"] == hashlib.sha256(self.log).hexdigest()
        if outputs:
            assert (trainctl.home / "runs" / shown["id"] / "outputs" / "result").read_text() == "done\n"


@contextmanager
def proxied_box(trainctl: Trainctl, scratch: Path, **options) -> Iterator[Box]:
    """A host of its own that is reached through a fault proxy; the options are those of sshd.Sshd."""
    server = Sshd(scratch / "box", **{"own_tmp": os.geteuid() == 0, **options})
    with FaultProxy((server.address, server.port)) as proxy:
        try:
            yield Box(trainctl, server, scratch, proxy)
        finally:
            proxy.disarm()
            proxy.resume()
            server.clean_up()


def at_work(box: Box) -> dict[int, str]:
    """Processes on the host but for who answers a connection. A supervisor is a fork of that one, with its command line."""
    found = {}
    for pid, command in box.server.processes().items():
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        if "stdio" not in command or not name.startswith("trainctl-runner"):
            found[pid] = f"{name}: {command}"
    return found


def nothing_left(box: Box, target: str = "root@box") -> None:
    """I6: no process of an ended run is left on the host, and nothing at all once every trace is to be removed."""
    wait_until(lambda: not at_work(box), f"no process of ours is left: {at_work(box)}")
    box.trainctl.ok("target", "clean", target, "--all", "--yes", timeout=300)
    assert box.server.traces() == []


@contextmanager
def mounted(place: Path, *words: str):
    """A tmpfs there, for the time of the block."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", *words, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@contextmanager
def file_server(backing: Path, place: Path, *words: str):
    """A folder as from a file server there (foreign_folder.py), for the time of the block."""
    backing.mkdir(mode=0o700)
    place.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen([sys.executable, REPOSITORY / "tests/support/foreign_folder.py", backing, place, *words], stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == b"ready\n"
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        server.kill()  # a host that still has it mounted gets errors now
        server.wait()
        server.stdout.close()
