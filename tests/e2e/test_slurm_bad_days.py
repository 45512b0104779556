# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""More bad days of a real Slurm: answers that come late, nodes that are drained, folders that cannot be written, queues that are too
long, controllers that are away."""

from __future__ import annotations

import json
from pathlib import Path

from harness import jsonl, wait_until
from slurm_runs import Job, Login, cluster, login  # noqa: F401  (fixtures)

WAITS_FOR_GO = "echo up; while [ ! -e $STARTS.go ]; do sleep 0.1; done"

# The first time it only says that nobody answered; its job comes when the test lets it. The second job is held.
LATE_SBATCH = """#!/bin/sh
[ ! -e "$0.late" ] || exec /usr/bin/sbatch --hold "$@"
touch "$0.late"
setsid sh -c 'while [ ! -e "$0.go" ]; do sleep 0.1; done; exec /usr/bin/sbatch "$@"' "$0" "$@" </dev/null >/dev/null 2>&1 &
echo "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation" >&2
exit 1
"""


def known_jobs(job: Job) -> list[str]:
    return [line["job"] for line in jsonl(job.root / "slurm" / "events.jsonl") if line["type"] == "job"]


def is_up(watch) -> bool:
    return b"up" in watch.files["attempts/1/logs/std.log"]


def test_a_job_that_comes_late_is_not_ended_by_a_second_one(login: Login, scratch: Path) -> None:
    tools = scratch / "tools"
    tools.mkdir()
    (tools / "sbatch").write_text(LATE_SBATCH)
    (tools / "sbatch").chmod(0o755)
    login.connect(PATH=f"{tools}:{login.env['PATH']}")
    job = login.shell(WAITS_FOR_GO).launch()
    second = job.job()
    watch = job.watch()
    (tools / "sbatch.go").touch()
    watch.until(lambda: is_up(watch), "the late one runs")
    login.cluster.run("scontrol", "release", second, check=False)  # unless it is canceled already
    wait_until(lambda: login.cluster.jobs()[second] in ("COMPLETED", "CANCELLED"), "the second one is over")
    watch.until(lambda: watch.ended or known_jobs(job)[-1] != second, "what becomes of it")
    assert not watch.ended, job.end(1)
    Path(f"{job.starts}.go").touch()
    assert watch.end()["state"] == "succeeded" and job.started_attempts() == ["1"]


def test_drained_nodes(login: Login) -> None:
    """What runs goes on; what waits says why, and runs when the nodes are back."""
    running = login.shell(WAITS_FOR_GO).launch()
    watch = running.watch()
    watch.until(lambda: is_up(watch), "it runs")
    login.cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=DRAIN", "Reason=maintenance")
    try:
        late = login.shell("exit 0").launch()
        late_watch = late.watch()
        said = late_watch.says("down, drained or reserved")
        assert said["state"] == "queued" and "it will not start as it is" not in said["message"], said
        Path(f"{running.starts}.go").touch()
        assert watch.end()["state"] == "succeeded"
    finally:
        login.cluster.run("scontrol", "update", "NodeName=n[1-2]", "State=RESUME")
    assert late_watch.end()["state"] == "succeeded" and late.started_attempts() == ["1"]


def test_a_node_that_cannot_write_the_run_s_folder(login: Login) -> None:
    """Slurm accepts the job and fails it without a word: the file of its output cannot be opened."""
    job = login.shell("exit 0", slurm={"options": ["--hold"]}).launch()
    number, watch = job.job(), job.watch()
    watch.says("held")
    (job.root / "slurm" / f"job-{number}.log").mkdir()
    login.cluster.run("scontrol", "release", number)
    end = watch.end()
    assert (end["state"], end["cause"]) == ("failed", "start"), end
    assert f"cannot write {job.root}/slurm" in end["message"], end
    assert job.started_attempts() == []


def test_a_queue_that_takes_too_long(login: Login) -> None:
    job = login.shell("exit 0", slurm={"options": ["--hold"]}, limits={"queue_timeout_ms": 2000}).launch()
    end = job.watch().end()
    assert (end["state"], end["cause"]) == ("timed_out", "queue_timeout") and "longer than 2.0 s" in end["message"], end
    wait_until(lambda: login.cluster.jobs()[job.job()] == "CANCELLED", "the job is canceled, too")
    assert job.started_attempts() == []


def test_a_script_that_failed_is_tried_again_in_the_same_job(login: Login) -> None:
    job = login.shell('echo "$SLURM_JOB_ID"; [ "$TRAINCTL_ATTEMPT" = 2 ] || exit 3', resources={"nodes": 1, "cpus": 1},
                      slurm={"time": "10m"}, retry={"max": 1, "on": ["exit:3"], "backoff_ms": 100, "resume": False}).launch()
    watch = job.watch()
    assert watch.end()["state"] == "succeeded"
    assert (job.end(1)["cause"], job.end(1)["next"]) == ("exit", "retry") and job.started_attempts() == ["1", "2"]
    ours = f"{job.job()}\n".encode()
    assert watch.files["attempts/1/logs/std.log"] == watch.files["attempts/2/logs/std.log"] == ours
    assert known_jobs(job) == [job.job()]


def test_tensorflow_on_two_nodes_is_told_who_is_there(login: Login) -> None:
    job = login.shell('echo "$TF_CONFIG"', resources={"nodes": 2}, distribution={"type": "tensorflow", "workers": 2},
                      slurm={"exclusive": True}).launch()
    watch = job.watch()
    end = watch.end(120)
    assert end["state"] == "succeeded", (end, watch.files)
    configs = [json.loads(watch.files[f"attempts/1/logs/{log}"]) for log in ("std.log", "rank-1.log")]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": 0}, {"type": "worker", "index": 1}]
    workers = configs[0]["cluster"]["worker"]
    assert configs[1]["cluster"]["worker"] == workers
    assert [worker.split(":")[0] for worker in workers] == [f"{login.cluster.net}.{10 + node}" for node in (1, 2)]
    assert all(worker.split(":")[1].isdigit() for worker in workers)


def test_a_controller_that_is_away_for_long(login: Login) -> None:
    """Longer than it takes to say so, while a run is submitted and while one runs: both end as they should."""
    running = login.shell(WAITS_FOR_GO + "; exit 3").launch()
    watch = running.watch()
    watch.until(lambda: is_up(watch), "it runs")
    login.cluster.wait_saved(running.job())
    login.cluster.kill_controller()
    late = login.shell("exit 0", slurm={"options": ["--hold"]}).launch()
    late_watch = late.watch()
    late_watch.says("does not answer", 90)
    tried = lambda: [line for line in jsonl(late.root / "slurm" / "events.jsonl") if line["type"] == "intent"]  # noqa: E731
    wait_until(lambda: len(tried()) >= 2, "it has been tried again", 90)
    assert not watch.ended and running.states()[-1] == "running"
    login.cluster.start_controller()
    Path(f"{running.starts}.go").touch()
    assert watch.end()["exit_code"] == 3 and running.started_attempts() == ["1"]
    late_watch.says("is held", 90)
    wait_until(lambda: login.cluster.idle() == 2, "the nodes are in service", 60)  # in its first moments slurmd refuses a launch
    login.cluster.run("scontrol", "release", late.job())
    assert late_watch.end()["state"] == "succeeded" and late.started_attempts() == ["1"]
    comments = login.cluster.run("squeue", "-h", "-t", "all", "-o", "%k").stdout.split()
    assert comments.count(f"trainctl:{late.id}") == 1
