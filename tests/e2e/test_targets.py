# SPDX-License-Identifier: Apache-2.0
"""Runs that grow elsewhere, played by scripted targets: copying, broken connections, two watchers, killed watchers."""

from __future__ import annotations

import json
import shutil

import pytest

from harness import REPOSITORY, jsonl, wait_until


def scenario(project, steps: list[dict], fidelity: str = "byte_exact", name: str = "a.scenario.json") -> str:
    project.write(name, {"fidelity": fidelity, "steps": steps})
    return f"scripted:{name}"


def lines(count: int, every: str = "5ms") -> dict:
    return {"after": "5ms", "log": "line\n", "repeat": count, "every": every}


RUNNING = {"state": "running"}


def test_the_example_plays(trainctl, project):
    shutil.copytree(REPOSITORY / "examples" / "scripted", project.path / "scripted")
    done = trainctl.ok("run", "--target", "scripted:demo.scenario.json", "--", "train", cwd=project.path / "scripted")
    assert done.out == b"epoch done\n" * 10 + b"done\n"
    assert "queued: waits for a machine" in done.error and "✓ train-1 succeeded" in done.error
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == 0.25
    assert trainctl.ok("logs", "@").out == done.out


@pytest.mark.parametrize("fidelity", ["byte_exact", "best_effort"])
def test_detached_it_goes_on_and_is_copied_later(trainctl, project, fidelity):
    target = scenario(project, [RUNNING, lines(20), {"end": "failed", "exit_code": 3, "message": "no luck"}], fidelity)
    assert trainctl.ok("run", "-d", "--target", target, "--", "train").out == b"train-1\n"
    trainctl.run("wait", "@", code=1)
    run = trainctl.json("show", "@")
    assert (run["state"], run["exit_code"], run["message"]) == ("failed", 3, "no luck")
    assert trainctl.ok("logs", "@").out == b"line\n" * 20


@pytest.mark.parametrize("fidelity", ["byte_exact", "best_effort"])
def test_a_watcher_killed_at_any_time_costs_nothing(trainctl, project, fidelity):
    target = scenario(project, [RUNNING, lines(100), {"end": "succeeded"}], fidelity)
    trainctl.ok("run", "-d", "--target", target, "--", "train")
    run = trainctl.last_run()
    for wanted in (1, 30, 60):
        watcher = trainctl.start("attach", "@")
        log = run / "attempts" / "1" / "logs" / "std.log"
        wait_until(lambda: log.stat().st_size >= wanted * len("line\n"), f"{wanted} lines are copied")
        watcher.kill()
        watcher.wait()
    assert trainctl.ok("attach", "@").out == b"line\n" * 100
    assert trainctl.ok("logs", "@").out == b"line\n" * 100
    assert len(list((trainctl.home / "scripted").iterdir())) == 1


def test_two_watch_one_run(trainctl, project):
    target = scenario(project, [RUNNING, lines(60), {"end": "succeeded"}])
    trainctl.ok("run", "-d", "--target", target, "--", "train")
    first, second = trainctl.start("attach", "@"), trainctl.start("attach", "@")
    for watcher in (first, second):
        out, _ = watcher.communicate(timeout=60)
        assert watcher.returncode == 0
        assert out == b"line\n" * 60


def test_a_broken_connection_is_not_the_end(trainctl, project):
    target = scenario(project, [RUNNING, lines(10), {"disconnect": True}, lines(10), {"disconnect": True}, lines(10),
                                {"end": "succeeded"}])
    assert trainctl.ok("run", "--target", target, "--", "train").out == b"line\n" * 30


def test_a_log_that_its_script_empties_keeps_both(trainctl, project):
    target = scenario(project, [RUNNING, {"log": "before\n"}, {"after": "200ms", "truncate": True},
                                {"after": "50ms", "log": "after\n"}, {"after": "50ms", "end": "succeeded"}])
    assert trainctl.ok("run", "--target", target, "--", "train").out == b"before\nafter\n"
    logs = trainctl.last_run() / "attempts" / "1" / "logs"
    assert (logs / "std.log").read_bytes() == b"before\n"
    assert (logs / "std.log.2").read_bytes() == b"after\n"
    assert trainctl.ok("logs", "@").out == trainctl.ok("attach", "@").out == b"before\nafter\n"
    assert trainctl.ok("logs", "@", "--tail", "1").out == b"after\n"
    shown = [json.loads(line) for line in trainctl.ok("logs", "--json", "@").text.splitlines()]
    assert [(line["epoch"], line["text"]) for line in shown if line["type"] == "log"] == [(1, "before\n"), (2, "after\n")]
    assert trainctl.json("logs", "@", "--verify")["size"] == len("after\n")


def test_lost_lines_are_told(trainctl, project):
    target = scenario(project, [RUNNING, {"log": "one\n"}, {"lose": 1}, {"log": "two\n"}, {"log": "three\n"}], "best_effort")
    assert trainctl.ok("run", "--target", target, "--", "train").out == b"one\nthree\n"
    kinds = [line["type"] for path in (trainctl.last_run() / "client").glob("*.jsonl") for line in jsonl(path)]
    assert kinds.count("gap") == 1


def test_cancel_from_another_terminal(trainctl, project):
    target = scenario(project, [RUNNING, {"log": "up\n"}, {"after": "1h", "end": "succeeded"}])
    watcher = trainctl.start("run", "--target", target, "--", "train")
    wait_until(lambda: trainctl.runs() and (trainctl.last_run() / "attempts/1/logs/std.log").stat().st_size, "it runs")
    trainctl.ok("cancel", "@")
    out, _ = watcher.communicate(timeout=60)
    assert (watcher.returncode, out) == (130, b"up\n")
    assert trainctl.json("show", "@")["cause"] == "canceled"
    trainctl.ok("rm", "@")
    assert list((trainctl.home / "scripted").iterdir()) == []  # nothing is left over there either


def test_a_closed_terminal_leaves_it_to_itself(trainctl, project):
    target = scenario(project, [RUNNING, lines(50), {"end": "succeeded"}])
    terminal = trainctl.pty("run", "--target", target, "--", "train")
    terminal.expect("line")
    terminal.hang_up()
    assert trainctl.ok("attach", "@").out == b"line\n" * 50


def test_mistakes_of_a_scenario_come_before_anything_starts(trainctl, project):
    project.write("bad.json", '{"steps": [\n  {"lgo": "x"},\n  {"state": "runing"}\n]}')
    project.write("r.run.json", {"command": ["train"], "target": "scripted:bad.json"})
    done = trainctl.run("submit", "r.run.json", code=2)
    assert 'did you mean "log"' in done.error and "bad.json:2:" in done.error and "bad.json:3:" in done.error
    assert trainctl.runs() == []
    missing = trainctl.run("run", "--target", "scripted:none.json", "--", "x", code=125)
    assert "none.json" in missing.error


def test_the_scenario_of_a_run_does_not_change_with_its_file(trainctl, project):
    target = scenario(project, [RUNNING, {"after": "100ms", "log": "old\n"}, {"end": "succeeded"}])
    trainctl.ok("run", "-d", "--target", target, "--", "train")
    scenario(project, [RUNNING, {"log": "new\n"}, {"end": "failed"}])
    assert trainctl.ok("attach", "@").out == b"old\n"


def test_an_unknown_target_names_what_there_is(trainctl):
    done = trainctl.run("run", "--target", "gpubox", "--", "true", code=125)
    assert 'there is no target "gpubox"' in done.error and "local" in done.error
    listed = trainctl.json("target", "ls")["items"]
    assert [one["type"] for one in listed] == ["local", "scripted", "slurm", "ssh"]
