# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 900
"""Runs in containers, with a real podman, and with a docker client that talks to it."""

import json
import os
import shutil
import signal
import time
import urllib.request
from pathlib import Path

import pytest

import podman as pods
from harness import REPOSITORY, alive, jsonl, wait_until
from remote import nothing_left

HOST_PYTHON = ["/usr:/usr:ro", "/lib:/lib:ro"] + (["/lib64:/lib64:ro"] if Path("/lib64").exists() else [])


@pytest.fixture(scope="module")
def engine():
    made = pods.Podman()
    yield made
    made.close()


@pytest.fixture
def inside(engine, trainctl, project):
    """inside(command, container={…}, **fields): writes a spec with a container and returns its path."""
    trainctl.env["PATH"] = pods.path_with(engine.bin)

    def make(command, container=None, name="a.run.json", **fields):
        made = {"image": pods.IMAGE, "engine": "podman"} if container is None else container
        if isinstance(command, str):
            fields = {"shell": "sh", **fields}
        return project.spec(name, command=command, environment={"container": made}, **fields)

    yield make
    assert engine.containers() == [], "a container was left behind"


def attempt(trainctl) -> Path:
    return sorted((trainctl.last_run() / "attempts").iterdir())[-1]


def events(trainctl, kind: str) -> list[dict]:
    return [event for event in jsonl(attempt(trainctl) / "events.jsonl") if event["type"] == kind]


def rank_line(trainctl, kind: str) -> dict | None:
    return next((line for line in jsonl(attempt(trainctl) / "nodes/0/rank-0.jsonl") if line["type"] == kind), None)


def test_what_a_script_sees(trainctl, inside, project, engine):
    (project.path / "data").mkdir()
    (project.path / "data" / "x.txt").write_text("forty-two\n")
    spec = inside('echo "$FROM_IMAGE $A $HOME"; id -u; pwd; cat "${{inputs.x}}"; echo made > "$TRAINCTL_OUTPUTS/model"; '
                  'echo no > "${{inputs.x}}" || echo read-only; ps; echo error >&2',
                  inputs={"x": "data/x.txt"}, environment_variables={"A": "b c"})
    out = trainctl.ok("submit", spec).text
    work = str(attempt(trainctl) / "work")
    assert out.startswith(f"yes b c {work}\n{os.geteuid()}\n{work}\nforty-two\n"), out
    assert "read-only" in out and "error" in out and "trainctl-runner" in out
    assert trainctl.ok("logs", "@").text == out
    model = trainctl.last_run() / "outputs" / "model"
    assert model.read_text() == "made\n" and model.stat().st_uid == os.geteuid() and model.stat().st_mode & 0o777 == 0o644
    container = events(trainctl, "container")[0]
    assert container["engine"] == "podman" and container["image"] == pods.IMAGE
    assert container["id"].removeprefix("sha256:") == engine("image", "inspect", "--format", "{{.Id}}", pods.IMAGE).strip()
    run = trainctl.json("show", "@")
    assert run["state"] == "succeeded" and run["exit_code"] == 0 and not events(trainctl, "warning"), events(trainctl, "warning")
    assert (attempt(trainctl) / "logs" / "std.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("via", ["pipe", "pty"])
def test_ways_of_output(trainctl, inside, via):
    spec = inside(["sh", "-c", "echo one; if [ -t 1 ]; then echo terminal; fi; seq 20000"], logs=via)
    out = trainctl.ok("submit", spec).text
    assert out.startswith("one\n") and out.endswith("\n20000\n") and ("terminal" in out) == (via == "pty")


def test_how_it_ends(trainctl, inside):
    assert trainctl.run("submit", inside("exit 3")).code == 1
    run = trainctl.json("show", "@")
    assert (run["state"], run["cause"], run["exit_code"]) == ("failed", "exit", 3)
    assert trainctl.run("submit", inside("kill -SEGV $$")).code == 1
    assert trainctl.json("show", "@")["cause"] == "signal" and rank_line(trainctl, "exit")["signal"] == "SIGSEGV"
    failed = trainctl.run("submit", inside(["no-such-program"]), code=3)
    assert "no program named no-such-program on the PATH of the run (in the container)" in failed.error
    failed = trainctl.run("submit", inside(["/bin/nothing"]), code=3)
    assert "/bin/nothing does not exist" in failed.error
    assert trainctl.json("show", "@")["cause"] == "start"


def test_leftovers_end_with_the_script(trainctl, inside):
    began = time.monotonic()
    out = trainctl.ok("submit", inside("sleep 300 & sleep 301 & echo done")).text
    assert out == "done\n" and time.monotonic() - began < 30


def test_missing_image_and_engine(trainctl, inside, engine):
    spec = inside("echo never", {"image": "localhost/not-there:7", "engine": "podman"})
    failed = trainctl.run("submit", spec, code=3)
    assert "the image localhost/not-there:7 is not on this machine and cannot be pulled" in failed.error, failed
    run = trainctl.json("show", "@")
    assert (run["state"], run["cause"]) == ("failed", "environment")
    assert not (attempt(trainctl) / "nodes").exists() and trainctl.ok("logs", "@").out == b""
    empty = engine.root / "empty"
    empty.mkdir(exist_ok=True)
    for tool in ("git",):
        if shutil.which(tool) and not (empty / tool).exists():
            (empty / tool).symlink_to(shutil.which(tool))
    failed = trainctl.run("submit", inside("echo never", {"image": pods.IMAGE}), code=3, env={"PATH": str(empty)})
    assert "neither docker nor podman on PATH" in failed.error and "install podman" in failed.error
    broken = engine.root / "broken"
    broken.mkdir(exist_ok=True)
    (broken / "podman").write_text("#!/bin/sh\necho 'Error: no subuids' >&2; exit 1\n")
    (broken / "podman").chmod(0o755)
    failed = trainctl.run("submit", inside("echo never"), code=3, env={"PATH": f"{broken}:{os.environ['PATH']}"})
    assert "podman does not work: Error: no subuids" in failed.error


def test_build(trainctl, inside, project, engine):
    (project.path / "docker").mkdir()
    (project.path / "docker" / "Dockerfile").write_text(f"FROM {pods.IMAGE}\nCOPY hello.txt /hello.txt\nENV BUILT=1\n")
    (project.path / "docker" / "hello.txt").write_text("hello\n")
    spec = inside("cat /hello.txt; echo $BUILT", {"build": {"dockerfile": "docker/Dockerfile"}, "engine": "podman"})
    assert trainctl.ok("submit", spec).text == "hello\n1\n"
    first = events(trainctl, "container")[0]
    assert first["image"].endswith("docker/Dockerfile") and first["digest"] is None
    assert "COPY hello.txt" in (attempt(trainctl) / "logs" / "environment.log").read_text()
    trainctl.ok("submit", spec)
    assert events(trainctl, "container")[0]["id"] == first["id"], "nothing changed, so nothing is built"
    (project.path / "docker" / "hello.txt").write_text("bye\n")
    assert trainctl.ok("submit", spec).text == "bye\n1\n"
    (project.path / "docker" / "Dockerfile").write_text(f"FROM {pods.IMAGE}\nCOPY missing.txt /\n")
    failed = trainctl.run("submit", spec, code=3)
    assert "cannot be built" in failed.error and "missing.txt" in failed.error, failed


def test_a_build_of_another_run_at_the_same_time(trainctl, inside, project, engine, scratch):
    """What the run starts from is what its own build made, whatever another one did to the tag meanwhile."""
    wrapper = scratch / "bin/podman"
    wrapper.parent.mkdir()
    wrapper.write_text(f"""#!/bin/sh
{engine.bin}/podman "$@" || exit
[ "$1" != build ] || {engine.bin}/podman tag {pods.IMAGE} "$3"
""")
    wrapper.chmod(0o755)
    project.write("docker/hello.txt", "hello\n")
    project.write("docker/Dockerfile", f"FROM {pods.IMAGE}\nCOPY hello.txt /hello.txt\n")
    spec = inside("cat /hello.txt", {"build": "docker/Dockerfile", "engine": "podman"})
    done = trainctl.ok("submit", spec, env={"PATH": pods.path_with(wrapper.parent)})
    assert done.text == "hello\n", done
    other = engine("image", "inspect", "--format", "{{.Id}}", pods.IMAGE).strip()
    assert events(trainctl, "container")[0]["id"].removeprefix("sha256:") != other
    assert not list((trainctl.last_run().parent.parent / "secrets").glob(".image-*"))


def test_cancel_lets_it_save(trainctl, inside):
    # INT is ignored in what a shell starts in the background, so the wait is for the shell itself.
    spec = inside("trap 'echo saving; exit 0' INT; echo ready; while true; do sleep 0.1; done", stop={"grace": "20s"})
    trainctl.ok("submit", "--detach", spec)
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    trainctl.ok("cancel", "@")
    trainctl.run("wait", "@", code=130)
    assert trainctl.ok("logs", "@").out == b"ready\nsaving\n"
    assert trainctl.json("show", "@")["state"] == "canceled"


def test_stop_is_the_end_of_everything(trainctl, inside, engine):
    spec = inside("trap '' INT TERM; sleep 1000 & echo ready; while true; do sleep 0.1; done", stop={"grace": "2s"},
                  limits={"timeout": "3s"})
    began = time.monotonic()
    trainctl.run("submit", spec, code=124)
    assert time.monotonic() - began < 30
    run = trainctl.json("show", "@")
    assert (run["state"], run["cause"]) == ("timed_out", "time_limit")
    assert not [pid for pid in Path("/proc").glob("[0-9]*") if f"TRAINCTL_RUN_ID={run['id']}".encode() in environ(pid)]


def environ(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


def test_a_killed_supervisor_changes_nothing(trainctl, inside, project):
    spec = inside("echo ready; while [ ! -e $TRAINCTL_OUTPUTS/go ]; do sleep 0.05; done; echo over")
    trainctl.ok("submit", "--detach", spec)
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    supervisor = events(trainctl, "attempt")[0]["pid"]
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: not alive(supervisor), "the supervisor's end")
    (trainctl.last_run() / "outputs" / "go").write_text("")
    trainctl.ok("wait", "@")
    assert [event["adopted"] for event in events(trainctl, "attempt")] == [False, True]
    assert trainctl.ok("logs", "@").out == b"ready\nover\n"
    assert trainctl.json("show", "@")["state"] == "succeeded"


def test_everything_killed_at_once_leaves_no_container(trainctl, inside, engine):
    trainctl.ok("submit", "--detach", inside("echo ready; sleep 1000"))
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    start = rank_line(trainctl, "start")
    for pid in (events(trainctl, "attempt")[0]["pid"], start["waiter"], start["pid"]):
        os.kill(pid, signal.SIGKILL)
    trainctl.run("attach", "@", timeout=90)
    assert trainctl.json("show", "@")["state"] == "lost"


def test_a_container_killed_from_outside(trainctl, inside, engine):
    trainctl.ok("submit", "--detach", inside("echo ready; sleep 1000"))
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    engine("kill", engine.containers()[0])
    trainctl.run("wait", "@", code=1)
    run = trainctl.json("show", "@")
    assert run["state"] == "failed" and run["cause"] == "signal", run


def test_several_ranks(trainctl, inside):
    spec = inside("echo rank $RANK of $WORLD_SIZE at $MASTER_ADDR", distribution={"type": "pytorch", "processes_per_node": 2})
    trainctl.ok("submit", spec)
    for rank in (0, 1):
        assert f"rank {rank} of 2 at 127.0.0.1" in trainctl.ok("logs", "@", "--rank", str(rank)).text
    spec = inside("if [ $RANK = 1 ]; then exit 4; fi; sleep 1000", distribution={"type": "pytorch", "processes_per_node": 2},
                  stop={"grace": "2s"})
    failed = trainctl.run("submit", spec, code=1)
    assert "rank 1" in failed.error and trainctl.json("show", "@")["exit_code"] == 4


def test_metrics_of_a_python_script(trainctl, inside, project):
    project.script("import trainctl, os\nfor step in range(5):\n    trainctl.log(step=step, loss=1 / (step + 1))\n"
                   "print('python', os.environ['TRAINCTL_RUN_ID'][:0] + 'in', os.getpid() != 1)")
    path = project.spec("py.run.json", script="train.py", environment={"python": {"interpreter": "/usr/bin/python3"}, "container": {
        "image": pods.IMAGE, "engine": "podman", "volumes": HOST_PYTHON}})
    assert trainctl.ok("submit", path).text == "python in True\n"
    loss = trainctl.json("show", "@")["metrics"]["loss"]
    assert loss["step"] == 4 and loss["last"] == 0.2


def test_mlflow_without_the_hosts_network(trainctl, inside, project, engine):
    """Each container has an endpoint of its own on its own 127.0.0.1."""
    project.write("train.py", """
import json, os, time, urllib.request
URI, RUN = os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_RUN_ID"]
def call(method, path, body):
    head = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}
    return urllib.request.urlopen(urllib.request.Request(URI + path, body, head, method=method)).read()
for step in range(3):
    call("POST", "/api/2.0/mlflow/runs/log-metric", json.dumps(
        {"run_id": RUN, "key": "loss", "value": 1.0 / (step + 1), "timestamp": 1700000000000, "step": step}).encode())
rank = os.environ["RANK"]
call("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/%s/artifacts/notes/%s.txt" % (RUN, rank), b"hello from " + rank.encode())
call("POST", "/api/2.0/mlflow/runs/log-metric", json.dumps(
    {"run_id": RUN, "key": "last", "value": 7, "timestamp": 1700000000000, "step": 0}).encode())
""")
    container = {"image": pods.IMAGE, "engine": "podman", "volumes": HOST_PYTHON, "arguments": ["--network=none"]}
    spec = inside(["/usr/bin/python3", "train.py"], container, distribution={"type": "processes", "processes_per_node": 2})
    trainctl.ok("submit", spec, timeout=120)
    for rank in (0, 1):
        points = [p for p in jsonl(attempt(trainctl) / "metrics" / f"mlflow-r{rank}.jsonl") if "type" not in p]
        assert [(p["name"], p["step"], p["rank"]) for p in points] == [("loss", 0, rank), ("loss", 1, rank), ("loss", 2, rank), ("last", 0, rank)]
        note = trainctl.last_run() / "outputs" / "notes" / f"{rank}.txt"
        assert note.read_text() == f"hello from {rank}" and note.stat().st_uid == os.geteuid()
    assert trainctl.json("show", "@")["metrics"]["last"]["last"] == 7
    assert not (attempt(trainctl) / "mlflow.json").exists()


def test_exec_shell_and_tunnel_go_into_the_container(trainctl, inside, engine):
    spec = inside("echo -n hello > index.html; httpd -f -p 127.0.0.1:8123 & echo ready; while [ ! -e stop ]; do sleep 0.05; done; kill $!",
                  {"image": pods.IMAGE, "engine": "podman", "arguments": ["--network=none"]}, environment_variables={"COLOUR": "blue"})
    trainctl.ok("submit", "--detach", spec)
    trainctl.wait_log(trainctl.last_run(), "ready")
    folder = str(attempt(trainctl) / "work")
    assert trainctl.ok("exec", "@", "--", "sh", "-c", 'echo "$COLOUR $FROM_IMAGE $PWD"').text == f"blue yes {folder}\n"
    blob = bytes(range(256)) * 500
    assert trainctl.ok("exec", "@", "--", "cat", input=blob).out == blob
    trainctl.run("exec", "@", "--", "sh", "-c", "exit 7", code=7)
    trainctl.run("exec", "@", "--", "no-such-program", code=127)
    shell = trainctl.pty("shell", "@")
    shell.send("echo in:$PWD; tty; exit 5\n")
    shell.expect(f"in:{folder}\r?\n/dev/pts/")
    assert shell.wait() == 5
    tunnel = trainctl.pty("tunnel", "@", "0:8123")
    here = tunnel.expect(r"http://127.0.0.1:(\d+) ").group(1)
    assert wait_until(lambda: urllib.request.urlopen(f"http://127.0.0.1:{here}/index.html", timeout=30).read(), "an answer") == b"hello"
    tunnel.interrupt()
    tunnel.wait()
    Path(folder, "stop").touch()  # not by exec: podman cannot tell the exit code of a program whose container went with it
    trainctl.ok("wait", "@")
    gone = trainctl.run("exec", "@", "--", "true", code=75)
    assert "the run is succeeded, and its container is gone" in gone.error


def test_secrets_stay_secret(trainctl, inside, engine):
    spec = inside('test -n "$API_TOKEN" && echo ready; while [ ! -e $TRAINCTL_OUTPUTS/go ]; do sleep 0.05; done', secrets=["API_TOKEN"])
    trainctl.ok("submit", "--detach", spec, env={"API_TOKEN": "hush-hush-hush"})
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    assert "hush-hush" not in engine("inspect", engine.containers()[0])
    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert b"hush-hush" not in (process / "cmdline").read_bytes()
        except OSError:
            pass
    (trainctl.last_run() / "outputs" / "go").write_text("")
    trainctl.ok("wait", "@")
    assert not any(b"hush-hush" in path.read_bytes() for path in trainctl.home.rglob("*") if path.is_file())


def test_memory_limit(trainctl, inside, engine):
    probe = engine("run", "--rm", "--memory=64m", "--network=host", pods.IMAGE, "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                   check=False) + engine("run", "--rm", "--memory=64m", "--network=host", pods.IMAGE, "cat", "/sys/fs/cgroup/memory.max", check=False)
    if "67108864" not in probe:
        pytest.skip("this machine's containers have no memory limit")
    trainctl.run("submit", inside("x=0123456789abcdef; while true; do x=$x$x; done", resources={"memory": "64MiB"}), code=1, timeout=120)
    assert trainctl.json("show", "@")["cause"] == "memory_limit"


def test_in_place_and_volumes(trainctl, inside, project):
    (project.path / "more").mkdir()
    (project.path / "more" / "here.txt").write_text("mounted\n")
    spec = inside("cat /more/here.txt; pwd; echo x > written", {"image": pods.IMAGE, "engine": "podman", "volumes": ["more:/more:ro"]},
                  in_place=True)
    assert trainctl.ok("submit", spec).text == f"mounted\n{project.path}\n"
    assert (project.path / "written").read_text() == "x\n"


def test_docker_client(trainctl, inside, project, engine):
    assert shutil.which("docker"), "there is no docker client: scripts/test unpacks one"
    trainctl.env["DOCKER_HOST"] = engine.serve()
    wait_until(lambda: (engine.root / "api.sock").exists(), "the service")
    container = {"image": pods.IMAGE, "engine": "docker"}
    assert trainctl.ok("submit", inside("echo $FROM_IMAGE; id -u", container)).text == f"yes\n{os.geteuid()}\n"
    assert events(trainctl, "container")[0]["engine"] == "docker"
    assert trainctl.run("submit", inside("exit 5", container)).code == 1
    project.write("docker/Dockerfile", f"FROM {pods.IMAGE}\nENV BUILT=1\n")
    assert trainctl.ok("submit", inside("echo $BUILT", {"build": "docker/Dockerfile", "engine": "docker"})).text == "1\n"
    spec = inside("trap '' INT TERM; echo ready; while true; do sleep 0.1; done", container, stop={"grace": "1s"})
    trainctl.ok("submit", "--detach", spec)
    wait_until(lambda: b"ready" in trainctl.ok("logs", "@").out, "the script")
    trainctl.ok("cancel", "@")
    trainctl.run("wait", "@", code=130)


def test_docker_warns_and_samples(trainctl, inside, project, engine):
    """What a daemon started is no descendant of ours: it is found all the same."""
    assert shutil.which("docker"), "there is no docker client: scripts/test unpacks one"
    trainctl.env["DOCKER_HOST"] = engine.serve()
    wait_until(lambda: (engine.root / "api.sock").exists(), "the service")
    spec = inside("trap 'echo warned; exit 0' USR2; echo ready; while true; do sleep 0.1; done", {"image": pods.IMAGE, "engine": "docker"},
                  limits={"timeout": "20s"}, stop={"warn": "18s"}, metrics={"system": {"interval": "1s"}})
    assert trainctl.ok("submit", spec).text == "ready\nwarned\n"
    assert "SIGUSR2 was sent to 1 process " in events(trainctl, "warning")[0]["message"]


def test_explain(trainctl, inside):
    spec = inside("echo hi", {"image": "team/training:3", "engine": "docker", "shm_size": "2g", "gpus": True, "arguments": ["--cap-add=SYS_PTRACE"]},
                  resources={"memory": "1GiB"})
    text = trainctl.ok("explain", spec).text
    for word in ("docker run --rm", "--shm-size=2147483648b", "--gpus=all", "--memory=1073741824b", "--cap-add=SYS_PTRACE", "team/training:3"):
        assert word in text, (word, text)
    shown = trainctl.json("explain", spec)
    assert shown["container_command"][:2] == ["docker", "run"] and shown["container"]["image"] == "team/training:3"
    assert "--entrypoint= --cap-add=SYS_PTRACE \"$image\"" in trainctl.ok("explain", "--format", "sh", spec).text
    assert "its image is prepared with the run" in trainctl.run("env", "build", spec, code=2).error


@pytest.mark.parametrize("container, more, words", [
    ({}, {}, "there is no image"),
    ({"image": "a", "build": "Dockerfile"}, {}, "exclude each other"),
    ({"image": "a", "volumes": ["here"]}, {}, "expected HERE:/THERE"),
    ({"image": "a", "registry": {"username": "me", "password_secret": "P"}}, {}, "none of the run's secrets"),
    ({"image": "a", "engine": "lxc"}, {}, "docker"),
    ({"build": "nowhere/Dockerfile"}, {}, "is not there"),
    ({"image": "a"}, {"distribution": {"type": "mpi"}}, "mpi and a container"),
])
def test_mistakes(trainctl, inside, container, more, words):
    assert words in trainctl.run("validate", inside("echo", container, **more), code=2).error


def test_python_packages_belong_into_the_image(trainctl, project):
    path = project.spec(command=["true"], environment={"container": "a", "python": {"packages": ["numpy"]}})
    assert "the image brings its own Python" in trainctl.run("validate", path, code=2).error


def test_imported_docker_section(trainctl, inside, project, engine):
    (project.path / ".azureml").mkdir()
    (project.path / ".azureml" / "x.runconfig").write_text(json.dumps({
        "command": ["sh", "-c", "echo from $FROM_IMAGE"], "docker": {"useDocker": True, "shmSize": "64m"},
        "environment": {"python": {"userManagedDependencies": True}, "docker": {"baseImage": pods.IMAGE}}}))
    trainctl.ok("import", ".azureml/x.runconfig", "-o", "x.run.json")
    assert trainctl.ok("submit", "x.run.json", "--set", "environment.container.engine=podman").text == "from yes\n"


def test_the_example(trainctl, inside, project, engine):
    folder = project.path / "container"
    shutil.copytree(REPOSITORY / "examples" / "container", folder)
    dockerfile = (folder / "Dockerfile").read_text()
    assert dockerfile.startswith("FROM ")
    (folder / "Dockerfile").write_text(f"FROM {pods.IMAGE}\n")  # no registry is needed for a test
    text = json.loads((folder / "train.run.json").read_text())
    text["environment"]["container"].update(engine="podman", volumes=HOST_PYTHON)
    text["environment"]["python"] = {"interpreter": "/usr/bin/python3"}
    (folder / "train.run.json").write_text(json.dumps(text))
    trainctl.ok("submit", "train.run.json", cwd=folder)
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] < 0.1


def test_on_an_ssh_host(engine, make_box, trainctl, project):
    """The engine and the image are the host's; this machine's are not asked."""
    box = make_box(own_tmp=False, variables={"PATH": pods.path_with(engine.bin)})
    project.write("data/x.txt", "forty-two\n")
    path = project.spec(command='echo "$FROM_IMAGE $A"; cat "${{inputs.x}}"; echo made > "$TRAINCTL_OUTPUTS/model"; exit $CODE', shell="sh",
                        environment={"container": {"image": pods.IMAGE, "engine": "podman"}}, target="root@box",
                        inputs={"x": "data/x.txt"}, environment_variables={"A": "b c", "CODE": "0"})
    assert trainctl.ok("submit", path).text == "yes b c\nforty-two\n"
    assert (trainctl.last_run() / "outputs" / "model").read_text() == "made\n"
    assert events(trainctl, "container")[0]["image"] == pods.IMAGE
    trainctl.run("submit", path, "--set", "environment_variables.CODE=5", code=1)
    assert trainctl.json("show", "@")["exit_code"] == 5
    project.spec("long.run.json", command="trap 'echo saving; exit 0' INT; echo ready; while true; do sleep 0.1; done", shell="sh", target="root@box",
                 environment={"container": {"image": pods.IMAGE, "engine": "podman"}}, stop={"grace": "20s"})
    trainctl.ok("submit", "--detach", "long.run.json")
    there = box.store / "runs" / trainctl.last_run().name / "attempts/1/logs/std.log"
    wait_until(lambda: there.read_bytes() == b"ready\n", "the script")
    trainctl.ok("cancel", "@")
    trainctl.run("wait", "@", code=130)
    assert trainctl.ok("logs", "@").out == b"ready\nsaving\n"
    missing = trainctl.run("submit", path, "--set", "environment.container.image=localhost/not-there:7", code=3)
    assert "localhost/not-there:7 is not on" in missing.error, missing
    nothing_left(box)
    assert engine.containers() == []
