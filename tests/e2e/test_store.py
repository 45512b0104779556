# SPDX-License-Identifier: Apache-2.0
"""The store looked after: read-only ones, damage in snapshots, what is removed."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs mount")


@contextmanager
def read_only(trainctl):
    subprocess.run(["mount", "--bind", trainctl.home, trainctl.home], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", trainctl.home], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", trainctl.home], check=True)


def packs(trainctl):
    return sorted((trainctl.home / "snapshots" / "packs").iterdir())


def spoil(path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.chmod(0o600)
    path.write_bytes(data)


@root_only
@pytest.mark.parametrize("index", ["current", "behind", "missing"])
def test_a_read_only_store_is_read(trainctl, project, index):
    project.script("import trainctl; trainctl.log(loss=0.5, step=1); print('kept')")
    trainctl.ok("run", "train.py")
    if index != "missing":
        trainctl.ok("ls")
    if index == "behind":
        trainctl.ok("run", "train.py")
    if index == "missing":
        for path in trainctl.home.glob("index*"):
            path.unlink()
    with read_only(trainctl):
        listed = trainctl.ok("ls")
        assert "train-1" in listed.text and ("train-2" in listed.text) == (index == "behind"), listed
        assert len(listed.error.strip().splitlines()) == 1 and "ead-only" in listed.error, listed
        assert trainctl.json("ls")["items"][0]["state"] == "succeeded"
        for command in (("show", "@"), ("logs", "@"), ("metrics", "@"), ("outputs", "@"), ("wait", "@"), ("store", "check")):
            done = trainctl.ok(*command)
            assert "rror" not in done.error, done
        for command in (("run", "train.py"), ("run", "-d", "train.py"), ("rm", "@"), ("cancel", "@"), ("store", "rebuild"),
                        ("store", "gc"), ("env", "rm", "abc")):
            done = trainctl.run(*command, code=6)
            assert done.error.count("error:") == 1 and "ead-only" in done.error, done


@root_only
def test_a_read_only_store_with_a_run_that_has_not_ended(trainctl, project):
    project.script("import os, time\nprint('begun', flush=True)\ntime.sleep(600)")
    trainctl.ok("run", "-d", "train.py")
    trainctl.wait_log(trainctl.last_run(), "begun")
    with read_only(trainctl):
        for command in (("show", "@"), ("logs", "@"), ("ls",)):
            done = trainctl.ok(*command)
            assert "error" not in done.error and "ead-only" in done.error, done
    trainctl.ok("cancel", "@")


def test_check_names_every_damage_and_rebuild_forgets_it(trainctl, project):
    project.script("print('fine')")
    project.write("other.txt", "text\n" * 50)
    (project.path / "large.bin").write_bytes(os.urandom(2_000_000))
    trainctl.ok("run", "train.py")
    good = trainctl.ok("store", "check")
    assert "3 files" in good.text, good
    (pack,) = packs(trainctl)
    spoil(pack, pack.stat().st_size - 1)
    (large,) = [path for path in (trainctl.home / "snapshots" / "objects").rglob("*") if path.is_file()]
    spoil(large, 1000)
    bad = trainctl.run("store", "check", code=6)
    assert large.name in bad.text and "in pack 1 is damaged" in bad.text, bad
    assert "large.bin is damaged" in bad.text and ("other.txt is damaged" in bad.text or "train.py is damaged" in bad.text), bad
    found = trainctl.run("--json", "store", "check", code=6).json
    assert not found["whole"] and len(found["items"]) == 4 and found["blobs"] == 3, found
    mended = trainctl.json("store", "rebuild")
    assert mended["forgotten"] == {"blobs": 2, "snapshots": 1}, mended
    trainctl.ok("store", "check")
    assert b"fine" in trainctl.ok("run", "train.py").out
    assert "3 files" in trainctl.ok("store", "check").text


def test_gc_keeps_what_runs_name(trainctl, project):
    project.script("print(1)")
    trainctl.ok("run", "train.py")
    project.script("print(2)")
    trainctl.ok("run", "train.py")
    manifests = sorted((trainctl.home / "snapshots" / "manifests").iterdir())
    assert len(manifests) == 2
    assert trainctl.json("store", "gc")["snapshots"] == 0
    trainctl.ok("rm", "train-1")
    assert trainctl.json("store", "gc")["snapshots"] == 0, "its last use is not an hour ago"
    for path in manifests:
        os.utime(path, (1, 1))
    assert trainctl.json("store", "gc")["snapshots"] == 1
    trainctl.ok("store", "check")
    assert b"2" in trainctl.ok("run", "train.py").out


@root_only
def test_a_store_without_the_permission_to_write(trainctl, scratch):
    """Root may do everything: as somebody else, with a store that belongs to them."""
    nobody = 65534
    scratch.chmod(0o755)
    binary = shutil.copy(trainctl.binary, scratch / "trainctl")
    trainctl.ok("run", "--", "echo", "kept")
    trainctl.ok("ls")
    for folder, _, files in os.walk(trainctl.home):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            os.chown(path, nobody, nobody, follow_symlinks=False)

    def run(*args: str) -> subprocess.CompletedProcess:
        return subprocess.run([binary, *args], env=trainctl.env, cwd="/", user=nobody, group=nobody, extra_groups=[],
                              capture_output=True, text=True)

    assert "echo-1" in run("ls").stdout
    for name in ("index.lock", "index.db"):  # as `sudo trainctl` leaves them
        (trainctl.home / name).chmod(0o400)
        listed = run("ls")
        assert listed.returncode == 0 and "echo-1" in listed.stdout, listed
        assert ("in memory" in listed.stderr) == (name == "index.lock"), listed  # the index itself needs no change
        (trainctl.home / name).chmod(0o600)
    for folder, _, files in os.walk(trainctl.home, topdown=False):
        for path in [*(os.path.join(folder, name) for name in files), folder]:
            if not os.path.islink(path):
                os.chmod(path, 0o500 if os.path.isdir(path) else 0o400)
    for command in (("ls",), ("show", "@"), ("logs", "@"), ("store", "check")):
        done = run(*command)
        assert done.returncode == 0 and "rror" not in done.stderr, (command, done)
    for command, code in ((("rm", "@"), 6), (("run", "--", "true"), 125), (("store", "gc"), 6)):
        done = run(*command)
        assert done.returncode == code and done.stderr.count("error:") == 1 and "Permission denied" in done.stderr, done


def test_check_finds_cut_logs_and_changed_outputs(trainctl, project):
    project.script("print('x' * 100)\nfor n in range(3):\n    open(f'outputs/{n}', 'w').write('12345')")
    trainctl.ok("run", "train.py")
    assert trainctl.ok("store", "check")
    attempt = trainctl.last_run() / "attempts" / "1"
    os.truncate(attempt / "logs" / "std.log", 7)
    (attempt / "work" / "outputs" / "0").unlink()
    (attempt / "work" / "outputs" / "1").write_text("1")
    found = trainctl.run("store", "check", code=6)
    said = found.text + found.error
    assert "std.log has 7 of 101 bytes" in said and "1 of 3 outputs are gone" in said and "1 of 3 outputs have another size" in said, found
