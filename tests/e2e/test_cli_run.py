# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""Starting runs: what is started, what is printed where, and with which exit code trainctl ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from itertools import accumulate

import pytest

GATE = "while [ ! -e go ]; do sleep 0.02; done"


@pytest.mark.parametrize("command,code", [
    (["true"], 0),
    (["sh", "-c", "exit 7"], 7),
    (["sh", "-c", "exit 255"], 255),
    (["no-such-program"], 127),
    (["./plain"], 126),
    (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
    (["sh", "-c", "kill -SEGV $$"], 128 + signal.SIGSEGV),
])
def test_the_exit_code_of_a_command_is_passed_through(trainctl, project, command, code):
    project.write("plain", "not a program\n", mode=0o644)
    done = trainctl.run("run", "--", *command, code=code)
    assert done.out == b""
    assert trainctl.json("show", "@")["state"] == ("succeeded" if code == 0 else "failed")


def test_a_command_keeps_its_arguments(trainctl):
    done = trainctl.ok("run", "--", "printf", "%s|", "--help", "-p", "a b", "", "$HOME", "--", "*")
    assert done.out == b"--help|-p|a b||$HOME|--|*|"


def test_stdout_is_the_scripts_and_stderr_is_ours(trainctl):
    done = trainctl.ok("run", "--", "sh", "-c", "echo out; echo err >&2")
    assert done.out == b"out\nerr\n"  # one stream, in the order it was written
    assert re.match(r"sh-1  local.*\n✓ sh-1 succeeded in ", done.error)


def test_a_script_with_its_own_arguments(trainctl, project):
    project.script("import sys\nprint(sys.argv[1:])")
    assert trainctl.ok("run", "train.py", "--lr", "0.1", "-n", "x y", "--json").text == "['--lr', '0.1', '-n', 'x y', '--json']\n"
    run = trainctl.json("show", "@")
    assert run["name"] == "train-1" and run["parameters"]["lr"] == 0.1


def test_a_failing_script(trainctl, project):
    project.script("import no_such_module_at_all")
    done = trainctl.run("run", "train.py", code=1)
    assert "✗ train-1 failed after" in done.error
    assert "ModuleNotFoundError: No module named 'no_such_module_at_all'" in done.error.splitlines()[-2]


def test_parameters_of_a_file_and_of_the_command_line(trainctl, project):
    project.script("import sys\nprint(sys.argv[1:])")
    project.write("a.run.json", {"name": "digits", "script": "train.py",
                                 "parameters": {"lr": 0.1, "amp": True, "off": False, "none": None, "layers": [1, 2]}})
    assert trainctl.ok("submit", "a.run.json").text == "['--lr', '0.1', '--amp', '--layers', '1', '2']\n"
    done = trainctl.ok("submit", "a.run.json", "-p", "lr=0.5", "-p", "new=text", "--set", "name=other", "--tag", "team=vision")
    assert "'--lr', '0.5'" in done.text and "'--new', 'text'" in done.text
    run = trainctl.json("show", "@")
    assert run["name"] == "other-1" and run["tags"] == {"team": "vision"} and run["parameters"]["lr"] == 0.5


def test_all_mistakes_of_a_file_are_said_at_once_and_nothing_starts(trainctl, project):
    project.script("print(1)")
    project.write("bad.run.json", '{\n  "script": "train.py",\n  "enviroment": {},\n  "limits": { "timeout": "2 fortnights" },\n'
                                  '  "resources": { "cpus": "two" },\n  "retry": { "maxx": 1 }\n}\n')
    done = trainctl.run("submit", "bad.run.json", code=2)
    assert done.out == b"" and trainctl.runs() == []
    assert 'unknown field "enviroment", did you mean "environment"?' in done.error
    for place in ("bad.run.json:3:3", "bad.run.json:4:26", "bad.run.json:5:26", "bad.run.json:6:14"):
        assert place in done.error, done
    assert 'did you mean "max"?' in done.error
    checked = trainctl.run("validate", "bad.run.json", code=2).error
    assert checked.count("--> bad.run.json:") == 4 and "4 errors, nothing was started" in checked
    shown = trainctl.run("submit", "--json", "bad.run.json", code=2)
    error = json.loads(shown.out.splitlines()[-1])["error"]
    assert error["code"] == "invalid" and error["position"]["file"] == "bad.run.json"


@pytest.mark.parametrize("text,words", [
    ('{"script": "train.py", "script": "b.py"}', "bad.run.json:1:"),
    ('{"script": "train.py", "resources": {"cpus": 1e999}}', "bad.run.json:1:"),
    ('{"script": "train.py", "parameters": {"x": NaN}}', "bad.run.json:1:"),
    ('{"script": "\\ud800"}', "bad.run.json:1:"),
    ("[" * 100, "bad.run.json:1:"),
    ("", "bad.run.json"),
])
def test_hostile_json_is_refused_with_a_position(trainctl, project, text, words):
    project.script("print(1)")
    project.write("bad.run.json", text)
    assert words in trainctl.run("submit", "bad.run.json", code=2).error


def test_invalid_utf8_is_refused(trainctl, project):
    project.write("bad.run.json", b'{"script": "tr\xffain.py"}')
    assert "UTF-8" in trainctl.run("submit", "bad.run.json", code=2).error


def test_missing_file_and_usage(trainctl):
    assert "none.run.json" in trainctl.run("submit", "none.run.json", code=4).error
    trainctl.run("run", code=2)
    trainctl.run("submit", "--no-such-option", "x.json", code=2)
    assert "did you mean" in trainctl.run("submti", code=2).error


def test_detach_prints_the_name_and_goes_on(trainctl, project):
    done = trainctl.ok("run", "--detach", "--", "sh", "-c", GATE + "; echo late")
    assert done.out == b"sh-1\n"
    assert trainctl.json("show", "sh-1")["state"] in ("created", "preparing", "running")
    project.write("go", "")
    trainctl.ok("wait", "sh-1")
    assert trainctl.ok("logs", "sh-1").out == b"late\n"


def test_detach_with_json_prints_the_run(trainctl):
    run = trainctl.ok("run", "--detach", "--json", "--", "true").json
    assert run["name"] == "true-1" and len(run["id"]) == 26
    trainctl.ok("wait", run["id"])


def test_json_streams_one_event_a_line_and_closes_with_the_run(trainctl):
    done = trainctl.run("run", "--json", "--", "sh", "-c", r"printf 'caf\303\251\n\377\376'; exit 3", code=3)
    events = done.events
    assert events[0]["type"] == "created" and events[0]["name"] == "sh-1"
    assert {"log", "state"} < {event["type"] for event in events}
    assert events[-1]["type"] == "run" and events[-1]["state"] == "failed" and events[-1]["exit_code"] == 3
    assert all(event["id"] == events[0]["id"] for event in events if "id" in event)
    logs = [event for event in events if event["type"] == "log"]
    assert {"stream", "attempt", "epoch", "offset"} < logs[0].keys()
    assert all(("text" in event) != ("base64" in event) for event in logs)


@pytest.mark.parametrize("json_mode", [False, True], ids=["screen", "json"])
def test_the_building_of_the_environment_is_shown_as_it_goes(trainctl, project, json_mode):
    project.script("print('trained')")
    project.spec(environment={"setup": ["echo building $((40 + 2))", f"while [ ! -e {project / 'go'} ]; do sleep 0.02; done", "echo built"]})
    submit = trainctl.start("submit", "a.run.json", *(["--json"] if json_mode else []), bufsize=0)
    shown = b""
    while b"building 42" not in shown:  # before it is built; it ends when the stream ends
        line = (submit.stdout if json_mode else submit.stderr).readline()
        assert line, shown
        shown += line
    assert b"trained" not in shown
    project.write("go", "")
    out, _ = submit.communicate(timeout=60)
    assert submit.returncode == 0
    if not json_mode:
        assert out == b"trained\n", "on stderr it stays apart from what the script says"
        return
    events = [json.loads(line) for line in (shown + out).splitlines()]
    built = [event for event in events if event["type"] == "log" and event["stream"] == "environment.log"]
    text = "".join(event["text"] for event in built)
    assert text == trainctl.ok("logs", "@", "--environment").text and "built" in text
    assert [event["offset"] for event in built] == [0, *accumulate(len(event["text"].encode()) for event in built)][:-1]
    assert "".join(event["text"] for event in events if event["type"] == "log" and event["stream"] == "std.log") == "trained\n"


def test_names_in_every_form(trainctl):
    ids = [trainctl.ok("run", "--detach", "--json", "--name", name, "--", "true").json["id"]
           for name in ("digits", "digits", "other")]
    trainctl.ok("wait", *ids)

    def found(text: str) -> str:
        return trainctl.json("show", text)["id"]

    assert [found("@"), found("@1"), found("@2"), found("@3")] == [ids[2], ids[2], ids[1], ids[0]]
    assert [found("digits-1"), found("digits-2"), found("digits")] == [ids[0], ids[1], ids[1]]
    assert [found(ids[0]), found(ids[0].upper()), found(ids[1][-6:])] == [ids[0], ids[0], ids[1]]
    length = next(n for n in range(1, 27) if len({one[:n] for one in ids}) == 3)
    assert found(ids[0][:length]) == ids[0]


def test_unknown_and_ambiguous_names(trainctl):
    assert "no runs yet" in trainctl.run("show", "@", code=4).error
    ids = [trainctl.ok("run", "--detach", "--json", "--name", "digits", "--", "true").json["id"] for _ in range(2)]
    trainctl.ok("wait", *ids)
    done = trainctl.run("show", "digist", code=4)
    assert "did you mean" in done.error and "digits" in done.error
    for command in ("show", "logs", "attach", "cancel", "rm", "wait", "outputs", "metrics"):
        trainctl.run(command, "nothing-77", code=4)
    trainctl.run("show", "@9", code=4)
    common = next(ids[0][:n] for n in range(25, 0, -1) if ids[0][:n] == ids[1][:n])
    done = trainctl.run("show", common, code=2)
    assert "digits-1" in done.error and "digits-2" in done.error
    error = trainctl.run("show", "--json", "digist", code=4).json["error"]
    assert error["code"] == "not_found"


def test_retries_are_attempts(trainctl, project):
    project.script("import os, sys\nn = len(os.listdir(os.environ['COUNT']))\nopen(os.environ['COUNT'] + f'/{n}', 'w')\n"
                   "print('try', n)\nsys.exit(0 if n == 2 else 9)")
    count = project.path.parent / "count"
    count.mkdir()
    project.spec(environment_variables={"COUNT": str(count)}, retry={"max": 3, "on": ["exit:9"], "backoff": "0s"})
    assert trainctl.ok("submit", "a.run.json").out == b"try 0\ntry 1\ntry 2\n"
    run = trainctl.json("show", "@")
    assert run["attempts"] == 3 and run["state"] == "succeeded"
    assert "3: failed (exit 9), failed (exit 9), succeeded" in trainctl.ok("show", "@").text
    assert trainctl.ok("logs", "@").out == b"try 2\n"
    assert trainctl.ok("logs", "@", "--attempt", "1").out == b"try 0\n"
    trainctl.run("logs", "@", "--attempt", "4", code=4)


def test_time_limit(trainctl, project):
    project.spec(command=["sh", "-c", "echo begun; exec sleep 600"], limits={"timeout": "1s"}, stop={"grace": "1s"})
    done = trainctl.run("submit", "a.run.json", code=124)
    assert done.out.startswith(b"begun\n") and "timed out" in done.error
    assert trainctl.json("show", "@")["cause"] == "time_limit"


def test_memory_limit(trainctl, project):
    project.script("import time\nhold = bytearray(b'x') * (400 << 20)\ntime.sleep(600)")
    project.spec(resources={"memory": "128MiB"}, stop={"grace": "1s"})
    trainctl.run("submit", "a.run.json", code=1)
    assert trainctl.json("show", "@")["cause"] in ("memory_limit", "oom_kernel")


def test_secrets_are_nowhere(trainctl, project):
    canary = "canary-7f3a91-value"
    project.script("import os, sys, pathlib\nvalue = os.environ['HF_TOKEN']\nprint(len(value), flush=True)\n"
                   "import time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)")
    go = project.path.parent / "go"
    project.spec(secrets=["HF_TOKEN"], arguments=[str(go)])
    process = trainctl.start("submit", "a.run.json", env={"HF_TOKEN": canary})
    run = trainctl.last_run()
    trainctl.wait_log(run, b"19\n")
    assert not any(canary in command for command in trainctl.owned().values())
    go.write_text("")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and canary.encode() not in out + err
    hits = [path for path in trainctl.root.rglob("*") if path.is_file() and canary.encode() in path.read_bytes()]
    assert hits == []


def test_a_missing_secret_is_said_before_the_start(trainctl, project):
    project.script("print(1)")
    project.spec(secrets=["NOT_SET_ANYWHERE"])
    done = trainctl.run("submit", "a.run.json")
    assert done.code in (2, 3, 4) and "NOT_SET_ANYWHERE" in done.error and done.out == b""


def test_explain_and_dry_run_start_nothing(trainctl, project):
    project.script("print(1)")
    project.spec(parameters={"lr": 0.1})
    shown = trainctl.ok("explain", "a.run.json")
    assert "train.py" in shown.text and "lr" in shown.text
    assert trainctl.json("explain", "a.run.json")
    assert trainctl.ok("explain", "--format", "sh", "a.run.json").text.startswith("#!/usr/bin/env bash\n")
    trainctl.ok("submit", "--dry-run", "a.run.json")
    assert trainctl.runs() == []


def test_a_hundred_at_once_get_names_of_their_own(trainctl):
    many_at_once(trainctl, 100)


def many_at_once(trainctl, count: int) -> None:
    processes = [trainctl.start("run", "--detach", "--name", "many", "--", "true") for _ in range(count)]
    names = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        names.append(out.decode().strip())
    assert sorted(names, key=lambda name: int(name[5:])) == [f"many-{n}" for n in range(1, count + 1)]
    trainctl.ok("wait", *names, timeout=300)
    items = trainctl.json("ls", "--limit", str(count + 10))["items"]
    assert len(items) == count and {item["state"] for item in items} == {"succeeded"}


@pytest.mark.network
def test_packages_that_do_not_exist(trainctl, project):
    project.script("print(1)")
    project.spec(environment={"python": {"packages": ["six==0.0.99"]}})
    done = trainctl.run("submit", "a.run.json", code=3, timeout=180)
    summary = next(line for line in done.error.splitlines() if line.startswith("✗"))
    assert "six==0.0.99" in summary
    assert trainctl.json("show", "@")["cause"] == "environment"
    assert trainctl.ok("logs", "--environment", "@").out



def test_an_option_behind_the_script_is_the_scripts_and_is_said(trainctl, project):
    project.script("import sys\nprint(sys.argv[1:])\n")
    done = trainctl.ok("run", "train.py", "--detach")
    assert done.out == b"['--detach']\n" and "trainctl run --detach train.py" in done.error, done
    assert "goes to the script" not in trainctl.ok("run", "train.py", "--lr", "1").error


def test_a_missing_argument_shows_the_usage(trainctl):
    assert "usage: trainctl cancel [OPTIONS] run…" in trainctl.run("cancel", code=2).error
    assert "usage: trainctl env show" in trainctl.run("env", "show", code=2).error


@pytest.mark.parametrize(("words", "message"), [
    (("logs", "@", "--tail", "x"), '--tail: "x" is not a whole number'),
    (("ls", "--limit", "1.5"), '--limit: "1.5" is not a whole number'),
    (("exec", "--rank", "99999999999", "@", "--", "true"), "--rank: 99999999999 is too large"),
    (("shell", "--rank", "-1"), "--rank: must not be negative: -1"),
])
def test_what_is_wrong_with_a_number(trainctl, words, message):
    assert f"error: {message}" in trainctl.run(*words, code=2).error


def test_the_usage_says_where_the_command_stands(trainctl):
    assert "Usage: trainctl exec [OPTIONS] [RUN] -- COMMAND [ARGUMENT…]" in trainctl.ok("exec", "--help").text
    assert "Usage: trainctl run [OPTIONS] SCRIPT|FILE|-- COMMAND [ARGUMENT…]" in trainctl.ok("run", "--help").text


def test_following_a_log_goes_on_into_the_next_attempt(trainctl, project):
    project.script("import os, sys, time\nn = int(os.environ['TRAINCTL_ATTEMPT'])\nprint('try', n, flush=True)\n"
                   "while not os.path.exists(os.environ['GO']): time.sleep(0.02)\nsys.exit(0 if n == 2 else 9)")
    project.spec(environment_variables={"GO": str(project / "go")}, retry={"max": 1, "on": ["exit:9"], "backoff": "0s"})
    trainctl.ok("submit", "--detach", "a.run.json")
    trainctl.wait_log(trainctl.last_run(), "try 1")
    follower = trainctl.start("logs", "-f", "@")
    assert follower.stdout.readline() == b"try 1\n"
    project.write("go", "")
    assert follower.communicate(timeout=60)[0] == b"try 2\n"


def test_closed_standard_descriptors_are_no_files_of_ours(trainctl, project):
    project.script("print('fine')")
    binary, env = str(trainctl.binary), trainctl.environment()
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(["sh", "-c", f'"$0" run train.py {closed}', binary], env=env, cwd=project.path,
                              capture_output=True, timeout=120)
        assert done.returncode == 0, (closed, done)
        assert trainctl.log(trainctl.last_run()) == b"fine\n", closed


def test_options_that_cannot_be_told_are_recorded_as_arguments(trainctl, project):
    project.script("import sys\nprint(sys.argv[1:])")
    def parameters(*words):
        assert trainctl.ok("run", "train.py", *words).text.strip() == str(list(words))
        return trainctl.json("show", "@")["parameters"]
    assert parameters("--n", "7", "--lr", "0.1", "--lr", "0.2") == {"n": 7}
    assert parameters("--layers", "64", "32", "--lr", "0.1") == {"layers": [64, 32], "lr": 0.1}
    assert parameters("--names", "a", "b", "--lr", "0.1") == {}
    assert parameters("--epochs", "3", "data.csv") == {"epochs": 3}


def test_a_secret_file_is_not_in_the_snapshot(trainctl, project):
    project.script("import os\nprint(len(os.environ['TOKEN']), sorted(os.listdir('.')))")
    project.write("token.txt", "never-to-be-stored\n")
    project.spec(secrets=[{"name": "TOKEN", "file": "token.txt"}])
    done = trainctl.ok("submit", "a.run.json")
    assert done.text == "18 ['a.run.json', 'outputs', 'train.py']\n"
    assert "left out: token.txt (it holds a secret)" in done.error
    assert subprocess.run(["grep", "-rl", "never-to-be-stored", trainctl.home], capture_output=True, text=True).stdout == ""


def test_what_a_python_is_gets_asked_once(trainctl, project):
    project.script("print(1)")
    trainctl.ok("run", "train.py")
    known = trainctl.home / "environments" / "interpreters.json"
    cache = json.loads(known.read_text())
    (entry,) = cache.values()
    entry["version"] = "3.99.1"
    known.write_text(json.dumps(cache))
    assert "python 3.99.1" in trainctl.ok("run", "train.py").error


def test_the_script_of_explain_takes_links_and_odd_names(trainctl, project):
    project.script("import os\nprint(sorted(os.listdir('.')), open('link').read(), sep='\\n')")
    project.write("END_OF_FILES", "x")
    project.write("a\ntouch INJECTED\n", "y")
    project.write("-n", "z")
    (project / "link").symlink_to("END_OF_FILES")
    project.spec()
    assert "link -> END_OF_FILES" in trainctl.ok("explain", "a.run.json").text
    script = trainctl.ok("explain", "--format", "sh", "a.run.json").out
    done = subprocess.run(["bash", "-s"], input=script, cwd=project.path, env=trainctl.environment(), capture_output=True, text=False, timeout=120)
    assert done.returncode == 0, done
    names, content = done.stdout.decode().splitlines()[-2:]
    assert names == str(sorted(["-n", "END_OF_FILES", "a\ntouch INJECTED\n", "a.run.json", "link", "outputs", "train.py"])), done
    assert content == "x" and not (project / "INJECTED").exists()


def test_files_that_cannot_be_run_are_refused_at_once(trainctl, project):
    project.write("c.yaml", "a: 1\n", mode=0o644)
    project.write("s.sh", "echo hi\n", mode=0o644)
    assert "neither a Python script" in trainctl.run("run", "c.yaml", code=2).error
    assert "trainctl run -- bash s.sh x" in trainctl.run("run", "s.sh", "x", code=2).error
    assert trainctl.runs() == []


def test_a_stopped_waiter_does_not_keep_a_canceled_run(trainctl, project):
    project.spec(command=["sh", "-c", "echo begun; trap '' INT TERM; while :; do sleep 0.05; done"], stop={"grace": "1s"})
    trainctl.ok("submit", "--detach", "a.run.json")
    run = trainctl.last_run()
    trainctl.wait_log(run, "begun")
    os.kill(trainctl.waiter(run), signal.SIGSTOP)
    trainctl.ok("cancel", "@")
    assert trainctl.json("show", "@")["state"] == "canceled"


def test_a_reader_that_leaves_is_told_that_the_run_goes_on(trainctl, project):
    project.script("import time\nfor n in range(100000):\n    print('line', n, flush=True)\n    time.sleep(0.001)")
    process = trainctl.start("run", "train.py")
    assert process.stdout.readline() == b"line 0\n"
    process.stdout.close()
    assert "goes on" in process.stderr.read().decode()
    trainctl.ok("cancel", "@")


def test_a_command_runs_where_there_is_no_python(trainctl, project, scratch):
    """A program is started as it is; only what is a Python program needs one."""
    bare = scratch / "bare"
    bare.mkdir()
    for name in ("sh", "bash", "cat", "env"):
        (bare / name).symlink_to(shutil.which(name))
    project.write("run.json", '{"name": "plain", "command": ["sh", "-c", "echo no snakes"]}')
    project.write("python.json", '{"name": "snake", "script": "train.py"}')
    project.write("train.py", "print(1)")
    env = {"PATH": str(bare)}
    assert trainctl.ok("submit", "run.json", env=env).out == b"no snakes\n"
    refused = trainctl.run("submit", "python.json", env=env)
    assert refused.code == 3 and "python3" in refused.error
