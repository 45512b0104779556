# SPDX-License-Identifier: Apache-2.0
"""`trainctl logs` while a run goes on: lines with their times, what was written since a moment, the environment's log."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone

from harness import jsonl, wait_until

TIME = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  "


def gated(trainctl, project) -> str:
    """Prints begun, waits for the file go, prints ended without a newline."""
    script = f"echo begun; while [ ! -e '{project / 'go'}' ]; do sleep 0.02; done; printf ended"
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", script).text.strip()
    logs = trainctl.last_run() / "attempts/1/logs"
    wait_until(lambda: (logs / "std.times").stat().st_size >= 16, "the time of the first line")
    return name


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_following_with_times(trainctl, project):
    gated(trainctl, project)
    follower = trainctl.start("logs", "--follow", "--timestamps", "@")
    first = follower.stdout.readline().decode()
    assert re.fullmatch(TIME + "begun\n", first)
    project.write("go", "")
    rest = follower.communicate(timeout=60)[0].decode()
    assert re.fullmatch(TIME + "ended\n", rest) and follower.returncode == 0
    assert trainctl.ok("logs", "--timestamps", "@").text == first + rest, "the same as looked at afterwards"


def test_following_with_times_as_json(trainctl, project):
    gated(trainctl, project)
    follower = trainctl.start("logs", "-f", "-t", "@", "--json")
    project.write("go", "")
    out = follower.communicate(timeout=60)[0]
    lines = [line for line in map(json.loads, out.splitlines()) if line.get("type") == "log"]
    assert [(line["text"], line["offset"], line["attempt"]) for line in lines] == [("begun", 0, 1), ("ended", 6, 1)]
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:.]+Z", line["time"]) for line in lines) and lines[0]["time"] < lines[1]["time"]


def test_following_with_times_on_a_terminal(trainctl, project):
    gated(trainctl, project)
    screen = trainctl.pty("logs", "-f", "-t", "@")
    screen.expect(TIME + "begun\r\n")
    project.write("go", "")
    assert screen.wait() == 0 and re.search(TIME + "ended\r\n", screen.text)


def test_a_line_whose_time_never_comes_is_shown_all_the_same(trainctl, project):
    gated(trainctl, project)
    run = trainctl.last_run()
    follower = trainctl.start("logs", "-f", "-t", "@")
    assert b"begun" in follower.stdout.readline()
    with open(run / "attempts/1/logs/std.log", "ab") as log:  # as after the death of a supervisor: nobody records times
        (run / "attempts/1/logs/std.times").rename(run / "times")
        log.write(b"more\n")
    assert re.fullmatch(f"({TIME}|-  )more\n", follower.stdout.readline().decode())
    project.write("go", "")
    follower.communicate(timeout=60)


def test_since_leaves_out_what_is_older(trainctl, project):
    gated(trainctl, project)
    moment = now()
    assert trainctl.ok("logs", "--since", moment).out == b""
    project.write("go", "")
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "--since", moment).out == b"ended"
    assert re.fullmatch(TIME + "ended\n", trainctl.ok("logs", "--since", moment, "-t").text)
    assert trainctl.ok("logs", "--since", now()).out == b""
    assert trainctl.ok("logs", "--since", "1h").out == b"begun\nended"


def build(trainctl, project, *more: str):
    """A run that waits in a line of its environment for the file go."""
    project.script("print('trained')")
    line = f"echo building; while [ ! -e '{project / 'go'}' ]; do sleep 0.02; done; echo built"
    project.spec(environment={"setup": [line]})
    name = trainctl.ok("submit", "--detach", "a.run.json", *more).text.strip()
    wait_until(lambda: b"building" in (trainctl.last_run() / "attempts/1/logs/environment.log").read_bytes(), "the build")
    return name


def test_following_the_log_of_the_environment(trainctl, project):
    build(trainctl, project)
    assert b"building" in trainctl.ok("logs", "--environment", "@").out
    follower = trainctl.start("logs", "--environment", "--follow", "@")
    seen = follower.stdout.readline()
    project.write("go", "")
    out = seen + follower.communicate(timeout=60)[0]
    assert follower.returncode == 0 and b"building\n" in out and b"built\n" in out and b"trained" not in out
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "--environment", "@").out == out
    assert trainctl.ok("logs", "--environment", "--tail", "1", "@").out == out.splitlines(keepends=True)[-1]


def test_the_log_of_the_environment_is_over_when_its_run_is_canceled(trainctl, project):
    build(trainctl, project)
    follower = trainctl.start("logs", "--environment", "-f", "@")
    follower.stdout.readline()
    trainctl.run("cancel", "@")
    assert b"built" not in follower.communicate(timeout=60)[0] and follower.returncode == 0


def test_an_environment_has_no_times(trainctl, project):
    project.script("print('trained')")
    trainctl.ok("run", "train.py")
    for option in (["--timestamps"], ["--since", "1h"]):
        assert "no times" in trainctl.run("logs", "--environment", *option, "@", code=2).error
    trainctl.ok("run", "--", "true")
    trainctl.run("logs", "--environment", "@", code=4)
    trainctl.run("logs", "--environment", "--follow", "@", code=4)
    assert jsonl(trainctl.last_run() / "attempts/1/events.jsonl")[-1]["type"] == "end"


def test_each_attempt_is_verified_against_its_own_end(trainctl, project):
    command = 'echo "attempt $TRAINCTL_ATTEMPT"; [ "$TRAINCTL_ATTEMPT" = 2 ] && echo more || exit 3'
    trainctl.ok("submit", project.spec(command=command, retry={"max": 1, "on": ["exit:3"], "backoff": "10ms"}))
    for number, text in ((1, "attempt 1\n"), (2, "attempt 2\nmore\n")):
        verified = trainctl.json("logs", "@", "--attempt", number, "--verify")
        assert verified["size"] == verified["recorded"] == len(text) and verified["whole"], verified
