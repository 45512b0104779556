# SPDX-License-Identifier: Apache-2.0
"""The copy of a large source that is made ahead for the next run: used when it is as it was left, never otherwise."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from harness import Trainctl, wait_until
from sshd import Sshd

FILES = 1200


def content(root: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and bytes of each file but those of outputs/."""
    return {str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes())
            for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] != "outputs"}


class Source:
    """A project with many files, and the store in which its runs grow."""

    def __init__(self, trainctl: Trainctl, project, store: Path, **spec: object):
        self.trainctl, self.root, self.store = trainctl, project.path, store
        for number in range(FILES):
            project.write(f"d{number % 7}/f{number}.py", f"# {number}\n")
        self.file = project.spec(command=["true"], **spec)

    def submit(self) -> Path:
        """The working directory of a run that has just ended, which is what the source is."""
        before = set((self.store / "runs").glob("*"))
        self.trainctl.ok("submit", self.file)
        [run] = set((self.store / "runs").glob("*")) - before
        work = run / "attempts" / "1" / "work"
        assert content(work) == content(self.root)
        assert [path.name for path in work.parent.glob(".draft*")] == []
        return work

    def spare(self) -> Path:
        """The tree of the spare, when it is there."""
        return wait_until(lambda: list(self.store.glob("snapshots/spare/[0-9a-f]*/stamp"))[0], "a spare").parent / "tree"

    def makers(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "comm").read_text() == "trainctl-spare\n" \
                        and str(self.trainctl.root.parent).encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


def change(source: Source) -> None:
    (source.root / "d0" / "f0.py").write_text("# changed\n")
    (source.root / "d1" / "f1.py").unlink()
    (source.root / "new" / "folder").mkdir(parents=True)
    (source.root / "new" / "folder" / "file.sh").write_text("#!/bin/sh\n")
    (source.root / "new" / "folder" / "file.sh").chmod(0o755)


@pytest.fixture
def source(trainctl, project) -> Source:
    made = Source(trainctl, project, trainctl.home)
    made.submit()
    return made


def test_the_next_run_takes_the_spare_and_changes_what_differs(source):
    inode = (source.spare() / "d2" / "f2.py").stat().st_ino
    change(source)
    work = source.submit()
    assert (work / "d2" / "f2.py").stat().st_ino == inode and (work / "d2" / "f2.py").stat().st_nlink == 1
    next_inode = (source.spare() / "d2" / "f2.py").stat().st_ino
    (work / "d2" / "f2.py").write_text("# a run writes into its own copy\n")
    assert (source.submit() / "d2" / "f2.py").stat().st_ino == next_inode


@pytest.mark.parametrize("how", ["content", "added", "stamp"])
def test_a_spare_that_was_touched_is_not_used(source, how):
    tree = source.spare()
    victim = tree / "d3" / "f3.py"
    inode, times = victim.stat().st_ino, (victim.stat().st_atime_ns, victim.stat().st_mtime_ns)
    if how == "content":
        victim.write_text("# 9\n")
        os.utime(victim, ns=times)
    elif how == "added":
        (tree / "sitecustomize.py").write_text("raise SystemExit('evil')\n")
    else:
        (tree.parent / "stamp").write_bytes(b"")
    work = source.submit()
    assert (work / "d3" / "f3.py").stat().st_ino != inode
    source.spare()


def test_a_maker_that_is_killed_leaves_nothing_that_is_used(source):
    killed = 0
    for _ in range(8):
        (source.root / "d0" / "f0.py").write_text(f"# {killed}\n")
        source.submit()
        for pid in source.makers():
            os.kill(pid, signal.SIGKILL)
            killed += 1
        wait_until(lambda: not source.makers(), "the maker is gone")
    assert killed > 0
    source.submit()
    source.spare()
    wait_until(lambda: not source.makers(), "the maker has ended")
    assert list((source.store / "snapshots" / "spare").glob(".draft*")) == []
    source.trainctl.ok("store", "gc")
    assert list((source.store / "snapshots").glob("spare*")) == [source.store / "snapshots" / "spare.lock"]
    source.submit()


def test_small_sources_have_none(trainctl, project):
    project.script("print(1)")
    trainctl.ok("submit", project.spec())
    assert list((trainctl.home / "snapshots").glob("spare*")) == []


def test_on_a_host_and_clean_leaves_nothing_of_it(trainctl, project, scratch):
    box = Sshd(scratch / "box")
    try:
        sockets = scratch / "rt"
        sockets.mkdir(mode=0o700)
        trainctl.env["XDG_RUNTIME_DIR"] = str(sockets)
        trainctl.ok("target", "add", "box", "box", "--ssh-config", box.ssh_config)
        source = Source(trainctl, project, box.home / ".trainctl" / "store", target="box")
        source.submit()
        inode = (source.spare() / "d2" / "f2.py").stat().st_ino
        change(source)
        assert (source.submit() / "d2" / "f2.py").stat().st_ino == inode
        trainctl.ok("target", "clean", "box", "--all", "--yes")  # while the next one is being made
        wait_until(lambda: not source.makers(), "the maker has ended")
        assert box.files() == []
    finally:
        box.clean_up()
