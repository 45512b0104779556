# SPDX-License-Identifier: Apache-2.0
"""The harness itself: a broken helper would make other tests pass or hang for the wrong reason."""

import signal
import time

import pytest

from harness import PtySession, alive, jsonl, wait_until


def test_environment_is_clean(trainctl):
    assert not [name for name in trainctl.env if name.startswith("PYTHON")]
    assert trainctl.env["TRAINCTL_HOME"] == str(trainctl.home)
    assert "X" not in trainctl.environment({"X": None})


def test_wait_until_gives_up_and_says_what(monkeypatch):
    began = time.monotonic()
    with pytest.raises(AssertionError, match="a thing"):
        wait_until(lambda: False, "a thing", timeout=0.05)
    assert time.monotonic() - began < 5


def test_a_line_without_newline_does_not_exist(scratch):
    path = scratch / "a.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":2')
    assert jsonl(path) == [{"a": 1}]
    assert jsonl(scratch / "missing") == []


def test_pty_has_a_terminal_and_ctrl_c(trainctl, project):
    session = PtySession(["/bin/sh", "-c", "test -t 0 && test -t 1 && echo ready && cat"], trainctl.env, project.path)
    try:
        session.expect("ready")
        session.send("echoed\n")
        session.expect("echoed.*echoed")
        session.interrupt()
        assert session.wait() in (-signal.SIGINT, 128 + signal.SIGINT)
    finally:
        session.close()


def test_owned_processes_are_found_and_ended(trainctl, project):
    session = PtySession(["/bin/sleep", "300"], trainctl.env, project.path)
    trainctl.sessions.append(session)
    wait_until(lambda: session.pid in trainctl.owned(), "the process is found by its store")
    trainctl.clean_up()
    assert not alive(session.pid)
