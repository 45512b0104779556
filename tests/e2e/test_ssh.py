# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""Runs on a host behind a real sshd: nothing is installed there, and a lost connection costs nothing but time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
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
    assert shown["state"] == "succeeded" and shown["target"] == "root@box"


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


LOGIN_SHELLS = {"bash": "/bin/bash", "dash": "/bin/dash", "fish": "/usr/bin/fish", "csh": "/bin/csh", "tcsh": "/bin/tcsh", "ash": "busybox"}


@pytest.fixture
def make_user(scratch):
    """Accounts of this machine with a given login shell, for the time of the test."""
    made: list[str] = []
    homes = Path(subprocess.run(["mktemp", "-d", "/var/tmp/tcu-XXXX"], check=True, capture_output=True, text=True).stdout.strip())
    homes.chmod(0o755)

    def make(name: str, shell: str) -> Path:
        if shell == "busybox":
            shell = str(homes / "ash")
            shutil.copy(shutil.which("busybox"), shell)
        assert Path(shell).exists(), f"{shell} is missing: apt-get install fish csh tcsh busybox-static"
        subprocess.run(["useradd", "--create-home", "--password", "*", "--home-dir", homes / name, "--shell", shell, name], check=True)
        made.append(name)
        return homes / name

    yield make
    for name in made:
        uid = subprocess.run(["id", "-u", name], capture_output=True, text=True).stdout.strip()
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
        shutil.rmtree(f"/var/tmp/trainctl-{uid}", ignore_errors=True)
    shutil.rmtree(homes)


def test_every_login_shell_will_do(trainctl, project, make_box, make_user, scratch):
    keys = Path(subprocess.run(["mktemp", "-d", "/var/tmp/tck-XXXX"], check=True, capture_output=True, text=True).stdout.strip())
    keys.chmod(0o755)
    try:
        box = make_box(options=[f"AuthorizedKeysFile {keys}/keys", "SetEnv TRAINCTL_TEST=1"], own_tmp=False)
        shutil.copy(scratch / "box" / "authorized_keys", keys / "keys")
        (keys / "keys").chmod(0o644)
        project.write("hello.sh", "echo hello from $0 in $HOME\n")
        spec = project.spec(command=["/bin/sh", "hello.sh"], environment={"python": {"interpreter": "/usr/bin/python3"}})
        for name, shell in LOGIN_SHELLS.items():
            home = make_user(f"tct{os.getpid()}-{name}", shell)
            (home / ".bashrc").write_text("echo 'Welcome, today is a fine day'\necho 'TRAINCTL-0000 run /nowhere'\n")
            (home / ".tcshrc").write_text("echo 'Welcome to tcsh'\n")
            done = trainctl.ok("submit", spec, "--target", f"{home.name}@box")
            assert done.out.decode() == f"hello from hello.sh in {home}\n"
            beside = trainctl.ok("exec", "@", "--", "printf", "%s|", "it's $HOME", "a\nb!", "*")
            assert beside.out.endswith(b"it's $HOME|a\nb!|*|")  # behind what .bashrc prints
        nobody = make_user(f"tct{os.getpid()}-nologin", "/usr/sbin/nologin")
        done = trainctl.run("submit", spec, "--target", f"{nobody.name}@box", code=5)
        assert f"your account on {nobody.name}@box has no login shell" in done.error and not (nobody / ".trainctl").exists()
        assert len(box.masters()) > 0
    finally:
        shutil.rmtree(keys)


@pytest.mark.parametrize("shell", ["dash", "bash --posix", "busybox ash"])
def test_every_posix_shell_runs_the_script(trainctl, project, scratch, shell):
    """/bin/sh of the host: an ssh that runs that one here. BusyBox's reads ahead."""
    wrapper = scratch / "ssh-bin" / "ssh"
    wrapper.parent.mkdir()
    home = scratch / "it's a \"home\" $HOME"
    home.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho noise\nHOME={json.dumps(str(home)).replace("$", chr(92) + "$")} exec {shell} -s\n')
    wrapper.chmod(0o755)
    trainctl.env["PATH"] = f"{wrapper.parent}:{trainctl.env['PATH']}"
    project.write("hello.sh", 'echo "$HOME"\n')
    spec = project.spec(command=["/bin/sh", "hello.sh"], target="me@there")
    try:
        for _ in range(2):
            assert trainctl.ok("submit", spec).out.decode().rstrip("\n") == str(home)
        ranks = list(home.glob(".trainctl/store/runs/*/attempts/1/nodes/0/rank-0.jsonl"))
        assert len(ranks) == 2 and all(jsonl(rank)[-1]["type"] == "exit" for rank in ranks)
    finally:
        wait_until(lambda: not [pid for pid, command in trainctl.owned().items() if str(home) in command], "its runners are gone")
