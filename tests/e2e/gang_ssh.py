# SPDX-License-Identifier: Apache-2.0
"""Several hosts behind real sshds, each in a network namespace of its own, as one target; and what must be true of a run on
all of them, whatever happened on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faultproxy import FaultProxy
from harness import REPOSITORY, Project, Trainctl, jsonl, wait_until
from netns import Machines
from remote import WORKLOAD, impatient_ssh, workload_log
from sshd import Sshd

PAIRED = {"distribution": {"type": "processes", "processes_per_node": 2}, "resources": {"nodes": 2},
          "stop": {"signal": "SIGTERM", "grace": "2s"}}
# Of each rank its own seed, and a file for each start of each attempt.
RANK = ('w=$1 s=$(($2 + RANK)) f="$5-$TRAINCTL_ATTEMPT-$RANK"; echo "$RANK" > "$TRAINCTL_OUTPUTS/rank-$RANK"; '
        'exec sh -c "$w" work "$s" "$3" "$4" "$f" "$6"')


def process_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:  # it has ended meanwhile
        return ""


class Pair:
    """Two hosts that ssh knows as `a` and `b` (a third one is `c`), and the target `pair`. Options are those of sshd.Sshd."""

    def __init__(self, trainctl: Trainctl, project: Project, scratch: Path, machines: Machines, **options):
        self.trainctl, self.project, self.scratch, self.machines = trainctl, project, scratch, machines
        self.servers: list[Sshd] = []
        self.proxies: list[FaultProxy] = []
        for machine, alias in zip(machines.all, "abc"):
            self.servers.append(Sshd(scratch / alias, address=machine.address, prefix=machine.enter(), alias=alias,
                                     variables={"HOST": alias}, **options))
        (scratch / "rt").mkdir(mode=0o700)
        trainctl.env["XDG_RUNTIME_DIR"] = str(scratch / "rt")
        self.target = trainctl.user_home / ".config" / "trainctl" / "targets" / "pair.json"
        self.target.parent.mkdir(parents=True)
        self.ssh_config = scratch / "ssh_config"
        self.write_ssh_config()
        self.describe(ssh_config=str(self.ssh_config), hosts=[f"root@{server.alias}" for server in self.servers])

    def write_ssh_config(self) -> None:
        self.ssh_config.write_text("".join(server.ssh_config.read_text() for server in self.servers))

    def describe(self, **fields) -> None:
        known = json.loads(self.target.read_text()) if self.target.exists() else {"type": "target"}
        self.target.write_text(json.dumps({**known, **fields}))

    def write(self, name: str, **fields) -> str:
        self.project.write(f"{name}.run.json", json.dumps({"name": name, **PAIRED, **fields}))
        return f"{name}.run.json"

    def left(self) -> list[str]:
        """What of runs is alive on the hosts, without what serves a connection (at the first, a shell brings the runner). A
        supervisor has the command line of the runner that it is a copy of."""
        return [line for server in self.servers for pid, line in server.processes().items()
                if ("stdio" not in line and line != "/bin/sh -s") or process_name(pid) == "trainctl-super"]

    def wait_nothing_runs(self) -> None:
        try:
            wait_until(lambda: not self.left(), "no process of a run is left on the hosts")
        except AssertionError as late:
            raise AssertionError(f"{late}: {self.left()}") from None

    # -- bad days --------------------------------------------------------------------------------------------------------

    def stand_between(self) -> None:
        """stdio_filter.py looks at what comes to the hosts from now on."""
        script = REPOSITORY / "tests" / "support" / "stdio_filter.py"
        for server in self.servers:
            self.filter_of(server).mkdir()
            server.options.append(f"ForceCommand exec {sys.executable} {script} {self.filter_of(server)}")
            server.kill()
            server.start()

    @staticmethod
    def filter_of(server: Sshd) -> Path:
        return server.folder / "filter"

    def shorten_silence(self, milliseconds: int) -> None:
        """After which the machines give each other up."""
        self.describe(addresses=[machine.address for machine in self.machines.all])
        (self.filter_of(self.servers[0]) / "silence").write_text(str(milliseconds))

    def lead_through_proxies(self) -> None:
        """ssh reaches each host through a fault proxy, and gives up a silent link soon."""
        for server in self.servers:
            self.proxies.append(FaultProxy((server.address, server.port)))
            text = server.ssh_config.read_text().replace(f"HostName {server.address}", "HostName 127.0.0.1")
            server.ssh_config.write_text(text.replace(f"Port {server.port}", f"Port {self.proxies[-1].port}"))
        self.write_ssh_config()
        impatient_ssh(self.trainctl, self.scratch)

    def lose_host(self, k: int, silent: bool = True) -> None:
        """Its power is cut: nothing runs there and nothing answers. Not silent: somebody in front of it says that it is gone."""
        if silent:
            self.machines[k].cut()
        self.servers[k].kill()
        self.servers[k].kill_processes()

    def bring_back(self, k: int) -> None:
        """The host boots."""
        self.machines[k].mend()
        self.servers[k].reboot()

    def clean_up(self) -> None:
        for proxy in self.proxies:
            proxy.close()
        for server in self.servers:
            server.clean_up()

    def workload(self, name: str, **options) -> GangWork:
        return GangWork(self, name, **options)


@contextmanager
def hosts(trainctl: Trainctl, project: Project, scratch: Path, count: int = 2, **options) -> Iterator[Pair]:
    with Machines(count) as machines:
        pair = Pair(trainctl, project, scratch, machines, **options)
        try:
            yield pair
        finally:
            pair.clean_up()


class GangWork:
    """One run on all hosts. Each rank writes lines that follow from its seed, the second half when the gate is there, and
    notes each of its starts."""

    def __init__(self, pair: Pair, name: str, lines: int = 200, per_node: int = 1, **fields):
        self.pair, self.trainctl, self.lines, self.per_node = pair, pair.trainctl, lines, per_node
        self.nodes = len(pair.servers)
        self.folder_of_starts = pair.scratch / "starts" / name
        self.folder_of_starts.mkdir(parents=True)
        self.gate = self.folder_of_starts / "gate"
        arguments = [WORKLOAD, "1", str(lines), "0", str(self.folder_of_starts / "start"), str(self.gate)]
        self.name = f"{name}-1"
        self.spec = pair.write(name, command=["sh", "-c", RANK, "gang", *arguments], target="pair",
                               distribution={"type": "processes", "processes_per_node": per_node},
                               resources={"nodes": self.nodes, "cpus": 0.01},
                               **{"stop": {"grace": "500ms"}, "retry": {"backoff": "10ms"}, **fields})

    @property
    def ranks(self) -> range:
        return range(self.nodes * self.per_node)

    def open(self) -> None:
        self.gate.touch()

    def starts(self, attempt: int, rank: int) -> int:
        path = self.folder_of_starts / f"start-{attempt}-{rank}"
        return path.read_text().count("started") if path.exists() else 0

    def show(self) -> dict:
        return self.trainctl.json("show", self.name)

    # -- on the hosts ----------------------------------------------------------------------------------------------------

    def attempt(self, node: int, attempt: int = 1) -> Path:
        run = self.trainctl.last_run().name
        return self.pair.servers[node].home / ".trainctl" / "store" / "runs" / run / "attempts" / str(attempt)

    def events(self, node: int, attempt: int = 1) -> list[dict]:
        folder = self.attempt(node, attempt)
        return jsonl(folder / "events.jsonl" if node == 0 else folder / "nodes" / str(node) / "events.jsonl")

    def log_there(self, rank: int, attempt: int = 1) -> bytes:
        path = self.attempt(rank // self.per_node, attempt) / "logs" / ("std.log" if rank == 0 else f"rank-{rank}.log")
        return path.read_bytes() if path.exists() else b""

    def wait_half(self, attempt: int = 1) -> None:
        """Every rank stands at the gate."""
        for rank in self.ranks:
            half = workload_log(1 + rank, self.lines // 2)
            wait_until(lambda: self.log_there(rank, attempt) == half, f"rank {rank} of attempt {attempt} is half through")

    def supervisor(self, node: int, attempt: int = 1) -> int:
        return [event for event in self.events(node, attempt) if event["type"] == "attempt"][-1]["pid"]

    def kill_supervisor(self, node: int) -> None:
        os.kill(self.supervisor(node), signal.SIGKILL)
        self.wait_supervisor_gone(node)

    def wait_supervisor_gone(self, node: int) -> None:
        """And init has taken note of it, which may take a second here."""
        wait_until(lambda: not Path(f"/proc/{self.supervisor(node)}").exists(), f"the supervisor of node {node} is gone")

    def wait_adopted(self, node: int, attempt: int = 1) -> None:
        wait_until(lambda: any(event["type"] == "attempt" and event["adopted"] for event in self.events(node, attempt)),
                   f"a supervisor on node {node} has taken over")

    # -- what must be true at the end ------------------------------------------------------------------------------------

    def check(self, attempts: int = 1, state: str = "succeeded") -> dict:
        """It is there, each rank started at most once an attempt and once in the last, each byte of its log is there, its
        end is true."""
        shown = self.show()
        assert (shown["state"], shown["attempts"]) == (state, attempts), shown
        for rank in self.ranks:
            started = [self.starts(attempt, rank) for attempt in range(1, attempts + 2)]
            assert max(started) == 1 and started[-1] == 0, f"rank {rank} started {started} times"
            if state == "succeeded":
                assert started[attempts - 1] == 1, f"rank {rank} started {started} times"
                assert self.trainctl.ok("logs", self.name, "--rank", str(rank)).out == workload_log(1 + rank, self.lines)
        if state == "succeeded":
            assert shown["exit_code"] == 0 and self.trainctl.json("logs", self.name, "--verify")["size"] == len(workload_log(1, self.lines))
            for rank in self.ranks:
                place = "outputs" if rank < self.per_node else f"outputs.node{rank // self.per_node}"
                assert (self.trainctl.home / "runs" / shown["id"] / place / f"rank-{rank}").read_text() == f"{rank}\n"
        self.pair.wait_nothing_runs()
        self.trainctl.ok("sync")
        assert self.trainctl.json("sync")["items"] == [], "the copy is whole"
        return shown
