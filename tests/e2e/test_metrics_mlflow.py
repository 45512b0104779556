# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 900
"""The MLflow endpoint of a run: spoken to by hand, and by the real client (marked frameworks: needs a package registry)."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from harness import jsonl, wait_until

CLIENT = """
import http.client, json, os, sys, time, urllib.parse
uri = urllib.parse.urlsplit(os.environ["MLFLOW_TRACKING_URI"])
RUN = os.environ["MLFLOW_RUN_ID"]
connection = http.client.HTTPConnection(uri.hostname, uri.port)
def call(method, path, body=None, token=os.environ["MLFLOW_TRACKING_TOKEN"], raw=None, base="/api/2.0/mlflow/"):
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    connection.request(method, base + path, data, {"Authorization": "Bearer " + token})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, json.loads(text) if text[:1] in b"{[" else text
def metric(key, value, step=0, run=RUN):
    assert call("POST", "runs/log-metric", {"run_id": run, "run_uuid": run, "key": key, "value": value,
                "timestamp": int(time.time() * 1000), "step": step})[0] == 200
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts/1/%s/artifacts/" % RUN
"""


def lines(run: Path, kind: str | None = None, attempt: int = 1) -> list[dict]:
    found = jsonl(run / "attempts" / str(attempt) / "metrics" / "mlflow-r0.jsonl")
    return [line for line in found if line.get("type") == kind]


@pytest.fixture
def script(project):
    project.write("client.py", CLIENT)
    return lambda body: project.script("from client import *\n" + body)


def test_a_run_that_does_not_use_it_has_no_process_and_no_file(trainctl):
    done = trainctl.ok("run", "--", "sh", "-c", "echo $MLFLOW_TRACKING_URI; ps -eo comm | grep -c trainctl-mlflow; true")
    assert done.text.startswith("http://127.0.0.1:")
    assert not (trainctl.last_run() / "attempts/1/metrics/mlflow-r0.jsonl").exists()


def test_metrics_parameters_and_tags(trainctl, script):
    script("for step in range(3): metric('loss', 1 / (step + 1), step)\n"
           "metric('odd', 'NaN', 7)\n"
           "call('POST', 'runs/log-batch', {'run_id': RUN, 'metrics': [{'key': 'acc', 'value': 0.5, 'timestamp': 1000, 'step': s}"
           " for s in range(1000)], 'params': [{'key': 'lr', 'value': '0.1'}], 'tags': [{'key': 'team', 'value': 'vision'}]})\n"
           "run = call('GET', 'runs/get?run_id=' + RUN)[1]['run']\n"
           "print(run['info']['status'], run['data']['params'], len(call('GET', 'metrics/get-history?metric_key=acc&run_id=' + RUN)"
           "[1]['metrics']))\n")
    done = trainctl.ok("run", "train.py")
    assert "RUNNING [{'key': 'lr', 'value': '0.1'}] 1000" in done.text
    run = trainctl.last_run()
    points = lines(run)
    assert [(p["name"], p["step"]) for p in points[:4]] == [("loss", 0), ("loss", 1), ("loss", 2), ("odd", 7)]
    assert points[3]["value"] == "NaN" and len(points) == 1004
    assert lines(run, "param")[0]["value"] == "0.1" and lines(run, "tag")[0]["name"] == "team"
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == pytest.approx(1 / 3)


def test_the_token_is_needed_and_garbage_is_refused(trainctl, script):
    script("import socket\n"
           "print(call('GET', 'runs/get?run_id=' + RUN, token='wrong')[0])\n"
           "def raw(data):\n"
           "    s = socket.create_connection((uri.hostname, uri.port)); s.sendall(data); s.shutdown(socket.SHUT_WR)\n"
           "    return s.makefile('rb').read()[:12]\n"
           "print(raw(b'\\x00\\xff garbage\\r\\n\\r\\n'), raw(b'GET / HTTP/9.9\\r\\n\\r\\n'))\n"
           "connection.close()\n"
           "print(call('POST', 'runs/log-metric', raw=b'[1, 2')[0], call('POST', 'runs/log-batch', raw=b' ' * (1 << 20) + b'{}')[0])\n"
           "connection.close()\n"
           "metric('still', 1.0)\n")
    done = trainctl.ok("run", "train.py")
    assert done.text.splitlines()[0] == "401" and "b'HTTP/1.1 400' b'HTTP/1.1 505'" in done.text and "400 413" in done.text
    assert [p["name"] for p in lines(trainctl.last_run())] == ["still"]


def test_artifacts_go_to_the_outputs(trainctl, script):
    script("data = b'\\0' + os.urandom(99_999_999)\n"
           "print(call('PUT', 'big/a%20b.bin', raw=data, base=ARTIFACTS)[0], call('PUT', '../../x', raw=b'x', base=ARTIFACTS)[0])\n"
           "connection.close()\n"
           "print(call('GET', 'big/a%20b.bin', base=ARTIFACTS)[1] == data)\n"
           "print(call('GET', 'artifacts/list?run_id=%s&path=big' % RUN)[1]['files'])\n")
    done = trainctl.ok("run", "train.py")
    assert done.text.splitlines() == ["200 400", "True", "[{'path': 'big/a b.bin', 'is_dir': False, 'file_size': 100000000}]"]
    run = trainctl.last_run()
    assert (run / "outputs/big/a b.bin").stat().st_size == 100_000_000
    assert lines(run, "file")[0]["name"] == "big/a b.bin"


def test_links_lead_no_artifact_out_of_the_outputs(trainctl, project, script):
    project.write("elsewhere/secret.txt", "secret")
    script("import pathlib\noutputs = pathlib.Path(os.environ['TRAINCTL_OUTPUTS'])\n"
           "(outputs / 'in.txt').write_text('fine'); (outputs / 'inside').symlink_to('in.txt')\n"
           "(outputs / 'out').symlink_to(sys.argv[1]); (outputs / 'file').symlink_to(sys.argv[1] + '/secret.txt')\n"
           "print(call('GET', 'inside', base=ARTIFACTS))\n"
           "for way, name in (('GET', 'out/secret.txt'), ('GET', 'file'), ('DELETE', 'out/secret.txt')):\n"
           "    print(way, name, call(way, name, base=ARTIFACTS)[0])\n"
           "connection.close()\n"
           "print(call('PUT', 'out/new.txt', raw=b'x', base=ARTIFACTS)[0])\n"
           "connection.close()\n"
           "print(call('GET', 'artifacts/list?run_id=%s&path=out' % RUN)[0])\n"
           "print(call('DELETE', 'out', base=ARTIFACTS)[0], (outputs / 'out').is_symlink())\n")
    done = trainctl.ok("run", "train.py", str(project / "elsewhere"))
    assert done.text.splitlines() == ["(200, b'fine')", "GET out/secret.txt 404", "GET file 404", "DELETE out/secret.txt 404",
                                      "400", "404", "200 False"]
    assert [file.name for file in (project / "elsewhere").iterdir()] == ["secret.txt"]


def test_other_runs_of_the_script_get_their_name_in_front(trainctl, script):
    script("fold = call('POST', 'runs/create', {'experiment_id': '1', 'run_name': 'fold 1', 'tags': [{'key': 'mlflow.parentRunId',"
           " 'value': RUN}]})[1]['run']['info']['run_id']\n"
           "metric('loss', 0.5, 1, run=fold)\n"
           "call('POST', 'runs/update', {'run_id': RUN, 'status': 'FAILED'})\n")  # only our process decides
    trainctl.ok("run", "train.py")
    assert [p["name"] for p in lines(trainctl.last_run())] == ["fold 1/loss"]
    assert trainctl.json("show", "@")["state"] == "succeeded"


def test_a_run_with_its_own_server_keeps_it(trainctl, project):
    project.script("import os\nprint({k: v for k, v in os.environ.items() if k.startswith('MLFLOW')})")
    project.spec(environment_variables={"MLFLOW_TRACKING_URI": "file:mlruns"})
    assert trainctl.ok("submit", "a.run.json").text == "{'MLFLOW_TRACKING_URI': 'file:mlruns'}\n"


def test_the_variables_of_a_client(trainctl, project, script):
    """There is one experiment, with the run's name for it; no proxy comes between the script and its own machine."""
    script("print(os.environ['MLFLOW_EXPERIMENT_ID'], os.environ['TRAINCTL_EXPERIMENT'], os.environ.get('no_proxy'), os.environ.get('NO_PROXY'))\n"
           "print(call('GET', 'experiments/get?experiment_id=' + os.environ['MLFLOW_EXPERIMENT_ID'])[1]['experiment']['name'])\n")
    project.spec(experiment="mnist")
    assert trainctl.ok("submit", "a.run.json").text.splitlines() == ["1 mnist None None", "mnist"]
    project.spec(experiment="mnist", env={"http_proxy": "http://127.0.0.1:9", "no_proxy": "example.com"})
    assert trainctl.ok("submit", "a.run.json").text.splitlines()[0] == "1 mnist example.com,127.0.0.1 127.0.0.1"


def test_it_can_be_turned_off(trainctl, project):
    project.script("import os, sys\nprint([name for name in os.environ if name.startswith('MLFLOW')])\n"
                   "try: import azureml.core\nexcept ImportError as error: print(error)\n")
    project.spec(metrics={"sources": {"mlflow": False, "azureml": False}})
    done = trainctl.ok("submit", "a.run.json")
    assert done.text == "[]\nNo module named 'azureml'\n"
    assert json.loads((trainctl.last_run() / "plan.json").read_text())["metrics"]["without"] == ["mlflow", "azureml"]


@pytest.mark.parametrize("steps", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_thousand_names(trainctl, script, steps):
    """Of everything that was logged the last value of each name is there at once, also in the lists of runs."""
    script("batch = [{'key': 'm%03d' % n, 'value': n, 'timestamp': 1700000000000, 'step': 0} for n in range(1000)]\n"
           "for step in range(int(sys.argv[1])):\n"
           "    for point in batch: point['step'] = step; point['value'] += 1\n"
           "    assert call('POST', 'runs/log-batch', {'run_id': RUN, 'metrics': batch})[0] == 200\n")
    trainctl.ok("run", "train.py", str(steps), timeout=900)
    shown = trainctl.json("show", "@", timeout=300)["metrics"]
    logged = {name: value["last"] for name, value in shown.items() if name.startswith("m")}
    assert logged == {f"m{n:03}": n + steps for n in range(1000)}
    assert trainctl.ok("ls", "--where", f"metrics.m999 = {999 + steps}", "--columns", "name,metrics.m999").text.count("train-1") == 1
    assert len(trainctl.ok("metrics", "@", "m007", "--csv", timeout=300).text.splitlines()) == steps + 1


def test_a_killed_endpoint_is_started_again(trainctl, script):
    script("call('POST', 'runs/log-parameter', {'run_id': RUN, 'key': 'lr', 'value': '1'})\n"
           "import subprocess\n"
           "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
           "    try: name = open('/proc/%s/comm' % pid).read().strip()\n"
           "    except OSError: continue\n"
           "    if name == 'trainctl-mlflow' and os.environ['TRAINCTL_METRICS'].split('/attempts')[0].split('/')[-1]"
           " in open('/proc/%s/cmdline' % pid).read(): os.kill(int(pid), 9)\n"
           "connection.close()\n"
           "print(call('GET', 'runs/get?run_id=' + RUN)[1]['run']['data']['params'])\n")
    assert trainctl.ok("run", "train.py").text == "[{'key': 'lr', 'value': '1'}]\n"


def test_the_endpoint_survives_its_supervisor(trainctl, project, script):
    script("metric('loss', 1.0, 1)\nconnection.close()\n"
           "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
           "metric('loss', 0.5, 2)\n")
    trainctl.start("run", "--detach", "train.py", str(project / "go")).wait(60)
    run = trainctl.last_run()
    wait_until(lambda: len(lines(run)) == 1, "the first point")
    trainctl.kill_owned(only=lambda command: "supervise" in command)
    trainctl.start("attach", "@")
    port = json.loads((run / "attempts/1/mlflow.json").read_text())["port"]
    wait_until(lambda: socket.create_connection(("127.0.0.1", port)), "the endpoint on its old port")
    (project / "go").write_text("")
    assert trainctl.wait_end(run)["state"] == "succeeded"
    assert [p["step"] for p in lines(run)] == [1, 2]


REAL = """
import matplotlib.figure, mlflow, pandas
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
mlflow.set_experiment("some experiment")
with mlflow.start_run():
    mlflow.log_params({"lr": 0.1})
    for step in range(5): mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"a": 1.0, "b": float("inf")}, step=3)
    mlflow.set_tags({"team": "vision"})
    mlflow.log_text("hello", "notes/a.txt"); mlflow.log_dict({"a": 1}, "a.json")
    open("local.txt", "w").write("from here")
    mlflow.log_artifact("local.txt", "files")
    figure = matplotlib.figure.Figure(); figure.add_subplot().plot([1, 2, 3])
    mlflow.log_figure(figure, "plots/curve.png")
    mlflow.log_input(mlflow.data.from_pandas(pandas.DataFrame({"x": [1.0, 2.0]}), name="points"), context="training")
    mlflow.sklearn.log_model(LogisticRegression(max_iter=200).fit(*load_iris(return_X_y=True)), "explicit", registered_model_name="irises")
    with mlflow.start_run(nested=True, run_name="fold"):
        mlflow.log_metric("loss", 0.25)
print("status", mlflow.get_run(mlflow.last_active_run().info.run_id).data.metrics)
mlflow.sklearn.autolog(log_datasets=False)
LogisticRegression(max_iter=200).fit(*load_iris(return_X_y=True))
print("done")
"""


@pytest.mark.frameworks
@pytest.mark.network
@pytest.mark.parametrize("packages", [
    pytest.param(["mlflow-skinny==2.22.1", "scikit-learn<1.7", "pandas", "matplotlib"], id="2.22"),
    pytest.param(["mlflow-skinny==3.17.2", "scikit-learn", "pandas", "matplotlib", "skops"], id="3.17", marks=pytest.mark.slow),
])
def test_the_real_client(trainctl, project, packages):
    project.script(REAL)
    project.spec(environment={"python": {"packages": packages}})
    done = trainctl.ok("submit", "a.run.json", timeout=600)
    run = trainctl.last_run()
    assert "done" in done.text, done
    points = [(p["name"], p["step"], p["value"]) for p in lines(run)]
    assert [p for p in points if p[0] == "loss"] == [("loss", step, 1 / (step + 1)) for step in range(5)]
    assert ("b", 3, "Infinity") in points and ("fold/loss", 0, 0.25) in points
    assert any(name.endswith("training_accuracy_score") and value > 0.9 for name, _, value in points if isinstance(value, float))
    outputs = run / "outputs"
    assert (outputs / "notes/a.txt").read_text() == "hello" and json.loads((outputs / "a.json").read_text()) == {"a": 1}
    assert (outputs / "files/local.txt").read_text() == "from here"
    assert (outputs / "plots/curve.png").read_bytes().startswith(b"\x89PNG")
    assert {line["name"] for line in lines(run, "file")} >= {"notes/a.txt", "a.json", "files/local.txt", "plots/curve.png", "explicit/MLmodel"}
    assert [line["name"] for line in lines(run, "input")] == ["points"]
    assert {line["value"] for line in lines(run, "tag") if line["name"] == "mlflow.registeredModel"} == {"irises"}
    assert (outputs / "explicit/MLmodel").exists() and len(list(outputs.rglob("MLmodel"))) >= 2, "one of ours, one of autologging"


def test_a_run_inside_a_run_has_an_endpoint_of_its_own(trainctl, project, script):
    project.write("inner.py", "from client import *\nmetric('inner', 1.0)\n")
    script("import subprocess\nmetric('outer', 1.0)\n"
           "subprocess.run([sys.argv[1], 'run', 'inner.py'], check=True)\n")
    trainctl.ok("run", "train.py", str(trainctl.binary))
    outer, inner = trainctl.runs()
    assert [p["name"] for p in lines(outer)] == ["outer"] and [p["name"] for p in lines(inner)] == ["inner"]
