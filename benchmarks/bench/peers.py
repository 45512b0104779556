# SPDX-License-Identifier: Apache-2.0
"""How each peer runs a command, as its own documentation says to, in a folder prepared for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Callable

SUBMITIT = """import submitit, subprocess, sys
ex = submitit.LocalExecutor(folder="logs"); ex.update_parameters(timeout_min=10)
job = ex.submit(subprocess.check_call, sys.argv[1:]); job.result()
sys.stdout.write(job.stdout()); sys.stdout.flush()
"""
METAFLOW = """from metaflow import FlowSpec, step
import subprocess
class F(FlowSpec):
    @step
    def start(self):
        subprocess.check_call({argv!r}); self.next(self.end)
    @step
    def end(self): pass
if __name__ == "__main__": F()
"""


class Peers:
    """The peers installed under `root` by benchmarks/install-peers, each with a work folder of its own."""

    def __init__(self, root: Path, work: Path, env: dict[str, str]):
        self.root, self.work, self.env = root, work, env
        self.daemons: list[list[str]] = []

    def program(self, name: str, program: str | None = None) -> Path:
        return self.root / ("cargo" if name == "pueue" else name) / "bin" / (program or name)

    def have(self, name: str) -> bool:
        programs = {"guildai": "guild", "submitit": "python", "torch": "torchrun"}
        return self.program(name, programs.get(name, name)).exists()

    def folder(self, name: str) -> Path:
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def runs(self, name: str, argv: list[str], tag: str) -> tuple[list[str], Path] | None:
        """The command line (and its folder) with which this peer runs `argv`, waits for it and shows its output."""
        if not self.have(name):
            return None
        make: Callable[[list[str], str], tuple[list[str], Path]] = getattr(self, f"_{name}")
        return make(argv, tag)

    def _torchx(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        return [str(self.program("torchx")), "run", "-s", "local_cwd", "utils.binary", "--entrypoint", argv[0], *argv[1:]], self.folder("torchx")

    def _guildai(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        folder = self.folder(f"guildai-{tag}")
        (folder / "op.py").write_text(f"import subprocess\nsubprocess.check_call({argv!r})\n")
        return [str(self.program("guildai", "guild")), "run", "op.py", "-y"], folder

    def _dvc(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        folder = self.folder(f"dvc-{tag}")
        if not (folder / ".git").exists():
            def call(*args: str) -> None:
                subprocess.run(args, cwd=folder, env=self.env, check=True, capture_output=True)
            call("git", "init", "-q")
            call(str(self.program("dvc")), "init", "-q")
            (folder / "dvc.yaml").write_text(f"stages:\n  a:\n    cmd: {' '.join(argv)}\n")
            call("git", "add", "-A")
            call("git", "commit", "-qm", "start")
        return [str(self.program("dvc")), "repro", "-f"], folder

    def _metaflow(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        folder = self.folder(f"metaflow-{tag}")
        (folder / "flow.py").write_text(METAFLOW.format(argv=argv))
        return [str(self.program("metaflow", "python")), "flow.py", "run"], folder

    def _submitit(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        folder = self.folder("submitit")
        (folder / "submit.py").write_text(SUBMITIT)
        return [str(self.program("submitit", "python")), "submit.py", *argv], folder

    def _mlflow(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        folder = self.folder(f"mlflow-{tag}")
        (folder / "MLproject").write_text(f"name: bench\nentry_points:\n  main: {{command: \"{' '.join(argv)}\"}}\n")
        return [str(self.program("mlflow")), "run", ".", "--env-manager", "local"], folder

    def _pueue(self, argv: list[str], tag: str) -> tuple[list[str], Path]:
        self.start_pueue()
        client = self.program("pueue")
        wait = f"{client} follow $id" if tag != "submit" else f"{client} wait -q $id"
        return ["/bin/sh", "-c", f"id=$({client} add -i -p -- {' '.join(argv)}) && {wait}"], self.folder("pueue")

    def start_pueue(self) -> None:
        """Its daemon, with its state below the benchmark's HOME; stopped by close()."""
        if not self.daemons:
            # The daemon keeps what it is given: a pipe would never end.
            subprocess.run([str(self.program("pueue", "pueued")), "-d"], env=self.env, check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30)
            self.daemons.append([str(self.program("pueue")), "shutdown"])
            subprocess.run(["/bin/sh", "-c", f"for i in $(seq 100); do {self.program('pueue')} status >/dev/null 2>&1 && exit 0; sleep 0.05; done; exit 1"],
                           env=self.env, check=True)

    def close(self) -> None:
        for stop in self.daemons:
            subprocess.run(stop, env=self.env, capture_output=True)
        self.daemons.clear()
