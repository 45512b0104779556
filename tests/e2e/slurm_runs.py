# SPDX-License-Identifier: Apache-2.0
"""Runs as jobs of a real Slurm (slurm.py), through the runner's protocol as a login node is, and through the command. The
fixtures are for the test files that import them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from harness import jsonl, wait_until
from runner import Run, ulid
from slurm import Cluster
from sshd import Sshd
from stdio import Runner

# Appends "<attempt>\n" for each start, so that a second start of the same attempt would show.
COUNTING = 'echo "$TRAINCTL_ATTEMPT" >> "$STARTS"; '


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
