# SPDX-License-Identifier: Apache-2.0
"""What takes longer than half a second says how far it is: on a terminal while it goes on and once at its end, elsewhere at its end
alone, and nothing under --json and -q. System calls that take 0.2 s stand in for a large tree."""

from __future__ import annotations

import re
import subprocess

import pytest
from harness import DEFAULT_TIMEOUT, PATIENCE, PtySession

FILES = 6


def drawn(what: str, text: str) -> bool:
    return re.search(r"\r\x1b\[K[^\r\n]*" + what + r": [\d.]+ \w+ of 12 MB, ", text) is not None


def told(what: str, text: str) -> bool:
    return re.search(what + r": \d files, 12 MB in [\d.]+ s, ", text) is not None


@pytest.fixture
def slowly(trainctl, project):
    """Runs a command with each call of `call` taking 0.2 s: slowly(call, words…) → (what the terminal or stderr got)."""
    project.script(f"for i in range({FILES}): open(f'outputs/{{i}}', 'wb').write(bytes(2_000_000))")
    for number in range(FILES):
        project.write(f"data/{number}.bin", bytes([number + 1]) * 2_000_000)

    def run(call: str, *words: str, terminal: bool) -> str:
        argv = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_enter=200000", *trainctl.argv(*words)]
        if terminal:
            session = PtySession(argv, trainctl.environment(), trainctl.cwd)
            trainctl.sessions.append(session)
            assert session.wait() == 0, session.text
            return session.text
        done = subprocess.run(argv, env=trainctl.environment(), cwd=trainctl.cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEFAULT_TIMEOUT * PATIENCE)
        assert done.returncode == 0, done
        return done.stderr

    return run


SUBMIT = ("rename", "run", "--detach", "train.py")


def test_a_long_snapshot_on_a_terminal(slowly):
    screen = slowly(*SUBMIT, terminal=True)
    assert drawn("snapshot", screen) and told("snapshot", screen), screen


def test_a_long_snapshot_elsewhere(slowly):
    said = slowly(*SUBMIT, terminal=False)
    assert told("snapshot", said) and "\x1b" not in said and "\r" not in said


@pytest.mark.parametrize("option", ["--json", "-q"])
def test_nothing_where_it_is_not_wanted(slowly, option):
    assert "snapshot:" not in slowly(*SUBMIT[:3], option, "train.py", terminal=True)


def test_a_snapshot_of_what_is_known_says_nothing(slowly, trainctl):
    trainctl.ok("run", "train.py")
    assert "snapshot:" not in slowly(*SUBMIT, terminal=True)


def test_copying_outputs(slowly, trainctl, project):
    trainctl.ok("run", "train.py")
    screen = slowly("copy_file_range", "outputs", "@", "--copy", "got", terminal=True)
    assert drawn("copy", screen) and told("copy", screen), screen
    assert [(project / f"got/{number}").stat().st_size for number in range(FILES)] == [2_000_000] * FILES
    assert "copy:" not in slowly("copy_file_range", "outputs", "@", "--copy", "again", "-q", terminal=True)
