# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""The first command to a host in a while, with no connection open: the launch comes with the command that starts the runner, and
nothing is lost, doubled or shown to others for it."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
from pathlib import Path

import pytest
from faultproxy import DOWN, UP, Fault
from harness import alive, jsonl, wait_until
from remote import Box, proxied_box

CARRIED = re.compile(r"' sh ([0-9a-f ]+)$")
# Each start is a line in a file that is only appended to.
SCRIPT = 'echo started >>"$1"; echo hello; echo done >"$TRAINCTL_OUTPUTS/result"'


class Cold:
    """A box whose runner has begun before, and what ssh is asked for since."""

    def __init__(self, box: Box):
        self.box, self.trainctl = box, box.trainctl
        self.starts, self.commands = box.scratch / "started", box.scratch / "commands"
        wrapper = box.scratch / "ssh-bin" / "ssh"
        # The last word is the command; one a line, so what has line breaks is not ours.
        wrapper.write_text(wrapper.read_text().replace("exec ", f'for word; do :; done; printf "%s\\n" "$word" >>{self.commands}\nexec ', 1))
        for _ in range(2):  # the first brings the runner, by the script
            self.trainctl.ok("run", "--target", "root@box", "--", "true")
            self.cut()
        self.commands.write_text("")

    def cut(self) -> None:
        """No connection is open any more."""
        for pid in self.box.server.sessions():
            self.box.server._signal(pid, 9)
        wait_until(lambda: not self.box.masters(), "the connections are closed")

    def carried(self) -> int:
        """How many commands so far carried something for the runner."""
        return sum(1 for line in self.commands.read_text().splitlines() if CARRIED.search(line))

    def spec(self, **fields) -> Path:
        path = self.box.scratch / "project" / "a.run.json"
        path.write_text(json.dumps({"name": "cold", "command": ["sh", "-c", SCRIPT, "sh", str(self.starts)], "target": "root@box",
                                    "outputs": {"result": {}}, **fields}))
        return path

    def check(self, name: str) -> None:
        """It is here, it started once, its log and its outputs came home."""
        shown = self.trainctl.json("show", name)
        assert shown["state"] == "succeeded" and shown["attempts"] == 1, shown
        assert self.starts.read_text() == "started\n"
        run = self.trainctl.home / "runs" / shown["id"]
        assert [line["type"] for line in jsonl(run / "attempts/1/nodes/0/rank-0.jsonl")].count("start") == 1
        assert self.trainctl.ok("logs", name).out == b"hello\n"
        assert (run / "outputs" / "result").read_text() == "done\n"


@pytest.fixture
def cold(make_box, project) -> Cold:
    return Cold(make_box())


def test_the_launch_comes_with_the_command(trainctl, cold):
    assert trainctl.ok("submit", cold.spec()).out == b"hello\n"
    assert cold.carried() == 1
    sessions = [line for line in cold.commands.read_text().splitlines() if line.startswith("exec ")]
    assert len(sessions) == 1
    cold.check("cold-1")
    trainctl.ok("submit", "a.run.json")  # over the connection that is there now, ahead of the launch
    assert cold.carried() == 1


@pytest.mark.parametrize("fields", [{"environment_variables": {"TOKEN": "hush-hush"}}, {"secrets": ["TOKEN"]},
                                    {"tags": {"from": "https://me:hush-hush@example.org/x"}}], ids=["variable", "secret", "address"])
def test_what_is_carried_shows_nothing(trainctl, cold, fields):
    trainctl.env["TOKEN"] = "hush-hush"
    seen = []
    for _ in range(2):
        cold.starts.unlink(missing_ok=True)
        trainctl.ok("submit", cold.spec(**fields))
        seen.append(cold.commands.read_text().splitlines()[-1])
        cold.cut()
    assert cold.carried() == 2
    for text in ("hush", "launch", "cold", "plan"):
        assert text not in seen[0] and text.encode().hex() not in seen[0]
    first, second = (CARRIED.search(line)[1] for line in seen)
    assert first[:32] != second[:32], "each has a nonce of its own"
    cold.check("cold-2")


def test_a_launch_that_is_too_long_for_a_command_is_sent(trainctl, cold):
    trainctl.ok("submit", cold.spec(tags={"long": secrets.token_hex(8000)}))
    assert cold.carried() == 0
    cold.check("cold-1")


def test_a_long_launch_is_carried_in_words_that_shells_take(trainctl, cold):
    trainctl.ok("submit", cold.spec(tags={"long": secrets.token_hex(1500)}))
    assert cold.carried() == 1
    assert max(len(word) for word in CARRIED.search(cold.commands.read_text().splitlines()[-1])[1].split()) <= 800
    cold.check("cold-1")


def test_a_host_with_another_key_gets_the_launch_by_stdin(trainctl, cold):
    key = cold.box.store / "carrying.key"
    key.write_bytes(bytes(32))
    trainctl.ok("submit", cold.spec())
    assert cold.carried() == 1
    cold.check("cold-1")
    cold.starts.unlink()
    cold.cut()
    key.unlink()  # and one that has lost its key makes another
    trainctl.ok("submit", "a.run.json")
    cold.check("cold-2")
    assert key.stat().st_size == 32


def test_a_server_that_takes_no_long_command_gets_a_short_one(trainctl, cold):
    wrapper = cold.box.scratch / "ssh-bin" / "ssh"
    text = wrapper.read_text()
    real = next(line for line in text.splitlines() if line.startswith("exec "))
    wrapper.write_text(text.replace(real, f'[ ${{#word}} -lt 2000 ] || {{ echo "Connection closed by remote host" >&2; exit 255; }}\n{real}'))
    trainctl.ok("submit", cold.spec())
    assert cold.carried() == 1
    cold.check("cold-1")
    cold.starts.unlink()
    cold.cut()
    trainctl.ok("submit", "a.run.json")
    assert cold.carried() == 1  # it is not tried again at once


def test_a_runner_that_is_gone_is_brought_and_gets_the_launch(trainctl, cold):
    for runner in cold.box.runners():
        runner.unlink()
    assert trainctl.ok("submit", cold.spec()).out == b"hello\n"
    assert cold.carried() == 1 and len(cold.box.runners()) == 1
    cold.check("cold-1")


def test_a_run_that_cannot_begin_leaves_nothing_behind(trainctl, cold):
    cold.box.server.stop()
    done = trainctl.run("submit", cold.spec(), code=75)
    assert "refuses connections" in done.error
    cold.box.server.start()
    cold.box.server.change_host_key()
    cold.box.server.stop()
    cold.box.server.start()
    done = trainctl.run("submit", "a.run.json", code=5)
    assert "not the one you know" in done.error
    assert [run["name"] for run in trainctl.json("ls")["items"]] == ["true-2", "true-1"]
    assert cold.carried() == 0


def test_a_host_that_has_gone_bad_is_known_from_the_first_failure_on(trainctl, cold):
    """What its note promised is wrong: the one run that was recorded for it says so, and no other is."""
    (cold.box.server.home / ".trainctl").rename(cold.box.server.home / "away")
    (cold.box.server.home / ".trainctl").write_text("no folder")
    for _ in range(2):
        done = trainctl.run("submit", cold.spec(), code=3)
        assert "the folder for runs on root@box cannot be used" in done.error
        cold.cut()
    assert [run["name"] for run in trainctl.json("ls")["items"]] == ["cold-1", "true-2", "true-1"]
    (cold.box.server.home / ".trainctl").unlink()
    (cold.box.server.home / "away").rename(cold.box.server.home / ".trainctl")
    trainctl.ok("submit", "a.run.json")
    cold.check("cold-2")


def test_many_at_once_share_one_connection(trainctl, cold):
    spec = cold.spec(command=["true"], outputs={})
    started = [trainctl.start("submit", spec) for _ in range(8)]
    for process in started:
        assert process.wait(60) == 0
    assert len(cold.box.masters()) == 1
    wait_until(lambda: not [pid for pid, command in trainctl.owned().items() if command.startswith("ssh ")], "no ssh of theirs is left")
    shown = trainctl.json("ls")["items"]
    assert sorted(run["name"] for run in shown if run["name"].startswith("cold")) == [f"cold-{i + 1}" for i in range(8)]
    assert {run["state"] for run in shown} == {"succeeded"}


def test_a_shared_connection_that_hangs_is_ended(trainctl, cold):
    trainctl.ok("submit", cold.spec())
    [master] = cold.box.masters()
    os.kill(master, signal.SIGSTOP)
    assert trainctl.ok("submit", cold.spec(command=["echo", "again"], outputs={})).out == b"again\n"
    assert not alive(master)
    cold.check("cold-1")


def test_an_ssh_that_does_not_end_once_it_shares_is_not_waited_for(trainctl, cold):
    """As OpenSSH before 8.5, and as one that finds the connection of another process."""
    wrapper = cold.box.scratch / "ssh-bin" / "ssh"
    text = wrapper.read_text()
    real = next(line for line in text.splitlines() if line.startswith("exec "))
    wrapper.write_text(text.replace(real, f'case " $* " in *" -N "*) {real.removeprefix("exec ")}; exec tail -f /dev/null;; esac\n{real}'))
    assert trainctl.ok("submit", cold.spec()).out == b"hello\n"
    assert cold.carried() == 1
    cold.check("cold-1")
    assert not [pid for pid, command in trainctl.owned().items() if "tail -f" in command]


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_cut_at_any_byte_starts_it_once(trainctl, scratch, project, kind):
    """From before the command has gone out until the run's end has come back."""
    with proxied_box(trainctl, scratch) as box:
        cold, proxy = Cold(box), box.proxy
        before = dict(proxy.bytes)
        trainctl.ok("submit", cold.spec())
        cold.cut()
        sizes = {side: proxy.bytes[side] - before[side] for side in before}
        points = [(UP, at) for at in range(sizes[UP] - 5_500, sizes[UP], 450)] + [(DOWN, at) for at in range(sizes[DOWN] - 3_000, sizes[DOWN], 400)]
        begun = 0
        [note] = box.sockets.glob("trainctl/*.note")
        noted = note.read_bytes()
        for direction, after in points:
            cold.starts.unlink()
            note.write_bytes(noted)  # a command that failed was perhaps too long for the server: no other would carry anything
            proxy.arm(Fault(kind, after=after, direction=direction))
            done = trainctl.run("submit", "a.run.json")
            proxy.disarm()
            newest = trainctl.json("ls")["items"][0]["name"]
            if newest == f"cold-{begun + 1}":  # none was made: nobody was reached
                assert done.code == 75 and not cold.starts.exists(), done
                cold.starts.touch()
                continue
            begun += 1
            trainctl.ok("attach", newest)
            cold.check(newest)
            cold.cut()
        assert begun > 10 and cold.carried() > 10
