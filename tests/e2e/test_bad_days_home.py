# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""A home on a file server: remote by its statfs, changes of other machines are no inotify events, file locks work or do not. Through
FUSE where it may be mounted (tests/support/foreign_folder.py), and by refused system calls (strace)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import REPOSITORY, Trainctl, wait_until

needs_fuse = pytest.mark.skipif(os.geteuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and /dev/fuse")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
LOOP = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended"]


class Foreign(Trainctl):
    """A trainctl whose store lies on a foreign folder; `backing` is the store as the server (another machine) sees it."""

    def __init__(self, root: Path, cwd: Path, *options: str):
        super().__init__(root, cwd)
        self.backing = root / "backing"
        self.backing.mkdir(mode=0o700)
        self.home.mkdir()
        self.server = subprocess.Popen([sys.executable, REPOSITORY / "tests/support/foreign_folder.py", self.backing, self.home, *options],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.ready = self.server.stdout.readline()

    def clean_up(self) -> None:
        super().clean_up()
        subprocess.run(["umount", "-l", self.home], capture_output=True)
        try:
            self.server.wait(10)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()
        self.server.stdout.close()


@pytest.fixture
def foreign(scratch, project):
    made: list[Foreign] = []

    def make(*options: str) -> Foreign:
        made.append(Foreign(scratch / f"f{len(made)}", project.path, *options))
        if made[-1].ready != b"ready\n":
            pytest.skip(f"FUSE may not be mounted here: {made[-1].ready.decode()}")
        return made[-1]

    yield make
    for one in made:
        one.clean_up()


@needs_fuse
def test_everything_works_on_a_foreign_home(foreign, project):
    trainctl = foreign()
    project.script("import os, trainctl\nfor step in range(5): trainctl.log(loss=1 / (step + 1), step=step)\n"
                   "open('outputs/model', 'w').write('m')\nprint('attempt', os.environ['TRAINCTL_ATTEMPT'])\n"
                   "raise SystemExit(0 if os.environ['TRAINCTL_ATTEMPT'] == '2' else 3)")
    project.spec(retry={"max": 1, "on": ["exit:3"], "backoff": "10ms"})
    assert trainctl.ok("submit", "a.run.json").out == b"attempt 1\nattempt 2\n"
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == 0.2
    assert trainctl.ok("outputs", "@").out == b"model\n"
    assert [item["state"] for item in trainctl.json("ls")["items"]] == ["succeeded"]
    assert not list(trainctl.home.glob("index.db-shm")), "write-ahead logs do not work between machines"
    assert trainctl.ok("run", "--detach", "--", "sleep", "600").text.strip() == "sleep-1"
    trainctl.ok("cancel", "sleep")
    assert trainctl.json("show", "sleep")["exit_code"] == 130, "a run that is canceled while it starts hears the first signal"
    trainctl.run("run", "--", "sh", "-c", "exit 9", code=9)
    trainctl.ok("rm", "sh-1")
    trainctl.ok("store", "check")
    wait_until(lambda: not trainctl.owned().keys() - {trainctl.server.pid}, "no process of the run is left")


@needs_fuse
@pytest.mark.parametrize("how", ["file", "json", "timestamps", "terminal"])
def test_bytes_that_come_later_than_their_size_are_shown(foreign, project, how):
    """The last byte of each attempt cannot be read when its size is seen first."""
    trainctl = foreign("--late-bytes")
    project.spec(command=["sh", "-c", "printf 'attempt %s!' $TRAINCTL_ATTEMPT; [ $TRAINCTL_ATTEMPT = 2 ]"], retry={"max": 1, "on": ["failed"], "backoff": "10ms"})
    if how == "terminal":
        screen = trainctl.pty("submit", "a.run.json")
        assert screen.wait(60) == 0
        # What is told meanwhile stands between a byte that came late and those before it.
        assert re.search(r"attempt 1.*!.*attempt 2.*!", screen.text, re.S), screen.text
    elif how == "json":
        events = trainctl.ok("submit", "a.run.json", "--json").events
        shown = [event["text"] for event in events if event["type"] == "log"]
        assert "".join(shown) == "attempt 1!attempt 2!"
    elif how == "timestamps":
        trainctl.ok("submit", "a.run.json")
        assert trainctl.ok("logs", "--follow", "--timestamps", "--attempt", "2", "@").text.endswith("attempt 2!\n")
    else:
        # For appending: sendfile(2) refuses that. Through the kernel's page cache it would give the zeros behind a short answer.
        with open(trainctl.root / "shown", "ab") as shown:
            assert trainctl.start("submit", "a.run.json", stdout=shown).wait(60) == 0
        assert (trainctl.root / "shown").read_bytes() == b"attempt 1!attempt 2!"


@needs_fuse
def test_adoption_on_a_foreign_home(foreign, project):
    trainctl = foreign()
    name = trainctl.ok("run", "--detach", "--", *LOOP).text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    os.kill(trainctl.lead(run), signal.SIGKILL)
    process = trainctl.start("attach", name)
    trainctl.wait_event(run, "attempt", adopted=True)
    project.write("go", "")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"begun\nended\n"), err


@needs_fuse
def test_growth_from_another_machine_is_seen(foreign, project):
    """logs --follow and attach, where no event tells of the growth: the bytes are written behind this machine's back."""
    trainctl = foreign()
    trainctl.ok("run", "--", "echo", "first")
    run = trainctl.last_run()
    backed = trainctl.backing / "runs" / run.name / "attempts/1"
    events = (backed / "events.jsonl").read_text().splitlines(keepends=True)
    end = next(line for line in events if json.loads(line)["type"] == "end")
    (backed / "events.jsonl").write_text("".join(events[: events.index(end)]).replace('"machine":"', '"machine":"other-'))
    follow = trainctl.start("logs", "--follow", "@")
    assert follow.stdout.read(6) == b"first\n"
    with open(backed / "logs/std.log", "ab") as file:
        file.write(b"second\n")
    assert follow.stdout.read(7) == b"second\n"
    with open(backed / "events.jsonl", "a") as file:
        file.write(json.dumps({**json.loads(end), "logs": {"std.log": 13}}) + "\n")
    _, err = follow.communicate(timeout=60)
    assert follow.returncode == 0, err
    assert trainctl.json("ls")["items"][0]["state"] == "succeeded"


@needs_fuse
def test_a_cancel_from_another_machine_is_seen(foreign, project):
    trainctl = foreign()
    name = trainctl.ok("run", "--detach", "--", "sh", "-c", "echo begun; exec sleep 600").text.strip()
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    control = trainctl.backing / "runs" / run.name / "control"
    control.mkdir(mode=0o700, exist_ok=True)
    (control / ".draft").write_text(json.dumps({"type": "cancel"}))
    os.rename(control / ".draft", control / "01hzzzzzzzzzzzzzzzzzzzzzzz.json")
    trainctl.run("wait", name, code=130)
    assert trainctl.json("show", name)["state"] == "canceled"


CHANGING = ((["run", "--", "echo", "x"], 125), (["run", "train.py"], 6), (["submit", "--detach", "c.run.json"], 6), (["store", "rebuild"], 6))


def check_without_locks(trainctl, run) -> None:
    """One clear message with what to do; no hang, and nothing is started."""
    for words, code in CHANGING:
        done = run(*words)
        assert done.returncode == code and b"locks" in done.stderr and b"TRAINCTL_HOME" in done.stderr and b"x\n" != done.stdout, (words, done)
    listed = run("ls")  # reading needs no lock: what is there is shown, and that it is not kept is said
    assert listed.returncode == 0 and b"lock" in listed.stderr, listed
    for path in trainctl.runs():
        assert not (path / "attempts").exists()


@needs_fuse
def test_a_foreign_home_without_locks(foreign, project):
    trainctl = foreign("--no-locks")
    project.script("print('x')")
    project.spec("c.run.json", command=["echo", "x"])
    check_without_locks(trainctl, lambda *words: subprocess.run(trainctl.argv(*words), env=trainctl.environment(), cwd=trainctl.cwd,
                                                                stdin=subprocess.DEVNULL, capture_output=True, timeout=60))


@needs_strace
@pytest.mark.parametrize("error", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_refused_locks(trainctl, project, error):
    project.script("print('x')")
    project.spec("c.run.json", command=["echo", "x"])
    check_without_locks(trainctl, lambda *words: refused(trainctl, f"flock:error={error}", *words))


def refused(trainctl: Trainctl, injection: str, *words: str) -> subprocess.CompletedProcess:
    call = injection.split(":")[0]
    return subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={injection}", *trainctl.argv(*words)],
                          env=trainctl.environment(), cwd=trainctl.cwd, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


@needs_strace
@pytest.mark.parametrize("call", ["inotify_init1", "inotify_add_watch"])
@pytest.mark.parametrize("error", ["ENOSPC", "EMFILE", "ENOSYS"])
def test_no_notifications_left(trainctl, project, call, error):
    """fs.inotify limits are used up by other programs: looked at from time to time instead."""
    project.spec(command=["sh", "-c", "echo a; echo b; exit 3"], retry={"max": 1, "on": ["exit:3"], "backoff": "10ms"},
                 metrics={"patterns": ["loss {loss}"]})
    done = refused(trainctl, f"{call}:error={error}", "submit", "a.run.json")
    assert (done.returncode, done.stdout) == (1, b"a\nb\na\nb\n"), done
    assert trainctl.json("show", "@")["attempts"] == 2


@needs_strace
def test_a_cancel_without_notifications(trainctl):
    process = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE",
                                *trainctl.argv("run", "--", "sh", "-c", "echo begun; exec sleep 600")], env=trainctl.environment(),
                               cwd=trainctl.cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    trainctl.processes.append(process)
    trainctl.wait_log(trainctl.last_run(), "begun")
    trainctl.ok("cancel", "@")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"begun\n"), err
    wait_until(lambda: not trainctl.owned(), "nothing of the run is left")
