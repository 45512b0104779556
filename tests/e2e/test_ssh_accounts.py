# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Accounts as hosts have them: any login shell, any home folder, what sshd and the shell's start files do to a session."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
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
