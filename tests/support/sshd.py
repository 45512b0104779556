# SPDX-License-Identifier: Apache-2.0
"""A real OpenSSH server for tests: on loopback (or in a network namespace), with its own host key, its own user key and a home
folder of its own, so that what a run leaves on "the host" lies in one place.

    host = Sshd(scratch / "box")
    subprocess.run(["ssh", "-F", host.ssh_config, "box", "true"])
    host.kill(); host.start()                       # every session dies; what was started detached goes on
    host.reboot()                                   # everything on the host dies, and it has another boot id
    host.clean_up()
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Iterable, Sequence

from harness import alive, wait_until

SSHD = "/usr/sbin/sshd"
# A /var/tmp of its own for the server ($1), in which the test's folder ($2) is seen all the same; needs root.
OWN_TMP = """
exec 9<"$2" && mkdir -p "$1" && mount --bind "$1" /var/tmp && mkdir -p "$2" && mount --no-canonicalize --rbind /proc/self/fd/9 "$2" || exit 1
exec 9<&-
"""


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as probe:
        return probe.getsockname()[1]


def make_key(path: Path) -> str:
    """A new key pair; the public half as it stands in authorized_keys."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)
    return path.with_name(path.name + ".pub").read_text().strip()


def tree(pid: int) -> list[int]:
    """The process and all below it."""
    found = [pid]
    try:
        children = [child for task in os.listdir(f"/proc/{pid}/task") for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    except OSError:  # it has ended meanwhile
        return found
    for child in children:
        found += tree(int(child))
    return found


def masters(sockets: Path) -> list[int]:
    """The processes that keep a shared connection open whose socket lies in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            command = (entry / "cmdline").read_bytes()
            # One that was started without a session keeps its command line.
            alone = b"\0-N\0" in command and f"ControlPath={sockets}".encode() in command
            if command.startswith(f"ssh: {sockets}".encode()) or alone:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Sshd:
    def __init__(self, folder: Path, *, options: Iterable[str] = (), address: str = "127.0.0.1", port: int | None = None,
                 prefix: Sequence[str] = (), variables: dict[str, str] | None = None, home: Path | None = None, alias: str = "box",
                 own_tmp: bool = False, mounts: str = ""):
        """`options` are lines of sshd_config that win over ours; `prefix` goes before sshd (nsenter …); `variables` are
        what sessions find in their environment; `alias` is the name in ssh_config. With `own_tmp` the host's /var/tmp is
        the folder `self.tmp`, and `mounts` are shell commands about what else only this host sees mounted."""
        assert shutil.which(SSHD), "apt-get install openssh-server"
        self.folder, self.address, self.prefix, self.alias = folder, address, list(prefix), alias
        self.home = home or folder / "home"
        self.tmp = folder / "tmp"
        if own_tmp:
            script = OWN_TMP + mounts + '\nshift 2; exec "$@"'
            self.prefix += ["unshare", "--mount", "sh", "-c", script, "mounts", str(self.tmp), str(folder.parent)]
        self.port = port or free_port()
        self.options = list(options)
        self.boot = 1
        folder.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(parents=True, exist_ok=True)
        self.boot_file = folder / "boot_id"
        self.boot_file.write_text("00000000-0000-4000-8000-000000000001\n")
        self.variables = {"HOME": str(self.home), "TRAINCTL_BOOT_ID_FILE": str(self.boot_file),
                          **({} if own_tmp else {"TRAINCTL_SLOTS": str(folder / "slots")}), **(variables or {})}
        self.host_key = make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(make_key(folder / "id") + "\n")
        self.known_hosts = folder / "known_hosts"
        self.write_known_hosts()
        self.ssh_config = folder / "ssh_config"
        self.write_ssh_config(self.port)
        self.process: subprocess.Popen | None = None
        self.start()

    # -- what ssh reads --------------------------------------------------------------------------------------------------

    def write_known_hosts(self) -> None:
        self.known_hosts.write_text("box " + " ".join(self.host_key.split()[:2]) + "\n")

    def write_ssh_config(self, port: int, more: str = "") -> None:
        """The port may be that of a proxy in front of the server. The key is known by an alias, whatever the port."""
        self.ssh_config.write_text(
            f"Host {self.alias}\n  HostName {self.address}\n  Port {port}\n  User {os.environ.get('USER', 'root')}\n"
            f"  IdentityFile {self.folder / 'id'}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            f"  HostKeyAlias box\n  StrictHostKeyChecking yes\n{more}")

    def change_host_key(self) -> None:
        """The server has another key from now on, and the client does not know it."""
        self.host_key = make_key(self.folder / "host_key")

    # -- the server ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        variables = " ".join(f"{name}={value}" for name, value in self.variables.items())
        (self.folder / "sshd_config").write_text("\n".join([
            *self.options, f"Port {self.port}", f"ListenAddress {self.address}", f"HostKey {self.folder / 'host_key'}", "PidFile none",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
            "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "UseDNS no", "PrintMotd no", "PrintLastLog no",
            "MaxStartups 100:30:200", f"SetEnv {variables}", "Subsystem sftp internal-sftp", "LogLevel VERBOSE", ""]))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)  # where sshd drops its privileges to; the init script makes it
        with open(self.folder / "sshd.log", "ab") as log:
            self.process = subprocess.Popen([*self.prefix, SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        wait_until(self._listens, f"sshd on port {self.port} ({self.folder}/sshd.log)")

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.folder / "sshd.log").read_text()[-2000:]
        inode = f"{self.port:04X}"
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(":" + inode) and fields[3] == "0A":
                    return True
        return False

    def sessions(self) -> list[int]:
        """The processes of its sessions: everything below the listener."""
        return tree(self.process.pid)[1:] if self.process and self.process.poll() is None else []

    def stop(self) -> None:
        """The listener alone; sessions live on, as they do when sshd is restarted."""
        self.process.terminate()
        self.process.wait()

    def kill(self) -> None:
        """The listener and every session: the connection is lost, what was detached goes on."""
        for pid in tree(self.process.pid):
            self._signal(pid, signal.SIGKILL)
        self.process.wait()

    def pause(self, number: int = signal.SIGSTOP) -> list[int]:
        """Its sessions stand still, and nobody is told; `resume()` lets them go on."""
        return [pid for pid in self.sessions() if self._signal(pid, number)]

    def resume(self) -> None:
        self.pause(signal.SIGCONT)

    @staticmethod
    def _signal(pid: int, number: int) -> bool:
        try:
            os.kill(pid, number)
            return True
        except ProcessLookupError:
            return False

    # -- the host --------------------------------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """What runs on the host: everything that carries its home folder in its environment, command line or working
        directory, and is neither sshd (with what starts it) nor its file server."""
        mark, found = str(self.folder).encode(), {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                folder = Path(entry.path)
                command = (folder / "cmdline").read_bytes()
                where = (folder / "environ").read_bytes() + os.fsencode(os.readlink(folder / "cwd"))
                if (mark in where or mark in command) and b"foreign_folder.py" not in command and not command.startswith((b"sshd", SSHD.encode(), b"ssh\0", b"nsenter\0")) and alive(int(entry.name)):
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue
        return found

    def kill_processes(self) -> None:
        def none_left() -> bool:
            left = self.processes()
            for pid in left:
                self._signal(pid, signal.SIGKILL)
            return not left

        wait_until(none_left, "nothing of the host is left")

    def reboot(self) -> None:
        """Everything on the host dies at once; it comes back with another boot id."""
        if self.process.poll() is None:
            self.kill()
        self.kill_processes()
        self.boot += 1
        self.boot_file.write_text(f"00000000-0000-4000-8000-{self.boot:012d}\n")
        self.start()

    def files(self) -> list[str]:
        """What lies in its home, folders included."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*"))

    def traces(self) -> list[str]:
        """What of trainctl's is in its home and its /var/tmp."""
        return sorted(str(path) for place in (self.home / ".trainctl", *self.tmp.glob("trainctl-*")) for path in (place, *place.rglob("*")) if path.exists())

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.resume()
            self.kill()
        self.kill_processes()
