# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""trainctl on a terminal: colours, Ctrl-C and its question, lost terminals, narrow ones, hostile bytes."""

from __future__ import annotations

import os
import re
import signal

import pytest
from harness import wait_until

LOOP = ["sh", "-c", "echo begun; while [ ! -e go ]; do sleep 0.02; done; echo ended"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def begun(trainctl, *words: str, **options):
    session = trainctl.pty("run", *words, "--", *LOOP, **options)
    session.expect("begun")
    trainctl.wait_event(trainctl.last_run(), "state", state="running")  # a loaded machine shows the output sooner
    return session


def test_colour_on_a_terminal_and_only_there(trainctl):
    session = trainctl.pty("run", "--", "true")
    assert session.wait() == 0
    assert COLOUR.search(session.text) and "✓" in session.text
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        session = trainctl.pty("run", "--", "true", env=env)
        assert session.wait() == 0
        assert not COLOUR.search(session.text), session.text
        assert "✓" in session.text
    done = trainctl.ok("run", "--", "true")
    assert "\x1b" not in done.error and "\x1b" not in trainctl.ok("ls").text + trainctl.ok("show").text
    assert COLOUR.search(trainctl.ok("run", "--", "true", env={"CLICOLOR_FORCE": "1"}).error)


def test_ctrl_c_asks_and_d_detaches(trainctl, project):
    session = begun(trainctl)
    session.interrupt()
    session.expect(r"sh-1 goes on\..*\[d\].*etach.*\[c\].*ancel.*\[w\].*atch")
    session.send("d")
    assert session.wait() == 130
    assert "trainctl attach sh-1" in session.text
    assert trainctl.json("show", "@")["state"] == "running"
    project.write("go", "")
    trainctl.ok("wait", "@")


def test_ctrl_c_asks_and_w_watches(trainctl, project):
    session = begun(trainctl)
    session.interrupt()
    session.expect(r"\[w\]")
    session.send("w")
    project.write("go", "")
    session.expect("ended")
    assert session.wait() == 0


def test_ctrl_c_asks_and_c_cancels(trainctl):
    session = begun(trainctl)
    session.interrupt()
    session.expect(r"\[c\]")
    session.send("c")
    assert session.wait() == 130
    assert trainctl.json("show", "@")["state"] == "canceled"


def test_ctrl_c_twice_cancels(trainctl):
    session = begun(trainctl)
    session.interrupt()
    session.expect(r"\[c\]")
    session.interrupt()
    assert session.wait() == 130
    assert trainctl.json("show", "@")["state"] == "canceled"


def test_the_question_is_answered_by_itself(trainctl):
    session = begun(trainctl)
    session.interrupt()
    session.expect(r"\[c\]")
    assert session.wait() == 130
    assert trainctl.json("show", "@")["state"] == "running"


def test_ctrl_c_does_not_reach_the_script(trainctl, project):
    """The script has a session of its own: only trainctl decides what Ctrl-C means for it."""
    project.script("import signal, sys, os, time\nsignal.signal(signal.SIGINT, lambda *a: print('INTERRUPTED', flush=True))\n"
                   "print('begun', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)")
    go = project.path.parent / "go"
    session = trainctl.pty("run", "train.py", go)
    session.expect("begun")
    session.interrupt()
    session.expect(r"\[d\]")
    session.send("d")
    assert session.wait() == 130
    go.write_text("")
    trainctl.ok("wait", "@")
    assert b"INTERRUPTED" not in trainctl.ok("logs", "@").out


def test_sigterm_detaches_from_a_terminal(trainctl, project):
    session = begun(trainctl)
    os.kill(session.pid, signal.SIGTERM)
    assert session.wait() == 130
    assert trainctl.json("show", "@")["state"] == "running"


def test_a_lost_terminal_detaches(trainctl, project):
    session = begun(trainctl)
    session.hang_up()
    session.process.wait(30)
    assert trainctl.json("show", "@")["state"] == "running"
    project.write("go", "")
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "@").out == b"begun\nended\n"


@pytest.mark.parametrize("columns", [1, 10, 20])
def test_a_narrow_terminal(trainctl, columns):
    trainctl.ok("run", "--name", "a-rather-long-name-for-a-run", "--", "echo", "x" * 200)
    for words in (["ls"], ["show"], ["logs"], ["help"], ["metrics", "@"]):
        session = trainctl.pty(*words, columns=columns)
        assert session.wait() == 0, session.text
    session = trainctl.pty("ls", columns=20)
    session.wait()
    assert "a-rather" in session.text


def test_escapes_that_could_harm_are_removed_on_a_terminal_only(trainctl):
    raw = b"a\x1b]0;title\x07b \x1b[31mred\x1b[0m \x1b[2Jcleared \x1b[5n report\n"
    trainctl.ok("run", "--", "printf", "%b", raw.decode("latin-1").replace("\x1b", "\\033").replace("\x07", "\\007"))
    assert trainctl.ok("logs", "@").out == raw
    session = trainctl.pty("logs", "@")
    assert session.wait() == 0
    assert "\x1b]0;" not in session.text and "\x1b[5n" not in session.text
    assert "\x1b[31mred" in session.text  # colour is harmless


def test_progress_bars_are_shown(trainctl):
    session = trainctl.pty("run", "--", "printf", "10%%\\r50%%\\r100%%\\n")
    assert session.wait() == 0
    assert "10%\r50%\r100%" in session.text


def test_the_status_line_shows_live_metrics(trainctl, project):
    project.script("import os, sys, time, trainctl\ntrainctl.log(loss=0.25, step=1)\n"
                   "while not os.path.exists(sys.argv[1]): time.sleep(0.02)")
    go = project.path.parent / "go"
    session = trainctl.pty("run", "train.py", go)
    session.expect(r"train-1 running.*loss 0\.25")
    go.write_text("")
    assert session.wait() == 0


def test_no_status_line_when_stdout_is_a_pipe(trainctl, project):
    out = project.path.parent / "out"
    with open(out, "wb") as file:
        session = trainctl.pty("run", "--", *LOOP, stdout=file)
        wait_until(lambda: out.read_bytes() == b"begun\n", "the log in the file")
        project.write("go", "")
        assert session.wait() == 0
    assert out.read_bytes() == b"begun\nended\n"


def test_metrics_plot(trainctl, project):
    project.script("import math, trainctl\nfor s in range(50): trainctl.log(loss=math.exp(-s / 10), step=s)")
    trainctl.ok("run", "train.py")
    session = trainctl.pty("metrics", "@", "loss")
    assert session.wait() == 0
    assert re.search("[\u2801-\u28ff]", session.text), session.text
