# SPDX-License-Identifier: Apache-2.0
# ctest: serial
# ctest: timeout 300
"""Slurm with accounting: what became of a job that its controller has forgotten is asked of a real slurmdbd with a real MariaDB."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import wait_until
from slurm import Cluster
from slurm_runs import Login, Stream, define, nothing_left, shell  # noqa: F401  (a fixture)
from sshd import free_port

pytestmark = pytest.mark.slow
DATABASE = "create database slurm_acct_db; create user slurm@'127.0.0.1' identified by 'slurm'; grant all on slurm_acct_db.* to slurm@'127.0.0.1';"
DBD_CONFIG = """\
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
DbdHost=localhost
DbdPort={port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
LogFile={root}/log/slurmdbd.log
PidFile={root}/run/slurmdbd.pid
"""


class AccountedCluster(Cluster):
    def __init__(self, root: Path):
        self.dbd_port, self.storage_port = free_port(), free_port()
        super().__init__(root, nodes=2, MinJobAge=2, AccountingStorageType="accounting_storage/slurmdbd", AccountingStorageHost="localhost",
                         AccountingStoragePort=self.dbd_port, AccountingStorageEnforce="associations,qos", AccountingStoragePass=f"{root}/slurm/run/munge.sock")

    def start_controller(self) -> None:
        if "slurmdbd" not in self.processes:
            self._start_database()
            self._start_accounting()
        super().start_controller()

    def _start_database(self) -> None:
        for program in ("mariadbd", "slurmdbd", "sacctmgr"):
            assert shutil.which(program), f"{program} is missing: apt-get install mariadb-server slurmdbd slurm-wlm-mysql-plugin"
        data, socket = self.root / "db", self.root / "run" / "db.sock"
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db",
                        "--user=root"], check=True, capture_output=True)
        self._spawn("mariadbd", ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket}", f"--port={self.storage_port}",
                                 "--bind-address=127.0.0.1", "--skip-name-resolve", "--user=root", f"--pid-file={self.root}/run/db.pid",
                                 "--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"])
        wait_until(lambda: self.run("mariadb", "--no-defaults", f"--socket={socket}", "-e", "select 1", check=False).returncode == 0, "the database")
        self.run("mariadb", "--no-defaults", f"--socket={socket}", "-e", DATABASE)

    def _start_accounting(self) -> None:
        config = self.root / "slurmdbd.conf"
        config.write_text(DBD_CONFIG.format(root=self.root, port=self.dbd_port, storage=self.storage_port))
        config.chmod(0o600)
        self._spawn("slurmdbd", ["slurmdbd", "-D"])
        wait_until(lambda: self.run("sacctmgr", "-i", "add", "cluster", f"t{self.tag}", check=False).returncode == 0, "the accounting")
        self.run("sacctmgr", "-i", "add", "account", "ml")
        self.run("sacctmgr", "-i", "add", "user", "root", "account=ml")


@pytest.fixture(scope="module")
def cluster():
    root = Path(tempfile.mkdtemp(prefix="tc-slurm-", dir="/var/tmp"))
    made = AccountedCluster(root)
    try:
        yield made.start()
    finally:
        made.stop()
        shutil.rmtree(root)


@pytest.fixture
def login(cluster: AccountedCluster, scratch: Path):
    made = Login(cluster, scratch)
    yield made
    for runner in made.runners:
        runner.kill()


def wait_forgotten(cluster: Cluster, job: str) -> None:
    wait_until(lambda: job not in cluster.jobs(), "the controller has forgotten the job", 120)


def accounted(cluster: Cluster, job: str) -> str:
    return cluster.run("sacct", "-P", "-n", "-X", "-o", "State", "-j", job).stdout.strip()


def test_a_cancel_by_somebody_that_the_controller_has_forgotten(cluster: AccountedCluster, login: Login) -> None:
    job = login.shell("exit 0", slurm={"options": ["--hold"], "evidence_after": "2s"}).launch()
    number = job.job()
    login.runner.kill()
    cluster.run("scancel", number)
    wait_forgotten(cluster, number)
    wait_until(lambda: accounted(cluster, number).startswith("CANCELLED"), "the accounting knows")
    login.connect()
    end = job.watch().end()
    assert (end["state"], end["cause"]) == ("canceled", "canceled") and "by user " in end["message"], end
    assert job.started_attempts() == []


def test_a_node_that_failed_while_nobody_looked(cluster: AccountedCluster, login: Login) -> None:
    job = login.shell('echo up; [ "$TRAINCTL_ATTEMPT" = 2 ] || sleep 600', slurm={"requeue": False, "evidence_after": "2s"}).launch()
    watch = job.watch()
    watch.until(lambda: b"up" in watch.files["attempts/1/logs/std.log"], "it runs")
    number = job.job()
    node = cluster.run("squeue", "-h", "-j", number, "-o", "%N").stdout.strip()
    login.runner.kill()
    cluster.power_off(node)
    try:
        wait_until(lambda: accounted(cluster, number) == "NODE_FAIL", "the accounting knows", 120)
        wait_forgotten(cluster, number)
        login.connect()
        assert job.watch().end(120)["state"] == "succeeded"
        first = job.end(1)
        assert (first["cause"], first["next"]) == ("node", "retry") and job.started_attempts() == ["1", "2"], first
    finally:
        cluster.start_node(node)


def test_an_account_and_a_quality_of_service_that_are_unknown(cluster: AccountedCluster, shell) -> None:
    for field, words in (("account", "Invalid account or account/partition combination specified"), ("qos", "Invalid qos specification")):
        define(shell, field, **{field: "nobody"})
        run = Stream(shell, cluster, name=field, target=field, gate=False)
        refused = shell.run("submit", run.spec, code=3)
        assert f"Slurm refused the job: {words}" in refused.error and words in run.show()["message"], refused
        assert run.started() == [] and run.jobs() == {}
    nothing_left(shell, cluster, run.stored(), "qos")
