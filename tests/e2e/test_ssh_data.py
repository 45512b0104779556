# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Inputs and outputs of runs on a host behind a real sshd: sent by content, collected whole, resumable, verified."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import wait_until
from remote import Box

MANY = 150_000_000  # bytes that take long enough for a kill in the middle


@pytest.fixture
def box(make_box) -> Box:
    return make_box()


def submit(trainctl, project, command: str, *options: str, code: int = 0, **fields):
    project.write("a.run.json", {"command": command, "target": "box", **fields})
    return trainctl.run("submit", "a.run.json", *options, code=code)


def size(path: Path | None) -> int:
    try:
        return path.stat().st_size if path else 0
    except FileNotFoundError:
        return 0


def noise(path: Path, count: int) -> str:
    """A file that no compression makes smaller; its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = os.urandom(1 << 20) * (count >> 20) + os.urandom(count % (1 << 20))
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


# -- inputs ------------------------------------------------------------------------------------------------------------------


def test_inputs_go_by_content_and_only_once(trainctl, project, box, scratch):
    data = scratch / "data"
    big = noise(data / "big.bin", 3_000_000)
    (data / "small.csv").write_text("1,2\n")
    (data / "tool").write_text("#!/bin/sh\necho tool runs\n")
    (data / "tool").chmod(0o755)
    (data / "link").symlink_to("small.csv")
    outside = scratch / "outside.txt"
    outside.write_text("from outside\n")
    (data / "leads-out").symlink_to(outside)
    (data / ".gitignore").write_text("*\n")  # of no meaning here
    (box.server.home / "there.txt").write_text("of the host\n")
    inputs = {"d": str(data), "one": str(data / "small.csv"), "there": f"host:{box.server.home}/there.txt",
              "mine": {"source": str(data), "mode": "copy"}}
    command = ('cd "$TRAINCTL_INPUT_D"; sha256sum < big.bin; cat link leads-out; ./tool; cat ${{inputs.one}} ${{inputs.there}}; '
               'cd "$TRAINCTL_INPUT_MINE"; echo changed >> big.bin; echo more >> small.csv; cat small.csv; touch new')
    done = submit(trainctl, project, command, inputs=inputs)
    assert done.text == f"{big}  -\n1,2\nfrom outside\ntool runs\n1,2\nof the host\n1,2\nmore\n", done
    trees = list((box.store / "inputs").iterdir())
    assert len(trees) == 2 and all(stat.S_IMODE(tree.stat().st_mode) == 0o500 for tree in trees)
    seen = next(tree / "data" for tree in trees if (tree / "data").is_dir())
    assert hashlib.sha256((seen / "big.bin").read_bytes()).hexdigest() == big
    assert not stat.S_IMODE(os.stat(seen / "big.bin").st_mode) & 0o222 and os.stat(seen / "big.bin").st_nlink == 1
    objects = {path: path.stat().st_mtime_ns for path in (box.store / "snapshots" / "objects").rglob("*") if path.is_file()}
    assert submit(trainctl, project, command, inputs=inputs).text == done.text
    assert objects == {path: path.stat().st_mtime_ns for path in (box.store / "snapshots" / "objects").rglob("*") if path.is_file()}


def test_outputs_of_a_run_there_are_used_there(trainctl, project, box):
    submit(trainctl, project, "mkdir outputs/m; echo weights > outputs/m/w.txt", "--no-collect", name="first")
    done = submit(trainctl, project, "cat ${{inputs.m}}/w.txt; cat $TRAINCTL_RESUME_FROM/m/w.txt", name="second",
                  inputs={"m": "run:first/m"}, resume_from="first")
    assert done.text == "weights\nweights\n" and not list((box.store / "inputs").glob("*")), done
    here = submit(trainctl, project, "echo local > outputs/x.txt", name="third", target="local")
    assert here.code == 0
    assert submit(trainctl, project, "cat ${{inputs.x}}", inputs={"x": "run:third/x.txt"}).text == "local\n"


def test_a_path_that_the_host_has_not_is_said(trainctl, project, box):
    done = submit(trainctl, project, "true", inputs={"d": "host:/nowhere/at/all"}, code=3)
    assert "the input d is not on" in done.error and "/nowhere/at/all" in done.error


def test_an_upload_that_was_killed_goes_on(trainctl, project, box, scratch):
    digest = noise(scratch / "big.bin", MANY)
    project.write("a.run.json", {"command": "sha256sum < ${{inputs.d}}", "target": "box", "inputs": {"d": str(scratch / "big.bin")}})
    client = trainctl.start("submit", "a.run.json")
    wait_until(lambda: size(box.partial()) > 8_000_000, "the upload")
    client.kill()
    client.wait()
    assert 8_000_000 < size(box.partial()) < MANY
    inode = box.partial().stat().st_ino
    first = trainctl.last_run()
    # What names the run goes on with it, and so does a new one; the part that came is not sent again.
    done = trainctl.run("attach", first.name, code=0)
    assert done.text == f"{digest}  -\n", done
    assert box.partial() is None
    kept = box.store / "snapshots" / "objects" / digest[:2] / digest[2:]
    assert kept.stat().st_ino == inode


def test_a_flipped_byte_of_a_part_is_noticed(trainctl, project, box, scratch):
    digest = noise(scratch / "big.bin", MANY)
    project.write("a.run.json", {"command": "sha256sum < ${{inputs.d}}", "target": "box", "inputs": {"d": str(scratch / "big.bin")}})
    client = trainctl.start("submit", "a.run.json")
    wait_until(lambda: size(box.partial()) > 8_000_000, "the upload")
    client.kill()
    client.wait()
    with open(box.partial(), "r+b") as part:
        part.seek(1_000_000)
        byte = part.read(1)
        part.seek(1_000_000)
        part.write(bytes([byte[0] ^ 1]))
    assert trainctl.run("submit", "a.run.json", code=0).text == f"{digest}  -\n"


# -- outputs -----------------------------------------------------------------------------------------------------------------


def test_outputs_come_home_as_they_were(trainctl, project, box):
    done = submit(trainctl, project, "mkdir outputs/m; echo weights > outputs/m/w.txt; chmod 640 outputs/m/w.txt; touch -d 2020-02-02 outputs/m/w.txt; "
                  "printf '' > outputs/empty; ln -s m/w.txt outputs/link; ln -s /etc/passwd outputs/evil; ln -s ../../up outputs/up; mkfifo outputs/pipe")
    assert "evil" in done.error and "pipe" in done.error and "outputs" in done.error
    run = trainctl.last_run()
    here, there = run / "outputs", box.outputs(run)
    assert sorted(path.name for path in here.iterdir()) == ["empty", "link", "m"]
    for name in ("m/w.txt", "empty"):
        one, other = os.stat(here / name), os.stat(there / name)
        assert (here / name).read_bytes() == (there / name).read_bytes()
        assert (one.st_mode, one.st_mtime_ns) == (other.st_mode, other.st_mtime_ns)
    assert os.readlink(here / "link") == "m/w.txt"
    assert trainctl.json("show", "@")["outputs"] == "here" and trainctl.json("ls")["items"][0]["outputs"] == "here"
    assert trainctl.ok("outputs", "@").text.splitlines() == ["empty", "link", "m/w.txt"]


@pytest.mark.parametrize("when, command, code, state", [
    ("never", "echo x > outputs/a.pt; echo y > outputs/b.txt", 0, "not_wanted"),
    ("on_success", "echo x > outputs/a.pt; echo y > outputs/b.txt; exit 3", 1, "not_wanted"),
    ("on_success", "echo x > outputs/a.pt; echo y > outputs/b.txt", 0, "here"),
])
def test_when_outputs_are_wanted(trainctl, project, box, when, command, code, state):
    submit(trainctl, project, command, collect=when, code=code)
    assert trainctl.json("show", "@")["outputs"] == state
    assert (trainctl.last_run() / "outputs").exists() == (state == "here")
    if state == "here":
        return
    assert trainctl.ok("outputs", "@", "--pull", "*.pt").text == "a.pt\n"
    assert trainctl.json("show", "@")["outputs"] == "partial"
    assert trainctl.ok("outputs", "@", "--pull").text == "a.pt\nb.txt\n"
    assert trainctl.json("show", "@")["outputs"] == "here"


def test_a_failed_run_brings_a_gibibyte_and_lists_the_rest(trainctl, project, box):
    done = submit(trainctl, project, "echo x > outputs/a.txt; truncate -s 1100M outputs/core; exit 1", code=1)
    assert "1 file, 1.2 GB are on the target" in done.error and "--pull" in done.error
    assert trainctl.json("show", "@")["outputs"] == "partial"
    assert trainctl.ok("outputs", "@").text == "a.txt\n"


def test_a_collect_that_was_killed_goes_on(trainctl, project, box):
    submit(trainctl, project, f"head -c {MANY} /dev/urandom > outputs/big.bin; echo small > outputs/a.txt", "--no-collect")
    run = trainctl.last_run()
    assert trainctl.json("show", "@")["outputs"] == "pending"

    def part() -> Path | None:
        return next((run / "attempts" / "1" / ".collect").glob("*"), None)

    client = trainctl.start("wait", "@")
    wait_until(lambda: size(part()) > 8_000_000, "the copy")
    client.kill()
    client.wait()
    assert 8_000_000 < size(part()) < MANY and not (run / "attempts/1/work/outputs/big.bin").exists()
    inode = part().stat().st_ino
    trainctl.ok("wait", "@")
    big = run / "outputs" / "big.bin"
    assert big.stat().st_ino == inode
    assert hashlib.sha256(big.read_bytes()).digest() == hashlib.sha256((box.outputs(run) / "big.bin").read_bytes()).digest()


def test_an_output_that_was_changed_afterwards_is_not_taken(trainctl, project, box):
    submit(trainctl, project, "echo weights > outputs/w.txt", "--no-collect")
    run = trainctl.last_run()
    (box.outputs(run) / "w.txt").write_text("Weights\n")
    waited = trainctl.run("wait", "@", code=0)
    assert "w.txt is not what it was when the run ended" in waited.error
    shown = trainctl.json("show", "@")
    assert shown["outputs"] == "partial" and shown["state"] == "succeeded"


def test_rm_leaves_nothing_of_the_run_there(trainctl, project, box):
    submit(trainctl, project, "echo x > outputs/a.txt")
    run = trainctl.last_run()
    assert (box.store / "runs" / run.name).exists()
    trainctl.ok("rm", "@")
    assert not (box.store / "runs" / run.name).exists() and not run.exists()


def test_only_outputs_that_match_are_wanted(trainctl, project, box):
    command = "mkdir -p outputs/reports/a; echo x > outputs/w.pt; echo y > outputs/w.tmp; echo z > outputs/reports/a/r.html"
    submit(trainctl, project, command, collect={"patterns": ["*.pt", "reports"]})
    assert trainctl.ok("outputs", "@").text.splitlines() == ["reports/a/r.html", "w.pt"]
    assert trainctl.json("show", "@")["outputs"] == "here"
    submit(trainctl, project, command, collect={"when": "never", "patterns": ["*.pt"]})
    assert trainctl.json("show", "@")["outputs"] == "not_wanted"


@contextmanager
def small_home(trainctl, megabytes: int):
    """The store is on a disk of its own; what is given back makes it larger."""
    trainctl.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", trainctl.home], check=True)
    try:
        yield lambda size: subprocess.run(["mount", "-o", f"remount,size={size}m", trainctl.home], check=True)
    finally:
        subprocess.run(["umount", "-l", trainctl.home], check=True)


LINES = "i=0; while [ $i -lt 150000 ]; do i=$((i + 1)); echo \"line $i of a log that is longer than the disk here\"; done"
LOG = "".join(f"line {number} of a log that is longer than the disk here\n" for number in range(1, 150_001))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_log_is_shown_where_there_is_no_room_for_it(trainctl, box):
    with small_home(trainctl, 4) as resize:
        done = trainctl.run("run", "--target", "root@box", "--", "sh", "-c", LINES, timeout=120)
        assert done.text == LOG
        assert "is not kept: cannot" in done.error and "No space left" in done.error and str(trainctl.home) in done.error and "unreachable" not in done.error
        assert "cannot be recorded here" in done.error and "trainctl sync" in done.error and done.code == 6
        resize(64)
        trainctl.ok("sync")
        shown = trainctl.json("show", "@")
        assert shown["state"] == "succeeded" and shown["attempts"] == 1
        assert trainctl.ok("logs", "@").text == LOG and trainctl.ok("logs", "@", "--verify")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_log_goes_on_into_its_copy_when_there_is_room_again(trainctl, box):
    go = box.server.home / "go"
    script = f"{LINES}; while [ ! -e {go} ]; do sleep 0.02; done; echo behind it"
    with small_home(trainctl, 4) as resize:
        process = trainctl.start("run", "--target", "root@box", "--", "sh", "-c", script)
        shown = b""
        while len(shown) < len(LOG):
            shown += process.stdout.read1(1 << 20)
        resize(64)
        wait_until(lambda: trainctl.last_run().joinpath("attempts/1/logs/std.log").stat().st_size == len(LOG), "the copy goes on")
        go.touch()
        rest, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        assert (shown + rest).decode() == LOG + "behind it\n"
        assert b"not kept" in error and b"there is room again" in error
        assert trainctl.ok("logs", "@").text == LOG + "behind it\n" and trainctl.ok("logs", "@", "--verify")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
def test_a_full_disk_here_leaves_the_run_as_it_was(trainctl, project, box):
    trainctl.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", trainctl.home], check=True)
    try:
        done = submit(trainctl, project, "head -c 20000000 /dev/urandom > outputs/big.bin; echo x > outputs/a.txt")
        assert "No space left" in done.error and "--pull" in done.error
        shown = trainctl.json("show", "@")
        assert shown["state"] == "succeeded" and shown["outputs"] in ("partial", "pending")
        subprocess.run(["mount", "-o", "remount,size=64m", trainctl.home], check=True)
        assert trainctl.ok("outputs", "@", "--pull").text == "a.txt\nbig.bin\n"
        assert trainctl.json("show", "@")["outputs"] == "here"
    finally:
        subprocess.run(["umount", "-l", trainctl.home], check=True)
