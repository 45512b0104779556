# SPDX-License-Identifier: Apache-2.0
"""Cases around training itself: MLflow's client against our endpoint, TensorBoard files, the cost of a submit over the bare
script, the start of two ranks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from .cases import HERE, Bench, Row, walls
from .measure import Command, median, side_by_side

RATE = re.compile(r"RATE (\S+) ([\d.]+)")
READY = "import time\nprint(f'STAMP {time.monotonic_ns()}', flush=True)\n"


def wanted(bench: Bench, name: str) -> bool:
    return bench.peers.have(name) and (bench.names is None or name in bench.names)


@contextmanager
def canned_server() -> Iterator[str]:
    """A server that answers {}: its address."""
    server = subprocess.Popen([sys.executable, str(HERE / "bench" / "canned_server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
    server.communicate("")


@contextmanager
def mlflow_server(bench: Bench, folder: Path) -> Iterator[str]:
    """MLflow's own tracking server with SQLite behind it, one worker (its database takes one writer anyway): its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [str(bench.peers.program("mlflow")), "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--host", "127.0.0.1",
            "--port", str(port), "--workers", "1"]
    log = (folder / "server.log").open("w")
    server = subprocess.Popen(argv, cwd=folder, env=bench.env, stdout=log, stderr=log, start_new_session=True)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                if urllib.request.urlopen(f"{address}/health", timeout=5).status == 200:
                    break
            except OSError:
                time.sleep(0.2)
        else:
            raise RuntimeError(f"mlflow server does not answer: {folder}/server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def mlflow_endpoint(bench: Bench) -> list[Row]:
    """MLflow's own client: one value a call and 1,000 a call, against our endpoint, MLflow's server and a server that answers {}."""
    if not wanted(bench, "mlflow"):
        return []
    here, store = bench.folder("mlflow-endpoint", fresh=True), bench.folder("store-mlflow-endpoint", fresh=True)
    python = str(bench.peers.program("mlflow", "python"))
    calls, batches = max(20, int(1000 * bench.scale)), max(2, int(20 * bench.scale))
    client = [python, str(HERE / "bench" / "mlflow_client.py"), str(calls), str(batches)]
    rates: dict[tuple[str, str], list[float]] = {}

    def note(tool: str, text: str) -> None:
        for name, value in RATE.findall(text):
            rates.setdefault((name, tool), []).append(float(value))

    def against(address: str, **more: str) -> str:
        env = dict(bench.env, MLFLOW_TRACKING_URI=address, **more)
        return subprocess.run(client, cwd=here, env=env, capture_output=True, text=True, timeout=600).stdout

    with mlflow_server(bench, here) as theirs:
        for _ in range(max(1, bench.rounds // 2)):
            note("trainctl", bench.call("run", "--", *client, store=store, cwd=here))
            with canned_server() as address:
                note("a server that answers {}", against(address, BENCH_RUN_ID="0" * 32))
            note("mlflow server, SQLite", against(theirs))
    rows = []
    for name, what in (("log_metric", "MLflow client, one value a call"), ("log_batch", "MLflow client, 1,000 values a call")):
        ceiling = rates.get((name, "a server that answers {}"))
        for tool in ("a server that answers {}", "mlflow server, SQLite", "trainctl"):
            if values := rates.get((name, tool)):
                goal = 0.9 * median(ceiling) if tool == "trainctl" and ceiling else None
                rows.append(Row(what, tool, median(values), "values/s", "", goal))
    return rows


def tensorboard(bench: Bench) -> list[Row]:
    """An event file of scalars that a script left: until the run has ended with all points recorded; TensorBoard's own loader."""
    if not wanted(bench, "tensorboard"):
        return []
    points = max(1000, int(10_000_000 * bench.scale))
    here, store = bench.folder("tensorboard"), bench.folder("store-tensorboard", fresh=True)
    python = str(bench.peers.program("tensorboard", "python"))
    file = here / f"{points}.tfevents.1.host"
    if not file.exists():
        subprocess.run([python, str(HERE / "bench" / "tensorboard_files.py"), "write", str(file) + ".partial", str(points)], check=True)
        os.rename(str(file) + ".partial", file)
    began = time.perf_counter()
    bench.call("run", "--", "sh", "-c", f"cp '{file}' \"$TRAINCTL_OUTPUTS/events.out.tfevents.1.host\"", store=store, cwd=here)
    ours = time.perf_counter() - began
    stored = sum(path.read_bytes().count(b"\n") for path in store.glob("runs/*/attempts/1/metrics/tensorboard*.jsonl"))
    folder = bench.folder("tensorboard/read", fresh=True)
    os.link(file, folder / "events.out.tfevents.1.host")
    done = subprocess.run([python, str(HERE / "bench" / "tensorboard_files.py"), "read", str(folder)], capture_output=True, text=True, timeout=3600)
    theirs = float(RATE.findall(done.stdout)[0][1])
    return [Row("values of TensorBoard files taken in", "trainctl", stored / ours, "values/s", f"{stored:,} of {points:,} values, the whole run", 10 * theirs),
            Row("values of TensorBoard files taken in", "tensorboard", theirs, "values/s", "its own loader")]


def overhead(bench: Bench) -> list[Row]:
    """The second submit of an estimator whose environment is there, over its script run by hand with that environment's Python.

    mlflow and metaflow run the same script with the same Python; they build no environment either."""
    here, store = bench.folder("overhead", fresh=True), bench.folder("store-overhead", fresh=True)
    (here / "train.py").write_text("print('trained')\n")
    (here / "a.estimator.json").write_text(json.dumps({"type": "estimator", "framework": "generic", "entry_script": "train.py", "pip_packages": ["six"]}))
    bench.call("submit", "a.estimator.json", store=store, cwd=here)
    shown = json.loads(bench.call("env", "ls", "--json", store=store, cwd=here))["items"][0]
    python = next(Path(shown["directory"] if "directory" in shown else store / "environments" / shown["key"]).glob("**/bin/python"))
    argv, env = bench.ours("submit", "a.estimator.json", store=store)
    script = [str(python), str(here / "train.py")]
    peers = [command for name, label in (("mlflow", "mlflow run"), ("metaflow", "metaflow run")) for command in bench.peer(label, name, script, "overhead")]
    found = side_by_side([Command("by hand", script, here, bench.env, weight=3), Command("trainctl", argv, here, env, weight=3), *peers], bench.rounds)
    bare = walls(found["by hand"])
    what = "submit of an estimator, its environment built, over by hand"
    rows = [Row("an estimator's script", "by hand", bare, "ms"), Row(what, "trainctl", walls(found["trainctl"]) - bare, "ms", "", 30)]
    return rows + [Row(what, peer.label, walls(found[peer.label]) - bare, "ms") for peer in peers if found[peer.label]]


def ranks(bench: Bench) -> list[Row]:
    """Two ranks on one machine, from the command line until both run Python."""
    here, store = bench.folder("ranks", fresh=True), bench.folder("store-ranks", fresh=True)
    (here / "train.py").write_text(READY)
    # Both start the Python of its environment; Debian 12's own torch 1.13 cannot start torchrun on Python 3.11.
    have_torch = wanted(bench, "torch")
    python = bench.peers.program("torch", "python") if have_torch else Path("/usr/bin/python3")
    (here / "a.run.json").write_text(json.dumps({"script": "train.py", "in_place": True, "distribution": {"type": "pytorch", "processes_per_node": 2},
                                                 "environment": {"python": {"interpreter": str(python)}}}))
    torchrun = [str(bench.peers.program("torch", "torchrun")), "--standalone", "--nproc_per_node", "2", "train.py"]
    argv, env = bench.ours("submit", "a.run.json", store=store)

    def until_both(command: list[str], env: dict[str, str], stamps) -> float:
        began = time.monotonic_ns()
        done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-500:]}")
        return (max(stamps(done.stdout)) - began) / 1e6

    def from_logs(_: str) -> list[int]:
        run = max((store / "runs").iterdir())
        return [int(text.split()[1]) for path in run.glob("attempts/1/logs/*.log") if (text := path.read_text()).startswith("STAMP")]

    def from_output(text: str) -> list[int]:
        return [int(value) for value in re.findall(r"STAMP (\d+)", text)]

    if not have_torch:
        print("    left out: torchrun: benchmarks/install-peers torch", flush=True)
    ours, theirs = [], []
    for turn in range(bench.rounds + 1):
        for values, command, environment, stamps in ((ours, argv, env, from_logs), (theirs, torchrun, bench.env, from_output)):
            if stamps is from_logs or have_torch:
                value = until_both(command, environment, stamps)
                if turn > 0:  # the first one warms caches
                    values.append(value)
    rows = [Row("two ranks, until both run", "trainctl", median(ours), "ms", "", median(theirs) if theirs else None)]
    return rows + ([Row("two ranks, until both run", "torchrun", median(theirs), "ms")] if theirs else [])


def environment(bench: Bench) -> list[Row]:
    """A scikit-learn environment from a warm package cache, its lock known; uv alone installing the same lock."""
    path = f"{bench.env['PATH']}:{HERE.parent / 'build' / 'uv' / 'path'}"  # where the scripts put theirs
    uv = shutil.which("uv", path=path)
    if not uv:
        return []
    bench.env["PATH"] = path
    here, store = bench.folder("environment", fresh=True), bench.folder("store-environment", fresh=True)
    (here / "train.py").write_text("print(1)\n")
    (here / "a.run.json").write_text(json.dumps({"script": "train.py", "environment": {"python": {"packages": ["scikit-learn", "numpy"]}}}))
    lock = bench.call("env", "lock", "a.run.json", store=store, cwd=here)
    (here / "lock.txt").write_text(lock)
    samples: dict[str, list[float]] = {"trainctl": [], "uv": [], "python -m venv + pip": []}
    for turn in range(max(2, bench.rounds // 2 + 1)):
        shutil.rmtree(here / "venv", ignore_errors=True)
        for key in [item["key"] for item in json.loads(bench.call("env", "ls", "--json", store=store, cwd=here))["items"]]:
            bench.call("env", "rm", key, store=store, cwd=here)
        began = time.perf_counter()
        bench.call("env", "build", "a.run.json", store=store, cwd=here)
        middle = time.perf_counter()
        for command in ([uv, "venv", "-q", "venv"], [uv, "pip", "install", "-q", "--python", "venv/bin/python", "--compile-bytecode", "--no-deps", "-r", "lock.txt"]):
            subprocess.run(command, cwd=here, env=bench.env, check=True, capture_output=True)
        end = time.perf_counter()
        if turn > 0:
            samples["trainctl"].append(middle - began)
            samples["uv"].append(end - middle)
    shutil.rmtree(here / "venv", ignore_errors=True)
    began = time.perf_counter()
    for command in ([sys.executable, "-m", "venv", "venv"], ["venv/bin/python", "-m", "pip", "install", "-q", "--no-deps", "-r", "lock.txt"]):
        subprocess.run(command, cwd=here, env=bench.env, check=True, capture_output=True)
    samples["python -m venv + pip"].append(time.perf_counter() - began)
    what = "environment of scikit-learn, packages in the cache"
    alone = median(samples["uv"])
    return [Row(what, "uv venv + uv pip install", alone, "s"), Row(what, "trainctl env build", median(samples["trainctl"]), "s", "", 1.2 * alone),
            Row(what, "python -m venv + pip", samples["python -m venv + pip"][0], "s")]


CASES = {"mlflow-endpoint": mlflow_endpoint, "tensorboard": tensorboard, "overhead": overhead, "ranks": ranks, "environment": environment}
