# SPDX-License-Identifier: Apache-2.0
"""exec, shell and tunnel: programs beside a run, here and on a host behind a real sshd, and its ports from here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from harness import alive, wait_until
from remote import Box
from sshd import Sshd

# Says who it is, and lives until a file is there.
WAITS = """
import os, time
print('ready', flush=True)
while not os.path.exists('stop'): time.sleep(0.02)
"""
SEES = ("import json, os, sys; print(json.dumps({'argv': sys.argv[1:], 'cwd': os.getcwd(), 'run': os.environ.get('TRAINCTL_RUN_ID'), "
        "'outputs': os.environ.get('TRAINCTL_OUTPUTS'), 'colour': os.environ.get('COLOUR'), 'key': os.environ.get('KEY'), "
        "'rank': os.environ.get('TRAINCTL_RANK')}))")
# What a shell on the way would take apart, expand, or end at.
NASTY = ["", " two  words ", "it's", '"quoted"', "$HOME `id` $(id)", "a\nb\n", "\\ \\n", "*", "~", "!x", "-n", "--", "ü → 日本", ";|&<>#%^{}[]"]


@pytest.fixture
def box(trainctl, scratch):
    server = Sshd(scratch / "box")
    yield Box(trainctl, server, scratch)
    server.clean_up()


def sees(trainctl, run: str, *words: str) -> dict:
    return trainctl.ok("exec", run, "--", sys.executable, "-c", SEES, *words).json


def stop(trainctl, run: str = "@") -> None:
    trainctl.ok("exec", run, "--", "touch", "stop")
    trainctl.ok("wait", run)


def test_exec_here_has_folder_and_variables_of_the_run(trainctl, project):
    project.script(WAITS)
    spec = project.spec(environment_variables={"COLOUR": "blue"}, secrets=["KEY"])
    trainctl.ok("submit", "--detach", spec, env={"KEY": "a-secret"})
    run = trainctl.last_run()
    trainctl.wait_log(run, "ready")
    attempt = run / "attempts/1"
    wanted = {"argv": NASTY, "cwd": str(attempt / "work"), "run": run.name, "outputs": str(attempt / "work/outputs"), "colour": "blue",
              "key": "a-secret", "rank": "0"}
    assert sees(trainctl, "@", *NASTY) == wanted
    stop(trainctl)
    # What is recorded is the same but for the secret, and that is said.
    ended = trainctl.ok("exec", "@", "--", sys.executable, "-c", SEES, *NASTY)
    assert ended.json == {**wanted, "key": None} and "without the run's secrets, KEY" in ended.error
    assert "the run is succeeded: this is what it left" in ended.error
    assert trainctl.ok("exec", "@", "--", "cat", input=b"from here").out == b"from here"


def test_each_rank_can_be_entered(trainctl, project):
    project.script(WAITS)
    trainctl.ok("submit", "--detach", project.spec(distribution={"type": "processes", "processes_per_node": 2}))
    run = trainctl.last_run()
    look = ["--", sys.executable, "-c", SEES]
    for rank, log in enumerate(["std.log", "rank-1.log"]):
        wait_until(lambda: trainctl.log(run, name=log) == b"ready\n", f"rank {rank} runs")
        assert trainctl.ok("exec", "--rank", str(rank), "@", *look).json["rank"] == str(rank)
    assert "its ranks are 0 to 1" in trainctl.run("exec", "--rank", "2", "@", "--", "true", code=2).error
    assert "--rank is behind the run" in trainctl.run("exec", "@", "--rank", "1", "--", "true", code=2).error
    shell = trainctl.pty("shell", "--rank", "1", "@", env={"SHELL": "/bin/sh"})
    shell.send("echo rank:$TRAINCTL_RANK; exit 5\n")
    shell.expect("rank:1\r?\n")
    assert shell.wait() == 5
    stop(trainctl)
    assert trainctl.ok("exec", "--rank=1", "@", *look).json["rank"] == "1"


def test_where_nothing_can_be_entered(trainctl, project, scratch):
    project.script("print('done')")
    gate = scratch / "gate"
    spec = project.spec(environment={"python": {"interpreter": sys.executable}, "setup": [f"while [ ! -e {gate} ]; do sleep 0.02; done"]})
    trainctl.ok("submit", "--detach", spec)
    wait_until(lambda: trainctl.json("show", "@")["state"] == "preparing", "it is being prepared")
    early = trainctl.run("exec", "@", "--", "true", code=75)
    assert "the run has not begun: it is preparing" in early.error and early.out == b""
    gate.touch()
    trainctl.ok("wait", "@")
    scenario = project.write("wait.scenario.json", {"steps": [{"state": "queued"}, {"end": "succeeded"}]})
    trainctl.ok("submit", "--target", f"scripted:{scenario}", spec)
    assert "no program can be started beside runs" in trainctl.run("exec", "@", "--", "true", code=2).error
    assert "no tunnel is needed" in trainctl.run("tunnel", "@", "6006", code=2).error


def test_exit_codes_are_those_of_the_command(trainctl, project):
    project.script("print('done')")
    trainctl.ok("run", "train.py")
    for command, code in [(["sh", "-c", "exit 7"], 7), (["no-such-program"], 127), (["./train.py"], 126)]:
        trainctl.run("exec", "@", "--", *command, code=code)
    # This process has become the command: its death by a signal is ours.
    trainctl.run("exec", "@", "--", "sh", "-c", "kill -TERM $$", code=-15)
    assert "no command" in trainctl.run("exec", "@", code=2).error
    assert "no run" in trainctl.run("exec", "nothing-3", "--", "true", code=4).error
    # Behind the run all words are the command's.
    assert trainctl.ok("exec", "@", "printf", "%s", "--help").out == b"--help"


def test_no_place_to_enter(trainctl, project):
    project.script("print('done')")
    trainctl.ok("run", "train.py")
    assert "no tunnel is needed" in trainctl.run("tunnel", "@", "6006", code=2).error
    for wrong in ["0:0", "70000", "1:2:3", "x", "-1"]:
        trainctl.run("tunnel", "@", wrong, code=2)


def test_a_shell_here_is_on_the_terminal(trainctl, project):
    project.script("print('done')")
    trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    shell = trainctl.pty("shell", env={"SHELL": "/bin/sh"})
    shell.send("echo in:$PWD:$TRAINCTL_RUN_ID; tty; exit 5\n")
    shell.expect(f"in:{run}/attempts/1/work:{run.name}\r?\n/dev/pts/")
    assert shell.wait() == 5


def test_exec_shell_and_tunnel_over_ssh(trainctl, project, box, scratch):
    project.script(WAITS)
    spec = project.spec(target="root@box", environment={"python": {"interpreter": sys.executable}}, environment_variables={"COLOUR": "red"})
    trainctl.ok("submit", "--detach", spec)
    run = trainctl.last_run()
    there = box.store / "runs" / run.name / "attempts/1"
    wait_until(lambda: (there / "logs/std.log").read_bytes() == b"ready\n", "the script runs")
    seen = sees(trainctl, "@", *NASTY)
    assert seen["argv"] == NASTY and seen["cwd"] == str(there / "work") and (seen["run"], seen["colour"]) == (run.name, "red")
    assert trainctl.run("exec", "@", "--", "sh", "-c", "exit 7", code=7).err == b""
    trainctl.run("exec", "@", "--", "no-such-program", code=127)
    trainctl.run("exec", "@", "--", "sh", "-c", "kill -TERM $$", code=143)
    assert trainctl.ok("exec", "@", "--", "cat", input=b"\0over\r\n").out == b"\0over\r\n"
    assert len(box.masters()) == 1

    shell = trainctl.pty("shell", "@")
    shell.send("echo in:$PWD; tty; exit 5\n")
    shell.expect(f"in:{there}/work\r?\n/dev/pts/")
    assert shell.wait() == 5

    tunnel_to_a_server(trainctl)
    a_cut_hangs_up(trainctl, scratch)
    stop(trainctl)

    box.server.kill()
    assert trainctl.run("exec", "@", "--", "true", code=75).out == b""
    trainctl.run("tunnel", "@", "6006", code=75)


def a_cut_hangs_up(trainctl, scratch) -> None:
    """Without a terminal there the host does not tell a program that nobody listens any more; we do."""
    pid_file = scratch / "pid"
    beside = trainctl.start("exec", "@", "--", "sh", "-c", f"echo $$ > {pid_file}; sleep 600 & wait")
    pid = wait_until(lambda: int(pid_file.read_text()), "the command runs")
    os.kill(beside.pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the command got SIGHUP")


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "300000")
        self.end_headers()
        self.wfile.write(b"x" * 300000)

    def log_message(self, *_: object) -> None:
        pass


def tunnel_to_a_server(trainctl) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        taken = trainctl.run("tunnel", "@", str(server.server_port), code=2)
        assert "is taken" in taken.error
        tunnel = trainctl.pty("tunnel", "@", f"0:{server.server_port}")
        port = int(tunnel.expect(r"http://127.0.0.1:(\d+) → root@box:" + str(server.server_port)).group(1))
        with ThreadPoolExecutor(8) as many:
            sizes = list(many.map(lambda _: len(urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60).read()), range(24)))
        assert sizes == [300000] * 24
        server.shutdown()
        server.server_close()
        with pytest.raises(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30).read()
        tunnel.expect(f"nothing listens on port {server.server_port} of root@box at the moment")
        tunnel.interrupt()
        assert tunnel.wait() == 130
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_run_that_never_came_there(trainctl, project, box):
    project.script("print('done')")
    spec = project.spec(target="root@box", environment={"python": {"interpreter": sys.executable}})
    trainctl.ok("submit", spec)
    run = trainctl.last_run()
    subprocess.run(["rm", "-r", box.store / "runs" / run.name], check=True)
    refused = trainctl.run("exec", "@", "--", "true", code=4)
    assert f"no run {run.name} on this host" in refused.error
