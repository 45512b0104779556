# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Metrics from the files that scripts write: TensorBoard events, Chainer's log, Lightning's metrics.csv."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness import jsonl, wait_until

WRITER = Path(__file__).with_name("tfevents.py").read_text()


def points(run: Path, source: str = "tensorboard", attempt: int = 1) -> list[tuple]:
    lines = jsonl(run / "attempts" / str(attempt) / "metrics" / f"{source}-r0.jsonl")
    return [(line["name"], line["step"], round(line["value"], 5)) for line in lines]


@pytest.fixture
def script(project):
    """Makes train.py, which can import the event writer."""
    project.write("tfevents.py", WRITER)
    return lambda body: project.script("import os, sys, time, tfevents\nfrom tfevents import Writer\n" + body)


def test_a_run_without_such_files_has_none(trainctl, project):
    project.script("print('hello')")
    trainctl.ok("run", "train.py")
    metrics = trainctl.last_run() / "attempts/1/metrics"
    assert not list(metrics.glob("tensorboard*"))


def test_scalars_of_a_short_run_arrive(trainctl, script):
    script("w = Writer('runs/Nov23_12-00-00_host')\n"
           "for step in range(5): w.scalar('Loss/train', 1 / (step + 1), step, wall_time=1.7e9 + step)\n")
    trainctl.ok("run", "train.py")
    assert points(trainctl.last_run()) == [("Loss/train", step, round(1 / (step + 1), 5)) for step in range(5)]
    first = jsonl(trainctl.last_run() / "attempts/1/metrics/tensorboard-r0.jsonl")[0]
    assert first["t"] == 1.7e9 and first["rank"] == 0
    assert trainctl.json("show", "@")["metrics"]["Loss/train"]["last"] == pytest.approx(0.2)


def test_old_and_new_style_and_folders_as_names(trainctl, script):
    script("a, b = Writer('logs/train'), Writer('logs/validation')\n"
           "for epoch in range(3):\n"
           "    a.scalar2('epoch_loss', 0.5, epoch)\n"
           "    b.scalar2('epoch_loss', 0.25, epoch, content=False)\n"
           "a.scalar2('picture', 1.0, 1, plugin='images')\n"
           "Writer('outputs/tb').scalar('plain', 2.0, 7)\n")
    trainctl.ok("run", "train.py")
    found = points(trainctl.last_run())
    assert sorted(found) == sorted([("train/epoch_loss", e, 0.5) for e in range(3)] +
                                   [("validation/epoch_loss", e, 0.25) for e in range(3)] + [("plain", 7, 2.0)])


def test_points_arrive_while_the_script_runs(trainctl, project, script):
    script("w = Writer('logs')\n"
           "w.scalar('loss', 0.5, 1)\n"
           "data = tfevents.event(tfevents.simple('loss', 0.25), step=2)\n"
           "w.write(data[:20])\n"  # the second record is torn until we let it go on
           "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
           "w.write(data[20:])\n")
    process = trainctl.start("run", "train.py", str(project / "go"))
    run = wait_until(trainctl.last_run, "the run")
    wait_until(lambda: points(run) == [("loss", 1, 0.5)], "the first point")
    (project / "go").write_text("")
    process.wait(60)
    assert points(run) == [("loss", 1, 0.5), ("loss", 2, 0.25)]


def test_damaged_records_are_passed_over_and_said_once(trainctl, script):
    script("w = Writer('logs')\n"
           "for step in range(6):\n"
           "    data = bytearray(tfevents.event(tfevents.simple('loss', 1.0), step=step))\n"
           "    if step in (2, 4): data[-1 if step == 2 else 3] ^= 255\n"  # the payload's checksum, the length
           "    w.write(bytes(data))\n")
    trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    assert [step for _, step, _ in points(run)] == [0, 1, 3, 5]
    assert trainctl.log(run, name="runner.log").count(b"is damaged in places") == 1


def test_event_files_of_the_snapshot_are_not_this_runs(trainctl, project, script):
    script("print('nothing written')")
    project.write("logs/events.out.tfevents.1.host", b"")
    import tfevents
    tfevents.Writer(project / "logs").scalar("old", 1.0, 1)
    for file in (project / "logs").iterdir():
        os.utime(file, (time.time() - 60,) * 2)
    for number in range(5):  # the later ones start within some milliseconds of their unpacking
        script(f"print('nothing written by {number}')")
        trainctl.ok("run", "train.py")
        assert points(trainctl.last_run()) == []


def test_each_kind_can_be_turned_off(trainctl, project, script):
    script("import json\n"
           "Writer('logs').scalar('loss', 0.5, 1)\n"
           "json.dump([{'main/loss': 0.5, 'iteration': 1}], open('log', 'w'))\n")
    project.spec(metrics={"sources": {"tensorboard": False}})
    trainctl.ok("submit", "a.run.json")
    assert points(trainctl.last_run()) == [] and points(trainctl.last_run(), "chainer") == [("main/loss", 1, 0.5)]
    project.spec(metrics={"sources": {"tensorboard": False, "chainer": False, "lightning": False}})
    trainctl.ok("submit", "a.run.json")
    assert not list((trainctl.last_run() / "attempts/1/metrics").glob("[ctl]*"))


def test_a_killed_reader_and_supervisor_lose_and_double_nothing(trainctl, project, script):
    script("a, b = Writer('logs/train'), Writer('logs/test')\n"
           "def some(first):\n"
           "    for step in range(first, first + 50): a.scalar('loss', step, step); b.scalar('loss', step, step)\n"
           "some(0)\n"
           "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
           "some(50)\n")
    process = trainctl.start("run", "--detach", "train.py", str(project / "go"))
    process.wait(60)
    run = trainctl.last_run()
    wait_until(lambda: len(points(run)) == 100, "the first points")
    trainctl.kill_owned(only=lambda command: "supervise" in command)
    trainctl.start("attach", "@")
    (project / "go").write_text("")
    trainctl.wait_end(run)
    assert sorted(points(run)) == sorted((f"{part}/loss", step, step) for part in ("train", "test") for step in range(100))


def test_chainers_log_and_lightnings_table(trainctl, script):
    script("import json\n"
           "os.makedirs('result'); os.makedirs('lightning_logs/version_0')\n"
           "rows = []\n"
           "for epoch in (1, 2):\n"
           "    rows.append({'main/loss': 1 / epoch, 'epoch': epoch, 'iteration': 30 * epoch, 'elapsed_time': 0.5})\n"
           "    json.dump(rows, open('result/log', 'w'), indent=4)\n"
           "with open('lightning_logs/version_0/metrics.csv', 'w') as table:\n"
           "    table.write('epoch,step,train_loss,val_loss\\n0,9,0.5,\\n0,9,,0.25\\n1,19,0.125,\\n')\n")
    trainctl.ok("run", "train.py")
    run = trainctl.last_run()
    assert [p for p in points(run, "chainer") if p[0] == "main/loss"] == [("main/loss", 30, 1.0), ("main/loss", 60, 0.5)]
    assert [p for p in points(run, "lightning") if p[0] != "epoch"] == [
        ("train_loss", 9, 0.5), ("val_loss", 9, 0.25), ("train_loss", 19, 0.125)]
