# SPDX-License-Identifier: Apache-2.0
"""Runs elsewhere: an ssh host against bare ssh, `tail -f`, `cat` and rsync over the same kind of connection; Slurm against sbatch."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .cases import LINES, Bench, Row, walls
from .measure import Command, Sample, median, percentile, run_once, side_by_side
from .remote_hosts import HOST, NAME, Box, box, cluster, remove_at_the_end, wait_until

from faultproxy import Fault, FaultProxy  # of tests/support, which remote_hosts puts on the path

FOLLOWED = 200
CIPHER = "aes256-gcm@openssh.com"
LOG_ROUNDS = 7  # on two cores the same command may take half as long again a minute later
LINK = 0.02  # seconds there and back again, of the link that is looked at cold


def checked(command: Command) -> Sample:
    sample = run_once(command)
    if sample.code:
        raise RuntimeError(f"{command.label}: exit {sample.code}: {' '.join(map(str, command.argv))}")
    return sample


def cold_samples(there: Box, rounds: int) -> dict[str, list[Sample]]:
    """`true` over a link with a delay, with no connection open."""
    commands = [Command("ssh host true", [*there.alone, HOST, "true"], there.here, there.env), there.run("true")]
    samples: dict[str, list[Sample]] = {command.label: [] for command in commands}
    with FaultProxy(("127.0.0.1", there.host.port)) as proxy:
        there.host.write_ssh_config(proxy.port)
        for _ in range(rounds):
            for command in commands:
                there.cut()
                proxy.arm(Fault("delay", seconds=LINK / 2))
                samples[command.label].append(checked(command))
        there.cut()
    there.host.write_ssh_config(there.host.port)
    return samples


def ssh_submit(bench: Bench) -> list[Row]:
    """`true` on an ssh host, from the command line to its recorded end; on a warm connection, and on a cold one."""
    with box(bench, "ssh-submit") as there:
        # Milliseconds of difference between hundreds that vary by tens: more rounds than elsewhere.
        warm = side_by_side([there.ssh("ssh host true", "true", weight=5), there.run("true", weight=5)], 2 * bench.rounds)
        cold = cold_samples(there, 3 * bench.rounds)
    rows = []
    for kind, samples, goal in (("warm connection", warm, 25.0), (f"cold connection, round trip {LINK * 1000:.0f} ms", cold, 2000 * LINK)):
        base, mine = walls(samples["ssh host true"]), walls(samples["trainctl"])
        rows += [Row(f"true on an ssh host, {kind}", "ssh host true", base, "ms"),
                 Row("recorded durably, over bare", "trainctl", mine - base, "ms", f"{mine:.1f} ms in all", goal, mine)]
    return rows


def ssh_first_line(bench: Bench) -> list[Row]:
    """From the write in the remote script to the arrival at who reads the local screen; lines 10 ms apart, unbuffered."""
    count = max(10, int(50 * bench.scale))
    with box(bench, "ssh-lines") as there:
        script = there.host.home / "lines.py"
        script.write_text(LINES)
        tail = f": > lines.log; {sys.executable} {script} {count} >> lines.log & tail -f lines.log --pid=$!"
        samples = side_by_side([there.ssh("ssh host tail -f", tail, read=True), there.run(sys.executable, script, count, read=True)], bench.rounds)
    rows = []
    for label, found in samples.items():
        first, every = median([sample.lags[0] * 1000 for sample in found]), [lag * 1000 for sample in found for lag in sample.lags]
        rows.append(Row("first log line, remote script to local screen", label, first, "ms",
                        f"all lines: median {median(every):.2f}, p99 {percentile(every, 0.99):.2f} ms", rows[0].value + 5 if rows else None))
    return rows


def log_lines(count: int) -> bytes:
    """What a training writes: a time, some words, some numbers."""
    chance = random.Random(1)
    return "".join(f"2026-11-29 12:{number // 60 % 60:02d}:{number % 60:02d},{chance.randrange(1000):03d} INFO train: epoch {number // 5000} "
                   f"step {number % 5000}/5000 loss={chance.random():.6f} accuracy={chance.random():.4f} lr={chance.random() * 1e-3:.3e} "
                   f"grad_norm={chance.random() * 3:.4f} {chance.randrange(900, 1200)} samples/s\n" for number in range(count)).encode()


def mirrored(there: Box, content: bytes, megabytes: int, what: str, same: str) -> list[Row]:
    """A log of so many megabytes, made of that content again and again, mirrored and shown."""
    big, wanted = there.host.home / "big.log", hashlib.sha256()
    with open(big, "wb") as file:
        for number in range(megabytes):
            at = number * 1_000_000 % (len(content) - 1_000_000)
            block = content[at:at + 999_999] + b"\n"
            file.write(block)
            wanted.update(block)
    bare, fast, kept = "ssh host cat", f"ssh -c {CIPHER} host cat", "… cat | tee there | tee here"
    quick, copies = [*there.alone, "-c", CIPHER, HOST], [there.host.home / "copy.log", there.store / "copy.log"]
    # Not one pipe for what ssh says and for what tee writes: ssh makes its own not block, and tee would give up.
    tees = f"{shlex.join(quick)} 'cat {big} | tee {copies[0]}' 2>/dev/null | tee {copies[1]}"
    commands = [there.ssh(bare, f"cat {big}", read=True), Command(fast, [*quick, f"cat {big}"], there.here, there.env, read=True),
                there.run("cat", big, read=True), Command(kept, ["sh", "-c", tees], there.here, there.env, read=True)]
    samples: dict[str, list[Sample]] = {command.label: [] for command in commands}
    whole = "stored byte for byte"
    for number in range(LOG_ROUNDS + 1):
        for command in commands:
            os.sync()
            sample = checked(command)
            if command.label == kept:
                for copy in copies:
                    copy.unlink()
            if number:  # the first also gets the memory from the machine that this one may run on
                samples[command.label].append(sample)
        if json.loads(there.call("logs", "@", "--verify", "--json"))["sha256"] != wanted.hexdigest():
            whole = "NOT WHAT WAS WRITTEN"
        # Two gigabytes of new pages each time would measure how this machine gets its memory.
        there.call("rm", "@")
        there.call("target", "clean", NAME, "--yes")
    rates = {label: megabytes / median([sample.wall for sample in found]) for label, found in samples.items()}
    return [Row(what, bare, rates[bare], "MB/s"), Row(what, fast, rates[fast], "MB/s", "the cipher that trainctl asks for"),
            Row(what, kept, rates[kept], "MB/s", "what trainctl does besides: a copy kept at both ends"),
            Row(same, "trainctl", rates["trainctl"], "MB/s", whole, 0.9 * rates[bare])]


def ssh_log(bench: Bench) -> list[Row]:
    """A long log, mirrored and shown: of a training's lines, and of bytes that no packing makes shorter."""
    megabytes = max(8, int(1000 * bench.scale))
    with box(bench, "ssh-log") as there:
        return [*mirrored(there, log_lines(250_000), megabytes, f"{megabytes:,} MB of remote log, shown", "the same, mirrored and shown"),
                *mirrored(there, os.urandom(8_000_000), megabytes, f"{megabytes:,} MB that cannot be packed", "the same, mirrored and shown")]


def many_files(tree: Path, count: int) -> None:
    for number in range(count):
        path = tree / f"d{number % 200:03d}" / f"f{number}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {number}\n" * 5)


def makes_spare(there: Box) -> bool:
    return any("trainctl-spare" in Path(f"/proc/{pid}/comm").read_text() for pid in there.host.processes())


def ssh_second_submit(bench: Bench) -> list[Row]:
    """One file of many has changed: the tree is sent again, some seconds after the last time, and at once."""
    count = max(100, int(20_000 * bench.scale))
    with box(bench, "ssh-tree") as there:
        tree = bench.folder("ssh-tree/tree")
        many_files(tree, count)
        (tree / "a.run.json").write_text(json.dumps({"command": ["true"], "target": NAME}))
        rsync = ["rsync", "-a", "-e", " ".join(there.bare), f"{tree}/", f"{HOST}:{there.host.home}/copy/"]
        submit = there.ours("submit", "a.run.json", cwd=tree)
        commands = {"rsync": Command("rsync -a", rsync, tree, there.env), "later": submit, "at once": submit}
        samples: dict[str, list[Sample]] = {name: [] for name in commands}
        for number in range(bench.rounds + 1):  # the first brings the tree there
            for name, command in commands.items():
                if name != "at once":
                    wait_until(lambda: not makes_spare(there), "the host is at rest", 300)
                (tree / "d000" / "f0.py").write_text(f"# changed {number} {name}\n")
                sample = checked(command)
                if number:
                    samples[name].append(sample)
    base = walls(samples["rsync"])
    return [Row(f"one changed file of {count:,} brought to an ssh host", "rsync -a", base, "ms", "into one copy that stays the same folder"),
            Row("the same, run in a private copy, recorded", "trainctl submit", walls(samples["later"]), "ms", "some seconds after the last run of this source", base),
            Row("the same, at once behind another", "trainctl submit", walls(samples["at once"]), "ms", "no copy has been made ahead yet")]


def cpu_seconds(pids: list[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def named(pids: list[int], name: str) -> list[int]:
    return [pid for pid in pids if name in os.path.basename(os.readlink(f"/proc/{pid}/exe"))]


def ssh_follow(bench: Bench) -> list[Row]:
    """Many quiet runs on one host, all followed by one command."""
    count, seconds = max(5, int(FOLLOWED * bench.scale)), 20 * min(1.0, bench.scale * 4)
    with box(bench, "ssh-follow") as there:
        names = [there.call("run", "--target", NAME, "--detach", "--", "sleep", "900").split()[0] for _ in range(count)]
        argv, _ = bench.ours("wait", *names)
        waiting = subprocess.Popen(argv, env=there.env, cwd=there.here, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: idle(waiting.pid), "it has read what is there")
            there_now = there.host.sessions()
            both = [waiting.pid, *there.masters(), *there_now]
            runners, spent, alone, began = len(named(there_now, "trainctl-runner")), cpu_seconds(both), cpu_seconds([waiting.pid]), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            if waiting.poll() is not None:
                raise RuntimeError(f"trainctl wait ended with {waiting.returncode}")
            share, alone = 100 * (cpu_seconds(both) - spent) / took, 100 * (cpu_seconds([waiting.pid]) - alone) / took
        finally:
            waiting.kill()
            waiting.wait()
    if runners != 1:
        raise RuntimeError(f"{runners} runners answer on the host, not one")
    return [Row(f"{len(names)} quiet runs on one host, followed", "trainctl wait", share, "% of a core",
                f"client, connection and runner over {seconds:.0f} s, the client alone {alone:.1f} %; one session", 2.0)]


def idle(pid: int) -> bool:
    """Less than a tenth of a core in half a second."""
    before = cpu_seconds([pid])
    time.sleep(0.5)
    return before > 0 and cpu_seconds([pid]) - before < 0.05


def slurm_submit(bench: Bench) -> list[Row]:
    """From the command line to the first command of the job's script, which notes the time; without the wait for slurmctld.

    It looks at new jobs once a second: where in that second a command begins says more than what it does. So what is
    counted is the time until sbatch has returned, and from when Slurm starts the job until its script runs."""
    root = bench.folder("slurm-submit", fresh=True)
    here, store, stamp, accepted, begun, programs = (root / name for name in ("here", "store", "stamp", "accepted", "begun", "bin"))
    here.mkdir()
    programs.mkdir()
    scripts = {programs / "sbatch": f'{shutil.which("sbatch")} "$@"; code=$?; date +%s%N > {accepted}; exit $code',
               programs / "prolog": f"date +%s%N > {begun}"}
    for path, script in scripts.items():
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    note = f"date +%s%N > {stamp}.part; mv {stamp}.part {stamp}"
    spent: dict[str, list[float]] = {"sbatch": [], "trainctl": []}
    whole: dict[str, list[float]] = {"sbatch": [], "trainctl": []}
    with cluster(bench, TaskProlog=programs / "prolog") as slurm:
        env = {**bench.env, "SLURM_CONF": slurm.env["SLURM_CONF"], "TRAINCTL_HOME": str(store), "PATH": f"{programs}:{bench.env['PATH']}"}
        spec = {"name": "note", "command": ["sh", "-c", note], "target": {"kind": "slurm", "directory": str(root / "cluster")}}
        (here / "a.run.json").write_text(json.dumps(spec))
        commands = [Command("sbatch", ["sbatch", "--quiet", "--output=/dev/null", f"--wrap={note}"], here, env),
                    Command("trainctl", bench.ours("submit", "a.run.json", "--detach")[0], here, env)]
        for number in range(2 * bench.rounds + 1):
            for command in commands:
                for path in (stamp, accepted, begun):
                    path.unlink(missing_ok=True)
                wait_until(lambda: slurm.idle() == 1, "the last job has left its node")
                began = time.time_ns()
                checked(command)
                noted = wait_until(lambda: int(stamp.read_text()), "the job has begun")
                if number:
                    waited = int(begun.read_text()) - int(accepted.read_text())
                    spent[command.label].append((noted - began - waited) / 1e6)
                    whole[command.label].append((noted - began) / 1e6)
    base, mine = median(spent["sbatch"]), median(spent["trainctl"])
    remove_at_the_end(root)
    return [Row("Slurm, from the command line to running", "sbatch", base, "ms", f"{median(whole['sbatch']):.0f} ms with Slurm's own wait"),
            Row("the same, over sbatch", "trainctl submit", mine - base, "ms",
                f"{mine:.0f} ms in all, {median(whole['trainctl']):.0f} ms with Slurm's own wait", 50.0, mine)]


CASES = {"ssh-submit": ssh_submit, "ssh-first-line": ssh_first_line, "ssh-log": ssh_log, "ssh-second-submit": ssh_second_submit,
         "ssh-follow": ssh_follow, "slurm-submit": slurm_submit}
