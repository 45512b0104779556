# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""Runs as jobs of a real Slurm: the launcher, what is said of a job, and the bad days of a cluster. The runner is driven
through its protocol, as a login node is."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness import alive, jsonl, wait_until
from slurm_runs import COUNTING, Job, Login, cluster, login  # noqa: F401  (fixtures)


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
