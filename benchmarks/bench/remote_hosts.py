# SPDX-License-Identifier: Apache-2.0
"""The hosts of the remote cases, as the tests have them: a real sshd on loopback with a home folder of its own, and a real Slurm
with one node. Both sides of a comparison use OpenSSH's multiplexing, each its own connection."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .cases import Bench
from .measure import Command

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "support"), str(REPOSITORY / "tests" / "e2e")]
from harness import wait_until  # noqa: E402
from slurm import Cluster  # noqa: E402
from sshd import Sshd, masters  # noqa: E402

HOST, NAME = "box", "bench"  # what ssh and what trainctl call the host


class Box:
    """A host behind sshd, and how each side reaches it."""

    def __init__(self, bench: Bench, name: str):
        self.root = bench.folder(name, fresh=True)
        self.bench, self.here, self.store = bench, bench.folder(f"{name}/here"), bench.folder(f"{name}/store")
        self.sockets = Path(tempfile.mkdtemp(prefix="tc-bench-"))  # a short path: sockets have 108 bytes
        self.env = dict(bench.env, TRAINCTL_HOME=str(self.store), XDG_RUNTIME_DIR=str(self.sockets))
        self.host = Sshd(self.root / "box")
        bare = ["ssh", "-T", "-F", str(self.host.ssh_config)]
        self.bare = [*bare, "-o", "ControlMaster=auto", "-o", "ControlPersist=600", "-o", f"ControlPath={self.sockets}/bare"]
        self.alone = [*bare, "-o", "ControlMaster=no", "-o", "ControlPath=none"]
        target = Path(bench.env["HOME"]) / ".config" / "trainctl" / "targets" / f"{NAME}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"type": "target", "host": HOST, "ssh_config": str(self.host.ssh_config)}))

    def call(self, *words: object, cwd: Path | None = None) -> str:
        argv, _ = self.bench.ours(*words)
        done = subprocess.run(argv, env=self.env, cwd=cwd or self.here, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def ours(self, *words: object, cwd: Path | None = None, **options) -> Command:
        return Command("trainctl", self.bench.ours(*words)[0], cwd or self.here, self.env, **options)

    def run(self, *words: object, **options) -> Command:
        return self.ours("run", "--target", NAME, "--", *words, **options)

    def ssh(self, label: str, command: str, **options) -> Command:
        return Command(label, [*self.bare, HOST, command], self.here, self.env, **options)

    def masters(self) -> list[int]:
        """The processes that keep a connection open for the next command, of both sides."""
        return masters(self.sockets)

    def cut(self) -> None:
        """No connection is open any more: the next one is a cold one."""
        for pid in self.host.sessions():
            self.host._signal(pid, 9)
        wait_until(lambda: not self.masters(), "the connections are closed")

    def clean_up(self) -> None:
        self.host.clean_up()
        wait_until(lambda: not self.masters(), "the connections are closed")
        shutil.rmtree(self.sockets)
        remove_at_the_end(self.root)


def remove_at_the_end(folder: Path) -> None:
    """Not at once: an ext4 without a journal looks at every inode that was deleted in the last minutes before it gives a new
    one, so that the next case would pay for it."""
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


@contextmanager
def box(bench: Bench, name: str) -> Iterator[Box]:
    """A host that has its runner, with a warm connection of each side."""
    one = Box(bench, name)
    try:
        one.call("run", "--target", NAME, "--", "true")
        subprocess.run(one.ssh("", "true").argv, stdin=subprocess.DEVNULL, check=True, capture_output=True)
        yield one
    finally:
        one.clean_up()


@contextmanager
def cluster(bench: Bench, **settings: object) -> Iterator[Cluster]:
    """A Slurm with one node, that schedules as often as it can; `settings` are lines of slurm.conf."""
    root = bench.folder("slurm-cluster", fresh=True)
    made = Cluster(root, nodes=1, **settings)
    try:
        yield made.start()
    finally:
        made.stop()
        remove_at_the_end(root)
