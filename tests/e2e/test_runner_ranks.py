# SPDX-License-Identifier: Apache-2.0
"""Several ranks: each log has its times, and the idle limit looks at all of them."""

import re
import struct

from harness import wait_until


def sh(text):
    return ("sh", "-c", text)


def times(run, name):
    data = (run.attempt() / "logs" / name).read_bytes()
    assert len(data) % 16 == 0
    return list(struct.iter_unpack("<QQ", data))


def test_every_rank_has_its_times(run):
    r = run(*sh("echo one; sleep 0.3; echo two $RANK"), processes_per_node=3)
    assert r.supervise()["state"] == "succeeded"
    for rank in range(3):
        records = times(r, f"rank-{rank}.times" if rank else "std.times")
        assert records[-1][1] == len(r.log(rank)) == 10 and records[0][0] < records[-1][0] and len(records) >= 2
    assert sorted(p.name for p in (r.attempt() / "logs").iterdir()) == [
        "rank-1.log", "rank-1.times", "rank-2.log", "rank-2.times", "std.log", "std.times"]


def test_a_log_of_any_rank_keeps_the_run_from_being_idle(run):
    talk = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; [ $RANK = 2 ] && echo $i; done; true"
    r = run(*sh(talk), processes_per_node=3, limits={"idle_ms": 1000})
    assert r.supervise()["state"] == "succeeded"
    assert r.log() == b"" and r.log(2).endswith(b"10\n")


def test_metrics_are_a_sign_of_life_but_those_of_the_system_are_not(run):
    write = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.2; echo '{}' >> ../metrics/{}-r0.jsonl; done"
    line = '{"t":1,"step":1,"name":"loss","value":1,"rank":0}'
    r = run(*sh(write.format(line, "script")), limits={"idle_ms": 1000})
    assert r.supervise()["state"] == "succeeded" and r.log() == b""
    r = run(*sh(write.format(line, "system-x")), limits={"idle_ms": 800}, stop={"grace_ms": 500})
    assert r.supervise()["cause"] == "idle_timeout"


def test_idle_when_no_rank_writes(run):
    r = run(*sh("[ $RANK = 1 ] && echo once; sleep 60"), processes_per_node=2, limits={"idle_ms": 600},
            stop={"grace_ms": 1000})
    end = r.supervise()
    assert (end["state"], end["cause"]) == ("timed_out", "idle_timeout") and r.log(1) == b"once\n"


def test_times_of_every_rank_go_on_under_the_next_supervisor(run, scratch):
    r = run(*sh(f"echo one; while [ ! -e {scratch}/go ]; do sleep 0.02; done; echo two"), processes_per_node=2)
    p = r.start()
    for rank in range(2):
        r.started(rank)
        r.logged(b"one", rank)
    wait_until(lambda: "running" in r.states(), "it runs")
    p.kill()
    p.wait()
    r.start()
    wait_until(lambda: any(e["type"] == "attempt" and e["adopted"] for e in r.events()), "it is adopted")
    (scratch / "go").touch()
    assert r.wait_end()["state"] == "succeeded"
    for name in ("std.times", "rank-1.times"):
        assert times(r, name)[-1][1] == 8


def test_logs_of_a_rank_with_times(trainctl, project):
    project.script("import os, time\nprint('first', os.environ['RANK'], flush=True)\ntime.sleep(0.4)\nprint('second')")
    spec = project.spec(distribution={"type": "processes", "processes_per_node": 2})
    trainctl.ok("run", spec)
    lines = trainctl.ok("logs", "--rank", "1", "--timestamps", "@").text.splitlines()
    assert [line.partition("  ")[2] for line in lines] == ["first 1", "second"]
    assert all(re.match(r"20\d\d-\d\d-\d\d.\d\d:\d\d:\d\d", line) for line in lines) and lines[0][:23] < lines[1][:23]
    assert trainctl.ok("logs", "--rank", "1", "--since", "1h").out == b"first 1\nsecond\n"
