# SPDX-License-Identifier: Apache-2.0
"""Every kind of mistake in a file: under --json it has a field and a position."""

from __future__ import annotations

import pytest

PARTS = {
    "unknown field": ('{"script": "a.py", "enviroment": {}}', "enviroment", 2),
    "unknown field below": ('{"script": "a.py", "limits": {"time_out": "2h"}}', "limits.time_out", 2),
    "wrong type": ('{"script": "a.py", "limits": {"timeout": []}}', "limits.timeout", 2),
    "not one of the words": ('{"script": "a.py", "logs": {"via": "telnet"}}', "logs.via", 2),
    "out of range": ('{"script": "a.py", "priority": 100000}', "priority", 2),
    "missing field": ('{"script": "a.py", "inputs": {"data": {"mode": "link"}}}', "inputs.data.source", 2),
    "said twice": ('{"script": "a.py", "entry_script": "a.py"}', "script", 2),
    "in a list": ('{"script": "a.py", "secrets": ["A", 3]}', "secrets[1]", 2),
    "bad name": ('{"script": "a.py", "inputs": {"1x": "a.py"}}', "inputs", 2),
    "contradiction": ('{"script": "a.py", "module": "pkg"}', "module", 2),
    "missing script": ('{"script": "b.py"}', "script", 2),
    "bad pattern": ('{"script": "a.py", "metrics": {"patterns": ["loss {loss}", "(?P<x>["]}}', "metrics.patterns[1]", 2),
    "pattern without a place": ('{"script": "a.py", "metrics": {"patterns": ["loss"]}}', "metrics.patterns[0]", 2),
    "bad reference": ('{"script": "a.py", "arguments": ["${{inputs.nothing}}"]}', "arguments[0]", 2),
    "profile": ('{"script": "a.py", "profiles": {"smoke": {"limits": {"idle": 3}}}}', "profiles.smoke.limits.idle", 2),
    "type": ('{"type": "pipeline", "steps": {}}', "type", 2),
}


@pytest.mark.parametrize("name", PARTS)
def test_field_and_position(trainctl, project, name):
    text, field, code = PARTS[name]
    project.write("a.py", "print(1)\n")
    project.write("a.run.json", text)
    error = trainctl.run("--json", "validate", "a.run.json", code=code).json["error"]
    assert error["field"] == field, error
    assert error["position"]["file"] == "a.run.json" and error["position"]["line"] == 1 and error["position"]["column"] > 1, error
    assert error["message"], error


def test_a_pattern_is_reported_with_all_other_mistakes(trainctl, project):
    project.write("a.py", "print(1)\n")
    project.write("a.run.json", '{\n  "script": "a.py",\n  "priorty": 3,\n  "metrics": {\n    "patterns": [\n      "(?P<loss>[0-9]+"\n    ]\n  }\n}\n')
    done = trainctl.run("validate", "a.run.json", code=2)
    assert 'unknown field "priorty"' in done.error and "a.run.json:6:7" in done.error and "2 errors" in done.error, done
    assert 'priorty: unknown field' not in done.error, done
    assert "metrics.patterns[0]" in done.error, done
    refused = trainctl.run("submit", "a.run.json", code=2)
    assert "a.run.json:6:7" in refused.error, refused


def test_flags_name_their_field(trainctl, project):
    project.write("a.py", "print(1)\n")
    error = trainctl.run("--json", "run", "--set", "limits.timeot=2h", "a.py", code=2).json["error"]
    assert error["field"] == "limits.timeot" and "--set limits.timeot=2h" in error["message"], error
    error = trainctl.run("--json", "run", "-p", "lr", "a.py", code=2).json["error"]
    assert error["field"] == "parameters", error


def test_trust_is_for_one_content(trainctl, project):
    project.write("a.py", "import os\nprint(os.environ['TOKEN'])\n")
    settings = '{"secrets": [{"name": "TOKEN", "command": ["printf", "from-a-command"]}]}\n'
    project.write("trainctl.json", settings)
    refused = trainctl.run("run", "a.py", code=5)
    assert "needs your trust" in refused.error and "trainctl trust" in refused.error and "trainctl.json:1:43" in refused.error, refused
    assert trainctl.json("trust", "--list")["items"] == []
    trainctl.ok("trust")
    assert [item["trusted"] for item in trainctl.json("trust", "--list")["items"]] == [True]
    trainctl.ok("run", "a.py")
    project.write("trainctl.json", settings + "\n")
    assert "needs your trust" in trainctl.run("run", "a.py", code=5).error
    assert "it has changed" in trainctl.ok("trust", "--list").text
    trainctl.ok("trust", ".")
    trainctl.ok("run", "a.py")
    trainctl.ok("trust", "--revoke")
    assert "needs your trust" in trainctl.run("run", "a.py", code=5).error
    assert "is not trusted" in trainctl.run("trust", "--revoke", code=4).error
    assert "there is no trainctl.json" in trainctl.run("trust", "..", code=4).error


def test_doubtful_json_does_not_hide_the_other_mistakes(trainctl, project):
    project.write("a.py", "print(1)\n")
    project.write("a.run.json", '{\n  "script": "a.py",\n  "script": "b.py",\n  "priority": 1e999,\n  "limits": {"idel": "5m"},\n  "keep": ["!x"]\n}\n')
    done = trainctl.run("validate", "a.run.json", code=2)
    assert 'duplicate key "script"' in done.error and "out of range" in done.error and 'did you mean "idle"' in done.error, done
    assert "keep[0]" in done.error and "4 errors" in done.error, done


def test_a_pattern_is_complained_about_once(trainctl, project):
    project.write("a.py", "print(1)\n")
    project.write("a.run.json", '{"script": "a.py", "metrics": {"patterns": ["loss ("]}}')
    assert "1 error," in trainctl.run("validate", "a.run.json", code=2).error


def test_files_that_are_no_configurations(trainctl, project):
    project.write("a.py", "print(1)\n")
    for command in ("validate", "explain", "submit"):
        done = trainctl.run(command, "a.py", code=2)
        assert "a.py is a Python script" in done.error and "trainctl run a.py" in done.error, done
    (project / "loop.json").symlink_to("loop.json")
    done = trainctl.run("validate", "loop.json")
    assert done.code != 70 and "loop.json" in done.error, done
    piped = trainctl.run("validate", "/dev/stdin", input=b'{"script": "a.py"}')
    assert piped.code == 0, piped


def test_validate_knows_the_targets(trainctl, project):
    project.write("a.py", "print(1)\n")
    project.write("a.run.json", '{"script": "a.py", "target": "nowhere"}')
    error = trainctl.run("--json", "validate", "a.run.json", code=4).json["error"]
    assert error["field"] == "target" and error["position"]["column"] == 30, error


def test_a_conda_file_without_dependencies_is_refused(trainctl, project):
    project.write("a.py", "print(1)\n")
    project.write("env.yml", "name: x\n")
    project.write("a.run.json", '{"script": "a.py", "environment": {"python": {"conda_file": "env.yml"}}}')
    assert "lists no dependencies" in trainctl.run("explain", "a.run.json").error


def test_one_wrong_flag_is_one_error(trainctl, project):
    project.write("a.py", "print(1)\n")
    for flag in ("limits.timeout=5", "resources.cpus=abc"):
        done = trainctl.run("run", "--set", flag, "a.py", code=2)
        assert done.error.count("error:") == 1, done
