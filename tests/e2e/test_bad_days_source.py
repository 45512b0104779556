# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Bad days of a source directory: missing, unreadable, changing, with links in circles; scripts that are not there."""

from __future__ import annotations

import os
import stat
import subprocess
import threading

import pytest
from harness import wait_until

not_root = pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")


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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_an_unreadable_file_is_named(trainctl, project):
    project.script("print(1)")
    project.write("secret.bin", "x", mode=0o000)
    for folder in (trainctl.root, trainctl.user_home, project.path, project.path.parent):
        os.chown(folder, 65534, 65534)
    os.chown(project / "train.py", 65534, 65534)
    done = subprocess.run(trainctl.argv("run", "train.py"), env=trainctl.env, cwd=project.path, capture_output=True,
                          timeout=60, user=65534, group=65534, extra_groups=[])
    if done.returncode == 126 or b"Permission denied: '" in done.stderr:
        pytest.skip("the binaries cannot be reached by another user")
    assert done.returncode in (2, 5, 6) and b"secret.bin" in done.stderr, done


def test_a_foreign_folder_that_cannot_be_written(trainctl, project):
    project.script("print('ran')")
    os.chmod(project.path, 0o500)
    try:
        assert trainctl.ok("run", "train.py").out == b"ran\n"
    finally:
        os.chmod(project.path, 0o700)
    wait_until(lambda: not (project / "outputs").exists(), "nothing is left in the source")
