# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Several processes of one run: how they find each other, how they end together, and what each of them leaves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import alive, wait_until

SHOW = """
import json, os
names = ("RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE NODE_RANK GROUP_RANK MASTER_ADDR MASTER_PORT OMPI_COMM_WORLD_RANK "
         "OMPI_COMM_WORLD_SIZE AZ_BATCH_MASTER_NODE AZ_BATCHAI_MPI_MASTER_NODE AZUREML_NODE_COUNT TRAINCTL_RANK "
         "OMP_NUM_THREADS TF_CONFIG TRAINCTL_ROLE TRAINCTL_BACKEND").split()
print(json.dumps({name: os.environ.get(name) for name in names}), flush=True)
"""
# Everybody meets at MASTER_PORT: rank 0 listens, the others say hello.
MEET = """
import os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    server = socket.create_server(place)
    print("met", sorted(server.accept()[0].recv(9) for _ in range(world - 1)))
else:
    for _ in range(600):
        try:
            link = socket.create_connection(place)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    link.sendall(b"hello %d" % rank)
"""


def log_of(trainctl, rank: int) -> str:
    return trainctl.ok("logs", "@", "--rank", rank).text


def variables(trainctl, ranks: int) -> list[dict]:
    return [json.loads(log_of(trainctl, rank).splitlines()[0]) for rank in range(ranks)]


def configure(project, text: str, **fields) -> str:
    project.script(text)
    project.write("d.run.json", {"name": "d", "script": "train.py", "environment": {"python": {"interpreter": sys.executable}},
                                 **fields})
    return "d.run.json"


def end_of(trainctl) -> dict:
    return trainctl.json("show", "@")


# -- processes and pytorch ---------------------------------------------------------------------------------------------


def test_pytorch_ranks_have_their_variables_and_meet(trainctl, project):
    file = configure(project, SHOW + MEET, distribution={"type": "gloo", "processes_per_node": 3})
    trainctl.ok("submit", file)
    seen = variables(trainctl, 3)
    for rank, found in enumerate(seen):
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == (str(rank), str(rank), "3", "3")
        assert (found["NODE_RANK"], found["GROUP_RANK"], found["AZUREML_NODE_COUNT"]) == ("0", "0", "1")
        assert found["MASTER_ADDR"] == found["AZ_BATCHAI_MPI_MASTER_NODE"] == "127.0.0.1"
        assert found["AZ_BATCH_MASTER_NODE"] == f"127.0.0.1:{found['MASTER_PORT']}"
        assert (found["OMPI_COMM_WORLD_RANK"], found["OMPI_COMM_WORLD_SIZE"]) == (str(rank), "3")
        assert found["TRAINCTL_BACKEND"] == "gloo" and int(found["OMP_NUM_THREADS"]) >= 1
    assert len({found["MASTER_PORT"] for found in seen}) == 1
    assert "met [b'hello 1', b'hello 2']" in log_of(trainctl, 0)


def test_one_process_is_distributed_only_when_asked(trainctl, project):
    file = configure(project, SHOW)
    trainctl.ok("submit", file, env={"RANK": None})
    assert variables(trainctl, 1)[0]["WORLD_SIZE"] is None
    trainctl.ok("submit", file, "--set", "distribution=pytorch", env={"RANK": "7", "OMPI_COMM_WORLD_RANK": "7", "MASTER_PORT": "1"})
    found = variables(trainctl, 1)[0]
    assert (found["RANK"], found["WORLD_SIZE"], found["OMPI_COMM_WORLD_RANK"]) == ("0", "1", "0")
    assert found["MASTER_PORT"] != "1"


def test_what_the_spec_sets_wins(trainctl, project):
    file = configure(project, SHOW, distribution={"type": "pytorch", "processes_per_node": 2},
                     environment_variables={"MASTER_PORT": "29999", "OMP_NUM_THREADS": "5"})
    trainctl.ok("submit", file)
    for found in variables(trainctl, 2):
        assert (found["MASTER_PORT"], found["OMP_NUM_THREADS"]) == ("29999", "5")
        assert found["AZ_BATCH_MASTER_NODE"] == "127.0.0.1:29999"


def test_the_first_failing_rank_decides_and_a_hanging_one_is_ended(trainctl, project):
    file = configure(project, """
import os, signal, sys, time
if os.environ["RANK"] == "1":
    time.sleep(0.3)
    sys.exit(9)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
""", distribution={"processes_per_node": 3}, stop={"grace": "1s"})
    done = trainctl.run("submit", file, code=1)
    assert "rank 1 exited with code 9" in done.error
    for rank in (0, 2):
        assert not alive(int(log_of(trainctl, rank)))


def test_a_killed_rank_is_named_and_the_others_are_stopped(trainctl, project):
    file = configure(project, """
import os, time
print(os.getpid(), flush=True)
time.sleep(600)
""", distribution={"processes_per_node": 2}, stop={"grace": "2s"})
    trainctl.ok("submit", "--detach", file)
    pids = [int(wait_until(lambda: trainctl.log(trainctl.last_run(), name=name).strip(), name)) for name in ("std.log", "rank-1.log")]
    os.kill(pids[1], signal.SIGKILL)
    done = trainctl.run("wait", "@", code=1)
    assert "rank 1" in done.error and "SIGKILL" in done.error, done
    shown = end_of(trainctl)
    assert (shown["state"], shown["cause"], shown["attempts"]) == ("failed", "signal", 1)
    end = trainctl.wait_end(trainctl.last_run())
    assert (end["rank"], end["signal"]) == (1, "SIGKILL") and "rank 1" in end["message"]
    assert not any(map(alive, pids))
    wait_until(lambda: not trainctl.owned(), "no process is left")


def test_a_port_that_was_taken_meanwhile_is_a_new_start(trainctl, project):
    file = configure(project, """
import os, socket, subprocess, sys
port = int(os.environ["MASTER_PORT"])
if os.environ["TRAINCTL_ATTEMPT"] == "1" and os.environ["RANK"] == "0":
    thief = socket.create_server(("", port))
    server = socket.socket()
    try:
        server.bind(("", port))
    except OSError as problem:
        sys.exit(f"cannot listen on {port}: {problem}")
print("fine", os.environ["TRAINCTL_ATTEMPT"])
""", distribution={"type": "pytorch", "processes_per_node": 2}, retry={"backoff": "10ms"})
    trainctl.ok("submit", file)
    run = end_of(trainctl)
    assert run["attempts"] == 2
    ends = [json.loads(line) for line in next(trainctl.home.glob("runs/*/attempts/1/events.jsonl")).read_text().splitlines()]
    end = [event for event in ends if event["type"] == "end"][0]
    assert end["cause"] == "start" and end["next"] == "retry" and "was taken by another program" in end["message"]


def test_logs_of_all_ranks(trainctl, project):
    file = configure(project, "import os\nprint('a', os.environ['RANK'])\nprint('b', end='')", distribution={"processes_per_node": 2})
    trainctl.ok("submit", file)
    assert trainctl.ok("logs", "@", "--rank", "all").text == "[0] a 0\n[0] b\n[1] a 1\n[1] b\n"
    assert sorted(trainctl.ok("logs", "@", "--rank", "all", "-f").text.splitlines()) == ["[0] a 0", "[0] b", "[1] a 1", "[1] b"]
    events = trainctl.ok("logs", "@", "--rank", "all", "--json").events
    assert [(e["rank"], e["text"]) for e in events] == [(0, "a 0"), (0, "b"), (1, "a 1"), (1, "b")]
    assert log_of(trainctl, 1) == "a 1\nb"
    assert "a number from 0, or all" in trainctl.run("logs", "@", "--rank", "x", code=2).error


# -- tensorflow --------------------------------------------------------------------------------------------------------

TENSORFLOW = SHOW + """
import time, signal
role = os.environ["TRAINCTL_ROLE"]
config = json.loads(os.environ["TF_CONFIG"])
assert config["task"]["type"] == role
if role == "ps" or (role == "worker" and "chief" in config["cluster"] and "ps" in config["cluster"]):
    time.sleep(600)
time.sleep(0.3)
"""


def test_parameter_servers_are_ended_and_that_is_success(trainctl, project):
    file = configure(project, TENSORFLOW, distribution={"type": "ParameterServer", "worker_count": 1})
    done = trainctl.ok("submit", file)
    assert "succeeded" in done.error
    configs = [json.loads(found["TF_CONFIG"]) for found in variables(trainctl, 3)]
    assert [c["task"] for c in configs] == [{"type": "chief", "index": 0}, {"type": "worker", "index": 0}, {"type": "ps", "index": 0}]
    assert set(configs[0]["cluster"]) == {"chief", "worker", "ps"}
    ports = {address for c in configs[:1] for group in c["cluster"].values() for address in group}
    assert len(ports) == 3


def test_without_a_chief_all_workers_decide(trainctl, project):
    file = configure(project, TENSORFLOW, distribution={"type": "ps", "worker_count": 2, "chief": False})
    trainctl.ok("submit", file)
    assert [json.loads(v["TF_CONFIG"])["task"]["type"] for v in variables(trainctl, 3)] == ["worker", "worker", "ps"]


def test_a_failing_worker_fails_the_run(trainctl, project):
    file = configure(project, "import os, sys, time\nif os.environ['TRAINCTL_ROLE'] == 'worker': sys.exit(4)\ntime.sleep(600)",
                     distribution={"type": "ps"}, stop={"grace": "2s"})
    done = trainctl.run("submit", file, code=1)
    assert "rank 1 exited with code 4" in done.error


# -- mpi ---------------------------------------------------------------------------------------------------------------

with_mpi = pytest.mark.parametrize("mpi", ["mpiexec.openmpi", "mpiexec.mpich"])


def mpi_path(scratch: Path, mpi: str) -> dict:
    """A PATH on which `mpiexec` is this implementation."""
    folder = scratch / "mpi"
    folder.mkdir(exist_ok=True)
    link = folder / "mpiexec"
    if not link.exists():
        link.write_text(f'#!/bin/sh\nexec {shutil.which(mpi)} "$@"\n')
        link.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@with_mpi
def test_mpi_ranks_have_logs_and_variables_of_their_own(trainctl, project, scratch, mpi):
    file = configure(project, SHOW + MEET, distribution={"type": "IntelMpi", "process_count_per_node": 3})
    trainctl.ok("submit", file, env=mpi_path(scratch, mpi))
    seen = variables(trainctl, 3)
    for rank, found in enumerate(seen):
        assert (found["RANK"], found["LOCAL_RANK"], found["WORLD_SIZE"], found["LOCAL_WORLD_SIZE"]) == (str(rank), str(rank), "3", "3")
        assert (found["OMPI_COMM_WORLD_RANK"], found["TRAINCTL_RANK"]) == (str(rank), str(rank))
    assert "met" in log_of(trainctl, 0)


@with_mpi
def test_the_failing_mpi_rank_is_named(trainctl, project, scratch, mpi):
    file = configure(project, "import os, sys, time\nif os.environ['RANK'] == '2': time.sleep(0.3); sys.exit(7)\ntime.sleep(600)",
                     distribution={"type": "mpi", "processes_per_node": 3})
    done = trainctl.run("submit", file, env=mpi_path(scratch, mpi), code=1)
    assert "rank 2 exited with code 7" in done.error


@with_mpi
def test_a_canceled_mpi_run_gets_its_signal_and_its_grace(trainctl, project, scratch, mpi):
    file = configure(project, """
import os, time
try:
    print("up", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    time.sleep(1.5)
    print("saved", os.environ["RANK"], flush=True)
""", distribution={"type": "mpi", "processes_per_node": 2}, stop={"grace": "20s"})
    trainctl.ok("submit", file, "--detach", env=mpi_path(scratch, mpi))
    wait_until(lambda: all("up\n" in log_of(trainctl, rank) for rank in (0, 1)), "both ranks run")
    trainctl.ok("cancel", "@")
    trainctl.run("wait", "@")
    assert end_of(trainctl)["state"] == "canceled"
    for rank in (0, 1):
        assert f"saved {rank}" in log_of(trainctl, rank)


def test_a_missing_mpi_is_said_before_the_start(trainctl, project, scratch):
    empty = scratch / "bin"
    empty.mkdir()
    for name in ("sh", "bash"):
        (empty / name).symlink_to(shutil.which(name))
    file = configure(project, "print('started')", distribution={"type": "mpi", "processes_per_node": 2})
    done = trainctl.run("submit", file, env={"PATH": str(empty)}, code=3)
    assert "there is no mpiexec" in done.error and "openmpi-bin" in done.error
    assert "started" not in done.text


# -- checkpoints -------------------------------------------------------------------------------------------------------

SAVE = """
import os, sys
from pathlib import Path
print("from", os.environ.get("TRAINCTL_RESUME_FROM"), sys.argv[1:])
start = os.environ.get("TRAINCTL_RESUME_FROM")
epoch = int((Path(start) / "epoch").read_text()) if start else 0
(Path(os.environ["TRAINCTL_OUTPUTS"]) / "epoch").write_text(str(epoch + 1))
print("epoch", epoch + 1)
"""


def test_resume_from_a_run_and_from_a_path(trainctl, project):
    file = configure(project, SAVE)
    trainctl.ok("submit", file)
    assert "epoch 2" in trainctl.ok("submit", file, "--resume", "d-1").text
    assert "epoch 3" in trainctl.ok("submit", file, "--resume", "@").text
    project.write("earlier/epoch", "41")
    assert "epoch 42" in trainctl.ok("submit", file, "--set", "resume_from=./earlier").text
    assert "epoch 42" in trainctl.ok("submit", file, "--resume", "./earlier").text
    done = trainctl.run("submit", file, "--resume", "nobody-7", code=2)
    assert "resume_from" in done.error and "nobody" in done.error


def test_a_script_of_azure_gets_its_option(trainctl, project):
    file = configure(project, SAVE + """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--resume-from")
print("option", parser.parse_args().resume_from == os.environ.get("TRAINCTL_RESUME_FROM") != None)
""")
    trainctl.ok("submit", file)
    assert "option True" in trainctl.ok("submit", file, "--resume", "@").text


def test_a_retry_goes_on_from_the_last_outputs(trainctl, project):
    file = configure(project, SAVE + "sys.exit(75 if epoch < 2 else 0)",
                     retry={"max": 3, "on": ["exit:75"], "backoff": "10ms", "resume": True})
    done = trainctl.ok("submit", file)
    assert "epoch 3" in trainctl.ok("logs", "@").text, done


@pytest.mark.parametrize("handles", [True, False])
def test_the_warning_reaches_only_those_that_handle_it(trainctl, project, handles):
    handler = "signal.signal(signal.SIGUSR2, lambda *a: (print('warned', flush=True), sys.exit(0)))" if handles else ""
    file = configure(project, f"import signal, sys, time\n{handler}\nprint('up', flush=True)\ntime.sleep(600)",
                     limits={"timeout": "3s"}, stop={"warn": "1500ms", "grace": "1s"})
    done = trainctl.run("submit", file)
    assert done.code == (0 if handles else 124), done
    warnings = [json.loads(line)["message"] for path in trainctl.home.glob("runs/*/attempts/1/events.jsonl")
                for line in path.read_text().splitlines() if '"warning"' in line]
    assert any(("sent to 1 process" if handles else "no process handles it") in text for text in warnings), warnings


# -- explain -----------------------------------------------------------------------------------------------------------


def test_explain_says_what_will_run_and_writes_it_by_hand(trainctl, project):
    file = configure(project, SHOW + MEET, distribution={"type": "nccl", "processes_per_node": 2})
    text = trainctl.ok("explain", file).text
    assert "pytorch (nccl), 2 processes" in text
    script = trainctl.ok("explain", file, "--format", "sh").text
    done = subprocess.run(["bash"], input=script, text=True, capture_output=True, cwd=project.path, timeout=60)
    assert done.returncode == 0 and "met [b'hello 1']" in done.stdout, done
    plan = trainctl.json("explain", file)
    assert plan["distribution"] == {"type": "pytorch", "backend": "nccl"} and plan["processes_per_node"] == 2
    servers = trainctl.ok("explain", file, "--set", "distribution.type=ps", "--set", "distribution.backend=null",
                          "--set", "distribution.processes_per_node=null").text
    assert "tensorflow, 1 chief, 1 worker, 1 parameter server" in servers


def test_one_process_for_each_gpu_by_default(trainctl, project):
    file = configure(project, SHOW, distribution="pytorch", resources={"gpus": 4})
    assert trainctl.json("explain", file)["processes_per_node"] == 4
