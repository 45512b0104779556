# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 600
"""Bad days of the places a run needs on a host and here: nothing may execute there, a quota is used up, an outputs folder cannot be
written. What cannot work says what to do, and works once that is done."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import wait_until
from remote import file_server, mounted, nothing_left

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts")
NO_EXEC = "mount -t tmpfs -o noexec,mode=1777 tmpfs /tmp\n"
NO_EXEC_ANYWHERE = NO_EXEC + "mount -o remount,bind,noexec /var/tmp\n"


def test_neither_home_nor_tmp_may_execute(make_box, trainctl, scratch):
    """The state stays at home; only the runner lies elsewhere, found by executing it, and goes away with everything else."""
    with mounted(scratch / "box" / "home", "-o", "noexec,mode=700"):
        box = make_box(mounts=NO_EXEC)
        for _ in range(2):
            work = box.workload()
            trainctl.ok("submit", work.spec)
            work.check()
        assert len(list((box.store / "runs").iterdir())) == 2 and not box.runners()
        assert len(list(box.server.tmp.glob("trainctl-*/trainctl-runner-*"))) == 1
        nothing_left(box)
        box.server.clean_up()


def test_nothing_may_execute_anywhere(make_box, trainctl, scratch):
    with mounted(scratch / "box" / "home", "-o", "noexec,mode=700") as home:
        box = make_box(mounts=NO_EXEC_ANYWHERE)
        work = box.workload()
        refused = trainctl.run("submit", work.spec, code=3)
        for word in ("no folder on root@box may hold programs", f"{home}/.trainctl/bin", "/var/tmp/trainctl-", '"directory"', "noexec"):
            assert word in refused.error, refused
        assert work.started == 0 and not list(home.rglob("*trainctl-runner*")) and not list(box.server.tmp.rglob("*trainctl-runner*"))
        with mounted(scratch / "box" / "big", "-o", "mode=700") as directory:  # what the message asks for
            subprocess.run(["nsenter", f"--mount=/proc/{box.server.process.pid}/ns/mnt", "mount", "-t", "tmpfs", "tmpfs", directory], check=True)
            trainctl.ok("target", "add", "gpubox", "root@box", "--directory", str(directory))
            trainctl.ok("submit", work.spec, "--target", "gpubox")
            assert work.started == 1 and trainctl.ok("logs", "@").out == work.log
            box.server.clean_up()


def test_the_quota_of_the_host_is_used_up(make_box, trainctl, scratch):
    """At each stage: before the runner is there, before the run is there, while it writes. df shows free space all the while."""
    used_up = scratch / "used-up"
    with file_server(scratch / "backing", scratch / "box" / "home", "--quota-used-up", str(used_up)):
        box = make_box()
        work = box.workload()
        for stage in ("no runner", "no run"):
            before = list(box.store.glob("runs/*"))
            used_up.touch()
            refused = trainctl.run("submit", work.spec)
            assert refused.code in (3, 6) and "root@box" in refused.error and "free some disk space (or quota)" in refused.error, (stage, refused)
            used_up.unlink()
            assert work.started == 0 and list(box.store.glob("runs/*")) == before, stage
            trainctl.ok("run", "--target", "root@box", "--", "true")  # brings the runner
        trainctl.ok("submit", work.spec)
        last = box.workload(lines=2000, gate=True)
        client = trainctl.start("submit", last.spec)
        last.wait_half()
        used_up.touch()
        last.open()
        wait_until(lambda: not [c for c in box.server.processes().values() if " work " in c], "its script has ended")
        used_up.unlink()
        _, err = client.communicate(timeout=120)
        shown = trainctl.json("show", last.name)
        # The script goes on when its echo fails, and ends with 0: that is told, with what could be written.
        assert last.started == 1 and (shown["state"], shown["exit_code"], client.returncode) == ("succeeded", 0, 0), (shown, err.decode())
        assert trainctl.ok("logs", last.name).out.startswith(last.half)
        again = box.workload()
        trainctl.ok("submit", again.spec)
        again.check()
        nothing_left(box)
        box.server.clean_up()


def test_outputs_cannot_be_written(make_box, trainctl):
    """On the host the script sees it and its log says so; here the run's end is true, its outputs are partial, and come later."""
    box = make_box(own_tmp=False)  # so that what is mounted now is seen by what runs there
    there, here = box.workload(gate=True), box.workload(gate=True)
    client = trainctl.start("submit", there.spec)
    run = there.wait_half()
    with mounted(box.store / "runs" / run.name / "attempts/1/work/outputs", "-o", "ro"):
        there.open()
        out, err = client.communicate(timeout=60)
    assert client.returncode == 0 and out.startswith(there.log) and b"Read-only file system" in out, err.decode()
    assert trainctl.json("show", there.name)["state"] == "succeeded" and not trainctl.json("outputs", there.name)["items"]
    client = trainctl.start("submit", here.spec)
    run = here.wait_half()
    with mounted(run / "attempts/1/work", "-o", "ro"):
        here.open()
        out, err = client.communicate(timeout=60)
        assert client.returncode == 0 and out == here.log
        for words in ("outputs are partial", "Read-only file system", f"trainctl outputs {here.name} --pull"):
            assert words in err.decode(), err.decode()
        assert trainctl.json("show", here.name)["outputs"] == "partial"
        again = trainctl.run("outputs", here.name, "--pull")
        assert "Read-only file system" in again.error, again
    trainctl.ok("outputs", here.name, "--pull")
    here.check()
    assert trainctl.json("show", here.name)["outputs"] == "here"
    nothing_left(box)
