# SPDX-License-Identifier: Apache-2.0
"""The runner killed at every stage: nothing starts twice, nothing is lost, the end is true."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from harness import alive, wait_until
from runner import RUNNER, Run

SYSCALLS = ["openat", "write", "fsync", "fdatasync", "rename", "unlink", "mkdir", "link", "clone", "fork", "execve",
            "flock", "fallocate", "pipe2", "wait4", "waitid", "epoll_wait", "dup2", "setsid", "read"]
SEED = int(os.environ.get("TRAINCTL_TEST_SEED", "20261123"))


def starts(path):
    """One line a start of the script: what I2 is about."""
    return path.read_text().split() if path.exists() else []


def counting(scratch, rest="echo done"):
    """Appends its attempt to a file with one write, then goes on."""
    return "sh", "-c", f"echo $TRAINCTL_ATTEMPT >> {scratch}/starts; {rest}"


def check_starts(run, scratch):
    seen = starts(scratch / "starts")
    assert len(seen) == len(set(seen)), f"an attempt started twice: {seen}"
    return seen


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_supervisor_killed_then_adopted(run, scratch):
    r = run(*counting(scratch, "sleep 1; echo end; exit 4"))
    p = r.start()
    r.started()
    p.kill()
    p.wait()
    end = r.supervise()
    assert (end["state"], end["exit_code"]) == ("failed", 4) and r.log() == b"end\n"
    assert check_starts(r, scratch) == ["1"]
    assert [e["adopted"] for e in r.events() if e["type"] == "attempt"] == [False, True]


def test_supervisor_killed_and_script_ended_meanwhile(run, scratch):
    r = run(*counting(scratch, "sleep 0.2; exit 5"))
    p = r.start()
    waiter = r.started()["waiter"]
    p.kill()
    p.wait()
    wait_until(lambda: not alive(waiter), "the waiter has ended")
    assert r.supervise()["exit_code"] == 5
    assert check_starts(r, scratch) == ["1"]


def test_waiter_killed(run, scratch):
    r = run(*counting(scratch, "sleep 0.5; exit 6"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    kill(r.started()["waiter"])
    p.wait(20)
    assert r.end()["exit_code"] == 6 and r.rank()["exit"]["by"] == "supervisor"
    assert check_starts(r, scratch) == ["1"]


def test_waiter_and_supervisor_killed(run, scratch):
    r = run(*counting(scratch, f"while [ ! -e {scratch}/go ]; do sleep 0.02; done"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    start = r.started()
    p.kill()
    p.wait()
    kill(start["waiter"])
    q = r.start()
    wait_until(lambda: any(e["type"] == "attempt" and e["adopted"] for e in r.events()), "it is adopted")
    assert q.poll() is None and alive(start["pid"])  # the rank is watched to its end
    (scratch / "go").touch()
    q.wait(20)
    end = r.end()
    assert (end["state"], end["cause"]) == ("lost", "lost")
    assert check_starts(r, scratch) == ["1"]


def test_everything_killed_is_lost_and_may_be_retried(run, scratch):
    r = run(*counting(scratch, "test $TRAINCTL_ATTEMPT = 2 || sleep 60"),
            retry={"max": 1, "on": ["lost"], "backoff_ms": 10})
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    start = r.started()
    p.kill()
    p.wait()
    kill(start["waiter"])
    kill(start["pid"])
    assert r.supervise()["state"] == "succeeded"
    assert check_starts(r, scratch) == ["1", "2"] and r.end(1)["cause"] == "lost"


def test_adopter_finds_the_script_stoppable(run):
    r = run("sh", "-c", "trap '' INT; setsid sleep 100 & sleep 100", stop={"grace_ms": 400})
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    p.kill()
    p.wait()
    r.start()
    r.request(type="cancel")
    assert r.wait_end()["state"] == "canceled"
    wait_until(lambda: not r.members(), "all processes are gone")


def test_stray_processes_are_stopped_when_waiter_and_supervisor_died(run):
    r = run("sh", "-c", "setsid sleep 100 & echo begun; sleep 0.7")
    p = r.start()
    r.logged(b"begun")
    start = r.started()
    p.kill()
    p.wait()
    kill(start["waiter"])
    assert r.supervise()["state"] == "lost"
    assert not r.members()


def reboot(run, scratch):
    """What the run's next supervisor sees after a restart of the machine: another boot id."""
    (scratch / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
    run.env["TRAINCTL_BOOT_ID_FILE"] = str(scratch / "boot")


def lose_power(run, process, scratch):
    """All its processes end at once, unseen."""
    start = run.started()
    process.kill()
    process.wait()
    kill(start["waiter"])
    kill(start["pid"])
    reboot(run, scratch)


def test_reboot(run, scratch):
    r = run(*counting(scratch, "sleep 30"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    lose_power(r, p, scratch)
    end = r.supervise()
    assert (end["state"], end["cause"], end["next"]) == ("lost", "lost", None) and "restarted" in end["message"]
    assert check_starts(r, scratch) == ["1"]


def test_reboot_with_a_retry(run, scratch):
    r = run(*counting(scratch, "test $TRAINCTL_ATTEMPT = 2 || sleep 60"),
            retry={"max": 1, "on": ["lost"], "backoff_ms": 10})
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    lose_power(r, p, scratch)
    assert r.supervise()["state"] == "succeeded"
    first = r.end(1)
    assert (first["state"], first["cause"], first["next"]) == ("lost", "lost", "retry") and "restarted" in first["message"]
    assert check_starts(r, scratch) == ["1", "2"]


def test_reboot_after_the_exit(run, scratch):
    r = run(*counting(scratch, "exit 5"))
    p = r.start()
    r.started()
    wait_until(lambda: "exit" in r.rank(), "its exit is written")
    os.kill(p.pid, signal.SIGKILL)
    p.wait()
    ended = [e for e in r.events() if e["type"] == "end"]
    reboot(r, scratch)
    assert r.supervise()["exit_code"] == 5 and len(ended) <= 1


def test_reboot_while_queued(run, scratch):
    cpus = os.cpu_count()
    holder = run("sh", "-c", f"while [ ! -e {scratch}/go ]; do sleep 0.02; done", resources={"cpus": cpus})
    h = holder.start()
    holder.started()
    r = run(*counting(scratch), resources={"cpus": 1})
    p = r.start()
    wait_until(lambda: "queued" in r.states(), "it waits")
    p.kill()
    p.wait()
    reboot(r, scratch)
    q = r.start()
    wait_until(lambda: any(e["type"] == "attempt" and e["adopted"] for e in r.events()), "it is adopted")
    (scratch / "go").touch()
    assert q.wait(20) == 0 and h.wait(20) == 0
    assert r.end()["state"] == "succeeded" and r.attempts() == [1] and check_starts(r, scratch) == ["1"]


def test_reboot_before_the_start(run, scratch):
    """Prepared, but no rank was started: it goes on, and makes its files again."""
    r = run(*counting(scratch))
    inject(r, "pipe2", 1, False)  # the supervisor dies before the first fork
    assert any(e["type"] == "prepared" for e in r.events()) and not list(r.attempt().glob("nodes/0/rank-*"))
    reboot(r, scratch)
    assert r.supervise()["state"] == "succeeded"
    assert r.attempts() == [1] and check_starts(r, scratch) == ["1"]
    assert sum(e["type"] == "prepared" for e in r.events()) == 2


def test_after_a_reboot_strangers_with_old_numbers_are_left_alone(run, scratch):
    """The script's pid belongs to somebody else by now, who even leads a session."""
    r = run(*counting(scratch, "sleep 30"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    old = r.started()["pid"]
    lose_power(r, p, scratch)
    stranger = subprocess.Popen(["sh", "-c", "sleep 100 & echo up; wait"], start_new_session=True, stdout=subprocess.PIPE)
    try:
        assert stranger.stdout.readline() == b"up\n"
        rank = r.attempt() / "nodes/0/rank-0.jsonl"
        rank.write_text(rank.read_text().replace(f'"pid":{old},', f'"pid":{stranger.pid},'))
        assert r.supervise()["state"] == "lost"
        assert stranger.poll() is None
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        stranger.communicate()


def test_another_machine_does_not_adopt(run, scratch):
    r = run("sleep", "30")
    p = r.start()
    r.started()
    p.kill()
    p.wait()
    events = r.attempt() / "events.jsonl"
    events.write_text(events.read_text().replace('"machine":"', '"machine":"other-'))
    before = events.read_text()
    assert r.start().wait(10) == 6
    assert events.read_text() == before


def test_drafts_of_the_killed_are_removed(run, scratch):
    r = run(*counting(scratch, "sleep 0.5"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    p.kill()
    p.wait()
    for name in (".outputs-1", "attempts/1/.draft-1/work/a", "attempts/1/.keep-1", "attempts/1/nodes/0/.rank-0-1",
                 "attempts/1/nodes/0/.fence-1"):
        (r.root / name).parent.mkdir(parents=True, exist_ok=True)
        (r.root / name).write_text("left by a kill")
    assert r.supervise()["state"] == "succeeded"
    assert not [path for path in r.root.rglob(".*")]


def test_secrets_left_behind_are_swept_by_the_next_start(run, scratch):
    old, other = run("true"), run("true")
    old.supervise()
    secrets = scratch / "store" / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / old.id).write_text('{"KEY": "value"}')
    (secrets / other.id).write_text('{"KEY": "value"}')
    for path in secrets.iterdir():
        os.utime(path, (1, time.time() - 120))
    other.supervise()
    assert not (secrets / old.id).exists() and (secrets / other.id).exists()  # its plan names none, so it has not ended them
    third = run("true")
    third.supervise()
    assert list(secrets.iterdir()) == []


def test_torn_last_line(run, scratch):
    r = run(*counting(scratch, "sleep 0.5; exit 3"))
    p = r.start()
    wait_until(lambda: "running" in r.states(), "it runs")
    p.kill()
    p.wait()
    with open(r.attempt() / "events.jsonl", "ab") as f:
        f.write(b'{"v":1,"seq":9,"type":"en')
    end = None
    r.start().wait(20)
    lines = (r.attempt() / "events.jsonl").read_bytes().split(b"\n")
    assert lines[-1] == b"" and b'"end"' in lines[-2] and b'"exit_code":3' in lines[-2], end
    assert check_starts(r, scratch) == ["1"]


def test_stop_goes_on_after_adoption(run):
    r = run("sh", "-c", "trap '' INT TERM; echo up; while :; do sleep 0.1; done", stop={"grace_ms": 1500})
    p = r.start()
    r.logged(b"up")
    r.request(type="cancel")
    wait_until(lambda: "stopping" in r.states(), "it is being stopped")
    p.kill()
    p.wait()
    assert r.supervise()["state"] == "canceled"


def test_full_disk(scratch):
    disk = scratch / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode != 0:
        pytest.skip("may not mount a tmpfs")
    try:
        r = Run(disk / "store", ["sh", "-c", "cat /dev/zero > outputs/big; exit 9"])
        end = r.supervise()
        assert (end["state"], end["cause"], end["exit_code"]) == ("failed", "disk_full", 9)
        assert "disk is full" in end["message"]
        r.clean_up()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def recover(run, scratch):
    """As a later command does: supervise again until the end, then check the invariants."""

    def ended():
        process = run.start(stderr=subprocess.DEVNULL)
        assert process.wait(60) == 0
        return any(e["type"] == "end" and not e["next"] for e in run.events())

    # One that finds the lock held leaves at once: it may be held by what was just killed, for as long as that takes.
    wait_until(ended, "the final end")
    end = run.end()
    seen = check_starts(run, scratch)
    wait_until(lambda: not run.members(), "no process is left")
    assert not [path for path in run.root.rglob(".*")], "drafts are left"
    if end["state"] == "succeeded":
        assert seen[-1] == str(run.attempts()[-1])
        assert run.log() == b"done\n"
        assert end["outputs"] == {"files": 1, "bytes": 5} and (run.attempt() / "outputs.jsonl").exists()
    else:
        # The injected kill may have hit the script itself: that is its true end.
        # With strace -f the waiter of each new attempt is killed like the first: then the budget of three is used up.
        exhausted = end["cause"] == "start" and len(run.attempts()) == 4
        assert end["state"] == "lost" or end["signal"] == "SIGKILL" or exhausted, end
    return end["state"]


def inject(run, call, n, follow):
    command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}"]
    if follow:
        command.insert(1, "-f")
    process = subprocess.Popen([*command, RUNNER, "supervise", run.root], env=run.env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    run.processes.append(process)
    return process.wait(60)


def one_kill(scratch, call, n, follow):
    folder = scratch / f"{call}-{n}-{int(follow)}"
    folder.mkdir()
    run = Run(folder / "store", list(counting(folder, "echo file > outputs/m && echo done")))
    try:
        inject(run, call, n, follow)
        return recover(run, folder)
    finally:
        run.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


def test_killed_at_sampled_system_calls(scratch):
    """strace -f counts n per process: supervisor, waiter and script are each killed at their n-th call."""
    rng = random.Random(SEED)
    cases = rng.sample([(c, n, f) for c in SYSCALLS for n in range(1, 16) for f in (False, True)], 40)
    outcomes = {}
    for call, n, follow in cases:
        try:
            state = one_kill(scratch, call, n, follow)
        except AssertionError as problem:
            raise AssertionError(f"killed at {call} number {n}, children too: {follow}, seed {SEED}") from problem
        outcomes[state] = outcomes.get(state, 0) + 1
    assert outcomes.get("succeeded", 0) > 10, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("call", SYSCALLS)
def test_killed_at_every_system_call(scratch, call):
    for follow in (False, True):
        for n in range(1, 80):
            one_kill(scratch, call, n, follow)
