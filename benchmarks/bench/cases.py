# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: what is run, and what is made of the samples. Each case returns rows of {what, tool, value, unit,
note}; the first tool of a case is the floor or the reference that ratios are made of."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .measure import Command, Sample, clean_environment, largest_process, median, percentile, side_by_side
from .peers import Peers

HERE = Path(__file__).resolve().parents[1]
RUN_PEERS = ("torchx", "guildai", "dvc", "metaflow", "submitit", "pueue", "mlflow")
LINES = """import sys, time
time.sleep(0.2)
for _ in range(int(sys.argv[1])):
    print(f"STAMP {time.monotonic_ns()}", flush=True); time.sleep(0.01)
"""


@dataclass
class Row:
    what: str
    tool: str
    value: float
    unit: str
    note: str = ""
    reach: float | None = None  # the goal, for our own rows
    whole: float | None = None  # where `value` is a difference: what ratios are made of

    @property
    def met(self) -> bool | None:
        return None if self.reach is None else (self.value >= self.reach if self.unit.endswith("/s") else self.value <= self.reach)


class Bench:
    """Where things are, and how much to do."""

    def __init__(self, work: Path, trainctl: Path, peers_root: Path, rounds: int, scale: float, names: set[str] | None):
        self.work, self.trainctl, self.rounds, self.scale = work, trainctl, rounds, scale
        self.env = clean_environment(work / "home", TRAINCTL_HOME=str(work / "store"))
        # pueue's daemon and other peers keep their state below this HOME.
        self.peers = Peers(peers_root, work, self.env)
        self.names = names

    def folder(self, name: str, fresh: bool = False) -> Path:
        path = self.work / name
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def ours(self, *args: object, store: Path | None = None) -> tuple[list[str], dict[str, str]]:
        env = dict(self.env, TRAINCTL_HOME=str(store)) if store else self.env
        return [str(self.trainctl), *map(str, args)], env

    def call(self, *args: object, store: Path, cwd: Path) -> str:
        argv, env = self.ours(*args, store=store)
        done = subprocess.run(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=1800)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def peer(self, label: str, name: str, argv: list[str], tag: str, **options) -> list[Command]:
        if self.names is not None and name not in self.names:
            return []
        found = self.peers.runs(name, argv, tag)
        return [Command(label, found[0], found[1], self.env, **options)] if found else []


def walls(samples: list[Sample]) -> float:
    return median([sample.wall for sample in samples]) * 1000


def submit(bench: Bench) -> list[Row]:
    """One trivial run, from the command line to its recorded end."""
    store, here = bench.folder("store-submit", fresh=True), bench.folder("submit", fresh=True)
    argv, env = bench.ours("run", "--", "/bin/true", store=store)
    commands = [Command("bare fork+exec", ["/bin/true"], here, bench.env, weight=10), Command("trainctl", argv, here, env, weight=10)]
    for name in RUN_PEERS:
        commands += bench.peer(name, name, ["/bin/true"], "submit", timeout=60)
    samples = side_by_side(commands, bench.rounds)
    bare = walls(samples["bare fork+exec"])
    ended = sum(b'"type":"end"' in path.read_bytes() for path in store.glob("runs/*/attempts/*/events.jsonl"))
    made = len(samples["trainctl"]) + 1
    rows = [Row("run /bin/true", "bare fork+exec", bare, "ms")]
    if samples["trainctl"]:
        mine = walls(samples["trainctl"])
        tail = percentile([sample.wall for sample in samples["trainctl"]], 0.95) * 1000
        rows.append(Row("run /bin/true, recorded durably, over bare", "trainctl", mine - bare, "ms",
                        f"p95 {tail:.1f} ms; {ended} of {made} runs have their end on disk", 10, mine))
    rows += [Row("run /bin/true", name, walls(samples[name]), "ms") for name in RUN_PEERS if samples.get(name)]
    return rows


def first_line(bench: Bench) -> list[Row]:
    """From the write in the script to the arrival at who reads the screen; 200 lines 10 ms apart, unbuffered."""
    here = bench.folder("lines", fresh=True)
    (here / "lines.py").write_text(LINES)
    script = [sys.executable, str(here / "lines.py"), "200"]
    argv, env = bench.ours("run", "--", *script, store=bench.folder("store-lines", fresh=True))
    commands = [Command("bare pipe", script, here, bench.env, read=True), Command("trainctl", argv, here, env, read=True)]
    for name in ("torchx", "pueue", "guildai", "metaflow"):
        commands += bench.peer(name, name, script, "lines", read=True, timeout=60)
    rows = []
    for label, samples in side_by_side(commands, max(1, bench.rounds // 2), warmup=1).items():
        firsts = [sample.lags[0] * 1000 for sample in samples if sample.lags]
        every = [lag * 1000 for sample in samples for lag in sample.lags]
        if firsts:
            rows.append(Row("first log line, written to shown", label, median(firsts), "ms",
                            f"all lines: median {median(every):.2f}, p99 {percentile(every, 0.99):.2f} ms", 5 if label == "trainctl" else None))
    return rows


def cold(bench: Bench) -> list[Row]:
    """The start of the program itself: help, and the list of a small store."""
    here, store = bench.folder("cold", fresh=True), bench.folder("store-cold", fresh=True)
    for _ in range(20):
        bench.call("run", "--", "/bin/true", store=store, cwd=here)
    commands = [Command("true", ["/bin/true"], here, bench.env, weight=5)]
    for label, args in (("trainctl --help", ["--help"]), ("trainctl ls, 20 runs", ["ls"])):
        argv, env = bench.ours(*args, store=store)
        commands.append(Command(label, argv, here, env, weight=5))
    peers = (("guildai", "guild", ["--help"]), ("torchx", "torchx", ["--help"]), ("pueue", "pueue", ["--help"]), ("dvc", "dvc", ["--help"]),
             ("metaflow", "metaflow", ["--help"]), ("mlflow", "mlflow", ["--help"]), ("guildai", "guild", ["runs"]))
    for name, program, args in peers:
        if bench.peers.have(name) and (bench.names is None or name in bench.names):
            commands.append(Command(f"{program} {args[0]}", [str(bench.peers.program(name, program)), *args], here, bench.env))
    samples = side_by_side(commands, bench.rounds)
    return [Row("--help and ls, cold start", label, walls(found), "ms", largest_process(found), 4 if label.startswith("trainctl") else None)
            for label, found in samples.items() if found]


def logs(bench: Bench) -> list[Row]:
    """A run that prints 200 MB in lines of 100 bytes: stored, and shown to a reader of the pipe."""
    megabytes = max(1, int(200 * bench.scale))
    here, store = bench.folder("logs"), bench.folder("store-logs", fresh=True)
    big = here / f"big{megabytes}.log"
    if not big.exists() or big.stat().st_size != megabytes * 1_000_000:
        with open(big, "w", buffering=1 << 20) as out:
            for line in range(megabytes * 10_000):
                out.write(f"LINE_{line:08d} {'x' * 85}\n")
    argv, env = bench.ours("run", "--", "/bin/cat", big, store=store)
    commands = [Command("cat | tee file", ["/bin/sh", "-c", f"cat '{big}' | tee '{here}/copy'"], here, bench.env, read=True),
                Command("trainctl", argv, here, env, read=True)]
    for name in ("pueue", "submitit", "torchx", "metaflow"):
        # The slow ones take minutes for 200 MB; they are asked once, the others often.
        if name != "metaflow" or bench.rounds > 1:
            commands += bench.peer(name, name, ["/bin/cat", str(big)], "logs", read=True, timeout=600)
    quick = [command for command in commands if command.label not in ("torchx", "metaflow")]
    samples = side_by_side(quick, max(1, bench.rounds // 2))
    samples.update(side_by_side([command for command in commands if command not in quick], 1, warmup=0))
    rows = []
    for label, found in samples.items():
        if found:
            whole = all(sample.shown >= big.stat().st_size for sample in found)
            rows.append(Row(f"{megabytes} MB of log, stored and shown", label, walls(found) / 1000, "s",
                            "; ".join(filter(None, [largest_process(found), "" if whole else "NOT everything was shown"]))))
    tee, ours = median([s.wall for s in samples["cat | tee file"]]), [row for row in rows if row.tool == "trainctl"]
    if ours:
        stored = next(iter(store.glob("runs/*/attempts/1/logs/std.log")), None)
        same = stored is not None and digest(stored) == digest(big)
        ours[0].reach, ours[0].note = tee, "; ".join(filter(None, [ours[0].note, "stored byte for byte" if same else "the stored log DIFFERS"]))
    return rows


def digest(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def metrics(bench: Bench) -> list[Row]:
    """One value a call from Python, then the index of all of them; the peers' writers in the same way."""
    calls = max(1000, int(300_000 * bench.scale))
    here, store = bench.folder("metrics", fresh=True), bench.folder("store-metrics", fresh=True)
    shutil.copy(HERE / "bench" / "writers.py", here / "writers.py")
    rate = re.compile(r"RATE (\S+) ([\d.]+)")

    def rates(output: str) -> dict[str, float]:
        return {name: float(value) for name, value in rate.findall(output)}

    best: dict[str, list[float]] = {}
    for _ in range(max(1, bench.rounds // 2)):
        for name, value in rates(bench.call("run", "--", sys.executable, "writers.py", "trainctl", calls, store=store, cwd=here)).items():
            best.setdefault(name, []).append(value)
        for program, which, count in (("tensorboard", "tensorboard", calls // 3), ("mlflow", "mlflow-file", 2000), ("mlflow", "mlflow-sqlite", 300)):
            python = bench.peers.program(program, "python")
            if bench.peers.have(program) and (bench.names is None or program in bench.names):
                done = subprocess.run([str(python), str(here / "writers.py"), which, str(count)], cwd=bench.folder(f"metrics/{which}"), env=bench.env,
                                      capture_output=True, text=True, timeout=600)
                for name, value in rates(done.stdout).items():
                    best.setdefault(name, []).append(value)
    rows = [Row("metric values logged, one a call", name, median(values), "values/s", "", 150_000 if name == "trainctl.log" else None) for name, values in best.items()]
    began = time.perf_counter()
    bench.call("store", "rebuild", store=store, cwd=here)
    values = sum(path.read_bytes().count(b"\n") for path in store.glob("runs/*/attempts/*/metrics/script*.jsonl"))
    rows.append(Row("metric values indexed", "trainctl store rebuild", values / (time.perf_counter() - began), "values/s", f"{values} values", 500_000))
    shown = json.loads(bench.call("metrics", "@", "--json", store=store, cwd=here))
    if "loss" not in json.dumps(shown):
        rows[-1].note += "; NOT queryable"
    return rows


def large_store(bench: Bench) -> list[Row]:
    """A page of 100,000 runs, filtered and ordered by a metric; mlflow with 10,000 for comparison."""
    count = max(100, int(100_000 * bench.scale))
    here, store = bench.folder("ls", fresh=True), bench.folder(f"store-{count}")
    if len(list((store / "runs").glob("*")) if (store / "runs").exists() else []) < count:
        shutil.rmtree(store)
        (here / "train.py").write_text("import trainctl\ntrainctl.log(accuracy=0.5, loss=0.7, step=1)\n")
        bench.call("run", here / "train.py", store=store, cwd=here)
        subprocess.run([sys.executable, str(HERE / "make-store"), str(store), str(count)], check=True)
    began = time.perf_counter()
    bench.call("store", "rebuild", store=store, cwd=here)
    rebuild = time.perf_counter() - began
    argv, env = bench.ours("ls", "--where", "metrics.accuracy > 0.5", "--sort", "-accuracy", "--limit", "20", "--json", store=store)
    plain, _ = bench.ours("ls", "--limit", "20", store=store)
    found = side_by_side([Command("filter and order by a metric", argv, here, env), Command("newest 20", plain, here, env)], bench.rounds * 2)
    items = json.loads(bench.call(*argv[1:], store=store, cwd=here)).get("items", [])
    rows = [Row(f"ls of {count:,} runs: {label}", "trainctl", walls(samples), "ms", f"{len(items)} rows", 50) for label, samples in found.items() if samples]
    rows.append(Row(f"index of {count:,} runs rebuilt", "trainctl", rebuild, "s"))
    if bench.peers.have("mlflow") and (bench.names is None or "mlflow" in bench.names):
        smaller = count // 10
        done = subprocess.run([str(bench.peers.program("mlflow", "python")), str(HERE / "bench" / "mlflow_list.py"), str(smaller)], cwd=bench.folder("mlflow-list"),
                              env=bench.env, capture_output=True, text=True, timeout=1200)
        for value in re.findall(r"SECONDS ([\d.]+)", done.stdout):
            rows.append(Row(f"search of {smaller:,} runs: filter and order by a metric", "mlflow (SQLite)", float(value) * 1000, "ms"))
    return rows


def snapshot(bench: Bench) -> list[Row]:
    """The source directory looked at again when nothing changed: 20,000 files; git status on the same tree."""
    count = max(200, int(20_000 * bench.scale))
    tree, store, env = bench.folder("tree"), bench.folder("store-tree", fresh=True), bench.env
    if not (tree / ".git").exists():
        chance = random.Random(1)
        for index in range(count):
            folder = tree / f"d{index // 100:03d}"
            folder.mkdir(exist_ok=True)
            (folder / f"f{index:05d}.txt").write_bytes(chance.randbytes(chance.randrange(100, 4000)))
        (tree / "a.run.json").write_text('{"name": "tree", "command": ["/bin/true"]}\n')
        for args in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tree"], ["status"]):
            subprocess.run(["git", *args], cwd=tree, env=env, check=True, capture_output=True)
    bench.call("submit", "a.run.json", store=store, cwd=tree)
    explain, ours = bench.ours("explain", "a.run.json", store=store)
    again, _ = bench.ours("submit", "a.run.json", store=store)
    # The same files without the repository: there explain looks at files only, as git does, and does not ask git as well.
    bare = bench.work / "tree-bare"
    if not bare.exists():
        shutil.copytree(tree, bare, ignore=shutil.ignore_patterns(".git"))
    bench.call("submit", "a.run.json", store=store, cwd=bare)
    found = side_by_side([Command("git status", ["git", "status", "--porcelain"], tree, env), Command("snapshot", explain, bare, ours),
                          Command("explain", explain, tree, ours), Command("submit", again, tree, ours)], bench.rounds)
    git = walls(found["git status"])
    rows = [Row(f"second look at {count:,} files", "git status", git, "ms")]
    if found["snapshot"]:
        rows.append(Row(f"second snapshot of {count:,} files", "trainctl explain", walls(found["snapshot"]), "ms", "the same files without their repository", git))
    if found["explain"]:
        rows.append(Row(f"second snapshot of {count:,} files, and what git says", "trainctl explain", walls(found["explain"]), "ms", "runs git status beside it"))
    if found["submit"]:
        rows.append(Row(f"submit with {count:,} unchanged files", "trainctl submit", walls(found["submit"]), "ms", "snapshot, private copy of the tree, run, end"))
    return rows


def private_dirty(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def processes_of(mark: str) -> dict[int, str]:
    """Processes with this text in their environment, by pid: the name of their program."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if mark.encode() in Path(entry.path, "environ").read_bytes():
                    found[int(entry.name)] = os.path.basename(os.readlink(f"{entry.path}/exe"))
            except OSError:
                continue
    return found


def end_all(mark: str) -> None:
    for _ in range(200):
        left = processes_of(mark)
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not left:
            return
        time.sleep(0.02)


def memory(bench: Bench) -> list[Row]:
    """What supervising costs: private dirty memory of everything that is not the script, with 500 runs at once."""
    count = max(5, int(500 * bench.scale))
    here, store = bench.folder("memory", fresh=True), bench.folder("store-memory", fresh=True)
    (here / "a.run.json").write_text('{"name": "sleep", "command": ["/bin/sleep", "900"]}\n')
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: bench.call("submit", "a.run.json", "--detach", store=store, cwd=here), range(count)))
        deadline = time.monotonic() + 120
        while sum(name == "sleep" for name in processes_of(str(store)).values()) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        found = processes_of(str(store))
        running = sum(name == "sleep" for name in found.values())
        ours = [pid for pid, name in found.items() if name.startswith("trainctl")]
        total = sum(private_dirty(pid) for pid in ours)
    finally:
        end_all(str(store))
    rows = [Row(f"memory of {running} runs at once, each", "trainctl", total / max(1, running) / (1 << 20), "MiB", f"{len(ours)} processes beside the scripts", 1)]
    if bench.peers.have("submitit") and (bench.names is None or "submitit" in bench.names):
        mark = f"BENCH_MARK={here}"
        argv, cwd = bench.peers.runs("submitit", ["/bin/sleep", "900"], "memory") or ([], here)
        env = dict(bench.env, BENCH_MARK=str(here))
        clients = [subprocess.Popen(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(5)]
        try:
            deadline = time.monotonic() + 60
            while sum(name == "sleep" for name in processes_of(mark).values()) < 5 and time.monotonic() < deadline:
                time.sleep(0.1)
            pids = [pid for pid, name in processes_of(mark).items() if name != "sleep"]
            rows.append(Row("memory of 5 runs at once, each", "submitit", sum(map(private_dirty, pids)) / 5 / (1 << 20), "MiB", f"{len(pids)} processes"))
        finally:
            end_all(mark)
            for client in clients:
                client.wait()
    return rows


CASES = {"submit": submit, "first-line": first_line, "cold": cold, "logs": logs, "metrics": metrics, "ls": large_store, "snapshot": snapshot, "memory": memory}
__all__ = ["CASES", "Bench", "Row"]
