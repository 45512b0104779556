# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Bad days of the host itself: it restarts, its disk is full, its home is read-only or on a file server, its kernel is old, it has
nothing but BusyBox. What cannot work says so before anything was started; what can, does."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from harness import jsonl, wait_until
from remote import file_server, mounted, nothing_left

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, another root folder")
NEWER_CALLS = "pidfd_open,close_range,openat2,statx,clone3,copy_file_range,getrandom"


def test_the_host_restarts_in_the_middle(make_box, trainctl):
    """Evidence of the same machine: another boot, no exit. The run is lost, not failed, and not started again."""
    box = make_box()
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    box.server.reboot()
    _, err = client.communicate(timeout=120)
    assert client.returncode == 1, err.decode()
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["cause"]) == ("lost", "lost") and work.started == 1
    assert trainctl.ok("logs", work.name).out == work.half
    assert list(box.server.tmp.glob("trainctl-*/slots-*")), "it held a slot, which nothing_left looks for"
    nothing_left(box)


@pytest.mark.parametrize("followed", [True, False], ids=["followed", "detached"])
def test_the_host_restarts_and_the_run_is_tried_again(make_box, trainctl, followed):
    """The policy asks for it: attempt 2 starts once, by whoever comes first after the restart."""
    box = make_box()
    work = box.workload(gate=True, retry={"max": 1, "on": ["lost"], "backoff": "10ms"})
    client = trainctl.start("submit", work.spec, *([] if followed else ["--detach"]))
    run = work.wait_half() if followed else None
    if not followed:
        assert client.wait(60) == 0
        run = wait_until(lambda: work.folder(), "it is recorded")
        wait_until(lambda: work.half in (box.store / "runs" / run.name / "attempts/1/logs/std.log").read_bytes(), "its first half")
    box.server.reboot()
    work.open()
    attached = client if followed else trainctl.start("attach", work.name)
    out, err = attached.communicate(timeout=120)
    assert attached.returncode == 0 and out.endswith(work.log), err.decode()
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["attempts"], shown["exit_code"]) == ("succeeded", 2, 0) and work.started == 2, shown
    assert [trainctl.ok("logs", work.name, "--attempt", attempt).out for attempt in (1, 2)] == [work.half, work.log]
    [end] = [event for event in trainctl.events(run) if event["type"] == "end"]
    assert (end["state"], end["cause"], end["next"]) == ("lost", "lost", "retry") and "restarted" in end["message"], end
    for attempt in (1, 2):
        ranks = jsonl(run / f"attempts/{attempt}/nodes/0/rank-0.jsonl")
        assert [line["type"] for line in ranks].count("start") == 1, ranks
    assert (run / "outputs" / "result").read_text() == "done\n"
    nothing_left(box)


def test_the_host_restarts_between_two_attempts(make_box, trainctl):
    """The second one waits; it is begun after the restart, once, and the first one keeps its end."""
    box = make_box()
    work = box.workload(code=5, retry={"max": 1, "on": ["exit:5"], "backoff": "2s"})
    client = trainctl.start("submit", work.spec)
    run = wait_until(lambda: work.folder(), "it is recorded")
    end = trainctl.wait_end(run)
    box.server.reboot()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 1 and out == 2 * work.log, err.decode()
    shown = trainctl.json("show", work.name)
    assert (shown["state"], shown["attempts"], shown["exit_code"]) == ("failed", 2, 5) and work.started == 2, shown
    assert (end["state"], end["exit_code"], end["next"]) == ("failed", 5, "retry")
    assert [trainctl.ok("logs", work.name, "--attempt", attempt).out for attempt in (1, 2)] == [work.log, work.log]
    nothing_left(box)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return path


def test_the_disk_of_the_host_is_full(make_box, trainctl, scratch):
    with mounted(scratch / "box" / "home", "-o", "size=160m,mode=700") as home:
        box = make_box()
        filler = fill(home)
        work = box.workload()
        refused = trainctl.run("submit", work.spec)
        assert refused.code in (3, 6) and "root@box" in refused.error and work.started == 0, refused
        filler.unlink()
        again = box.workload(lines=200, gate=True)
        client = trainctl.start("submit", again.spec)
        again.wait_half()
        filler = fill(home)
        again.open()
        wait_until(lambda: again.started and not [c for c in box.server.processes().values() if "work" in c], "its script has ended")
        filler.unlink()
        client.communicate(timeout=120)
        assert again.started == 1 and trainctl.json("show", again.name)["state"] in ("succeeded", "failed")
        log = trainctl.ok("logs", again.name).out  # behind what it wrote may stand what its shell says of the full disk
        assert log.startswith(again.half) and (log.startswith(again.log) or again.log.startswith(log)), log
        last = box.workload()
        trainctl.ok("submit", last.spec)
        last.check()
        nothing_left(box)
        box.server.clean_up()


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("stage", ["no runner", "inputs"])
def test_what_does_not_fit_on_the_host_is_said_with_what_it_needs(make_box, trainctl, scratch, stage):
    """Host, place and need; and nothing half-written takes the last room there."""
    with mounted(scratch / "box" / "home", "-o", "size=160m,mode=700") as home:
        box = make_box()
        if stage == "inputs":
            trainctl.ok("run", "--target", "root@box", "--", "true")  # brings the runner
        large = scratch / "large.bin"
        with open(large, "wb") as file:
            file.truncate(200_000_000)
        before = files_below(home)
        filler = fill(home) if stage == "no runner" else None
        work = box.workload(**({"inputs": {"d": str(large)}} if stage == "inputs" else {}))
        refused = trainctl.run("submit", work.spec)
        assert work.started == 0 and refused.code == 6 and "root@box" in refused.error, refused.error
        if stage == "inputs":
            said = rf"has \d+ MB free in {box.store}/snapshots, and 200 MB are to be sent there \(34 MB stay free for runs\)"
        else:
            said = rf"the runner \([\d.]+ MB\) could not be written to {home}/.trainctl/bin on root@box"
            filler.unlink()
        assert re.search(said, refused.error) and re.search("fix: free some (disk )?space", refused.error), refused.error
        assert files_below(home) == before, "something half-written is left"
        small = box.workload()
        trainctl.ok("submit", small.spec)
        small.check()
        nothing_left(box)
        box.server.clean_up()


def test_the_disk_here_is_full_before_a_submit_to_a_host(make_box, trainctl, project):
    """Nothing is sent, and nothing of the run is here or there."""
    trainctl.home.mkdir()
    with mounted(trainctl.home, "-o", "size=8m,mode=700") as home:
        box = make_box()
        trainctl.ok("run", "--target", "root@box", "--", "true")
        runs, there = trainctl.runs(), files_below(box.store)
        sessions = (box.server.folder / "sshd.log").read_text().count("Starting session")
        for master in box.masters():
            os.kill(master, signal.SIGKILL)
        filler = fill(home)
        work = box.workload()
        refused = trainctl.run("submit", work.spec)
        assert refused.code == 6 and refused.error.count("No space left on device") == 1 and str(home) in refused.error, refused
        assert trainctl.runs() == runs and files_below(box.store) == there and work.started == 0
        assert (box.server.folder / "sshd.log").read_text().count("Starting session") == sessions
        filler.unlink()
        trainctl.ok("store", "check")
        trainctl.ok("submit", work.spec)
        work.check()
        nothing_left(box)
        trainctl.clean_up()


def test_a_read_only_home(make_box, trainctl, scratch):
    with mounted(scratch / "box" / "home", "-o", "size=1m,mode=700,ro"):
        box = make_box()
        work = box.workload()
        refused = trainctl.run("submit", work.spec, code=3)
        assert "root@box" in refused.error and "directory" in refused.error and work.started == 0, refused
        box.server.clean_up()


def test_a_home_on_a_file_server(make_box, trainctl, scratch):
    """Remote by its statfs; changes of other machines are no events, so growth is found by looking."""
    with file_server(scratch / "backing", scratch / "box" / "home"):
        box = make_box()
        for code in (0, 5):
            work = box.workload(code=code)
            trainctl.run("submit", work.spec, code=1 if code else 0)
            work.check("failed" if code else "succeeded")
        nothing_left(box)
        box.server.clean_up()


def test_a_kernel_without_the_newer_calls(make_box, trainctl):
    inject = f"strace -f -qq -o /dev/null -e trace={NEWER_CALLS} -e inject={NEWER_CALLS}:error=ENOSYS"
    box = make_box(options=[f'ForceCommand exec {inject} sh -c "$SSH_ORIGINAL_COMMAND"'])
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    work.open()
    out, err = client.communicate(timeout=120)
    assert client.returncode == 0 and out == work.log, err.decode()
    work.check()
    canceled = box.workload(gate=True)
    trainctl.ok("submit", canceled.spec, "--detach")
    wait_until(lambda: canceled.started, "it has started")
    trainctl.run("cancel", canceled.name)
    assert trainctl.run("wait", canceled.name).code == 130
    canceled.check("canceled")
    nothing_left(box)


@pytest.fixture
def busybox_root(scratch):
    """A root folder with BusyBox, /proc and /dev, and nothing else; what the test looks at is seen in it."""
    root = scratch / "root"
    for name in ("bin", "proc", "dev", "tmp", "etc", "var/tmp", str(scratch).lstrip("/")):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), root / "bin" / "busybox")
    subprocess.run(["chroot", root, "/bin/busybox", "--install", "-s", "/bin"], check=True)
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    binds = [("/proc", root / "proc"), ("/dev", root / "dev"), (scratch / "inside", root / str(scratch).lstrip("/"))]
    (scratch / "inside").mkdir()
    for source, place in binds:
        subprocess.run(["mount", "--bind", source, place], check=True)
    yield root
    for _, place in reversed(binds):
        subprocess.run(["umount", "-l", place], check=True)


def test_a_host_with_nothing_but_busybox(make_box, trainctl, scratch, busybox_root):
    box = make_box(options=[f'ForceCommand exec chroot {busybox_root} /bin/env PATH=/bin /bin/sh -c "$SSH_ORIGINAL_COMMAND"'],
                   variables={"HOME": "/home"})
    (busybox_root / "home").mkdir()
    inside = scratch / "inside" / "starts"
    inside.mkdir()
    box.starts.rmdir()
    box.starts.symlink_to(inside)  # the same path names the same folder on both sides
    for code in (0, 3):
        work = box.workload(code=code)
        trainctl.run("submit", work.spec, code=1 if code else 0)
        work.check("failed" if code else "succeeded")
    assert (busybox_root / "home" / ".trainctl" / "store" / "runs").is_dir()
    nothing_left(box)
    left = [path for place in ("home", "var/tmp", "tmp") for path in (busybox_root / place).rglob("*") if str(scratch) not in str(path)[len(str(busybox_root)):]]
    assert left == []


def test_fifty_runs_of_one_host_are_followed_at_once(make_box, trainctl):
    """One connection for all that one command follows."""
    box = make_box(options=["MaxSessions 4"])
    works = [box.workload(seed=number, lines=40, gate=True) for number in range(50)]
    for work in works:
        trainctl.ok("submit", work.spec, "--detach")
    sessions = (box.server.folder / "sshd.log").read_text().count("Starting session")
    waiting = trainctl.start("wait", *[work.name for work in works])
    wait_until(lambda: all(work.started for work in works), "all have started")
    for work in works:
        work.open()
    _, err = waiting.communicate(timeout=300)
    assert waiting.returncode == 0, err.decode()
    assert (box.server.folder / "sshd.log").read_text().count("Starting session") == sessions + 1
    for work in works:
        work.check(outputs=False)
    nothing_left(box)


def test_a_host_that_ends_processes_at_logout_is_found_out(make_box, trainctl, scratch):
    tools = scratch / "tools"
    tools.mkdir()
    loginctl = tools / "loginctl"
    box = make_box(variables={"PATH": f"{tools}:{os.environ['PATH']}"})

    def said(answer: str) -> list[dict]:
        loginctl.write_text(f"#!/bin/sh\n{answer}\n")
        loginctl.chmod(0o755)
        tested = trainctl.run("target", "test", "root@box", "--json").json["items"][0]["findings"]
        return [finding for finding in tested if finding["what"] == "logout"]

    [finding] = said("printf 'KillUserProcesses=yes\\nKillOnlyUsers=\\nKillExcludeUsers=nobody\\n'")
    assert finding["level"] == "problem" and "runs, too" in finding["text"] and "KillExcludeUsers=root" in finding["hint"], finding
    assert said("printf 'KillUserProcesses=yes\\nKillOnlyUsers=\\nKillExcludeUsers=root\\n'") == []
    assert said("echo Failed to connect to bus >&2; exit 1") == []
    nothing_left(box)
