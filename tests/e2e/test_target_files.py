# SPDX-License-Identifier: Apache-2.0
"""Targets with a name: their files, who may define what, and the defaults of the runs on them."""

from __future__ import annotations

import json

import pytest

SCENARIO = {"steps": [{"state": "running"}, {"log": "played\n"}, {"end": "succeeded"}]}


@pytest.fixture
def user_targets(trainctl):
    folder = trainctl.user_home / ".config" / "trainctl" / "targets"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def stage(trainctl, project):
    """A project with a scripted target of its own."""
    project.write("trainctl.json", "{}")
    project.write("targets/play.scenario", SCENARIO)
    project.write("targets/stage.json", """{ // relative paths count from this folder
      "type": "target", "kind": "scripted", "scenario": "play.scenario",
      "defaults": {"priority": 7, "tags": {"where": "stage"}}, }""")
    project.write("a.run.json", {"command": ["true"], "target": "stage", "tags": {"who": "file"}})
    return project


def test_a_name_leads_to_its_file_and_its_defaults(trainctl, stage):
    assert trainctl.ok("submit", "a.run.json").out == b"played\n"
    run = trainctl.json("show", "@")
    assert run["target"] == "stage" and run["tags"] == {"where": "stage", "who": "file"}
    origins = trainctl.ok("explain", "a.run.json", "--origin").text
    assert "target stage (" in origins and "targets/stage.json:3:" in origins
    assert [row["name"] for row in trainctl.json("ls")["items"] if row["target"] == "stage"] == [run["name"]]


def test_a_run_may_describe_its_target(trainctl, stage):
    stage.write("b.run.json", {"command": ["true"], "target": {"kind": "scripted", "scenario": "targets/play.scenario"}})
    assert trainctl.ok("submit", "b.run.json").out == b"played\n"
    assert trainctl.json("show", "@")["target"] == "scripted"
    assert trainctl.ok("ls").text.count("scripted") == 1


def test_words_of_sbatch_that_are_ours_are_refused_with_their_place(trainctl, project, user_targets):
    spec = project.write("a.run.json", """{
  "command": ["true"],
  "target": {"kind": "slurm", "slurm": {"options": ["--mail-type=END",
    "--output=/x", "-a1-3", "END"]}}
}""")
    refused = trainctl.run("validate", spec, code=2).error
    for words in ("error: --output is set by trainctl itself", "a.run.json:4:5", "trainctl logs RUN",
                  "error: -a1-3 is set by trainctl itself", "a.run.json:4:20",
                  'error: target.slurm.options[3]: "END" is no option of sbatch', "a.run.json:4:29", "3 errors"):
        assert words in refused, refused
    (user_targets / "cluster.json").write_text('{"type": "target", "kind": "slurm",\n "slurm": {"options": ["--wrap=ls"]}}')
    named = trainctl.run("validate", project.spec(command=["true"], target="cluster"), code=2).error
    assert "--wrap is set by trainctl itself" in named and "cluster.json:2:24" in named


def test_add_show_ls_rm(trainctl, project):
    done = trainctl.ok("target", "add", "here", "--set", "kind=local", "--set", "defaults.resources.cpus=1")
    assert "targets/here.json" in done.error
    written = json.loads((trainctl.user_home / ".config" / "trainctl" / "targets" / "here.json").read_text())
    assert written == {"type": "target", "kind": "local", "defaults": {"resources": {"cpus": 1}}}
    row = next(row for row in trainctl.json("target", "ls")["items"] if row["name"] == "here")
    assert (row["type"], row["from"]) == ("local", "user")
    assert trainctl.json("target", "show", "here")["file"] == row["file"]
    assert trainctl.ok("run", "--target", "here", "--", "echo", "hello").out == b"hello\n"
    again = trainctl.run("target", "add", "here", "--set", "kind=local", code=2)
    assert "already" in again.error and "--replace" in again.error
    trainctl.ok("target", "add", "here", "--set", "kind=local", "--replace")
    trainctl.ok("target", "rm", "here")
    assert "did you mean" not in trainctl.run("target", "rm", "here", code=4).error


@pytest.mark.parametrize("options, message", [
    (["two words", "box"], "cannot name a target"),
    (["local", "box"], "cannot name a target"),
    (["box"], '"host" is missing'),
    (["box", "me@box", "--set", "slrum.partition=x"], 'did you mean "slurm"'),
    (["box", "me@-oProxyCommand=x"], "cannot be a host"),
    (["box", "a", "b", "--launcher", "slurm"], "Slurm finds the nodes itself"),
    (["box", "a", "--directory", "runs"], "absolute path"),
])
def test_what_is_wrong_is_not_written(trainctl, project, options, message):
    assert message in trainctl.run("target", "add", *options, code=2).error
    assert not (trainctl.user_home / ".config" / "trainctl" / "targets").exists()


def test_a_typo_of_a_name_is_told(trainctl, stage):
    failed = trainctl.run("run", "--target", "stgae", "--", "true")
    assert failed.code != 0 and 'did you mean "stage"' in failed.error


def test_validate_knows_the_kind(trainctl, stage):
    stage.write("targets/wrong.json", """{"type": "target", "hots": "x",
      "slurm": {"partiton": "gpu"}}""")
    failed = trainctl.run("validate", "targets/wrong.json", "targets/stage.json", code=2)
    assert 'unknown field "hots", did you mean "host' in failed.error and "targets/wrong.json:1:20" in failed.error
    assert 'did you mean "partition"?' in failed.error and "targets/wrong.json:2:17" in failed.error
    assert "stage.json" in failed.text
    failed = trainctl.run("submit", "targets/stage.json", code=2)
    assert "this file is a target, not a run configuration" in failed.error


def test_a_cloned_project_needs_trust(trainctl, stage, user_targets):
    stage.write("targets/box.json", {"host": "box", "ssh_config": "config"})
    failed = trainctl.run("validate", "targets/box.json", code=5)
    assert "needs your trust" in failed.error and "targets/box.json:" in failed.error
    trainctl.ok("trust", "targets/box.json")
    trainctl.ok("validate", "targets/box.json")
    stage.write("targets/box.json", {"host": "box", "ssh_config": "other"})
    trainctl.run("validate", "targets/box.json", code=5)
    # Nor may it quietly take the place of a target of the user's.
    (user_targets / "stage.json").write_text('{"kind": "local"}')
    failed = trainctl.run("submit", "a.run.json", code=5)
    assert "hides your own target" in failed.error
    rows = [row for row in trainctl.json("target", "ls")["items"] if row["name"] == "stage"]
    assert [row.get("hidden", False) for row in rows] == [False, True]
    trainctl.ok("trust", "targets/stage.json")
    assert trainctl.ok("submit", "a.run.json").out == b"played\n"
