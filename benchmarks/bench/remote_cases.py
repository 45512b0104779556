# SPDX-License-Identifier: Apache-2.0
"""An ssh host against bare ssh, `ssh cat`, `ssh tail -f` and rsync. The host is a real sshd on loopback with a home folder of its
own; the connections of both sides are multiplexed by OpenSSH, and warm unless a row says otherwise."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .cases import LINES, Bench, Row, walls
from .measure import Command, Sample, median, percentile, run_once, side_by_side

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests" / "support"), str(REPOSITORY / "tests" / "e2e")]
from sshd import Sshd  # noqa: E402

FOLLOWED = 200


class Box:
    """The host, and how each side reaches it."""

    def __init__(self, bench: Bench, name: str):
        self.bench, self.here = bench, bench.folder(name, fresh=True)
        self.host = Sshd(self.here / "box")
        self.store = bench.folder(f"store-{name}", fresh=True)
        self.control = self.here / "bare.sock"
        self.bare = ["ssh", "-T", "-F", str(self.host.ssh_config), "-o", f"ControlPath={self.control}", "-o", "ControlPersist=600"]
        target = Path(bench.env["HOME"]) / ".config" / "trainctl" / "targets" / "bench.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps({"type": "target", "host": "box", "ssh_config": str(self.host.ssh_config)}))

    def ssh(self, command: str, master: str = "auto") -> list[str]:
        return [*self.bare, "-o", f"ControlMaster={master}", "box", command]

    def ours(self, *words: object) -> tuple[list[str], dict[str, str]]:
        return self.bench.ours(*words, store=self.store)

    def warm(self) -> None:
        """The runner is on the host, and both sides have their connection."""
        argv, env = self.ours("run", "--target", "bench", "--", "true")
        subprocess.run(argv, env=env, cwd=self.here, stdin=subprocess.DEVNULL, check=True, capture_output=True)
        subprocess.run(self.ssh("true"), stdin=subprocess.DEVNULL, check=True, capture_output=True)

    def run(self, label: str, *words: object, weight: int = 1, read: bool = False, cwd: Path | None = None) -> Command:
        argv, env = self.ours("run", "--target", "bench", "--", *words)
        return Command(label, argv, cwd or self.here, env, weight=weight, read=read)

    def close_masters(self) -> None:
        """Every multiplexing master of this host: the next connection of either side is a cold one."""
        for pid in self.host.sessions():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass

    def clean_up(self) -> None:
        subprocess.run([*self.bare, "-O", "exit", "box"], capture_output=True)
        self.host.clean_up()


@contextmanager
def box(bench: Bench, name: str) -> Iterator[Box]:
    one = Box(bench, name)
    try:
        one.warm()
        yield one
    finally:
        one.clean_up()


def ssh_submit(bench: Bench) -> list[Row]:
    """`true` on an ssh host, from the command line to its recorded end; on a warm connection, and on a cold one."""
    what = "run true on an ssh host"
    with box(bench, "ssh-submit") as there:
        bare = Command("ssh host true", there.ssh("true"), there.here, bench.env, weight=5)
        warm = side_by_side([bare, there.run("trainctl", "true", weight=5)], bench.rounds)
        cold: dict[str, list[Sample]] = {"ssh host true": [], "trainctl": []}
        for _ in range(bench.rounds):
            for command in (Command("ssh host true", there.ssh("true", master="no"), there.here, bench.env), there.run("trainctl", "true")):
                there.close_masters()
                sample = run_once(command)
                if sample.code == 0:
                    cold[command.label].append(sample)
    rows = []
    for kind, samples, goal in (("warm", warm, 25.0), ("cold", cold, None)):
        base, mine = walls(samples["ssh host true"]), walls(samples["trainctl"])
        rows += [Row(f"{what}, {kind}", "ssh host true", base, "ms"),
                 Row(f"{what}, {kind}, recorded durably, over bare", "trainctl", mine - base, "ms", f"{mine:.1f} ms in all", goal)]
    return rows


def ssh_first_line(bench: Bench) -> list[Row]:
    """From the write in the remote script to the arrival at who reads the local screen; lines 10 ms apart, unbuffered."""
    with box(bench, "ssh-lines") as there:
        script = there.host.home / "lines.py"
        script.write_text(LINES)
        count = max(10, int(100 * bench.scale))
        tail = there.ssh(f": > ~/lines.log; {sys.executable} {script} {count} >> ~/lines.log & tail -f ~/lines.log --pid=$!")
        samples = side_by_side([Command("ssh host tail -f", tail, there.here, bench.env, read=True),
                                there.run("trainctl", sys.executable, script, count, read=True)], bench.rounds)
    lags = {label: [lag * 1000 for sample in found for lag in sample.lags] for label, found in samples.items()}
    firsts = {label: median([sample.lags[0] * 1000 for sample in found if sample.lags]) for label, found in samples.items()}
    goal = firsts["ssh host tail -f"] + 5
    return [Row("first log line, remote script to local screen", label, firsts[label], "ms",
                f"all lines: median {median(lags[label]):.2f}, p99 {percentile(lags[label], 0.99):.2f} ms", goal if label == "trainctl" else None)
            for label in samples]


def ssh_log(bench: Bench) -> list[Row]:
    """A long log, mirrored and shown."""
    megabytes = max(8, int(1000 * bench.scale))
    with box(bench, "ssh-log") as there:
        big, wanted = there.host.home / "big.log", hashlib.sha256()
        with open(big, "wb") as file:
            for number in range(megabytes):
                block = (f"{number:07d} ".encode() + os.urandom(492).hex().encode() + b"\n") * 1008
                block = block[:1_000_000 - 1] + b"\n"
                file.write(block)
                wanted.update(block)
        samples = side_by_side([Command("ssh host cat", there.ssh(f"cat {big}"), there.here, bench.env, read=True),
                                there.run("trainctl", "cat", big, read=True)], max(1, bench.rounds // 2), warmup=1)
        argv, env = there.ours("logs", "@", "--verify", "--json")
        shown = json.loads(subprocess.run(argv, env=env, capture_output=True, check=True).stdout)
    rates = {label: megabytes / median([sample.wall for sample in found]) for label, found in samples.items()}
    whole = "stored byte for byte" if shown["sha256"] == wanted.hexdigest() else "NOT WHAT WAS WRITTEN"
    return [Row(f"{megabytes:,} MB of remote log, shown", "ssh host cat", rates["ssh host cat"], "MB/s"),
            Row(f"{megabytes:,} MB of remote log, mirrored and shown", "trainctl", rates["trainctl"], "MB/s", whole, 0.9 * rates["ssh host cat"])]


def ssh_second_submit(bench: Bench) -> list[Row]:
    """One file of many has changed: the tree is sent again."""
    count = max(100, int(20_000 * bench.scale))
    with box(bench, "ssh-tree") as there:
        tree = bench.folder("ssh-tree-source", fresh=True)
        for number in range(count):
            path = tree / f"d{number % 200:03d}" / f"f{number}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"# {number}\n" * 5)
        changed = tree / "d000" / "f0.py"
        (tree / "a.run.json").write_text(json.dumps({"command": ["true"], "target": "bench"}))
        argv, env = there.ours("submit", "a.run.json", "--accept-large")
        remote = " ".join([*there.bare, "-o ControlMaster=auto"])
        commands = [Command("rsync -a", ["rsync", "-a", "-e", remote, f"{tree}/", f"box:{there.host.home}/copy/"], tree, bench.env),
                    Command("trainctl submit", argv, tree, env)]
        samples: dict[str, list[Sample]] = {command.label: [] for command in commands}
        for round_number in range(bench.rounds + 1):  # the first brings the tree there
            for command in commands:
                changed.write_text(f"# changed {round_number} {command.label}\n")
                sample = run_once(command)
                if sample.code:
                    raise RuntimeError(f"{command.label}: exit {sample.code}")
                if round_number:
                    samples[command.label].append(sample)
    base = walls(samples["rsync -a"])
    what = f"one changed file of {count:,} sent to an ssh host"
    return [Row(what, "rsync -a", base, "ms", "the tree alone"),
            Row(f"{what}, run, recorded", "trainctl submit", walls(samples["trainctl submit"]), "ms", "with a private copy of the tree there", base)]


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def ssh_follow(bench: Bench) -> list[Row]:
    """Many quiet runs on one host, all followed by one command."""
    count, seconds = max(5, int(FOLLOWED * bench.scale)), 20 * min(1.0, bench.scale * 4)
    with box(bench, "ssh-follow") as there:
        for _ in range(count):
            argv, env = there.ours("run", "--target", "bench", "--detach", "--", "sleep", "900")
            subprocess.run(argv, env=env, cwd=there.here, stdin=subprocess.DEVNULL, check=True, capture_output=True)
        argv, env = there.ours("ls", "--state", "running", "-n", count, "--json")
        names = [item["name"] for item in json.loads(subprocess.run(argv, env=env, capture_output=True, check=True).stdout)["items"]]
        before = len(there.host.sessions())
        argv, env = there.ours("wait", *names)
        waiting = subprocess.Popen(argv, env=env, cwd=there.here, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            time.sleep(5)  # it has read what is there; now it is idle
            opened = max(0, len(there.host.sessions()) - before)
            spent, began = cpu_seconds([waiting.pid]), time.monotonic()
            time.sleep(seconds)
            share = 100 * (cpu_seconds([waiting.pid]) - spent) / (time.monotonic() - began)
        finally:
            waiting.kill()
            waiting.wait()
    return [Row(f"{count} quiet runs on one host, followed", "trainctl wait", share, "% of a core",
                f"{len(names)} runs; {opened} more processes of sshd on the host", 2.0)]


CASES = {"ssh-submit": ssh_submit, "ssh-first-line": ssh_first_line, "ssh-log": ssh_log, "ssh-second-submit": ssh_second_submit,
         "ssh-follow": ssh_follow}
