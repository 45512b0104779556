# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Runs on a host behind a real sshd: nothing is installed there, and a lost connection costs nothing but time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import alive, jsonl, wait_until
from remote import Box

# Lines of known bytes at a known pace; says in a file that it began, so that a second start would be seen.
SEEDED = """
import hashlib, os, sys, time
with open(os.path.expanduser('~/starts'), 'a') as starts: starts.write('started\\n')
for i in range(int(sys.argv[1])):
    sys.stdout.buffer.write(hashlib.sha256(str(i).encode()).digest() + b'\\r\\n\\x1b[31m\\n')
    sys.stdout.buffer.flush()
    time.sleep(float(sys.argv[2]))
"""


def seeded(lines: int) -> bytes:
    return b"".join(hashlib.sha256(str(i).encode()).digest() + b"\r\n\x1b[31m\n" for i in range(lines))


@pytest.fixture
def box(make_box) -> Box:
    return make_box()


def test_the_first_run_brings_the_runner_and_the_second_finds_it(trainctl, project, box):
    project.script("import os\nprint(open('data.txt').read(), os.environ['HOME'])")
    project.write("data.txt", "from here")
    (box.server.home / ".trainctl" / "bin").mkdir(parents=True, mode=0o700)
    old = box.server.home / ".trainctl" / "bin" / "trainctl-runner-0000000000000000"
    old.write_text("#!/bin/sh\nexit 1\n")
    os.utime(old, (time.time() - 200_000,) * 2)
    spec = project.spec(target="root@box")
    first = trainctl.ok("submit", spec)
    assert first.out.decode().strip() == f"from here {box.server.home}"
    assert "root@box" in first.error and "succeeded" in first.error
    [runner] = wait_until(lambda: (now := box.runners()) and old not in now and now, "the old runner is gone")
    assert hashlib.sha256(runner.read_bytes()).hexdigest().startswith(runner.name.rsplit("-", 1)[1])
    pushed = runner.stat().st_mtime_ns
    assert trainctl.ok("submit", spec).out == first.out
    assert runner.stat().st_mtime_ns == pushed
    assert len(list((box.store / "runs").iterdir())) == 2 and len(box.masters()) == 1
    assert box.store.stat().st_mode & 0o077 == 0
    shown = trainctl.json("show", "@")
    assert shown["state"] == "succeeded" and shown["target"] == "root@box" and shown["place"] == {"host": socket.gethostname()}


def test_exit_codes_and_secrets(trainctl, project, box):
    project.script("import os, sys\nprint(len(os.environ['KEY']))\nsys.exit(int(sys.argv[1]))")
    spec = project.spec(target="root@box", arguments=["0"], secrets=["KEY"])
    done = trainctl.ok("submit", spec, env={"KEY": "a-secret-value"})
    assert done.out == b"14\n"
    run = trainctl.last_run().name
    for place in (trainctl.home, box.store):
        assert not (place / "secrets" / run).exists()
        assert b"a-secret-value" not in b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    project.script("import sys\nsys.exit(7)")
    trainctl.run("submit", project.spec(target="root@box"), code=1)
    assert trainctl.json("show", "@")["exit_code"] == 7


def test_the_log_survives_a_killed_client_and_a_cut_connection(trainctl, project, box):
    project.script(SEEDED)
    spec = project.spec(target="root@box", arguments=["400", "0.02"])
    client = trainctl.start("submit", spec)
    run = trainctl.last_run()
    trainctl.wait_log(run, seeded(20))
    os.killpg(client.pid, signal.SIGKILL)
    shown, said = trainctl.root / "shown", trainctl.root / "said"
    with open(shown, "wb") as out, open(said, "wb") as err:
        attached = trainctl.start("attach", "@", stdout=out, stderr=err)
    trainctl.wait_log(run, seeded(120))
    box.server.kill()
    wait_until(lambda: b"trying again" in said.read_bytes(), "the lost connection is told")
    box.server.start()
    assert attached.wait(timeout=120) == 0
    wanted = seeded(400)
    log = trainctl.log(run)
    assert log == wanted and (box.store / "runs" / run.name / "attempts/1/logs/std.log").read_bytes() == wanted
    assert shown.read_bytes() == wanted
    assert (box.server.home / "starts").read_text() == "started\n"
    assert not list((run / "attempts/1/logs").glob("std.log.*"))


def test_cancel_reaches_the_host(trainctl, project, box):
    project.script("import time\nprint('on', flush=True)\ntime.sleep(600)")
    trainctl.ok("submit", project.spec(target="root@box", stop={"grace": "1s"}), "--detach")
    attached = trainctl.start("attach", "@")
    trainctl.wait_log(trainctl.last_run(), "on\n")
    trainctl.ok("cancel", "@")
    assert attached.wait(timeout=60) == 130
    assert trainctl.json("show", "@")["state"] == "canceled"
    wait_until(lambda: not box.server.processes(), "nothing of the run is left on the host")


def test_a_signal_reaches_the_script_on_the_host(trainctl, project, box):
    project.write("a.run.json", {"target": "root@box", "command": "trap 'echo usr1' USR1; trap 'echo hup; exit 0' HUP; echo begun; while :; do sleep 0.02; done"})
    client = trainctl.start("submit", "a.run.json")
    trainctl.wait_log(trainctl.last_run(), "begun\n")
    trainctl.ok("cancel", "--signal", "USR1", "@")
    trainctl.wait_log(trainctl.last_run(), "usr1\n")
    box.server.kill()
    away = trainctl.run("cancel", "--signal", "HUP", "@", code=75)
    assert "root@box refuses connections" in away.error and client.poll() is None
    box.server.start()
    trainctl.ok("cancel", "--signal", "HUP", "@")
    assert client.wait(timeout=60) == 0
    assert trainctl.ok("logs", "@").text.count("usr1") == 1
    assert "has ended" in trainctl.run("cancel", "--signal", "HUP", "@", code=4).error


def test_one_session_is_enough(trainctl, project, make_box):
    """MaxSessions 1 allows a single session on a connection: requests and the log share it."""
    box = make_box(options=["MaxSessions 1"])
    project.script("print('hello')")
    assert trainctl.ok("submit", project.spec(target="root@box")).out == b"hello\n"
    log = (box.server.folder / "sshd.log").read_text()
    assert log.count("Starting session") == 1, log


def test_a_changed_host_key_is_refused(trainctl, project, box):
    box.server.change_host_key()
    box.server.kill()
    box.server.start()
    project.script("print('never')")
    done = trainctl.run("submit", project.spec(target="root@box"), code=5)
    assert "host key of root@box is not the one you know" in done.error and "ssh-keygen -R" in done.error
    box.server.known_hosts.write_text("")
    done = trainctl.run("submit", "a.run.json", code=5)
    assert "host key of root@box is not known here" in done.error
    assert not box.store.exists()


def test_new_host_keys_are_accepted_only_where_the_target_says_so(trainctl, project, box):
    box.server.known_hosts.write_text("")
    project.script("print('hello')")
    spec = project.spec()
    trainctl.run("submit", spec, "--target", "root@box", code=5)
    assert box.server.known_hosts.read_text() == ""
    trainctl.ok("target", "add", "fresh", "root@box", "--accept-new-host-keys")
    assert trainctl.ok("submit", spec, "--target", "fresh").out == b"hello\n"
    assert box.server.host_key.split()[1] in box.server.known_hosts.read_text()
    for master in box.masters():
        os.kill(master, signal.SIGKILL)
    box.server.change_host_key()
    box.server.kill()
    box.server.start()
    changed = trainctl.run("submit", spec, "--target", "fresh", code=5)
    assert "is not the one you know" in changed.error


def test_what_cannot_be_reached_says_why(trainctl, project, box):
    project.script("print('never')")
    spec = project.spec(target="root@box")
    box.server.kill()
    refused = trainctl.run("submit", spec, code=75)
    assert "root@box refuses connections" in refused.error
    box.server.start()
    (box.server.folder / "authorized_keys").write_text("")
    denied = trainctl.run("submit", spec, code=5)
    assert "root@box does not let you in" in denied.error and "ssh-copy-id" in denied.error
    unknown = trainctl.run("submit", spec, "--target", "root@no-such-host.invalid", code=75)
    assert "the name root@no-such-host.invalid cannot be resolved" in unknown.error
    for wrong in ("-oProxyCommand=x@box", "root@-x", "a b@box", "root@box:99999", "root@b;x"):
        done = trainctl.run("submit", spec, f"--target={wrong}")
        assert done.code in (2, 4) and "target" in done.error


def test_a_misspelt_target_is_no_host_because_all_hosts_have_a_jump(trainctl, project, box):
    """What ssh_config says of every name is no sign that there is a host of that name."""
    box.server.write_ssh_config(box.server.port, "Host *.corp\n  ProxyJump gate\nHost *\n  ProxyCommand nc %h %p\n")
    trainctl.ok("target", "add", "gpubox", "root@box")
    project.script("print('never')")
    spec = project.spec()
    wrong = trainctl.run("submit", spec, "--target", "gpubx", code=4)
    assert 'there is no target "gpubx", did you mean "gpubox"?' in wrong.error
    for known in ("box", "a.corp", "localhost"):
        assert trainctl.run("explain", spec, "--target", known, "--json").json["target"]["hosts"] == [known]


def test_a_resolver_that_says_nothing_is_not_waited_for(trainctl, project, scratch):
    """A name server that takes questions and never answers, on a network of its own."""
    project.script("print('never')")
    (scratch / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    (scratch / "nsswitch.conf").write_text("hosts: files dns\n")
    silent = "import socket,sys,subprocess; s=socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1',53)); sys.exit(subprocess.call(sys.argv[1:]))"
    mounts = "".join(f"mount --bind {scratch}/{name} /etc/{name} && " for name in ("resolv.conf", "nsswitch.conf"))
    began = time.monotonic()
    subprocess.run(["unshare", "--net", "--mount", "sh", "-c", f'{mounts}ip link set lo up && exec "$@"', "sh", sys.executable, "-c", silent,
                    *trainctl.argv("explain", project.spec(), "--target", "somewhere")],
                   env=trainctl.environment(), cwd=project.path, timeout=60, check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - began < 25


def test_a_host_that_runs_something_else_is_told(trainctl, project, make_box):
    make_box(options=["ForceCommand echo this account only does backups"])
    project.script("print('never')")
    done = trainctl.run("submit", project.spec(target="root@box"), code=3)
    assert "before a shell of ours began: this account only does backups" in done.error and "ForceCommand" in done.error


def test_a_home_that_cannot_be_written_names_the_directory(trainctl, project, make_box):
    make_box(variables={"HOME": "/proc/1"})
    project.script("print('never')")
    done = trainctl.run("submit", project.spec(target="root@box"), code=3)
    assert "the folder for runs on root@box cannot be used: mkdir: cannot create directory" in done.error and '"directory"' in done.error


def test_a_stopped_shared_connection_is_replaced(trainctl, project, box):
    project.script("print('hello')")
    trainctl.ok("submit", project.spec(target="root@box"))
    [master] = box.masters()
    os.kill(master, signal.SIGSTOP)
    done = trainctl.ok("submit", "a.run.json")
    assert done.out == b"hello\n" and done.seconds < 40
    assert not alive(master)


CARRIED = re.compile("' sh [0-9a-f ]+$")  # the launch, in a command that starts the runner
# What would be the host's login shell is the test's; its /bin/sh is the one that is tested. It "shares" its connections, by making
# what looks like a socket.
SSH_OF_SHELL = """#!/bin/sh
echo noise
for word; do
  case $word in
    -N) shares=1 ;;
    ControlPath=*) sockets=${{word#*=}} ;;
  esac
  command=$word
done
touch "${{sockets%/*}}/socket"
[ -z "$shares" ] || exit 0
printf '%s\\n' "$command" >>{commands}
export HOME={home}
eval "$(printf %s "$command" | sed "s,/bin/sh,{shell},g")"
"""


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox ash"])
def test_every_posix_shell_runs_the_script(trainctl, project, scratch, shell):
    """/bin/sh of the host: an ssh that runs that one here, first the script, then the direct command, which carries the launch
    where a connection is shared. BusyBox's reads ahead."""
    wrapper, commands = scratch / "ssh-bin" / "ssh", scratch / "commands"
    wrapper.parent.mkdir()
    home = scratch / "it's a \"home\" $HOME"
    home.mkdir()
    home_word = json.dumps(str(home)).replace("$", chr(92) + "$")
    wrapper.write_text(SSH_OF_SHELL.format(commands=commands, home=home_word, shell=shell))
    wrapper.chmod(0o755)
    sockets = scratch / "rt"
    sockets.mkdir(mode=0o700)
    trainctl.env.update(PATH=f"{wrapper.parent}:{trainctl.env['PATH']}", XDG_RUNTIME_DIR=str(sockets))
    project.write("hello.sh", 'echo "$HOME"\n')
    spec = project.spec(command=["/bin/sh", "hello.sh"], target="me@there")
    try:
        for _ in range(3):
            assert trainctl.ok("submit", spec).out.decode().rstrip("\n") == str(home)
            for socket in sockets.glob("trainctl/*/socket"):
                socket.unlink()
        assert [CARRIED.search(command) is not None for command in commands.read_text().splitlines()] == [False, False, True]
        ranks = list(home.glob(".trainctl/store/runs/*/attempts/1/nodes/0/rank-0.jsonl"))
        assert len(ranks) == 3 and all(jsonl(rank)[-1]["type"] == "exit" for rank in ranks)
    finally:
        wait_until(lambda: not [pid for pid, command in trainctl.owned().items() if str(home) in command], "its runners are gone")
