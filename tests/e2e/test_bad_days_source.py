# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Bad days of a source directory: missing, unreadable, changing, with links in circles; scripts that are not there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading

import pytest
from harness import wait_until

NOBODY = 65534


def test_a_script_that_is_not_there(trainctl, project):
    project.script("print(1)")
    done = trainctl.run("run", "tarin.py", code=2)
    assert 'did you mean "train.py"?' in done.error and trainctl.runs() == []
    project.spec(script="trian.py")
    done = trainctl.run("submit", "a.run.json", code=2)
    assert 'did you mean "train.py"?' in done.error and "a.run.json:2:" in done.error


def test_a_source_directory_that_is_not_there(trainctl, project):
    project.script("print(1)")
    project.spec(source_directory="sources")
    done = trainctl.run("submit", "a.run.json", code=2)
    assert "sources" in done.error and "a.run.json:" in done.error and trainctl.runs() == []


def test_a_source_directory_that_is_a_file(trainctl, project):
    project.script("print(1)")
    project.spec(source_directory="train.py")
    assert trainctl.run("submit", "a.run.json", code=2).error.startswith("error: ")


def test_a_script_that_crashes_at_once(trainctl, project):
    project.script("import os\nos.abort()")
    assert "SIGABRT" in trainctl.run("run", "train.py", code=1).error
    shown = trainctl.json("show", "@")
    assert shown["cause"] == "signal" and shown["exit_code"] == 134


def test_a_script_with_a_syntax_error(trainctl, project):
    project.script("def (:\n")
    assert "SyntaxError" in trainctl.run("run", "train.py", code=1).error


def test_a_command_that_is_not_executable(trainctl, project):
    project.write("tool", "#!/bin/sh\necho x\n", mode=0o644)
    project.spec(command=["./tool"])
    done = trainctl.run("submit", "a.run.json", code=3)
    assert "tool" in done.error and "xecut" in done.error
    assert trainctl.json("show", "@")["cause"] == "start"


def test_an_interpreter_that_is_not_there(trainctl, project):
    project.write("tool", "#!/no/such/interpreter\n", mode=0o755)
    project.spec(command=["./tool"])
    done = trainctl.run("submit", "a.run.json", code=3)
    assert "/no/such/interpreter" in done.error


def test_outputs_of_the_source_are_left_out_and_said(trainctl, project):
    project.script("import os\nprint(sorted(os.listdir('outputs')), os.path.exists('data.txt'))")
    project.write("outputs/old-model.bin", "old")
    project.write("data.txt", "data")
    done = trainctl.ok("run", "train.py")
    assert done.out == b"[] True\n" and "left out: outputs/" in done.error


def test_ignored_files_are_left_out_and_said(trainctl, project):
    project.script("import os\nprint(os.path.exists('data'), os.path.exists('data/keep.csv'), os.path.exists('.git'))")
    project.git("init", "-q")
    project.write(".gitignore", "data/*\n")
    project.write("data/big.csv", "x" * 1000)
    project.write("data/keep.csv", "y")
    project.write(".trainctlignore", "!data/keep.csv\n")
    done = trainctl.ok("run", "train.py")
    assert done.out == b"True True False\n" and "left out" in done.error


def test_links_in_circles_and_to_the_outside(trainctl, project):
    project.script("import os\nprint(os.readlink('loop'), os.readlink('self'), os.path.islink('outside'))")
    (project / "loop").symlink_to(".")
    (project / "self").symlink_to("self")
    (project / "a").mkdir()
    (project / "a/up").symlink_to("..")
    (project / "outside").symlink_to("/etc")
    assert trainctl.ok("run", "train.py").out == b". self True\n"


def test_modes_are_kept_and_names_can_be_anything(trainctl, project):
    names = ["with space", "new\nline", "-dash", "üñí", "q'uote\"", "*"]
    for name in names:
        project.write(f"files/{name}", name)
    raw = os.path.join(os.fsencode(project.path), b"files", b"\xff\xfe")
    with open(raw, "wb") as file:
        file.write(b"x")
    project.write("tool", "#!/bin/sh\necho tool\n", mode=0o755)
    project.script("import os, subprocess\nprint(len(os.listdir(b'files')), subprocess.check_output(['./tool']))")
    assert trainctl.ok("run", "train.py").out == b"7 b'tool\\n'\n"


def test_a_pipe_or_socket_in_the_source_does_not_hang(trainctl, project):
    project.script("print('ran')")
    os.mkfifo(project / "fifo")
    assert stat.S_ISFIFO(os.stat(project / "fifo").st_mode)
    assert b"ran\n" in trainctl.ok("run", "train.py", timeout=30).out


def test_the_copy_is_the_runs_own(trainctl, project):
    """Changing the source after the start changes nothing in the run, and the run changes nothing in the source."""
    project.write("data.txt", "before")
    project.script("import os, sys, time\nprint('begun', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
                   "print(open('data.txt').read())\nopen('data.txt', 'w').write('of the run')\nopen('new', 'w').close()")
    go = project.path.parent / "go"
    trainctl.ok("run", "--detach", "train.py", go)
    trainctl.wait_log(trainctl.last_run(), "begun")
    project.write("data.txt", "after")
    go.write_text("")
    trainctl.ok("wait", "@")
    assert trainctl.ok("logs", "@").out == b"begun\nbefore\n"
    assert (project / "data.txt").read_text() == "after" and not (project / "new").exists()
    # and the snapshot in the store is untouched by what the run wrote
    project.write("data.txt", "before")
    assert trainctl.ok("run", "train.py", go).out == b"begun\nbefore\n"


def test_in_place_runs_in_the_source(trainctl, project):
    project.script("import os\nopen('made', 'w').close()\nprint(os.getcwd())\n"
                   "open(os.environ['TRAINCTL_OUTPUTS'] + '/kept', 'w').close()")
    assert trainctl.ok("run", "--in-place", "train.py").text == f"{project.path}\n"
    assert (project / "made").exists() and not (project / "outputs").exists()
    assert trainctl.ok("outputs", "@").out == b"kept\n"


def test_a_source_that_changes_while_it_is_read(trainctl, project):
    """Every file of the copy is a whole version of it, or the command says that it kept changing."""
    project.script("import sys\ntext = open('big').read()\nprint(len(text), len(set(text)))")
    size = 4 << 20
    project.write("big", "a" * size)
    done = threading.Event()

    def change() -> None:
        letter = 0
        while not done.is_set():
            letter = (letter + 1) % 26
            (project / "big.new").write_text(chr(97 + letter) * size)
            os.replace(project / "big.new", project / "big")

    writer = threading.Thread(target=change)
    writer.start()
    try:
        shown = trainctl.run("run", "train.py")
    finally:
        done.set()
        writer.join()
    assert shown.out == f"{size} 1\n".encode() or (shown.code != 0 and "chang" in shown.error), shown


def test_require_clean(trainctl, project):
    project.script("print(1)")
    project.git("init", "-q")
    project.git("add", ".")
    project.git("commit", "-q", "-m", "x")
    trainctl.ok("run", "--require-clean", "train.py")
    project.script("print(2)")
    assert "uncommitted" in trainctl.run("run", "--require-clean", "train.py", code=2).error
    done = trainctl.ok("run", "train.py")
    assert "1 changed file" in done.error


@pytest.fixture
def as_nobody(trainctl, project, scratch):
    """Runs trainctl as a user who is not root (whom nothing is unreadable): store, home and source are theirs, so is the binary."""
    if os.geteuid() != 0:
        return lambda *words: subprocess.run(trainctl.argv(*words), env=trainctl.env, cwd=project.path, stdin=subprocess.DEVNULL,
                                             capture_output=True, timeout=60)
    binary = scratch / "bin" / "trainctl"
    binary.parent.mkdir()
    shutil.copy2(trainctl.binary, binary)
    trainctl.env["PATH"] = f"{binary.parent}:/usr/local/bin:/usr/bin:/bin"

    def run(*words: str) -> subprocess.CompletedProcess:
        scratch.chmod(0o755)
        for folder in (trainctl.root, trainctl.user_home, project.path, *project.path.rglob("*")):
            os.chown(folder, NOBODY, NOBODY, follow_symlinks=False)
        return subprocess.run([binary, *words], env=trainctl.env, cwd=project.path, stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=60, user=NOBODY, group=NOBODY, extra_groups=[])

    return run


@pytest.mark.parametrize("what", ["file", "folder", "many"])
def test_what_is_unreadable_is_named(trainctl, project, as_nobody, what):
    project.write("train.sh", "echo ran\n")
    project.spec(command=["sh", "train.sh"])
    hidden = project.write("data/secret.bin", "x")
    if what == "folder":
        hidden = hidden.parent
    if what == "many":
        for number in range(50):
            project.write(f"data/{number}", "x", mode=0o000)
    hidden.chmod(0o000)
    done = as_nobody("submit", "a.run.json")
    assert done.returncode == 5 and b"Permission denied" in done.stderr and done.stderr.count(b"error: ") == 1, done
    assert (b"secret.bin" if what == "file" else b"data") in done.stderr, done
    assert trainctl.runs() == []
    hidden.chmod(0o700)
    project.write(".trainctlignore", "data/\n")  # what the run does not need may stay unreadable
    hidden.chmod(0o000)
    done = as_nobody("submit", "a.run.json")
    assert (done.returncode, done.stdout) == (0, b"ran\n"), done


def test_a_source_directory_that_is_unreadable(trainctl, project, as_nobody):
    project.write("sources/train.sh", "echo ran\n")
    project.spec(command=["sh", "train.sh"], source_directory="sources")
    (project / "sources").chmod(0o000)
    done = as_nobody("submit", "a.run.json")
    assert done.returncode in (2, 5) and b"sources" in done.stderr and b"Permission denied" in done.stderr, done
    assert trainctl.runs() == []


def test_a_source_directory_that_vanishes(trainctl, project):
    """The folder trainctl was started in was removed since."""
    gone = project / "gone"
    gone.mkdir()
    done = subprocess.run(["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *trainctl.argv("run", "train.py")], env=trainctl.env, cwd=gone,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert done.returncode == 4 and done.stderr.startswith(b"error: the current folder does not exist any more"), done
    assert trainctl.runs() == []


def test_a_huge_source_is_refused_without_a_terminal(trainctl, project):
    project.script("print('ran')")
    with open(project.write("data/big.bin", ""), "r+b") as file:
        file.truncate(1_100_000_000)  # without blocks: nothing of it is read or written
    done = trainctl.run("run", "train.py", code=2)
    assert "data/big.bin" in done.error and "1.1 GB" in done.error and done.error.count("error: ") == 1, done
    assert trainctl.runs() == []
    project.write(".trainctlignore", "data/\n")
    assert trainctl.ok("run", "train.py").out == b"ran\n"


def test_many_files_are_warned_about(trainctl, project):
    project.script("import os\nprint(len(os.listdir('data')))")
    for number in range(2100):
        project.write(f"data/{number}", "x")
    project.write("data/largest", "x" * 1000)
    done = trainctl.ok("run", "train.py")
    assert done.out == b"2101\n" and "2,102 files" in done.error and "data/largest" in done.error


def test_files_that_come_and_go_while_the_source_is_read(trainctl, project):
    """A folder that another program works in: what is gone again is no error, what stays is whole."""
    project.script("import os\nprint(all(open('data/' + name).read() in ('', 'whole') for name in os.listdir('data')), open('kept').read())")
    project.write("kept", "kept")
    project.write("data/stays", "whole")  # an empty folder is not in a snapshot
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for number in range(50):
                (project / f"data/{number}").write_text("whole")
            for number in range(50):
                (project / f"data/{number}").unlink()

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(5):
            shown = trainctl.run("run", "train.py")
            assert shown.out == b"True kept\n" or (shown.code in (2, 6) and "chang" in shown.error), shown
    finally:
        done.set()
        writer.join()


def test_a_foreign_folder_that_cannot_be_written(trainctl, project):
    project.script("print('ran')")
    os.chmod(project.path, 0o500)
    try:
        assert trainctl.ok("run", "train.py").out == b"ran\n"
    finally:
        os.chmod(project.path, 0o700)
    wait_until(lambda: not (project / "outputs").exists(), "nothing is left in the source")
