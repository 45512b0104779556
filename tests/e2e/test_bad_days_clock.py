# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""The wall clock jumps while a run goes on. The C library's clocks are answered by a small library (LD_PRELOAD) that adds what a shared
file says; the monotonic clocks stay as they are. Limits, retries and the order of things must not notice."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from harness import BIN_DIR, wait_until
from remote import nothing_left

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
LIBRARY = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *shift;  /* seconds, in the file that CLOCK_SHIFT names */
__attribute__((constructor)) static void open_shift(void) {
  const char *path = getenv("CLOCK_SHIFT");
  int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  void *at = fd < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
  if (at != MAP_FAILED) shift = at;
  if (fd >= 0) close(fd);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
  int done = syscall(SYS_clock_gettime, clock, time);
  if (done == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += *shift;
  return done;
}
int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
"""
DAY = 86400
JUMPS = [365 * DAY, -365 * DAY, 3600, -3600, 40, -40]
LOOP = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended"]


def is_sanitized() -> bool:
    return b"__asan_init" in (BIN_DIR / "trainctl").read_bytes()


pytestmark = [pytest.mark.skipif(COMPILER is None, reason="needs a C compiler"),
              pytest.mark.skipif(is_sanitized(), reason="a sanitizer wants to be loaded first")]


class Clock:
    """The wall clock of all that runs with `env`, moved by whole seconds."""

    def __init__(self, folder: Path, library: Path):
        self.path = folder / "clock-shift"
        self.path.write_bytes(struct.pack("l", 0))
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(self.path)}

    def jump(self, seconds: int) -> None:
        with open(self.path, "r+b", buffering=0) as file:
            file.write(struct.pack("l", seconds))


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(LIBRARY)
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c"], check=True)
    return folder / "clock.so"


@pytest.fixture
def clock(trainctl, library) -> Clock:
    made = Clock(trainctl.root, library)
    trainctl.env.update(made.env)
    return made


def test_the_clock_is_moved(trainctl, clock):
    """The means works: the supervisor of a run writes the moved time, and the monotonic one as it is."""
    clock.jump(365 * DAY)
    trainctl.ok("run", "--", "true")
    clock.jump(0)
    trainctl.ok("run", "--", "true")
    times = [trainctl.events(run)[0]["t"] for run in trainctl.runs()]
    assert int(times[-1][:4]) - int(times[0][:4]) == 1, times  # the later name has the larger ULID
    assert [item["name"] for item in trainctl.json("ls")["items"]] == ["true-1", "true-2"]


@pytest.mark.parametrize("seconds", JUMPS)
def test_the_clock_jumps_during_a_run(trainctl, project, clock, seconds):
    """No limit fires, none is missed, the log is whole; durations are what they were."""
    go = project / "go"  # by its full name: the run works in a copy
    project.spec(command=["sh", "-c", f"echo begun; while [ ! -e {go} ]; do sleep 0.02; done; echo ended"],
                 limits={"timeout": "10m", "idle": "5m"})
    name = trainctl.ok("submit", "--detach", "a.run.json").text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    attached = trainctl.start("attach", name)
    assert attached.stdout.read(6) == b"begun\n"
    clock.jump(seconds)
    for shown in (trainctl.ok("ls").text, trainctl.ok("show", name).text):
        assert "running" in shown and not re.search(r"\s-\d", shown), shown  # no negative duration
    assert trainctl.json("show", name)["state"] == "running"
    project.write("go", "")
    out, err = attached.communicate(timeout=60)
    assert (attached.returncode, out) == (0, b"ended\n"), err
    events = trainctl.events(run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    stamps = [event["mono_ns"] for event in events]
    assert stamps == sorted(stamps)
    assert trainctl.ok("logs", name).out == b"begun\nended\n"
    assert trainctl.ok("logs", "--timestamps", name).out.count(b"\n") == 2
    assert trainctl.json("ls")["items"][0]["state"] == "succeeded"
    trainctl.ok("store", "check")


@pytest.mark.parametrize("seconds", [365 * DAY, -365 * DAY])
def test_limits_and_retries_count_monotonic_time(trainctl, project, clock, seconds):
    """A time limit and a backoff end when they should, though the wall clock was moved while they ran."""
    project.spec(command=["sh", "-c", "echo begun; exec sleep 600"], limits={"timeout": "1s"}, stop={"grace": "1s"},
                 retry={"max": 1, "on": ["time_limit"], "backoff": "500ms"})
    process = trainctl.start("submit", "a.run.json")
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    clock.jump(seconds)
    trainctl.wait_log(run, "begun", attempt=2)
    clock.jump(0)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (124, b"begun\nbegun\n"), err
    for attempt in (1, 2):
        events = {event.get("state", event["type"]): event["mono_ns"] for event in trainctl.events(run, attempt)}
        assert events["stopping"] - events["running"] >= 900_000_000, events


@pytest.mark.parametrize("seconds", [365 * DAY, -365 * DAY])
def test_adoption_after_a_jump(trainctl, project, clock, seconds):
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    os.kill(trainctl.lead(run), 9)
    clock.jump(seconds)
    process = trainctl.start("attach", name)
    trainctl.wait_event(run, "attempt", adopted=True)
    project.write("go", "")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"begun\nended\n"), err
    assert trainctl.json("show", name)["attempts"] == 1


@pytest.mark.parametrize("seconds", [365 * DAY, -365 * DAY])
def test_metrics_and_the_index_after_a_jump(trainctl, project, clock, seconds):
    """Points are ordered by their steps; what the index read before the jump is neither lost nor read twice."""
    project.script("import os, sys, time, trainctl\nfor step in range(10): trainctl.log(loss=10 - step, step=step)\nprint('half', flush=True)\n"
                   "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\nfor step in range(10, 20): trainctl.log(loss=20 - step, step=step)")
    go = project.path.parent / "go"
    process = trainctl.start("run", "train.py", go)
    run = trainctl.last_run()
    trainctl.wait_log(run, "half")
    assert trainctl.json("ls")["items"][0]["metrics"]["loss"]["last"] == 1
    clock.jump(seconds)
    assert trainctl.json("ls")["items"][0]["state"] == "running"
    go.write_text("")
    process.communicate(timeout=60)
    assert process.returncode == 0
    shown = wait_until(lambda: [item for item in trainctl.json("ls")["items"] if item["state"] == "succeeded"], "the end is indexed")[0]
    assert shown["metrics"]["loss"] == {"last": 1, "best": shown["metrics"]["loss"]["best"], "step": shown["metrics"]["loss"]["step"]}
    trainctl.ok("store", "check")
    project.write("data", "new")
    trainctl.ok("run", "train.py", go)  # the stat cache sees times of the future or the past
    project.write("data", "old")
    project.script("print(open('data').read())")
    assert trainctl.ok("run", "train.py").out == b"old\n"


def test_an_abandoned_run_is_not_ended_early_by_a_jump(trainctl, clock):
    """A run of the future (its ULID says so, the clock was set back since) is nobody's before it is a minute old."""
    clock.jump(DAY)
    name = trainctl.ok("run", "--detach", "--", "sleep", "600").text.strip()
    clock.jump(0)
    assert trainctl.json("show", name)["state"] in ("created", "running")
    trainctl.ok("ls")
    trainctl.ok("cancel", name)
    assert trainctl.json("show", name)["state"] == "canceled"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a host with a /var/tmp of its own")
@pytest.mark.parametrize("ahead", [DAY, -DAY])
def test_the_clock_of_a_host_is_a_day_off(make_box, trainctl, clock, ahead):
    """It is this machine that is moved: the runner of the host is static, and keeps the real time."""
    box = make_box()
    clock.jump(-ahead)
    finding = next(one for one in trainctl.json("target", "test", "root@box")["items"][0]["findings"] if one["what"] == "clock")
    assert finding["text"] == f"1 d {'ahead of' if ahead > 0 else 'behind'} this machine's" and "NTP" in finding["hint"]
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    assert re.search(r" running  .* \d+(\.\d+)? (ms|s)  ", trainctl.ok("ls").text), trainctl.ok("ls").text
    assert re.search(r"started .*  for \d+(\.\d+)? (ms|s)\n", trainctl.ok("show", work.name).text)
    work.open()
    assert client.communicate(timeout=60)[0] == work.log and client.returncode == 0
    work.check()
    events = trainctl.events(work.folder())
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["mono_ns"] for event in events] == sorted(event["mono_ns"] for event in events)
    assert trainctl.json("show", work.name)["seconds"] < 60
    trainctl.ok("run", "--", "true")
    assert [item["name"] for item in trainctl.json("ls")["items"]] == ["true-1", work.name]
    nothing_left(box)
