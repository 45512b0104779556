# SPDX-License-Identifier: Apache-2.0
"""State collecting: the outputs of an ended attempt are listed and hashed before the end, whatever is killed meanwhile."""

import hashlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness import alive, jsonl, wait_until
from runner import PYTHON, Run

BIG = 1 << 40  # a hole of 1 TiB: hashing it takes longer than any test


def sh(text):
    return ("sh", "-c", text)


def listed(run):
    """The list by path."""
    return {line["path"]: line for line in jsonl(run.attempt() / "outputs.jsonl")}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def warnings(run):
    return [e["message"] for e in run.events() if e["type"] == "warning"]


def drafts(run):
    return [p for p in run.root.rglob(".*") if "work" not in p.relative_to(run.root).parts]


def collector(run):
    """The pid of the child that reads the outputs."""
    lead = [e["pid"] for e in run.events() if e["type"] == "attempt"][-1]
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text() if entry.name.isdigit() else ""
        except OSError:
            continue
        if "(trainctl-collec)" in fields and int(fields.rpartition(")")[2].split()[1]) == lead:
            return int(entry.name)
    return None


def big(run):
    """Ends its program with an output that is never read to its end."""
    process = run.start()
    wait_until(lambda: "collecting" in run.states(), "the outputs are collected")
    return process, wait_until(lambda: collector(run), "the process that collects")


def shrink(run):
    os.truncate(run.attempt() / "work" / "outputs" / "big", 3)


def test_outputs_are_listed_with_their_hashes(run, scratch):
    (scratch / "outside").mkdir()
    (scratch / "outside" / "file").write_text("not ours")
    r = run(*sh(f"cd outputs; mkdir -p a/b empty; printf model > a/b/model.bin; : > none; chmod 640 none; ln -s a/b last;"
                f"ln -s {scratch}/outside far; exit 3"))
    end = r.supervise()
    assert (end["state"], end["exit_code"]) == ("failed", 3)
    assert end["outputs"] == {"files": 2, "bytes": 5} and r.states() == ["running", "collecting"]
    lines = listed(r)
    assert list(lines) == ["a/b/model.bin", "far", "last", "none"]
    assert lines["a/b/model.bin"] == {"path": "a/b/model.bin", "size": 5, "sha256": sha256(b"model"),
                                      "mode": lines["a/b/model.bin"]["mode"]}
    assert lines["none"] == {"path": "none", "size": 0, "sha256": sha256(b""), "mode": "0640"}
    assert lines["last"] == {"path": "last", "link": "a/b"} and lines["far"]["link"] == f"{scratch}/outside"
    assert not drafts(r) and not warnings(r)


def test_without_outputs_there_is_no_such_state(run):
    r = run(*sh("echo hello"))
    assert "outputs" not in r.supervise()
    assert r.states() == ["running"] and not (r.attempt() / "outputs.jsonl").exists()


def test_empty_folders_are_no_outputs(run):
    r = run(*sh("mkdir -p outputs/a/b"))
    assert r.supervise()["outputs"] == {"files": 0, "bytes": 0}
    assert not (r.attempt() / "outputs.jsonl").exists()


def test_an_outputs_folder_that_became_a_link_is_not_followed(run, scratch):
    (scratch / "outside").mkdir()
    (scratch / "outside" / "file").write_text("not ours")
    r = run(*sh(f"rmdir outputs; ln -s {scratch}/outside outputs"))
    assert r.supervise()["state"] == "succeeded" and not (r.attempt() / "outputs.jsonl").exists()
    assert warnings(r) == ["the outputs are not listed: their folder is none any more, and links are not followed"]


def test_only_the_last_attempt_is_listed(run):
    r = run(*sh("echo $TRAINCTL_ATTEMPT > outputs/n; test $TRAINCTL_ATTEMPT = 2"),
            retry={"max": 1, "on": ["exit:1"], "backoff_ms": 10})
    assert r.supervise()["state"] == "succeeded"
    assert r.attempts() == [1, 2] and not (r.attempt(1) / "outputs.jsonl").exists()
    assert "collecting" not in r.states(1) and listed(r)["n"]["sha256"] == sha256(b"2\n")


def test_what_keep_names_is_listed(run):
    r = run(*sh("mkdir ckpt; echo 1 > ckpt/one; echo 2 > two"), keep=["ckpt/**"])
    assert r.supervise()["outputs"] == {"files": 1, "bytes": 2}
    assert listed(r)["ckpt/one"]["sha256"] == sha256(b"1\n")


def test_fifty_thousand_files(run):
    make = "import os\nfor i in range(50000):\n  if i % 100 == 0: os.mkdir(f'outputs/{i // 100:03}')\n" \
           "  open(f'outputs/{i // 100:03}/{i:05}', 'w').write(str(i))"
    r = run(PYTHON, "-c", make)
    end = r.supervise(240)
    lines = listed(r)
    assert end["outputs"]["files"] == len(lines) == 50000
    assert list(lines) == sorted(lines) and lines["499/49999"]["sha256"] == sha256(b"49999")


def test_names_that_are_no_text(run):
    r = run(PYTHON, "-c", "open(b'outputs/caf\\xe9', 'w').close(); open('outputs/a\\nb', 'w').close()")
    assert r.supervise()["outputs"]["files"] == 2
    lines = jsonl(r.attempt() / "outputs.jsonl")
    assert [line.get("path") for line in lines] == ["a\nb", None] and lines[1]["path_base64"] == "Y2Fm6Q=="


def test_cancel_while_collecting_only_ends_the_reading(run):
    r = run(*sh(f"echo x > outputs/a; truncate -s {BIG} outputs/big; echo y > outputs/c"))
    process, _ = big(r)
    r.request(type="cancel")
    assert process.wait(20) == 0
    end = r.end()
    assert (end["state"], end["cause"], end["exit_code"]) == ("succeeded", "exit", 0)
    assert [e["result"] for e in r.events() if e["type"] == "control"] == ["too late: the program has ended"]
    lines = listed(r)
    assert lines["a"]["sha256"] == sha256(b"x\n") and lines["big"] == {**lines["big"], "size": BIG, "sha256": None}
    assert end["outputs"]["files"] == 3 and any("2 of 3 files" in w for w in warnings(r))
    assert "stopping" not in r.states()


@pytest.mark.parametrize("reboot", [False, True])
def test_supervisor_killed_while_collecting(run, scratch, reboot):
    r = run(*sh(f"echo x > outputs/a; truncate -s {BIG} outputs/big; exit 4"), limits={"timeout_ms": 60000})
    process, child = big(r)
    process.kill()
    process.wait()
    wait_until(lambda: not alive(child), "its child has died with it")
    assert not (r.attempt() / "outputs.jsonl").exists() and drafts(r)
    shrink(r)
    if reboot:
        (scratch / "boot").write_text("11111111-2222-3333-4444-555555555555\n")
        r.env["TRAINCTL_BOOT_ID_FILE"] = str(scratch / "boot")
    end = r.supervise()
    assert (end["state"], end["exit_code"], end["outputs"]) == ("failed", 4, {"files": 2, "bytes": 5})
    assert r.states() == ["running", "collecting"]
    assert listed(r)["big"]["sha256"] == sha256(b"\0\0\0") and not drafts(r)


def test_the_collecting_process_killed(run):
    r = run(*sh(f"truncate -s {BIG} outputs/big"))
    process, child = big(r)
    os.kill(child, signal.SIGKILL)
    second = wait_until(lambda: (pid := collector(r)) != child and pid, "another one")
    shrink(r)
    assert process.wait(20) == 0 and not alive(second)
    assert r.end()["outputs"]["files"] == 1 and listed(r)["big"]["sha256"] and not drafts(r) and not warnings(r)


def test_the_collecting_process_killed_again_and_again(run):
    r = run(*sh(f"truncate -s {BIG} outputs/big"))
    process, child = big(r)
    for _ in range(2):
        os.kill(child, signal.SIGKILL)
        child = wait_until(lambda: (pid := collector(r)) != child and pid, "another one")
    os.kill(child, signal.SIGKILL)
    assert process.wait(20) == 0
    end = r.end()
    assert end["state"] == "succeeded" and "outputs" not in end and not drafts(r)
    assert "killed by SIGKILL" in warnings(r)[0]


def test_the_slot_is_free_while_collecting(run):
    cpus = os.cpu_count()
    a = run(*sh(f"truncate -s {BIG} outputs/big"), resources={"cpus": cpus})
    b = run("true", resources={"cpus": cpus})
    process, _ = big(a)
    assert b.supervise(20)["state"] == "succeeded"
    assert process.poll() is None
    a.request(type="cancel")
    assert process.wait(20) == 0


def test_full_disk_while_collecting(scratch):
    disk = scratch / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode != 0:
        pytest.skip("may not mount a tmpfs")
    try:
        r = Run(disk / "store", ["sh", "-c", "cat /dev/zero > outputs/big; exit 0"])
        end = r.supervise()
        assert (end["state"], end["exit_code"]) == ("succeeded", 0) and "outputs" not in end
        assert any("outputs are not listed" in w and "space" in w for w in warnings(r)), r.events()
        assert not (r.attempt() / "outputs.jsonl").exists() and not drafts(r)
        r.clean_up()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_the_command_shows_recorded_hashes(trainctl, project):
    project.script("open('outputs/a', 'w').write('x'); open('outputs/b', 'w').write('y')\n"
                   "import os; os.symlink('a', 'outputs/l')")
    trainctl.ok("run", "train.py")
    items = {item["path"]: item for item in trainctl.json("outputs", "@")["items"]}
    assert items["a"] == {"path": "a", "size": 1, "sha256": sha256(b"x")} and items["l"]["link"] == "a"
    (trainctl.last_run() / "outputs" / "a").write_text("changed")
    (trainctl.last_run() / "outputs" / "new").write_text("")
    items = {item["path"]: item for item in trainctl.json("outputs", "@")["items"]}
    assert items["a"] == {"path": "a", "size": 7, "sha256": sha256(b"x"), "changed": True}
    assert items["new"] == {"path": "new", "size": 0} and items["b"]["sha256"] == sha256(b"y")
    assert json.loads((trainctl.last_run() / "attempts/1/outputs.jsonl").read_text().splitlines()[0])["path"] == "a"
