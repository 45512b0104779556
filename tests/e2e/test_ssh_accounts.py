# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Accounts as hosts have them: any login shell, any home folder, what sshd and the shell's start files do to a session."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from harness import wait_until
from remote import Box

LOGIN_SHELLS = {"bash": "/bin/bash", "dash": "/bin/dash", "fish": "/usr/bin/fish", "csh": "/bin/csh", "tcsh": "/bin/tcsh", "ash": "busybox"}


@pytest.fixture
def make_user(scratch):
    """Accounts of this machine with a given login shell, for the time of the test."""
    made: list[str] = []
    homes = Path(subprocess.run(["mktemp", "-d", "/var/tmp/tcu-XXXX"], check=True, capture_output=True, text=True).stdout.strip())
    homes.chmod(0o755)

    def make(name: str, shell: str, home: str | None = None) -> Path:
        if shell == "busybox":
            shell = str(homes / "ash")
            shutil.copy(shutil.which("busybox"), shell)
        assert Path(shell).exists(), f"{shell} is missing: apt-get install fish csh tcsh busybox-static"
        place = homes / (home or name)
        subprocess.run(["useradd", "--create-home", "--password", "*", "--home-dir", place, "--shell", shell, name], check=True)
        made.append(name)
        return place

    yield make
    for name in made:
        uid = subprocess.run(["id", "-u", name], capture_output=True, text=True).stdout.strip()
        subprocess.run(["userdel", "--force", name], check=True, capture_output=True)
        shutil.rmtree(f"/var/tmp/trainctl-{uid}", ignore_errors=True)
    shutil.rmtree(homes)


@pytest.fixture
def door(make_box, scratch) -> Box:
    """A host that lets every account of this machine in."""
    keys = Path(subprocess.run(["mktemp", "-d", "/var/tmp/tck-XXXX"], check=True, capture_output=True, text=True).stdout.strip())
    keys.chmod(0o755)
    box = make_box(options=[f"AuthorizedKeysFile {keys}/keys", "SetEnv TRAINCTL_TEST=1"], own_tmp=False)
    shutil.copy(scratch / "box" / "authorized_keys", keys / "keys")
    (keys / "keys").chmod(0o644)
    yield box
    shutil.rmtree(keys)


@pytest.fixture
def hello(project) -> Path:
    project.write("hello.sh", "printf 'hello from %s in %s\\n' \"$0\" \"$HOME\"\n")
    return project.spec(command=["/bin/sh", "hello.sh"], environment={"python": {"interpreter": "/usr/bin/python3"}})


def test_every_login_shell_will_do(trainctl, door, make_user, hello):
    for name, shell in LOGIN_SHELLS.items():
        home = make_user(f"tct{os.getpid()}-{name}", shell)
        (home / ".bashrc").write_text("echo 'Welcome, today is a fine day'\necho 'TRAINCTL-0000 run /nowhere'\n")
        (home / ".tcshrc").write_text("echo 'Welcome to tcsh'\n")
        done = trainctl.ok("submit", hello, "--target", f"{home.name}@box")
        assert done.out.decode() == f"hello from hello.sh in {home}\n"
        beside = trainctl.ok("exec", "@", "--", "printf", "%s|", "it's $HOME", "a\nb!", "*")
        assert beside.out.endswith(b"it's $HOME|a\nb!|*|")  # behind what .bashrc prints
    nobody = make_user(f"tct{os.getpid()}-nologin", "/usr/sbin/nologin")
    done = trainctl.run("submit", hello, "--target", f"{nobody.name}@box", code=5)
    assert f"your account on {nobody.name}@box has no login shell" in done.error and not (nobody / ".trainctl").exists()
    assert len(door.masters()) > 0


def test_any_home_is_only_a_path(trainctl, door, make_user, hello):
    """Directory services name homes after people: DOMAIN+me, me@example.org."""
    for name, shell in LOGIN_SHELLS.items():
        user = f"tco{os.getpid()}-{name}"
        home = make_user(user, shell, f'CORP+{name} me@corp.example $HOME "x" *')
        assert trainctl.ok("submit", hello, "--target", f"{user}@box").out.decode() == f"hello from hello.sh in {home}\n"
        assert trainctl.ok("exec", "@", "--", "printf", "%s|", "it's", "$HOME").out == b"it's|$HOME|", shell
    user = f"tcq{os.getpid()}"
    make_user(user, "/bin/bash", "it's")
    trainctl.ok("submit", hello, "--target", f"{user}@box")
    refused = trainctl.run("exec", "@", "--", "true", code=2)
    assert "cannot be given to every login shell" in refused.error and '"directory"' in refused.error


@pytest.mark.parametrize("mask", ["0000", "0077"])
def test_masks_and_locales_of_the_account(trainctl, project, door, make_user, mask):
    """The script has the account's mask and locale; what we keep there is private, and names of files are bytes."""
    user = f"tcm{os.getpid()}"
    home = make_user(user, "/bin/bash")
    (home / ".bashrc").write_text(f"umask {mask}\nexport LC_ALL=C LANG=C\n")
    project.write("größe.txt", "über\n")
    spec = project.spec(command=["/bin/sh", "-c", "umask; echo $LC_ALL; cat *.txt; echo x > outputs/ä.txt"], secrets=["KEY"], target=f"{user}@box",
                        environment={"python": {"interpreter": "/usr/bin/python3"}})
    assert trainctl.ok("submit", spec, env={"KEY": "secret"}).text == f"{mask}\nC\nüber\n"
    assert (trainctl.last_run() / "outputs" / "ä.txt").read_text() == "x\n"
    store = home / ".trainctl" / "store"
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    kept = (store / "runs").glob("*/attempts/1/work/outputs/ä.txt")
    assert [stat.S_IMODE(path.stat().st_mode) for path in kept] == [0o666 & ~int(mask, 8)]


@pytest.fixture
def agent(scratch):
    """Starts ssh-agents at one socket; the last one is ended."""
    running: list[subprocess.Popen] = []

    def start(*keys: Path) -> subprocess.Popen:
        (scratch / "agent").unlink(missing_ok=True)
        running.append(subprocess.Popen(["ssh-agent", "-D", "-a", scratch / "agent"], stdout=subprocess.DEVNULL))
        wait_until((scratch / "agent").exists, "the agent")
        for key in keys:
            subprocess.run(["ssh-add", "-q", key], check=True, env={**os.environ, "SSH_AUTH_SOCK": str(scratch / "agent")})
        return running[-1]

    yield start
    for one in running:
        one.kill()
        one.wait()


def test_an_agent_that_holds_the_key_and_one_that_is_gone(trainctl, project, make_box, agent, scratch):
    box = make_box()
    key = box.server.folder / "id"
    first = agent(key)
    key.rename(scratch / "key")  # from here on only the agent has it
    trainctl.env["SSH_AUTH_SOCK"] = str(scratch / "agent")
    box.server.ssh_config.write_text(box.server.ssh_config.read_text().replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    work = box.workload(gate=True)
    client = trainctl.start("submit", work.spec)
    work.wait_half()
    first.kill()
    first.wait()
    box.server.kill()
    box.server.start()
    _, err = client.communicate(timeout=60)
    assert client.returncode == 5 and b"does not let you in" in err and b"ssh-agent" in err, err.decode()
    assert trainctl.json("show", work.name)["state"] == "running", "what cannot be asked has not failed"
    agent(scratch / "key")
    work.open()
    assert trainctl.ok("attach", work.name).out.endswith(work.log[-100:])
    work.check()


def test_an_account_for_files_only_is_told(trainctl, project, make_box):
    make_box(options=["ForceCommand internal-sftp"])
    project.script("print('never')")
    done = trainctl.run("submit", project.spec(target="root@box"), code=3)
    assert "before a shell of ours began" in done.error and "no sftp-only" in done.error, done
    assert done.seconds < 20


def test_a_server_that_forbids_tunnels_is_named(trainctl, project, make_box):
    box = make_box(options=["AllowTcpForwarding no"])
    work = box.workload(gate=True)
    trainctl.ok("submit", work.spec, "--detach")
    tunnel = trainctl.pty("tunnel", work.name, "0:6006")
    port = tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1)
    with socket.create_connection(("127.0.0.1", int(port))) as visitor:
        assert visitor.recv(1) == b""
    tunnel.expect(r"its sshd forbids tunnels \(AllowTcpForwarding no\)")
    tunnel.interrupt()
    assert tunnel.wait() == 130
    assert trainctl.ok("exec", work.name, "--", "echo", "exec needs none").text == "exec needs none\n"
    work.open()
    trainctl.ok("wait", work.name)
