# SPDX-License-Identifier: Apache-2.0
"""A real Slurm for tests: slurmctld and one slurmd a node, each in a network and UTS namespace of its own, so that nodes have
real addresses and names. Everything lives in one folder and goes away with `stop()`; needs root.

    cluster = Cluster(scratch, nodes=2).start()
    cluster.run("sinfo")
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from harness import alive, wait_until

CONFIG = """\
ClusterName=t{tag}
SlurmctldHost={host}({net}.1)
SlurmctldPort={port}
SlurmdPort=6818
AuthType=auth/munge
AuthInfo=socket={root}/run/munge.sock
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/slurmd-%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=10
MessageTimeout=10
KillWait=10
OverTimeLimit=0
InactiveLimit=0
SlurmdParameters=config_overrides
GresTypes=gpu
Licenses=matlab:2
"""


class Cluster:
    def __init__(self, root: Path, nodes: int = 2, **settings: object):
        """`settings` are lines of slurm.conf: MinJobAge=5."""
        self.root, self.count = root / "slurm", nodes
        self.settings = {"MinJobAge": 300, **settings}
        tag = os.getpid() % 65536
        self.tag = f"{tag:x}"
        self.bridge = f"sl{self.tag}"
        self.net = f"10.{tag % 100 + 100}.{tag // 256 % 200}"
        self.port = 20000 + tag % 10000
        self.processes: dict[str, subprocess.Popen] = {}
        self.munged = 0

    # -- life ----------------------------------------------------------------------------------------------------------

    @property
    def env(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SQUEUE_", "PYTHON"))}
        return {**kept, "SLURM_CONF": str(self.root / "slurm.conf")}

    def names(self) -> list[str]:
        return [f"n{i}" for i in range(1, self.count + 1)]

    def namespace(self, node: str) -> str:
        return f"{self.bridge}-{node}"

    def start(self) -> "Cluster":
        for program in ("slurmctld", "slurmd", "munged", "ip"):
            assert shutil.which(program), f"{program} is missing: apt-get install slurmctld slurmd slurm-client munge iproute2"
        for folder in ("state", "log", "run", *(f"spool/{node}" for node in self.names())):
            (self.root / folder).mkdir(parents=True)
        self.root.chmod(0o755)
        self._start_munge()
        self._make_network()
        self._write_config()
        self.start_controller()
        for node in self.names():
            self.start_node(node)
        wait_until(lambda: self.idle() == self.count, "all nodes are idle")
        return self

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        for node in self.names():
            self.kill_namespace(node)
            subprocess.run(["ip", "netns", "del", self.namespace(node)], capture_output=True)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True)
        if self.munged and alive(self.munged):
            os.kill(self.munged, signal.SIGTERM)
            wait_until(lambda: not alive(self.munged), "munged has ended")

    def _start_munge(self) -> None:
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        run = self.root / "run"
        subprocess.run(["munged", "--force", f"--key-file={key}", f"--socket={run}/munge.sock", f"--pid-file={run}/munged.pid",
                        f"--log-file={self.root}/log/munged.log", f"--seed-file={run}/munge.seed"], check=True,
                       capture_output=True)
        self.munged = wait_until(lambda: int((run / "munged.pid").read_text()), "munged runs")

    def _make_network(self) -> None:
        def ip(*words: str) -> None:
            subprocess.run(["ip", *words], check=True, capture_output=True)

        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.net}.1/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")
        for i, node in enumerate(self.names(), 1):
            space = self.namespace(node)
            ip("netns", "add", space)
            ip("link", "add", f"{self.bridge}v{i}", "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("link", "set", f"{self.bridge}v{i}", "master", self.bridge, "up")
            for words in (["link", "set", "lo", "up"], ["addr", "add", f"{self.net}.{10 + i}/24", "dev", "eth0"],
                          ["link", "set", "eth0", "up"], ["route", "add", "default", "via", f"{self.net}.1"]):
                ip("-n", space, *words)

    def _write_config(self) -> None:
        text = CONFIG.format(tag=self.tag, host=socket.gethostname().split(".")[0], net=self.net, port=self.port,
                             root=self.root)
        text += "".join(f"{key}={value}\n" for key, value in self.settings.items())
        for i, node in enumerate(self.names(), 1):
            text += f"NodeName={node} NodeAddr={self.net}.{10 + i} CPUs=4 RealMemory=4000 Gres=gpu:2 Features=fast State=UNKNOWN\n"
        nodes = f"n[1-{self.count}]" if self.count > 1 else "n1"
        text += f"PartitionName=main Nodes={nodes} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE\n"
        text += f"PartitionName=cheap Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL\n"
        text += f"PartitionName=graceful Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=30\n"
        text += f"PartitionName=urgent Nodes={nodes} MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF\n"
        (self.root / "slurm.conf").write_text(text)
        for gpu in range(2):  # any device serves
            os.mknod(self.root / f"gpu{gpu}", 0o20666, os.makedev(1, 3))
        (self.root / "gres.conf").write_text(f"Name=gpu File={self.root}/gpu[0-1]\n")

    # -- daemons -------------------------------------------------------------------------------------------------------

    def _spawn(self, name: str, argv: list[str]) -> None:
        with open(self.root / "log" / f"{name}.out", "ab") as out:
            self.processes[name] = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                                    start_new_session=True)

    def start_controller(self) -> None:
        self._spawn("slurmctld", ["slurmctld", "-D"])
        wait_until(lambda: self.run("scontrol", "ping", check=False).returncode == 0 and "is UP" in
                   self.run("scontrol", "ping").stdout, "the controller answers")

    def change(self, **settings: object) -> None:
        """Other values of lines that are in slurm.conf, from now on."""
        file = self.root / "slurm.conf"
        lines = [line.split("=", 1) for line in file.read_text().splitlines()]
        file.write_text("".join(f"{key}={settings.get(key, value)}\n" for key, value in lines))
        self.run("scontrol", "reconfigure")

    def kill_controller(self) -> None:
        self.processes["slurmctld"].kill()
        self.processes["slurmctld"].wait()

    def start_node(self, node: str) -> None:
        self._spawn(f"slurmd-{node}", ["nsenter", f"--net=/run/netns/{self.namespace(node)}", "unshare", "--uts", "bash", "-c",
                                       f"hostname {node}; exec slurmd -D -N {node}"])

    def kill_node_daemon(self, node: str) -> None:
        """slurmd alone; its jobs go on."""
        process = self.processes[f"slurmd-{node}"]
        process.kill()
        process.wait()

    def kill_namespace(self, node: str) -> None:
        """Everything on the node, as a power cut does."""
        pids = subprocess.run(["ip", "netns", "pids", self.namespace(node)], capture_output=True, text=True).stdout.split()
        for pid in map(int, pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until(lambda: not any(alive(int(pid)) for pid in pids), f"{node} is dead")

    def power_off(self, node: str) -> None:
        self.kill_node_daemon(node)
        self.kill_namespace(node)

    def wait_saved(self, job: str) -> None:
        """The controller has written down that the job runs. It does so every few seconds; one that is killed before has forgotten it,
        starts the job again and drains the node."""
        mark = f"saved-{time.monotonic_ns()}"
        self.run("scontrol", "update", f"JobId={job}", f"AdminComment={mark}")
        wait_until(lambda: mark.encode() in (self.root / "state" / "job_state").read_bytes(), "the controller has written it down")

    # -- asking --------------------------------------------------------------------------------------------------------

    def run(self, *argv: object, check: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run([str(word) for word in argv], env=self.env, capture_output=True, text=True, check=check,
                              timeout=60)

    def idle(self) -> int:
        return len(self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle", check=False).stdout.splitlines())

    def jobs(self) -> dict[str, str]:
        """State by job id, of every job the controller still knows."""
        lines = self.run("squeue", "-h", "-t", "all", "-o", "%i|%T").stdout.splitlines()
        return dict(line.split("|", 1) for line in lines)

    def skip_requeue_delay(self, job: str) -> None:
        """Slurm starts a job that was put back only after two minutes, for credentials to expire: those of the same second do not count."""
        wait_until(lambda: self.run("squeue", "-h", "-j", job, "-o", "%T|%r").stdout.strip() == "PENDING|BeginTime",
                   f"job {job} is in the queue again", 90)
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")
