# SPDX-License-Identifier: Apache-2.0
"""trainctl-runner supervise: ends, limits, stops, ranks, retries."""

import json
import os
import struct
import subprocess
import time

import pytest

from harness import alive, wait_until
from runner import PYTHON, RUNNER


def sh(text):
    return ("sh", "-c", text)


def test_version():
    out = subprocess.run([RUNNER, "--version"], capture_output=True, check=True).stdout
    assert out.startswith(b"trainctl-runner ")


@pytest.mark.parametrize("word", ["xy", "abc", "00" * 48, "00" * 64, "--version"])
def test_what_a_command_carries_for_another_key_is_passed_over(scratch, word):
    (scratch / "store").mkdir()
    done = subprocess.run([RUNNER, "stdio", "--begin", "00ff", scratch / "store", word], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith(b"\nTRAINCTL-00ff run\n")
    key = scratch / "store" / "carrying.key"
    assert key.stat().st_mode & 0o777 == 0o600 and key.stat().st_size == 32
    assert f'"carrying_key":"{key.read_bytes().hex()}"'.encode() in done.stdout


def test_success(run):
    r = run(*sh("echo out; echo err >&2"))
    end = r.supervise()
    assert (end["state"], end["exit_code"], end["signal"], end["next"]) == ("succeeded", 0, None, None)
    assert r.log() == b"out\nerr\n"
    assert end["logs"] == {"std.log": 8}
    assert r.states() == ["running"]
    assert (r.root / "outputs").resolve() == r.attempt() / "work" / "outputs"
    assert not r.members()


def test_ended_run_is_left_alone(run):
    r = run("true")
    r.supervise()
    before = (r.attempt() / "events.jsonl").read_bytes()
    r.supervise()
    assert (r.attempt() / "events.jsonl").read_bytes() == before


def test_failure_and_signal(run):
    end = run(*sh("exit 7")).supervise()
    assert (end["state"], end["cause"], end["exit_code"]) == ("failed", "exit", 7)
    end = run(*sh("kill -SEGV $$")).supervise()
    assert (end["state"], end["cause"], end["exit_code"], end["signal"]) == ("failed", "signal", 139, "SIGSEGV")


@pytest.mark.parametrize("content, mode, code, words", [
    (None, 0, 127, "does not exist"),
    ("#!/bin/sh\n", 0o600, 126, "not executable"),
    ("#!/no/such/thing\n", 0o700, 126, "/no/such/thing does not exist"),
    ("#!/bin/sh\r\n", 0o700, 126, "Windows line endings"),
    ("nonsense\n", 0o700, 126, "#! line"),
])
def test_not_executable(run, scratch, content, mode, code, words):
    program = scratch / "prog"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    end = run(str(program)).supervise()
    assert (end["state"], end["cause"], end["exit_code"], end["next"]) == ("failed", "start", code, None)
    assert words in end["message"]


def test_program_not_on_path(run):
    end = run("no-such-program-xyz").supervise()
    assert (end["cause"], end["exit_code"]) == ("start", 127)
    assert "no-such-program-xyz" in end["message"]


def test_missing_working_directory(run):
    end = run("true", working_directory="nowhere").supervise()
    assert end["cause"] == "start" and "nowhere" in end["message"]


def test_kinds(run):
    r = run("echo $1 in $0", "word", kind="shell")
    r.supervise()
    assert r.log() == b"word in bash\n"
    r = run("json.tool", "--help", kind="python_module")
    assert r.supervise()["exit_code"] == 0
    end = run("missing.py", kind="python_script").supervise()
    assert end["cause"] == "start" and "missing.py" in end["message"]


def test_variables(run):
    r = run("env", variables={"A": "1"}, inputs={"my-data": {"path": "/usr"}}, outputs={"m": {"path": "m.bin"}})
    r.supervise()
    env = dict(line.split("=", 1) for line in r.log().decode().splitlines() if "=" in line)
    outputs = str(r.attempt() / "work" / "outputs")
    assert env["A"] == "1" and env["PYTHONUNBUFFERED"] == "1"
    assert env["TRAINCTL_RUN_ID"] == r.id and env["TRAINCTL_ATTEMPT"] == "1"
    assert env["TRAINCTL_INPUT_MY_DATA"] == "/usr"
    assert env["TRAINCTL_OUTPUTS"] == outputs and env["TRAINCTL_OUTPUT_M"] == outputs + "/m.bin"
    assert os.path.exists(env["PYTHONPATH"].split(":")[0] + "/trainctl.py")
    assert "RANK" not in env


def test_secrets_reach_the_script_and_are_removed(run, scratch):
    r = run(*sh("echo $TOKEN"), secrets=["TOKEN"])
    path = scratch / "store" / "secrets" / r.id
    path.parent.mkdir()
    path.write_text(json.dumps({"TOKEN": "s3cret"}))
    r.supervise()
    assert r.log() == b"s3cret\n" and not path.exists()
    end = run("true", secrets=["X"]).supervise()
    assert end["cause"] == "start" and "secrets" in end["message"]


def test_environment_of_the_script_is_clean(run):
    code = ("import os,signal; print(sorted(os.listdir('/proc/self/fd'))[:4], signal.pthread_sigmask(0,[]),"
            " signal.getsignal(signal.SIGPIPE), os.getsid(0)==os.getpid(), os.read(0,1))")
    r = run(PYTHON, "-c", code)
    r.supervise()
    assert r.log().startswith(b"['0', '1', '2', '3'] set() ")  # 3 is the listing itself
    assert b"True b''" in r.log()


def test_umask_of_the_user(run):
    r = run(*sh("umask"))
    r.start(preexec_fn=lambda: os.umask(0o027)).wait()
    assert r.log() == b"0027\n"


@pytest.mark.parametrize("via", ["file", "pipe", "pty"])
def test_log_bytes(run, via):
    code = "import os\nfor i in range(2000): os.write(1+i%2, bytes([i*7%256])*997)"
    r = run(PYTHON, "-c", code, logs_via=via)
    assert r.supervise()["exit_code"] == 0
    if via == "pty":
        assert len(r.log()) >= 1_900_000
    else:
        assert r.log() == b"".join(bytes([i * 7 % 256]) * 997 for i in range(2000))


def test_pty_is_a_terminal(run):
    r = run(*sh("test -t 1 && echo terminal; printf 'a\\nb\\n'"), logs_via="pty")
    r.supervise()
    assert r.log() == b"terminal\na\nb\n"


def test_times(run):
    r = run(*sh("for i in 1 2 3; do echo $i; sleep 0.25; done"))
    r.supervise()
    data = (r.attempt() / "logs" / "std.times").read_bytes()
    records = list(struct.iter_unpack("<QQ", data))
    assert [offset for _, offset in records] == [2, 4, 6]
    assert all(abs(ns / 1e9 - time.time()) < 60 for ns, _ in records)


def test_cancel(run):
    r = run(PYTHON, "-c", "import time\ntry:\n  print('up', flush=True)\n  time.sleep(60)\nexcept KeyboardInterrupt: print('saved')")
    p = r.start()
    r.logged(b"up\n")
    wait_until(lambda: "running" in r.states(), "the start is recorded")
    name = r.request(type="cancel", reason="enough")
    assert p.wait(20) == 0
    end = r.end()
    assert (end["state"], end["cause"]) == ("canceled", "canceled") and "enough" in end["message"]
    assert b"saved" in r.log()
    assert [e["result"] for e in r.events() if e["type"] == "control" and e["request"] == name] == ["accepted"]
    assert r.states() == ["running", "stopping"]


def test_cancel_of_a_program_that_ignores_signals(run):
    r = run(*sh("trap '' INT TERM; echo up; while :; do sleep 0.1; done"), stop={"grace_ms": 600})
    p = r.start()
    r.logged(b"up")
    began = time.monotonic()
    r.request(type="cancel")
    p.wait(20)
    assert time.monotonic() - began > 0.5
    assert r.end()["state"] == "canceled" and r.end()["signal"] == "SIGKILL"
    assert not r.members()


def test_cancel_of_a_stopped_program(run):
    r = run(*sh("echo up; kill -STOP $$; echo on"), stop={"grace_ms": 1000, "signal": "SIGTERM"})
    p = r.start()
    r.logged(b"up")
    r.request(type="cancel")
    p.wait(20)
    assert r.end()["state"] == "canceled" and not r.members()


def test_cancel_before_the_start(run):
    r = run(*sh("echo never"))
    r.request(type="cancel")
    end = r.supervise()
    assert end["state"] == "canceled"
    assert not (r.attempt() / "logs" / "std.log").exists()


def test_signal_request(run):
    r = run(*sh("trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.05; done"))
    p = r.start()
    r.logged(b"up")
    bad = r.request(type="signal", signal="SIGNOPE")
    odd = r.request(type="dance")
    wait_until(lambda: len([e for e in r.events() if e["type"] == "control"]) == 2, "both are answered")
    ok = r.request(type="signal", signal="SIGUSR1")  # ends the script
    p.wait(20)
    results = {e["request"]: e["result"] for e in r.events() if e["type"] == "control"}
    assert results[ok] == "accepted" and results[bad].startswith("refused") and results[odd].startswith("refused")
    assert r.log().endswith(b"got\n") and r.end()["state"] == "succeeded"


def test_daemons_of_the_script_are_stopped(run):
    r = run(*sh("setsid sh -c 'trap \"\" TERM; echo $$ > daemon; exec sleep 300' & until test -s daemon; do :; done; echo done"))
    began = time.monotonic()
    end = r.supervise()
    assert end["state"] == "succeeded" and time.monotonic() - began < 15
    pid = int((r.attempt() / "work" / "daemon").read_text())
    assert not alive(pid) and not r.members()
    assert any("still there" in e["message"] for e in r.events() if e["type"] == "warning")


def test_timeout(run):
    end = run("sleep", "60", limits={"timeout_ms": 300}).supervise()
    assert (end["state"], end["cause"]) == ("timed_out", "time_limit")


def test_idle(run):
    r = run(*sh("echo a; sleep 0.3; echo b; sleep 60"), limits={"idle_ms": 700})
    end = r.supervise()
    assert (end["state"], end["cause"]) == ("timed_out", "idle_timeout") and r.log() == b"a\nb\n"


def test_warning_reaches_only_who_handles_it(run):
    r = run(*sh("sleep 30 & trap 'echo warned; exit 0' USR2; echo up; wait"),
            limits={"timeout_ms": 20000}, stop={"warn_ms": 19500})
    end = r.supervise()
    assert end["state"] == "succeeded" and r.log() == b"up\nwarned\n"
    assert any("1 process that" in e["message"] for e in r.events() if e["type"] == "warning")


def test_memory_limit(run):
    r = run(PYTHON, "-c", "import time; x=bytearray(200_000_000); x[::4096]=b'a'*len(x[::4096]); time.sleep(60)",
            resources={"memory": 100_000_000})
    end = r.supervise()
    assert (end["state"], end["cause"]) == ("failed", "memory_limit")


def test_retry_on_exit_code(run):
    r = run(*sh("echo $TRAINCTL_ATTEMPT; test $TRAINCTL_ATTEMPT = 3 || exit 75"),
            retry={"max": 5, "on": ["exit:75"], "backoff_ms": 50})
    assert r.supervise()["state"] == "succeeded"
    assert r.attempts() == [1, 2, 3]
    assert [r.end(n)["next"] for n in (1, 2, 3)] == ["retry", "retry", None]
    assert [r.log(0, n) for n in (1, 2, 3)] == [b"1\n", b"2\n", b"3\n"]


def test_retry_budget_and_resume(run):
    r = run(*sh("cat outputs/n; echo $TRAINCTL_ATTEMPT > outputs/n; kill -KILL $$"),
            retry={"max": 2, "on": ["signal:SIGKILL"], "backoff_ms": 10, "resume": True})
    end = r.supervise()
    assert end["cause"] == "signal" and r.attempts() == [1, 2, 3]
    assert r.log(0, 3) == b"2\n"


def test_empty_folders_of_declared_outputs_are_nothing_to_resume_from(run):
    r = run(*sh("echo $TRAINCTL_RESUME_FROM; [ $TRAINCTL_ATTEMPT = 1 ] || touch outputs/checkpoints/last/a; exit 75"),
            retry={"max": 2, "on": ["exit:75"], "backoff_ms": 10, "resume": True}, resume_from={"path": "/earlier", "run": None},
            outputs=[{"name": "last", "path": "checkpoints/last/model"}])
    r.supervise()
    assert [r.log(0, n) for n in (1, 2)] == [b"/earlier\n"] * 2
    assert r.log(0, 3).decode().strip() == str(r.attempt(3) / "work" / "outputs")


def test_cancel_between_attempts(run):
    r = run("false", retry={"max": 5, "on": ["exit"], "backoff_ms": 60000})
    p = r.start()
    wait_until(lambda: [e for e in r.events(1) if e["type"] == "end"], "the first attempt has ended")
    r.request(type="cancel")
    p.wait(20)
    assert r.attempts() == [1, 2] and r.end()["state"] == "canceled"


def test_ranks(run):
    r = run(*sh("echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $NODE_RANK ${OMP_NUM_THREADS:+set}"),
            processes_per_node=8)
    end = r.supervise()
    assert end["state"] == "succeeded"
    for k in range(8):
        assert r.log(k) == f"{k} {k} 8 8 0 set\n".encode()
    assert len(end["logs"]) == 8


def test_first_failing_rank_decides(run):
    r = run(*sh("if [ $RANK = 2 ]; then sleep 0.2; exit 9; fi; sleep 60"), processes_per_node=4, stop={"grace_ms": 2000})
    end = r.supervise()
    assert (end["state"], end["cause"], end["exit_code"], end["rank"]) == ("failed", "exit", 9, 2)
    assert "rank 2" in end["message"] and not r.members()


def test_second_supervisor_leaves(run):
    r = run("sleep", "5")
    r.start()
    r.started()
    assert r.start().wait(5) == 0
    assert r.processes[0].poll() is None


def test_detached(run):
    r = run(*sh("sleep 0.2; echo hi"))
    out = subprocess.run([RUNNER, "supervise", "--detach", r.root], env=r.env, capture_output=True, check=True)
    assert out.stdout == b"supervised\n"
    assert r.wait_end()["state"] == "succeeded"


def test_unusable_plan(run):
    r = run("true")
    (r.root / "plan.json").write_text("{")
    assert r.start(stderr=subprocess.DEVNULL).wait(5) == 6


def test_patterns_find_metrics(run):
    r = run(*sh("for i in 1 2 3; do echo \"epoch $i: loss 0.$i\"; done"), metrics={"patterns": ["epoch {step}: loss {loss}"]})
    assert r.supervise()["state"] == "succeeded"
    points = [json.loads(x) for x in (r.attempt() / "metrics" / "pattern-r0.jsonl").read_text().splitlines()]
    assert [(p["step"], p["name"], p["value"]) for p in points] == [(1, "loss", 0.1), (2, "loss", 0.2), (3, "loss", 0.3)]


def test_system_metrics(run):
    r = run("sleep", "1.2", metrics={"interval_ms": 200})
    r.supervise()
    text = (r.attempt() / "metrics" / "system-r0-n0.jsonl").read_text()
    assert len(text.splitlines()) >= 3


def test_queue(run):
    cpus = os.cpu_count()
    a = run("sleep", "1", resources={"cpus": cpus})
    b = run("true", resources={"cpus": 1})
    c = run("true", resources={"cpus": 1}, limits={"queue_timeout_ms": 200})
    d = run("true", resources={"cpus": 1000000})
    a.start()
    a.started()
    processes = [one.start() for one in (b, c, d)]
    for p in processes:
        assert p.wait(30) == 0
    assert b.end()["state"] == "succeeded" and b.states()[0] == "queued"
    assert "cpu" in b.events()[1]["message"].lower()
    assert (c.end()["state"], c.end()["cause"]) == ("timed_out", "queue_timeout")
    assert (d.end()["state"], d.end()["cause"]) == ("failed", "start")


def test_cancel_in_the_queue(run):
    a = run("sleep", "3", resources={"cpus": os.cpu_count()})
    b = run("true", resources={"cpus": 1})
    a.start()
    a.started()
    p = b.start()
    wait_until(lambda: "queued" in b.states(), "it is queued")
    b.request(type="cancel")
    assert p.wait(10) == 0 and b.end()["state"] == "canceled"
