# SPDX-License-Identifier: Apache-2.0
"""Timing commands from outside: wall time, CPU, memory, the first and every stamped line, bytes shown."""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Sequence

# A program under test prints time.monotonic_ns() in lines like these; the clock is the same for every process.
STAMP = re.compile(rb"STAMP (\d+)\r?\n")
DROPPED = re.compile(r"^(PYTHON.*|TRAINCTL_.*|XDG_.*|VIRTUAL_ENV|MLFLOW_.*|NO_COLOR|CLICOLOR.*)$")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Ours without what distorts a comparison (PYTHONDONTWRITEBYTECODE makes mlflow 2.6 times slower), HOME elsewhere."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if not DROPPED.match(name)}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "USER": "bench", "USERNAME": "bench",
             "METAFLOW_USER": "bench", "GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@example.org", "GIT_COMMITTER_NAME": "b",
             "GIT_COMMITTER_EMAIL": "b@example.org", "HOME": str(home), "LC_ALL": "C.UTF-8"}
    return {**kept, **quiet, **more}


@dataclass
class Command:
    """One thing to time. `weight`: how often per round (a command of 10 ms may run more often than one of 4 s)."""

    label: str
    argv: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    weight: int = 1
    read: bool = False  # read its output through a pipe, as a screen would, instead of discarding it
    timeout: int | None = None  # seconds; for peers, some of which hang


@dataclass
class Sample:
    wall: float
    cpu: float
    rss_mib: float
    code: int
    shown: int = 0
    first: float | None = None  # until the first byte
    lags: list[float] = field(default_factory=list)  # arrival minus stamp, of every stamped line
    error: str = ""


def read_all(stream: int, began: float, sample: Sample) -> None:
    """A flood is read into one place and not looked at: what it costs the reader is neither tool's."""
    rest, keep, place = b"", b"", bytearray(1 << 20)
    view = memoryview(place)
    while count := os.readv(stream, [place]):
        now = time.monotonic_ns()
        if sample.first is None:
            sample.first = time.perf_counter() - began
        sample.shown += count
        keep = (keep + bytes(view[max(0, count - 2000):count]))[-2000:]
        if count < 65536:  # stamps are looked for in trickles
            text = rest + bytes(view[:count])
            end = text.rfind(b"\n") + 1
            sample.lags += [(now - int(stamp)) / 1e9 for stamp in STAMP.findall(text[:end])]
            rest = text[end:]
    sample.error = keep.decode("utf-8", "replace")


def run_once(command: Command) -> Sample:
    """Runs the command to its end. Memory is that of the largest single process (what wait4 reports, so never less than
    this Python has when it starts one)."""
    sample = Sample(0, 0, 0, 0)
    out = subprocess.PIPE if command.read else subprocess.DEVNULL
    began = time.perf_counter()
    limit = ["timeout", str(command.timeout)] if command.timeout else []
    process = subprocess.Popen([*limit, *command.argv], cwd=command.cwd, env=command.env, stdin=subprocess.DEVNULL, stdout=out,
                               stderr=subprocess.STDOUT)
    if command.read:
        read_all(process.stdout.fileno(), began, sample)
    _, status, usage = os.wait4(process.pid, 0)
    sample.wall = time.perf_counter() - began
    process.returncode = sample.code = os.waitstatus_to_exitcode(status)
    sample.cpu, sample.rss_mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    if process.stdout:
        process.stdout.close()
    return sample


def explain_failure(command: Command) -> str:
    done = subprocess.run(command.argv, cwd=command.cwd, env=command.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=command.timeout)
    return f"exit {done.returncode}: {(done.stdout + done.stderr)[-500:].strip()}"


def side_by_side(commands: Sequence[Command], rounds: int, warmup: int = 1) -> dict[str, list[Sample]]:
    """Times all commands in turn, round after round, so that whatever the machine does hits every one of them. A command
    that fails in the warm-up is left out and gives no samples; why is printed."""
    samples: dict[str, list[Sample]] = {command.label: [] for command in commands}
    working = []
    for command in commands:
        for _ in range(warmup):
            first = run_once(command)
        if warmup and first.code != 0:
            print(f"    left out: {command.label}: {explain_failure(command)}", flush=True)
            continue
        working.append(command)
    for _ in range(rounds):
        for command in working:
            for _ in range(command.weight):
                sample = run_once(command)
                if sample.code == 0:
                    samples[command.label].append(sample)
    return samples


def largest_process(samples: Sequence[Sample]) -> str:
    """Memory as text; nothing when it cannot be told from our own."""
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + 4
    value = median([sample.rss_mib for sample in samples])
    return f"largest process {value:.0f} MiB" if value > floor else ""


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def machine() -> dict[str, str]:
    """What the figures were measured on; no name of the machine."""
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / (1 << 20)
    system = next((line.split("=", 1)[1].strip('"') for line in Path("/etc/os-release").read_text().splitlines() if line.startswith("PRETTY_NAME=")), "?")
    return {"cpu": f"{os.cpu_count()} x {cpu}", "memory": f"{memory:.0f} GiB", "system": f"{system}, Linux {os.uname().release}",
            "load": " ".join(Path("/proc/loadavg").read_text().split()[:2]), "date": time.strftime("%Y-%m-%d")}
