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
