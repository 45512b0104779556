# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""Runs as jobs of a real Slurm: the launcher, what is said of a job, and the bad days of a cluster. The runner is driven
through its protocol, as a login node is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import urllib.request
from pathlib import Path

import pytest

from harness import REPOSITORY, alive, jsonl, wait_until
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


def test_submit_run_end(login: Login) -> None:
    job = login.shell('echo "hello from $(hostname)"; echo err >&2; exit 7', resources={"nodes": 1, "cpus": 2, "memory": 100 << 20}).launch()
    watch = job.watch()
    end = watch.end()
    assert (end["state"], end["cause"], end["exit_code"]) == ("failed", "exit", 7)
    assert watch.files["attempts/1/logs/std.log"] in (b"hello from n1\nerr\n", b"hello from n2\nerr\n")
    shown = login.cluster.run("scontrol", "show", "job", job.job(), "-o").stdout
    assert f"Comment=trainctl:{job.id}" in shown and "CPUs/Task=2" in shown and "MinMemoryNode=100M" in shown
    wait_until(lambda: login.cluster.jobs()[job.job()] == "FAILED", "the job has failed as its run")
    assert "ExitCode=7:0" in login.cluster.run("scontrol", "show", "job", job.job(), "-o").stdout
    assert job.started_attempts() == ["1"]
    assert (job.root / "slurm" / "job.sh").stat().st_mode & 0o777 == 0o600


def test_the_same_launch_again_is_one_job(login: Login) -> None:
    job = login.shell("exit 0").launch().launch()
    login.connect()
    job.launch()
    assert job.watch().end()["state"] == "succeeded"
    job.launch()
    assert job.started_attempts() == ["1"]
    assert len([line for line in jsonl(job.root / "slurm" / "events.jsonl") if line["type"] == "job"]) == 1


def test_a_gpu_job_sees_what_slurm_gave_it(login: Login) -> None:
    job = login.shell('echo "gpus=$CUDA_VISIBLE_DEVICES rank=$SLURM_JOB_ID"', resources={"nodes": 1, "gpus": 2}).launch()
    watch = job.watch()
    assert watch.end()["state"] == "succeeded"
    assert watch.files["attempts/1/logs/std.log"] == f"gpus=0,1 rank={job.job()}\n".encode()


def test_why_a_job_waits_is_said(login: Login) -> None:
    first = login.shell("sleep 600", slurm={"exclusive": True}, resources={"nodes": 2}).launch()
    first.watch().until(lambda: first.started_attempts(), "it runs")
    second = login.shell("exit 0", slurm={"exclusive": True}).launch()
    watch = second.watch()
    observed = watch.says("waits for")
    assert observed["state"] == "queued" and observed["job"] == second.job() and observed["reason"] in ("Resources", "Priority")
    first.cancel()
    assert watch.end()["state"] == "succeeded"
    assert first.wait_end()["state"] == "canceled"


def test_a_job_that_can_never_start_is_flagged(login: Login) -> None:
    job = login.shell("exit 0", resources={"nodes": 1, "cpus": 64}).launch()
    watch = job.watch()
    observed = watch.says("it will not start as it is")
    assert observed["reason"] == "PartitionConfig" and "more than its partition can ever give" in observed["message"]
    job.cancel()
    assert watch.end()["state"] == "canceled"


def test_a_refused_job_ends_the_run_with_what_slurm_said(login: Login) -> None:
    job = login.shell("exit 0", slurm={"partition": "nowhere"}).launch()
    end = job.watch().end()
    assert (end["state"], end["cause"]) == ("failed", "start")
    assert "invalid partition" in end["message"].lower()
    assert job.started_attempts() == []


def test_cancel_of_a_waiting_job(login: Login) -> None:
    job = login.shell("exit 0", slurm={"options": ["--hold"]}).launch()
    watch = job.watch()
    assert "held" in watch.says("held")["message"]
    job.cancel()
    end = watch.end()
    assert (end["state"], end["cause"]) == ("canceled", "canceled")
    assert login.cluster.jobs()[job.job()] == "CANCELLED" and job.started_attempts() == []


def test_cancel_of_a_running_job_lets_it_save(login: Login) -> None:
    job = login.shell("trap 'echo saved; exit 0' INT; echo up; while :; do sleep 0.1; done").launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    job.cancel()
    end = watch.end()
    assert (end["state"], end["cause"]) == ("canceled", "canceled")
    assert watch.files["attempts/1/logs/std.log"].endswith(b"saved\n")


def test_scancel_by_somebody_else_is_a_cancel(login: Login) -> None:
    job = login.shell("echo up; sleep 600").launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    login.cluster.run("scancel", job.job())
    end = watch.end()
    assert (end["state"], end["cause"], end["next"]) == ("canceled", "canceled", None)
    assert "canceled in Slurm" in end["message"]
    waiting = login.shell("exit 0", slurm={"options": ["--hold"]}).launch()
    watch = waiting.watch()
    watch.says("held")
    login.cluster.run("scancel", waiting.job())
    end = watch.end()
    assert end["state"] == "canceled" and "canceled in Slurm" in end["message"]


RESUMING = (COUNTING + 'ls "$TRAINCTL_OUTPUTS" | tr "\\n" " "; echo "attempt $TRAINCTL_ATTEMPT"; [ "$TRAINCTL_ATTEMPT" = 2 ] && exit 0; '
            'echo x > "$TRAINCTL_OUTPUTS/checkpoint"; {more} while :; do sleep 0.1; done')


def resuming(login: Login, more: str = "", **plan) -> Job:
    plan.setdefault("retry", {"max": 1, "on": [], "backoff_ms": 100, "resume": True})
    return login.run("sh", "-c", RESUMING.replace("{more}", more), **plan)


def test_requeue_is_a_new_attempt_that_resumes(login: Login) -> None:
    job = resuming(login).launch()
    watch = job.watch()
    watch.until(lambda: b"attempt 1" in watch.files["attempts/1/logs/std.log"], "it runs")
    login.cluster.run("scontrol", "requeue", job.job())
    assert "requeue" in watch.says("requeue")["message"]
    login.cluster.skip_requeue_delay(job.job())
    assert watch.end()["state"] == "succeeded"
    assert watch.files["attempts/2/logs/std.log"] == b"checkpoint attempt 2\n"
    first = job.end(1)
    assert (first["cause"], first["next"]) == ("preempted", "retry")
    assert job.started_attempts() == ["1", "2"]


def test_preemption_puts_it_back_and_it_goes_on(login: Login) -> None:
    job = resuming(login, resources={"nodes": 2}, slurm={"exclusive": True}).launch()
    watch = job.watch()
    watch.until(lambda: b"attempt 1" in watch.files["attempts/1/logs/std.log"], "it runs")
    urgent = login.shell("exit 0", slurm={"partition": "urgent", "exclusive": True}).launch()
    assert urgent.watch().end()["state"] == "succeeded"
    login.cluster.skip_requeue_delay(job.job())
    assert watch.end()["state"] == "succeeded", job.end(1)
    assert job.end(1)["cause"] == "preempted" and job.started_attempts() == ["1", "1", "2", "2"]  # two nodes


def test_preemption_with_a_grace_time_that_the_ranks_hear_first(login: Login) -> None:
    job = resuming(login, resources={"nodes": 2}, slurm={"exclusive": True, "partition": "graceful"}).launch()
    watch = job.watch()
    watch.until(lambda: job.started_attempts() == ["1", "1"], "it runs")
    urgent = login.shell("exit 0", slurm={"partition": "urgent", "exclusive": True}).launch()
    assert urgent.watch().end()["state"] == "succeeded"
    assert job.end(1)["cause"] == "preempted", job.end(1)
    login.cluster.skip_requeue_delay(job.job())
    assert watch.end()["state"] == "succeeded"


@pytest.mark.slow
def test_preemption_that_cancels_is_another_job_or_start(login: Login) -> None:
    job = resuming(login, resources={"nodes": 2}, slurm={"exclusive": True, "partition": "cheap"}).launch()
    watch = job.watch()
    watch.until(lambda: b"attempt 1" in watch.files["attempts/1/logs/std.log"], "it runs")
    assert login.shell("exit 0", slurm={"partition": "urgent", "exclusive": True}).launch().watch().end()["state"] == "succeeded"
    login.cluster.skip_requeue_delay(job.job())
    assert watch.end(90)["state"] == "succeeded"
    assert (job.end(1)["cause"], job.end(1)["next"]) == ("preempted", "retry")
    assert job.attempts() == [1, 2] and job.started_attempts() == ["1", "1", "2", "2"]


def test_time_limit_warns_saves_and_goes_on_in_the_queue(login: Login) -> None:
    job = resuming(login, "trap 'echo warned' USR2; trap 'echo saved; exit 0' INT;", limits={"timeout_ms": 3000},
                   retry={"max": 1, "on": ["time_limit"], "backoff_ms": 100, "resume": True},
                   stop={"signal": "SIGINT", "grace_ms": 5000, "warn_ms": 2000, "warn_signal": "SIGUSR2"}).launch()
    watch = job.watch()
    watch.until(lambda: b"saved" in watch.files["attempts/1/logs/std.log"], "the end of the first attempt")
    login.cluster.skip_requeue_delay(job.job())
    assert watch.end()["state"] == "succeeded"
    assert watch.files["attempts/1/logs/std.log"] == b"attempt 1\nwarned\nsaved\n"
    assert (job.end(1)["cause"], job.end(1)["next"]) == ("time_limit", "retry")
    assert watch.files["attempts/2/logs/std.log"].startswith(b"checkpoint ")
    assert login.cluster.run("scontrol", "show", "job", job.job(), "-o").stdout.count("Restarts=1") == 1


@pytest.mark.slow
def test_the_job_s_own_limit_ends_it_in_time(login: Login) -> None:
    job = login.shell("echo up; sleep 600", slurm={"time": "1m"}).launch()
    end = job.watch().end(180)
    assert (end["state"], end["cause"]) == ("timed_out", "time_limit")


def test_a_dead_node_is_a_new_attempt_elsewhere(login: Login) -> None:
    job = resuming(login).launch()
    watch = job.watch()
    watch.until(lambda: b"attempt 1" in watch.files["attempts/1/logs/std.log"], "it runs")
    node = login.cluster.run("squeue", "-h", "-j", job.job(), "-o", "%N").stdout.strip()
    login.cluster.power_off(node)
    try:
        login.cluster.skip_requeue_delay(job.job())
        assert watch.end(120)["state"] == "succeeded"
    finally:
        login.cluster.start_node(node)
        wait_until(lambda: login.cluster.idle() == 2, "the node is back", 60)
    assert job.end(1)["cause"] == "node" and job.started_attempts() == ["1", "2"]
    assert watch.files["attempts/2/logs/std.log"].startswith(b"checkpoint ")


def test_a_dead_node_without_requeue_is_told_and_submitted_again(login: Login) -> None:
    job = resuming(login, slurm={"requeue": False}).launch()
    watch = job.watch()
    watch.until(lambda: b"attempt 1" in watch.files["attempts/1/logs/std.log"], "it runs")
    first = job.job()
    node = login.cluster.run("squeue", "-h", "-j", first, "-o", "%N").stdout.strip()
    login.cluster.power_off(node)
    try:
        assert watch.end(120)["state"] == "succeeded"
    finally:
        login.cluster.start_node(node)
        wait_until(lambda: login.cluster.idle() == 2, "the node is back", 60)
    assert (job.end(1)["cause"], job.end(1)["next"]) == ("node", "retry")
    assert job.job() != first and job.started_attempts() == ["1", "2"]


def test_the_controller_may_be_down(login: Login) -> None:
    job = login.shell("echo up; while [ ! -e $STARTS.go ]; do sleep 0.1; done; exit 3").launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    login.cluster.kill_controller()
    # Is submitted when the controller answers; held, as slurmd may refuse a launch in the first moments after.
    late = login.shell("exit 0", slurm={"options": ["--hold"]}).launch()
    late_watch = late.watch()
    late_watch.says("does not answer", 90)
    Path(f"{job.starts}.go").touch()
    assert watch.end()["exit_code"] == 3  # the run needs no controller to end
    login.cluster.start_controller()
    late_watch.says("is held", 90)
    comments = login.cluster.run("squeue", "-h", "-t", "all", "-o", "%k").stdout.split()
    assert comments.count(f"trainctl:{late.id}") == 1
    late.cancel()
    assert late_watch.end()["state"] == "canceled"
    wait_until(lambda: login.cluster.idle() == 2, "both nodes are idle again", 60)


def test_slurmd_restarted_in_mid_run(login: Login) -> None:
    job = login.shell("echo up; while [ ! -e $STARTS.go ]; do sleep 0.1; done").launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    node = login.cluster.run("squeue", "-h", "-j", job.job(), "-o", "%N").stdout.strip()
    login.cluster.kill_node_daemon(node)
    login.cluster.start_node(node)
    Path(f"{job.starts}.go").touch()
    assert watch.end()["state"] == "succeeded" and job.started_attempts() == ["1"]


def test_a_job_that_vanished_is_lost_on_evidence_only(login: Login, scratch: Path) -> None:
    job = login.shell("exit 0", slurm={"options": ["--hold"], "evidence_after": "2s"}).launch()
    number = job.job()
    # A controller that has forgotten the job: squeue as after MinJobAge.
    tools = scratch / "tools"
    tools.mkdir()
    (tools / "squeue").write_text(f"#!/bin/sh\n/usr/bin/squeue \"$@\" | grep -v '^{number}|'\nexit 0\n")
    (tools / "squeue").chmod(0o755)
    login.connect(PATH=f"{tools}:{login.env['PATH']}")
    end = job.watch().end()
    assert (end["state"], end["cause"]) == ("lost", "lost") and f"forgotten job {number}" in end["message"]
    login.cluster.run("scontrol", "release", number)
    wait_until(lambda: login.cluster.jobs()[number] == "COMPLETED", "the job that was believed lost came and went")
    assert job.started_attempts() == []


@pytest.mark.parametrize("when", ["answer lost", "killed after the answer"])
def test_a_lost_answer_of_sbatch_is_no_second_job(login: Login, scratch: Path, when: str) -> None:
    tools = scratch / "tools"
    tools.mkdir()
    lost = ('/usr/bin/sbatch "$@" >/dev/null; [ -e "$0.done" ] && exit 0; touch "$0.done"; '
            'echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2; exit 1')
    killed = '/usr/bin/sbatch "$@" >/dev/null; touch "$0.done"; kill -9 $PPID; exit 1'
    (tools / "sbatch").write_text("#!/bin/sh\n" + (lost if when == "answer lost" else killed) + "\n")
    (tools / "sbatch").chmod(0o755)
    login.connect(PATH=f"{tools}:{login.env['PATH']}")
    job = login.shell("exit 0").launch()
    assert job.watch().end()["state"] == "succeeded"
    assert job.started_attempts() == ["1"]
    lines = login.cluster.run("squeue", "-h", "-t", "all", "-o", "%i|%k").stdout.splitlines()
    assert len([line for line in lines if line.endswith(job.id)]) == 1


def test_a_banner_before_the_job_s_number(login: Login, scratch: Path) -> None:
    tools = scratch / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text('#!/bin/sh\necho "Welcome, 3 jobs are yours"\n/usr/bin/sbatch "$@"\n')
    (tools / "sbatch").chmod(0o755)
    login.connect(PATH=f"{tools}:{login.env['PATH']}")
    job = login.shell("exit 0").launch()
    assert job.watch().end()["state"] == "succeeded" and job.job().isdigit()


def test_the_supervisor_killed_in_the_job(login: Login) -> None:
    job = login.shell("echo up; exec sleep 600").launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    os.kill(job.events()[0]["pid"], signal.SIGKILL)
    end = watch.end()
    assert (end["state"], end["cause"]) == ("lost", "lost")
    assert not [pid for pid in job.members() if alive(pid)]


MEETING = """
import os, socket
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
open(os.environ["STARTS"], "a").write(f"{os.environ['TRAINCTL_ATTEMPT']}:{rank}\\n")
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    with socket.create_server(place) as server:
        guest, address = server.accept()
        print("met", guest.recv(100).decode(), flush=True)
else:
    import time
    while True:
        try:
            guest = socket.create_connection(place)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    guest.sendall(f"rank {rank} of {world} on {socket.gethostname()}".encode())
    guest.close()
"""


def test_two_nodes_meet(login: Login) -> None:
    job = login.run(sys.executable, "-c", MEETING, resources={"nodes": 2}, distribution={"type": "pytorch"},
                    slurm={"exclusive": True}).launch()
    watch = job.watch()
    end = watch.end(120)
    assert end["state"] == "succeeded", (end, watch.files)
    assert watch.files["attempts/1/logs/std.log"] == b"met rank 1 of 2 on n2\n"
    assert sorted(job.started_attempts()) == ["1:0", "1:1"]


@pytest.fixture
def shell(cluster: Cluster, trainctl):
    trainctl.env["SLURM_CONF"] = cluster.env["SLURM_CONF"]
    yield trainctl
    cluster.run("scancel", "--user=root", check=False)


def test_as_a_user_does(cluster: Cluster, shell, project) -> None:
    project.script("import os; print('hello', os.environ['FROM_SETUP']); open(os.environ['TRAINCTL_OUTPUTS'] + '/m', 'w').write('model')")
    project.write("run.json", json.dumps({
        "name": "digits", "script": "train.py", "target": "slurm", "resources": {"cpus": 1},
        "environment": {"python": {"interpreter": sys.executable}, "setup": ["export FROM_SETUP=yes"]}}))
    assert shell.ok("submit", "run.json").text.startswith("hello yes\n")
    shown = shell.json("show", "@")
    assert shown["state"] == "succeeded" and shown["target"] == "slurm"
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
    shell.send("echo in:$PWD; tty; exit 5\n")
    shell.expect("in:.*/attempts/1/work\r?\n/dev/pts/", timeout=30)
    assert shell.wait() == 5
    tunnel = trainctl.pty("tunnel", "@", f"0:{port}")
    here = tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1)
    for _ in range(3):
        assert len(urllib.request.urlopen(f"http://127.0.0.1:{here}/", timeout=60).read()) == 300000
    tunnel.interrupt()
    assert tunnel.wait() == 130
    trainctl.ok("exec", "@", "--", "touch", "stop")
    trainctl.ok("wait", "@", timeout=60)
    ended = trainctl.ok("exec", "@", "--", "printenv", "COLOUR")
    assert ended.out == b"blue\n" and "the run is succeeded: this is what it left" in ended.error


def test_exec_shell_and_tunnel_are_in_the_job(cluster: Cluster, shell, project) -> None:
    project.script(SERVES)
    enter_and_tunnel(shell, project.spec(target="slurm", environment={"python": {"interpreter": sys.executable}},
                                         environment_variables={"COLOUR": "blue"}))


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
    print(shell.run("show", "@"), shell.run("outputs", "@"), cluster.run("find", shell.last_run(), shell.user_home).stdout, shell.json("show", "@"))
    assert (shell.last_run() / "outputs" / "checkpoint.pt").stat().st_size > 100
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
    for rank in range(4):
        said = shell.ok("logs", "@", "--rank", str(rank)).text
        assert f"rank {rank} of 4 on n{rank // 2 + 1}: 10, node {rank // 2}" in said or (code and rank < 3), (rank, said)
    assert shell.json("show", "@")["state"] == ("failed" if code else "succeeded")
    assert code == 0 or "rank 3 exited with code 7" in done.error, done
