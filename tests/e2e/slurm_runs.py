# SPDX-License-Identifier: Apache-2.0
"""Runs as jobs of a real Slurm (slurm.py), through the runner's protocol as a login node is, and through the command. The
fixtures are for the test files that import them."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import pytest

from harness import Trainctl, jsonl, wait_until
from remote import workload_log
from runner import Run, ulid
from slurm import Cluster
from sshd import Sshd
from stdio import Runner

# Appends "<attempt>\n" for each start, so that a second start of the same attempt would show.
COUNTING = 'echo "$TRAINCTL_ATTEMPT" >> "$STARTS"; '

SEED = int(os.environ.get("TRAINCTL_TEST_SEED", "20261130"))
LINES = 200
# Says "<attempt>:<rank>" in a file that is only appended to, then prints lines that follow from the seed and the rank. In the middle
# it saves where it is, or lets a warning do that, and waits for its gate. Who finds something saved goes on there, so that the logs of
# all attempts together are the stream, each line once.
STREAM = """
echo "$TRAINCTL_ATTEMPT:${RANK:-0}" >> "$4"
i=0; x=$(($1 + ${RANK:-0})); saved=$TRAINCTL_OUTPUTS/saved-${RANK:-0}
[ ! -e "$saved" ] || read -r i x < "$saved"
[ "$6" != warned ] || trap 'echo "$i $x" > "$saved"' USR2
while [ $i -lt $2 ]; do
  x=$(( (x * 1103515245 + 12345) & 2147483647 ))
  echo "line $i $x"
  i=$((i + 1))
  if [ $i -eq $(($2 / 2)) ]; then
    [ "$6" = warned ] || echo "$i $x" > "$saved"
    while [ -n "$5" ] && [ ! -e "$5" ]; do sleep 0.02; done 2>/dev/null  # sh may say who killed sleep
  fi
done
exit $3
"""


@pytest.fixture(scope="module")
def cluster():
    root = Path(tempfile.mkdtemp(prefix="tc-slurm-", dir="/var/tmp"))
    made = Cluster(root, nodes=2)
    try:
        yield made.start()
    finally:
        made.stop()
        made.run("rm", "-rf", root)


class Job:
    """A run that is submitted through a runner on the "login node"."""

    def __init__(self, login: "Login", argv: list[str], kind: str, plan: dict):
        self.login = login
        self.made = Run(login.drafts, argv, kind=kind, **plan)
        self.id, self.plan = self.made.id, json.loads((self.made.root / "plan.json").read_text())
        self.root = login.store / "runs" / self.id
        self.starts = login.store.parent / f"starts-{self.id}"
        self.plan["variables"] = {"STARTS": str(self.starts), **self.plan.get("variables", {})}
        self.made.root = self.root  # its files are looked at where they grow

    def __getattr__(self, name: str):
        return getattr(self.made, name)

    def launch(self) -> "Job":
        self.login.runner.ask("launch", plan=self.plan)
        return self

    def cancel(self) -> None:
        self.login.runner.ask("request", run=self.id, id=ulid(),
                              request={"type": "cancel", "reason": "test"})

    def watch(self):
        return self.login.runner.watch(self.id)

    def job(self) -> str:
        return wait_until(lambda: [line["job"] for line in jsonl(self.root / "slurm" / "events.jsonl") if line["type"] == "job"],
                          "a job")[-1]

    def started_attempts(self) -> list[str]:
        return self.starts.read_text().split() if self.starts.exists() else []


class Login:
    def __init__(self, cluster: Cluster, root: Path):
        self.cluster, self.store, self.drafts = cluster, root / "store", root / "drafts"
        self.env = {k: v for k, v in cluster.env.items() if not k.startswith("TRAINCTL_")}
        self.runners: list[Runner] = []
        self.runner = self.connect()

    def connect(self, **env: str) -> Runner:
        self.runners.append(Runner(self.store, {**self.env, **env}))
        self.runner = self.runners[-1]
        return self.runner

    def run(self, *argv: str, kind: str = "exec", slurm: dict | None = None, **plan) -> Job:
        plan.setdefault("stop", {"signal": "SIGINT", "grace_ms": 5000})
        return Job(self, list(argv), kind, {"target": {"name": "cluster", "type": "slurm", "slurm": slurm or {}}, **plan})

    def shell(self, text: str, **plan) -> Job:
        return self.run("sh", "-c", COUNTING + text, **plan)


@pytest.fixture
def login(cluster: Cluster, scratch: Path):
    made = Login(cluster, scratch)
    yield made
    cluster.run("scancel", "--user=root", check=False)
    for runner in made.runners:
        runner.kill()
    wait_until(lambda: not [job for job, state in cluster.jobs().items() if state in ("RUNNING", "COMPLETING", "PENDING")],
               "no job is left", 90)


@pytest.fixture
def shell(cluster: Cluster, trainctl):
    trainctl.env["SLURM_CONF"] = cluster.env["SLURM_CONF"]
    yield trainctl
    cluster.run("scancel", "--user=root", check=False)


def define(shell, name: str, **slurm) -> None:
    """Writes a target file of the user."""
    target = shell.user_home / ".config" / "trainctl" / "targets" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"type": "target", "launcher": "slurm", "slurm": slurm}))


@pytest.fixture
def behind(cluster: Cluster, shell, scratch: Path):
    """A trainctl without Slurm of its own; `cluster` is a target behind a login node that has it."""
    del shell.env["SLURM_CONF"]
    login_node = Sshd(scratch / "login", alias="login", variables={"SLURM_CONF": cluster.env["SLURM_CONF"]})
    (scratch / "rt").mkdir(mode=0o700)
    shell.env["XDG_RUNTIME_DIR"] = str(scratch / "rt")
    target = shell.user_home / ".config" / "trainctl" / "targets" / "cluster.json"
    target.parent.mkdir(parents=True)
    target.write_text(json.dumps({"type": "target", "host": "root@login", "ssh_config": str(login_node.ssh_config), "launcher": "slurm",
                                  "slurm": {"partition": "main", "requeue": False, "evidence_after": "1m"}}))
    yield shell
    login_node.clean_up()


class Stream:
    """A run of STREAM through the command, and what must be true of it after a bad day."""

    def __init__(self, shell: Trainctl, cluster: Cluster, name: str = "stream", code: int = 0, gate: bool = True, saves: str = "half",
                 ranks: int = 1, **fields):
        self.shell, self.cluster, self.code, self.ranks, self.name = shell, cluster, code, ranks, f"{name}-1"
        self.starts, self.gate = shell.root / f"{name}.starts", shell.root / f"{name}.gate"
        words = [str(SEED), str(LINES), str(code), str(self.starts), str(self.gate) if gate else "", saves]
        self.spec = shell.cwd / f"{name}.run.json"
        fields = {"target": "slurm", "resources": {"cpus": 1}, "stop": {"grace": "2s"}, "retry": {"max": 0, "resume": True}, **fields}
        if ranks > 1:
            fields.update(resources={"nodes": ranks}, distribution={"type": "processes", "processes_per_node": 1})
        self.spec.write_text(json.dumps({"name": name, "command": ["sh", "-c", STREAM, "stream", *words], **fields}))

    def submit(self) -> "Stream":
        self.shell.ok("submit", self.spec, "--detach")
        return self

    def open(self) -> None:
        """Lets the second half begin."""
        self.gate.touch()

    def part(self, what: str, rank: int = 0) -> bytes:
        """All of the stream, its first half, its rest, or none of it."""
        log = workload_log(SEED + rank, LINES)
        half = len(workload_log(SEED + rank, LINES // 2))
        return {"all": log, "half": log[:half], "rest": log[half:], "none": b""}[what]

    # -- looking -----------------------------------------------------------------------------------------------------------

    def show(self) -> dict:
        """KeyError until it is recorded."""
        shown = self.shell.run("show", self.name, "--json").json
        shown["id"]
        return shown

    def listed(self, *options: str) -> dict:
        return next(item for item in self.shell.json("ls", "--all", *options)["items"] if item["name"] == self.name)

    def folder(self) -> Path:
        return self.shell.home / "runs" / self.show()["id"]

    def jobs(self) -> dict[str, str]:
        """Every job of this run that the controller knows, with its state."""
        lines = self.cluster.run("squeue", "-h", "-t", "all", "-o", "%i|%T|%k").stdout.splitlines()
        return dict(line.split("|")[:2] for line in lines if line.endswith(f"|trainctl:{self.folder().name}"))

    def job(self) -> str:
        return list(wait_until(self.jobs, f"{self.name} has a job"))[-1]

    def nodes(self) -> list[str]:
        """The nodes of its job; the batch host first."""
        listed = self.cluster.run("squeue", "-h", "-j", self.job(), "-o", "%N").stdout.strip()
        return self.cluster.run("scontrol", "show", "hostnames", listed).stdout.split()

    def started(self) -> list[str]:
        return self.starts.read_text().split() if self.starts.exists() else []

    def end_of(self, number: int) -> dict:
        """How an attempt ended."""
        return [event for event in self.shell.events(self.folder(), number) if event["type"] == "end"][-1]

    def wait_half(self) -> None:
        """Each rank has printed its first half there, and waits."""
        for rank in range(self.ranks):
            log = self.there() / "logs" / (f"rank-{rank}.log" if rank else "std.log")
            wait_until(lambda log=log, rank=rank: log.read_bytes() == self.part("half", rank), f"half of rank {rank}")

    def there(self, number: int = 1) -> Path:
        """The folder of an attempt on the host that submits."""
        return self.stored() / "runs" / self.folder().name / "attempts" / str(number)

    def stored(self) -> Path:
        """The store of the host that submits: this one."""
        return self.shell.user_home / ".trainctl" / "store"

    # -- what must be true ---------------------------------------------------------------------------------------------------

    def check(self, state: str, cause: str, parts: list[str], jobs: int = 1) -> dict:
        """`parts` are what each attempt printed. Started once each, each byte once, the end true, in all that shows it."""
        shown = self.show()
        assert (shown["state"], shown["cause"], shown["attempts"]) == (state, cause, len(parts)), shown
        listed = self.listed()
        assert all(listed[key] == shown[key] for key in ("state", "cause", "attempts", "exit_code", "message")), (listed, shown)
        numbers = [number for number, part in enumerate(parts, 1) if part != "none"]
        assert sorted(self.started()) == [f"{number}:{rank}" for number in numbers for rank in range(self.ranks)]
        assert len(self.jobs()) == jobs, self.jobs()
        for number in numbers:
            for rank in range(self.ranks):
                self.check_log(number, rank, self.part(parts[number - 1], rank))
        return shown

    def check_log(self, number: int, rank: int, wanted: bytes) -> None:
        attempt = self.folder() / "attempts" / str(number)
        shown = self.shell.ok("logs", self.name, "--attempt", number, "--rank", rank)
        assert shown.out == wanted, f"attempt {number}, rank {rank}: {len(wanted)} bytes wanted\n{shown}"
        assert (attempt / "logs" / (f"rank-{rank}.log" if rank else "std.log")).read_bytes() == wanted, (number, rank)
        ranks = [line for path in attempt.glob(f"nodes/*/rank-{rank}.jsonl") for line in jsonl(path)]
        assert [line["type"] for line in ranks].count("start") == 1, ranks


def nothing_left(shell: Trainctl, cluster: Cluster, store: Path, target: str = "slurm") -> None:
    """No job waits or runs, no process is left; and nothing of ended runs on the host, then nothing of ours at all."""
    wait_until(lambda: not set(cluster.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING"}, "no job is left", 90)
    wait_until(lambda: not [command for command in shell.owned().values() if "trainctl" in command], "no process is left")
    shell.ok("target", "clean", target, "--yes")
    assert list((store / "runs").iterdir()) == []
    shell.ok("target", "clean", target, "--all", "--yes")
    assert not store.exists()


@pytest.fixture
def stream(cluster: Cluster, shell):
    """Makes runs: `stream(name="a").submit()`. When all is over nothing of them may be left."""
    made: list[Stream] = []

    def make(**fields) -> Stream:
        made.append(Stream(shell, cluster, **fields))
        return made[-1]

    yield make
    nothing_left(shell, cluster, made[0].stored())
