# SPDX-License-Identifier: Apache-2.0
# ctest: serial
"""What a target says about Slurm, on a real one: options, the environment's place, what is seen while a job waits, cleaning up."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path

import pytest
import wheel

from harness import wait_until
from slurm import Cluster
from slurm_runs import cluster, define, shell  # noqa: F401  (fixtures)


def test_what_a_target_says_reaches_the_job(cluster: Cluster, shell, project) -> None:
    first = cluster.run("sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true").stdout.strip()
    cluster.run("scontrol", "create", "reservation", "ReservationName=course", "StartTime=now", "Duration=60", "Users=root", "Nodes=n2")
    try:
        define(shell, "course", partition="main", account="ml", constraint="fast", dependency=f"afterany:{first}", licenses="matlab:1",
               reservation="course", nodelist="n2", exclude="n1", options=["--nice=7"])
        shell.ok("submit", project.spec(command=["true"], target="course"), "--detach")
        number = wait_until(lambda: shell.ok("sync") and shell.json("show", "@")["message"].split("(job ")[1].rstrip(")"), "its job")
        said = cluster.run("scontrol", "show", "job", number, "-o").stdout
        for pair in ("Partition=main", "Account=ml", "Features=fast", f"Dependency=afterany:{first}", "Licenses=matlab:1",
                     "Reservation=course", "ReqNodeList=n2", "ExcNodeList=n1", "Nice=7"):
            assert pair in said, (pair, said)
        assert "waits for the job it depends on" in shell.json("show", "@")["message"]
        cluster.run("scancel", first)
        shell.ok("wait", "@", timeout=60)
        assert "NodeList=n2 " in cluster.run("scontrol", "show", "job", number, "-o").stdout
    finally:
        cluster.run("scancel", "--user=root")
        wait_until(lambda: cluster.run("scontrol", "delete", "ReservationName=course", check=False).returncode == 0, "the reservation is gone")


def test_the_status_line_says_why_it_waits(cluster: Cluster, shell, project) -> None:
    session = shell.pty("submit", project.spec(command=["true"], target="slurm", resources={"cpus": 64}))
    session.expect("asks for more than its partition can ever give")
    session.interrupt()
    assert session.wait() == 130 and shell.json("show", "@")["state"] == "canceled"


def finding(tested: dict, what: str) -> list[str]:
    return [f"{one['level']}: {one['text']}" for one in tested["items"][0]["findings"] if one["what"] == what]


def test_a_target_test_looks_at_the_cluster(cluster: Cluster, shell) -> None:
    tested = shell.json("target", "test", "slurm")
    assert finding(tested, "slurm") == [f"fine: {cluster.run('sinfo', '--version').stdout.split()[1]}"]
    assert "fine: main (default): 2 nodes, time limit infinite" in finding(tested, "partition")
    define(shell, "closed", partition="cheap,nowhere")
    cluster.run("scontrol", "update", "PartitionName=cheap", "State=DOWN")
    try:
        tested = shell.run("target", "test", "closed", "--json", code=3).json
        assert "problem: cheap: 2 nodes, time limit infinite, takes no jobs now" in finding(tested, "partition")
        assert 'problem: there is no "nowhere"' in finding(tested, "partition")
    finally:
        cluster.run("scontrol", "update", "PartitionName=cheap", "State=UP")


def test_a_target_test_says_that_the_controller_is_away(cluster: Cluster, shell, scratch) -> None:
    conf = scratch / "slurm.conf"
    conf.write_text(Path(cluster.env["SLURM_CONF"]).read_text().replace("SlurmctldPort=", "SlurmctldPort=1 # "))
    tested = shell.run("target", "test", "slurm", "--json", env={"SLURM_CONF": str(conf)}).json
    assert [text.startswith("problem: ") for text in finding(tested, "slurm")] == [True], tested["items"][0]["findings"]


def test_one_sync_tells_the_end_of_a_job_without_supervisor(cluster: Cluster, shell, project) -> None:
    """It says nothing itself any more, and is still in the queue's list: that takes some seconds of waiting for its word."""
    lead = """lead=$(sed -n '/"type":"attempt"/s/.*"pid":\\([0-9]*\\).*/\\1/p' "$TRAINCTL_OUTPUTS/../../events.jsonl")"""
    shell.ok("submit", project.spec(command=["sh", "-c", f"{lead}; echo begun; kill -9 $lead; sleep 1000"], target="slurm"), "--detach")
    wait_until(lambda: set(cluster.jobs().values()) & {"FAILED"}, "its job is over")
    shell.ok("sync", timeout=60)
    shown = shell.json("show", "@")
    assert (shown["state"], shown["cause"], shown["attempts"]) == ("lost", "lost", 1), shown
    assert shell.ok("logs", "@").text == "begun\n"


def test_clean_leaves_nothing_of_a_cluster_but_what_waits(cluster: Cluster, shell, project) -> None:
    define(shell, "held", options=["--hold"])
    shell.ok("submit", project.spec(command=["true"], target="slurm"), timeout=60)
    shell.ok("submit", project.spec("waiting.run.json", command=["true"], target="held"), "--detach")
    wait_until(lambda: "PENDING" in cluster.jobs().values(), "the second one waits")
    refused = shell.run("target", "clean", "slurm", "--all", "--yes", code=2)
    assert "waiting-1" in refused.error
    assert "1 run removed" in shell.ok("target", "clean", "slurm", "--yes").text
    assert "has not ended" in shell.run("rm", "@", code=2).error
    assert "PENDING" in cluster.jobs().values()
    shell.ok("cancel", "@")
    assert "1 run removed" in shell.ok("target", "clean", "slurm", "--all", "--yes").text
    assert not [path for path in (shell.user_home / ".trainctl").rglob("*") if path.is_file()]
    assert not [state for state in cluster.jobs().values() if state in ("PENDING", "RUNNING")]


class PackageIndex:
    """An index with one package, for the login node and the nodes, which reach nothing else; `asked` says who built with it."""

    def __init__(self, address: str):
        self.asked: set[str] = set()
        index = self

        class Pages(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = wheel.name("1.0")
                page = {"/simple/tiny/": f'<a href="/{name}">{name}</a>'.encode(), f"/{name}": wheel.content("1.0")}.get(self.path)
                index.asked.add(self.client_address[0])
                self.send_response(200 if page else 404)
                self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/zip")
                self.send_header("Content-Length", str(len(page or b"")))
                self.end_headers()
                self.wfile.write(page or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Pages)
        self.url = f"http://{address}:{self.server.server_port}/simple"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.parametrize("target, run, in_job", [("submit_host", None, False), ("job", None, True), ("job", "submit_host", False),
                                                 ("submit_host", "job", True)])
def test_where_the_environment_is_built(cluster: Cluster, shell, project, scratch: Path, target: str, run: str | None, in_job: bool) -> None:
    """The target says it, a run may say it otherwise."""
    index = PackageIndex(f"{cluster.net}.1")
    define(shell, "nodes", environment_build=target)
    project.script("import tiny; print(tiny.VERSION)")
    environment = {"python": {"packages": ["tiny==1.0"], "index_urls": [index.url]}, **({"build": run} if run else {})}
    shell.env["UV_CACHE_DIR"] = str(scratch / "uv-cache")
    assert shell.ok("submit", project.spec(script="train.py", target="nodes", environment=environment), timeout=120).text == "1.0\n"
    nodes = {f"{cluster.net}.{10 + node}" for node in (1, 2)}
    assert index.asked and (index.asked <= nodes if in_job else not index.asked & nodes), index.asked
    index.server.shutdown()
