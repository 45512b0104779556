# SPDX-License-Identifier: Apache-2.0
"""A podman of the tests' own: its storage, its settings and an image made of busybox. Nothing is pulled.

`runc` instead of crun, which refuses mixed cgroup layouts; no cgroup manager, network or ulimits that need more rights than a
container of a CI has."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

IMAGE = "localhost/bb:1"
APPLETS = "sh ls cat echo sleep id env pwd ps true false mkdir kill trap date seq touch stat tail head grep wc dd printf".split()
CONF = """[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
log_driver="k8s-file"
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
"""


class Podman:
    def __init__(self) -> None:
        for name in ("podman", "runc", "conmon", "/bin/busybox"):
            assert shutil.which(name), f"{name} is missing: apt-get install podman runc conmon busybox-static"
        self.root = Path(tempfile.mkdtemp(prefix="tc-podman-", dir="/var/tmp"))
        self.bin = self.root / "bin"
        self.bin.mkdir()
        (self.root / "containers.conf").write_text(CONF)
        wrapper = self.bin / "podman"
        wrapper.write_text(f"""#!/bin/sh
CONTAINERS_CONF={self.root}/containers.conf BUILDAH_ISOLATION=chroot exec {shutil.which("podman")} --root {self.root}/store --runroot {self.root}/run "$@"
""")
        wrapper.chmod(0o755)
        self.service: subprocess.Popen | None = None
        self.make_image()

    def __call__(self, *words: str, check: bool = True) -> str:
        done = subprocess.run([self.bin / "podman", *words], capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def make_image(self) -> None:
        tree = self.root / "tree"
        for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
            (tree / name).mkdir(parents=True)
        (tree / "tmp").chmod(0o1777)
        shutil.copy("/bin/busybox", tree / "bin" / "busybox")
        for name in APPLETS:
            (tree / "bin" / name).symlink_to("busybox")
        (tree / "etc" / "passwd").write_text("root:x:0:0::/:/bin/sh\n")
        with tarfile.open(self.root / "tree.tar", "w") as archive:
            archive.add(tree, arcname=".")
        self("import", "-c", "ENV PATH=/bin", "-c", "ENV FROM_IMAGE=yes", str(self.root / "tree.tar"), IMAGE)

    def containers(self) -> list[str]:
        return self("ps", "-a", "-q", "--filter", "label=trainctl.run").split()

    def serve(self) -> str:
        """The address at which a docker client finds this podman."""
        if self.service is None:
            socket = self.root / "api.sock"
            self.service = subprocess.Popen([self.bin / "podman", "system", "service", "--time=0", f"unix://{socket}"],
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return f"unix://{self.root}/api.sock"

    def close(self) -> None:
        if self.service:
            self.service.kill()
            self.service.wait()
        self("rm", "-fa", check=False)
        self("rmi", "-fa", check=False)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m.startswith(str(self.root))), reverse=True):
            subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(self.root, ignore_errors=True)


def path_with(folder: Path) -> str:
    return f"{folder}:{os.environ['PATH']}"
