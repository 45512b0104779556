# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""A real Slurm as users meet it: on this machine and behind a login node, by commands, with frameworks on two nodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from harness import REPOSITORY, alive, jsonl, wait_until
from slurm import Cluster
from slurm_runs import behind, cluster, define, shell  # noqa: F401  (fixtures)


def test_as_a_user_does(cluster: Cluster, shell, project) -> None:
    project.script("import os; print('hello', os.environ['FROM_SETUP']); open(os.environ['TRAINCTL_OUTPUTS'] + '/m', 'w').write('model')")
    project.write("run.json", json.dumps({
        "name": "digits", "script": "train.py", "target": "slurm", "resources": {"cpus": 1},
        "environment": {"python": {"interpreter": sys.executable}, "setup": ["export FROM_SETUP=yes"]}}))
    assert shell.ok("submit", "run.json").text.startswith("hello yes\n")
    shown = shell.json("show", "@")
    assert shown["state"] == "succeeded" and shown["target"] == "slurm"
    node, job = shown["place"]["host"], shown["place"]["slurm"]["job"]
    assert node in ("n1", "n2") and job in cluster.jobs() and shown["place"]["slurm"]["nodes"] == node, (shown["place"], cluster.jobs())
    assert f"ran on        {node} · Slurm job {job}\n" in shell.ok("show", "@").text
    host = next((shell.user_home / ".trainctl" / "store" / "runs").iterdir())
    phases = [line["message"] for line in jsonl(host / "slurm" / "events.jsonl") if line["type"] == "phase"]
    assert len(phases) == 1 and phases[0].startswith("preparing the environment on ")


# Beside its own run it shows what a job has, and a server of its node that nobody else could reach.
SERVES = """
import http.server, os, threading
class Big(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '300000'); self.end_headers(); self.wfile.write(b'x' * 300000)
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Big)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
import time
while not os.path.exists('stop'): time.sleep(0.05)
"""


def enter_and_tunnel(trainctl, spec: Path) -> None:
    trainctl.ok("submit", spec, "--detach")
    port = wait_until(lambda: trainctl.run("sync", "@") and trainctl.run("logs", "@").text.strip(), "the server listens", 60)
    seen = trainctl.ok("exec", "@", "--", "sh", "-c", 'echo "$COLOUR $SLURM_JOB_ID $(hostname) $(pwd)"').text.split()
    assert seen[0] == "blue" and seen[1].isdigit() and seen[2] in ("n1", "n2") and seen[3].endswith("/attempts/1/work")
    blob = bytes(range(256)) * 500
    assert trainctl.ok("exec", "@", "--", "cat", input=blob, timeout=60).out == blob
    trainctl.run("exec", "@", "--", "sh", "-c", "exit 7", code=7)
    shell = trainctl.pty("shell", "@")
    shell.send("echo in:$PWD; tty\n")
    shell.expect("in:.*/attempts/1/work\r?\n/dev/pts/", timeout=30)
    shell.send("exit 5\n")
    assert shell.wait() == 5
    tunnel = trainctl.pty("tunnel", "@", f"0:{port}")
    here = tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1)
    for _ in range(3):
        assert len(urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=60).read()) == 300000
    tunnel.interrupt()
    assert tunnel.wait() == 130
    trainctl.run("exec", "@", "--", "touch", "stop")  # srun may be cut off: the job ends with it
    trainctl.ok("wait", "@", timeout=60)
    ended = trainctl.ok("exec", "@", "--", "printenv", "COLOUR")
    assert ended.out == b"blue\n" and "the run is succeeded: this is what it left" in ended.error


def test_exec_shell_and_tunnel_are_in_the_job(cluster: Cluster, shell, project) -> None:
    project.script(SERVES)
    enter_and_tunnel(shell, project.spec(target="slurm", environment={"python": {"interpreter": sys.executable}},
                                         environment_variables={"COLOUR": "blue"}))


def test_a_signal_reaches_the_script_of_a_job(cluster: Cluster, shell, project) -> None:
    project.write("run.json", {"target": "slurm", "command": "trap 'echo usr1; exit 0' USR1; echo begun; while :; do sleep 0.02; done"})
    client = shell.start("submit", "run.json")
    shell.wait_log(shell.last_run(), "begun\n", timeout=60)
    shell.ok("cancel", "--signal", "SIGUSR1", "@")
    assert client.wait(timeout=60) == 0
    assert shell.ok("logs", "@").text.endswith("\nusr1\n")


def test_show_says_why_it_waits(cluster: Cluster, shell, project) -> None:
    project.script("pass")
    project.write("run.json", json.dumps({"name": "big", "script": "train.py", "target": "slurm", "resources": {"cpus": 64}}))
    following = shell.start("submit", "run.json")
    wait_until(lambda: "will not start as it is" in (shell.run("show", "big-1", "--json").json["message"] or ""), "the reason")
    assert shell.json("show", "@")["state"] == "queued"
    shell.ok("cancel", "@")
    assert following.wait(60) == 130
    assert shell.json("show", "@")["state"] == "canceled"


def test_without_slurm_it_fails_at_once_and_says_so(trainctl, project, scratch) -> None:
    spec = project.spec(command=["true"], target="slurm")
    tools = scratch / "tools"
    tools.mkdir()
    for tool in ("sh", "bash", "git"):
        (tools / tool).symlink_to(shutil.which(tool))
    empty = project.write("empty.conf", "")
    for env, words in (({"PATH": str(tools)}, "Slurm's program sbatch is not installed on "),
                       ({"SLURM_CONF": "/no/such.conf"}, "SLURM_CONF names /no/such.conf, which does not exist"),
                       ({"SLURM_CONF": str(empty)}, "sbatch finds no slurm.conf")):
        refused = trainctl.run("submit", spec, env=env, code=3)
        assert words in refused.error and "a host that submits jobs" in refused.error, refused
        assert trainctl.json("show", "@")["state"] == "failed" and refused.seconds < 10


def test_a_controller_that_does_not_answer_is_named_at_once(trainctl, project, scratch) -> None:
    """Nobody listens on its port. A cancel needs no controller: sbatch could not even send the job."""
    spec = project.spec(command=["true"], target="slurm")
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))  # and does not listen
    conf = project.write("slurm.conf", f"ClusterName=x\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={nobody.getsockname()[1]}\n"
                                       "AuthType=auth/munge\nNodeName=localhost\nPartitionName=main Nodes=ALL\n")
    silent = "waits for Slurm's controller, which does not answer"
    trainctl.env["SLURM_CONF"] = str(conf)
    said = scratch / "said"
    with open(said, "wb") as err:
        submit = trainctl.start("submit", spec, stderr=err)
    wait_until(lambda: silent in said.read_text(), "it is said", 20)
    wait_until(lambda: silent in (trainctl.json("show", "@")["message"] or "") and trainctl.json("show", "@")["state"] == "queued",
               "show says it as well")
    submit.send_signal(signal.SIGINT)
    assert submit.wait(60) == 130 and trainctl.json("show", "@")["state"] == "canceled"
    with open(said, "wb") as out:
        submit = trainctl.start("submit", spec, "--json", stdout=out)
    wait_until(lambda: [line for line in jsonl(said) if line.get("state") == "queued" and silent in line["message"]], "an event says it", 20)
    assert len([line for line in jsonl(said) if silent in line.get("message", "")]) == 1
    submit.send_signal(signal.SIGINT)
    assert submit.wait(60) == 130
    nobody.close()


def test_behind_a_login_node(cluster: Cluster, behind, project) -> None:
    project.script("import os; print('job', os.environ['SLURM_JOB_ID']); open(os.environ['TRAINCTL_OUTPUTS'] + '/m', 'w').write('model')")
    project.write("run.json", json.dumps({"script": "train.py", "resources": {"cpus": 1}}))
    assert behind.ok("submit", "run.json", "--target", "cluster").text.startswith("job ")
    shown = behind.json("show", "@")
    assert shown["state"] == "succeeded" and shown["target"] == "cluster"
    outputs = behind.home / "runs" / shown["id"] / "outputs" / "m"
    assert wait_until(outputs.read_text, "outputs") == "model"
    assert "Requeue=0" in cluster.run("scontrol", "show", "job", behind.ok("logs", "@").text.split()[1], "-o").stdout


def test_exec_shell_and_tunnel_behind_a_login_node(cluster: Cluster, behind, project) -> None:
    project.script(SERVES)
    enter_and_tunnel(behind, project.spec(target="cluster", environment={"python": {"interpreter": sys.executable}},
                                          environment_variables={"COLOUR": "blue"}))


def test_a_waiting_job_behind_a_login_node(cluster: Cluster, behind, project) -> None:
    project.write("held.run.json", json.dumps({"name": "held", "command": ["true"], "resources": {"cpus": 64}}))
    behind.ok("submit", "held.run.json", "--target", "cluster", "--detach")

    def reason() -> str:
        behind.ok("ls", "--refresh")
        return behind.json("show", "@")["message"] or ""

    wait_until(lambda: "will not start as it is" in reason(), "the reason")
    behind.ok("cancel", "@")
    assert behind.json("show", "@")["state"] == "canceled"
    wait_until(lambda: not set(cluster.jobs().values()) & {"PENDING", "RUNNING", "COMPLETING"}, "nothing waits or runs")


WHERE = """
import os, pathlib, socket, sys, time
rank = os.environ["RANK"]
pathlib.Path("outputs", f"of-{rank}").write_text(pathlib.Path("data", "rows.txt").read_text())
pathlib.Path("scratch.txt").write_text("written beside the source")
print("at", os.getcwd(), "on", socket.gethostname(), flush=True)
while not os.path.exists(os.environ["TRAINCTL_OUTPUTS"] + "/stop"):
    time.sleep(0.05)
"""


def test_each_node_unpacks_the_source_for_itself(cluster: Cluster, shell, project, scratch: Path) -> None:
    """Nothing of the source on the file system that is shared, outputs there as always, nothing left on the nodes; what a killed job
    left is removed by the next."""
    local = scratch / "disk" / f"trainctl-work-{os.geteuid()}"
    local.parent.mkdir()
    define(shell, "nodes", unpack="node_local")
    project.script(WHERE)
    project.write("data/rows.txt", "1,2,3")
    spec = project.spec(target="nodes", resources={"nodes": 2}, distribution={"type": "processes", "processes_per_node": 1},
                        environment={"python": {"interpreter": sys.executable}}, keep=["scratch.txt"])
    shell.env["TMPDIR"] = str(local.parent)
    shell.ok("submit", spec, "--detach")
    run, there = shell.last_run(), shell.user_home / ".trainctl" / "store" / "runs"
    said = wait_until(lambda: [text for rank in ("0", "1") if (text := shell.run("logs", "@", "--rank", rank).text)][1:], "both say where they are", 60)
    assert said and [path.name for path in (there / run.name / "attempts" / "1" / "work").iterdir()] == ["outputs"]
    trees = sorted(path for path in local.iterdir() if path.is_dir())
    assert [path.name for path in trees] == [f"{run.name}.1.0", f"{run.name}.1.1"]
    assert all((path / "data" / "rows.txt").exists() for path in trees)
    assert shell.ok("exec", "@", "--", "cat", "scratch.txt").out == b"written beside the source"
    assert shell.ok("exec", "--rank", "1", "@", "--", "sh", "-c", 'echo "$RANK $(hostname)"').text == "1 n2\n"
    shell.run("exec", "@", "--", "touch", "outputs/stop")  # srun may be cut off: the job ends with it
    shell.ok("wait", "@", timeout=60)
    wait_until(lambda: not local.exists(), "nothing is left")
    outputs = run / "outputs"
    assert sorted(path.name for path in outputs.iterdir()) == ["of-0", "of-1", "scratch.txt", "stop"]
    assert (outputs / "of-1").read_text() == "1,2,3" and (outputs / "scratch.txt").read_text() == "written beside the source"

    shell.ok("submit", project.spec("b.run.json", target="nodes", environment={"python": {"interpreter": sys.executable}},
                                    environment_variables={"RANK": "0"}), "--detach")
    killed = shell.last_run()
    wait_until(lambda: shell.run("logs", "@").text.startswith("at "), "it works", 60)
    supervisor = jsonl(there / killed.name / "attempts" / "1" / "events.jsonl")[0]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(supervisor), "its supervisor is killed")
    left = local / f"{killed.name}.1.0"
    assert left.exists()
    lost = local / "without-its-lock.1.0"
    lost.mkdir()
    shell.ok("submit", project.spec("c.run.json", target="nodes", command=["true"]), timeout=60)
    wait_until(lambda: not local.exists(), "the next run has removed both, and its own")


def test_pytorch_trains_on_two_nodes(cluster: Cluster, shell, project) -> None:
    """The example of the documentation through the estimator: two processes on each of two nodes, gradients averaged by gloo."""
    shutil.copy(REPOSITORY / "examples/pytorch-ddp/train.py", project / "train.py")
    project.write("ddp.json", json.dumps({
        "type": "estimator", "framework": "pytorch", "name": "ddp", "entry_script": "train.py", "script_params": {"--epochs": 20},
        "compute_target": "slurm", "node_count": 2, "process_count_per_node": 2, "distributed_training": {"type": "gloo"},
        "environment": {"python": {"interpreter": "/usr/bin/python3"}},
        "environment_variables": {"GLOO_SOCKET_IFNAME": "eth0"},  # these nodes do not know their own names
        "metrics": {"patterns": ["epoch {step}: loss {loss}"]}}))
    shell.ok("submit", "ddp.json", timeout=180)
    shown = shell.json("show", "@")
    assert shown["state"] == "succeeded" and shown["metrics"]["loss"]["step"] == 20 and shown["metrics"]["loss"]["last"] < 0.05, shown
    assert (shell.last_run() / "outputs" / "checkpoint.pt").stat().st_size > 100
    assert f" · Slurm job {shown['place']['slurm']['job']} on n[1-2]\n" in shell.ok("show", "@").text
    starts = [line for path in shell.last_run().glob("attempts/1/nodes/*/rank-*.jsonl") for line in jsonl(path) if line["type"] == "start"]
    assert len(starts) == 4, starts


SUMMING = """
import os, socket, sys
if sys.argv[1] == "sum":
    from mpi4py import MPI
    total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank + 1)
else:
    total = 10
print(f"rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']} on {socket.gethostname()}: {total}, node {os.environ['NODE_RANK']}", flush=True)
sys.exit(7 if os.environ["RANK"] == "3" and sys.argv[1] == "fail" else 0)
"""


@pytest.mark.parametrize("mpi, what, code", [("openmpi", "sum", 0), ("mpich", "say", 0), ("openmpi", "fail", 1)])
def test_mpi_over_two_nodes(cluster: Cluster, shell, project, scratch: Path, mpi: str, what: str, code: int) -> None:
    """mpi4py of the distribution is built for Open MPI; with MPICH each process only says where it is."""
    (scratch / "mpi").mkdir()
    program = shutil.which(f"mpiexec.{mpi}")
    assert program, "apt-get install openmpi-bin mpich"
    (scratch / "mpi" / "mpiexec").symlink_to(program)
    (scratch / "mpi" / "hydra_pmi_proxy").symlink_to("/usr/bin/hydra_pmi_proxy")  # MPICH looks for it beside its mpiexec
    project.script(SUMMING)
    project.write("sum.run.json", json.dumps({
        "name": "sum", "script": "train.py", "arguments": [what], "target": "slurm", "resources": {"nodes": 2},
        "environment": {"python": {"interpreter": "/usr/bin/python3"}, "setup": [f"export PATH={scratch}/mpi:$PATH"]},
        "environment_variables": {"HYDRA_IFACE": "eth0"}, "distribution": {"type": "mpi", "processes_per_node": 2}}))
    done = shell.run("submit", "sum.run.json", timeout=60, code=code)
    for rank in [3] if code else range(4):  # the others may be ended before they have begun
        said = shell.ok("logs", "@", "--rank", str(rank)).text
        assert f"rank {rank} of 4 on n{rank // 2 + 1}: 10, node {rank // 2}" in said, (rank, said)
    assert shell.json("show", "@")["state"] == ("failed" if code else "succeeded")
    assert code == 0 or "rank 3 exited with code 7" in done.error, done
