# SPDX-License-Identifier: Apache-2.0
"""What the tests through the real binaries share: running trainctl, terminals, waiting, cleaning up.

Nothing here sleeps for a guessed time: everything waits for a condition, with a deadline that fails the test and says
what was seen instead.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

REPOSITORY = Path(__file__).resolve().parents[2]
BIN_DIR = Path(os.environ.get("TRAINCTL_BIN_DIR", REPOSITORY / "build" / "dev" / "bin"))
# Debug and sanitizer builds on a busy machine are slow; deadlines are for hangs, not for speed.
PATIENCE = float(os.environ.get("TRAINCTL_TEST_PATIENCE", "1"))
DEFAULT_TIMEOUT = 60.0
POLL = 0.005
# Set on some development machines; they hide missing flushes, missing byte code and colour mistakes.
DROPPED = re.compile(r"^(PYTHON.*|TRAINCTL_.*|XDG_.*|NO_COLOR|CLICOLOR.*|COLUMNS|LINES|VIRTUAL_ENV|CUDA_VISIBLE_DEVICES|MLFLOW_.*)$")


def wait_until(condition: Callable[[], Any], what: str = "condition", timeout: float = DEFAULT_TIMEOUT) -> Any:
    """Calls `condition` until it is true, and returns what it returned. An OSError or a JSON line that is not complete
    yet counts as "not yet"."""
    deadline = time.monotonic() + timeout * PATIENCE
    last: BaseException | None = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = None
        except (OSError, ValueError, KeyError, IndexError) as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout * PATIENCE:.0f} s for: {what}" + (f" (last: {last!r})" if last else ""))
        time.sleep(POLL)


def jsonl(path: Path) -> list[dict]:
    """The complete lines of a JSON-lines file; a line without a newline does not exist."""
    if not path.exists():
        return []
    data = path.read_bytes()
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines() if line.strip()]


def alive(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rfind(")") + 2] not in "ZX"


@dataclass
class Result:
    """A finished command. `out` and `err` are bytes; `.text` and `.error` decode them."""

    argv: Sequence[str]
    code: int
    out: bytes
    err: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.out.decode("utf-8", "replace")

    @property
    def error(self) -> str:
        return self.err.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines() if line.strip()]

    def __str__(self) -> str:
        return (
            f"$ {' '.join(map(str, self.argv))}\nexit {self.code} after {self.seconds:.2f} s\n"
            f"--- stdout ({len(self.out)} bytes)\n{self.text[-4000:]}\n--- stderr ({len(self.err)} bytes)\n{self.error[-4000:]}"
        )


class PtySession:
    """A command on a terminal of its own: its controlling terminal, stdin, stdout and stderr (or what `stdout` says)."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, rows: int = 40, columns: int = 120,
                 stdout: Any = None, stderr: Any = None):
        self.argv = argv
        self.seen = b""
        self.master, slave = pty.openpty()
        self.resize(rows, columns)

        def own_terminal() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave if stdout is None else stdout,
                                        stderr=slave if stderr is None else stderr, env=dict(env), cwd=cwd,
                                        preexec_fn=own_terminal, close_fds=True)
        os.close(slave)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def text(self) -> str:
        return self.seen.decode("utf-8", "replace")

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, data: str | bytes) -> None:
        os.write(self.master, data.encode() if isinstance(data, str) else data)

    def interrupt(self) -> None:
        """Ctrl-C as typed: the terminal sends SIGINT to the foreground process group."""
        self.send(b"\x03")

    def pump(self, seconds: float = POLL) -> bool:
        """Reads what has arrived; False when the terminal is closed."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data
        return bool(data)

    def expect(self, pattern: str, timeout: float = DEFAULT_TIMEOUT, start: int = 0) -> re.Match:
        """Waits until the screen (from byte-decoded offset `start`) matches the regular expression."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            match = re.search(pattern, self.text[start:], re.S)
            if match:
                return match
            if not self.pump() or time.monotonic() > deadline:
                match = re.search(pattern, self.text[start:], re.S)
                if match:
                    return match
                raise AssertionError(f"{' '.join(self.argv)}: no match for {pattern!r} on the screen:\n{self.text[-4000:]}")

    def wait(self, timeout: float = DEFAULT_TIMEOUT) -> int:
        """Reads until the command has ended; returns its exit code (negative: killed by that signal)."""
        deadline = time.monotonic() + timeout * PATIENCE
        while self.process.poll() is None:
            self.pump()
            if time.monotonic() > deadline:
                raise AssertionError(f"{' '.join(self.argv)} has not ended after {timeout * PATIENCE:.0f} s:\n{self.text[-4000:]}")
        while select.select([self.master], [], [], 0)[0] and self.pump(0):
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        """Closes the terminal, as a lost login does (SIGHUP)."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


class Trainctl:
    """The built binaries with a store, a home and a working directory of their own."""

    def __init__(self, root: Path, cwd: Path, bin_dir: Path = BIN_DIR):
        self.binary = bin_dir / "trainctl"
        self.runner = bin_dir / "trainctl-runner"
        self.root, self.cwd = root, cwd
        self.home = root / "store"
        self.user_home = root / "home"
        self.user_home.mkdir(parents=True, exist_ok=True)
        self.env = {name: value for name, value in os.environ.items() if not DROPPED.match(name)}
        cache = os.environ.get("TRAINCTL_TEST_UV_CACHE", str(REPOSITORY / "build" / "uv-cache"))
        self.env.update(TRAINCTL_HOME=str(self.home), HOME=str(self.user_home), TERM="xterm-256color", LC_ALL="C.UTF-8",
                        UV_CACHE_DIR=cache, PATH=f"{bin_dir}:{self.env.get('PATH', '/usr/bin:/bin')}")
        self.sessions: list[PtySession] = []
        self.processes: list[subprocess.Popen] = []

    # -- running -----------------------------------------------------------------------------------------------------

    def argv(self, *args: Any) -> list[str]:
        return [str(self.binary), *map(str, args)]

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The environment of a command; None in `env` removes a variable."""
        merged = {**self.env, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *args: Any, input: bytes | None = None, env: Mapping[str, str | None] | None = None,
            cwd: Path | None = None, timeout: float = DEFAULT_TIMEOUT, code: int | None = None) -> Result:
        """Runs `trainctl ARGS` to its end without a terminal; with `code`, fails the test for any other exit code."""
        argv, began = self.argv(*args), time.monotonic()
        stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        try:
            done = subprocess.run(argv, **stdin, capture_output=True, env=self.environment(env), cwd=cwd or self.cwd,
                                  timeout=timeout * PATIENCE)
        except subprocess.TimeoutExpired as late:
            shown = Result(argv, -1, late.stdout or b"", late.stderr or b"", timeout * PATIENCE)
            raise AssertionError(f"did not end in time\n{shown}") from None
        result = Result(argv, done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert code is None or result.code == code, f"expected exit {code}\n{result}"
        return result

    def ok(self, *args: Any, **options: Any) -> Result:
        return self.run(*args, code=0, **options)

    def json(self, *args: Any, **options: Any) -> Any:
        """`trainctl ARGS --json`, decoded (exit 0 expected unless `code` says otherwise)."""
        options.setdefault("code", 0)
        return self.run(*args, "--json", **options).json

    def start(self, *args: Any, env: Mapping[str, str | None] | None = None, cwd: Path | None = None,
              **options: Any) -> subprocess.Popen:
        """Starts `trainctl ARGS` in a session of its own and returns at once (pipes unless the options say otherwise)."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(self.argv(*args), env=self.environment(env), cwd=cwd or self.cwd,
                                   start_new_session=True, **options)
        self.processes.append(process)
        return process

    def pty(self, *args: Any, env: Mapping[str, str | None] | None = None, cwd: Path | None = None,
            **options: Any) -> PtySession:
        """Starts `trainctl ARGS` on a terminal of its own."""
        session = PtySession(self.argv(*args), self.environment(env), cwd or self.cwd, **options)
        self.sessions.append(session)
        return session

    # -- looking at the store ------------------------------------------------------------------------------------------

    def runs(self) -> list[Path]:
        """The run folders, oldest first (a ULID sorts by time)."""
        folder = self.home / "runs"
        return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []

    def last_run(self) -> Path:
        return wait_until(self.runs, "a run folder")[-1]

    def events(self, run: Path, attempt: int = 1) -> list[dict]:
        """The lead supervisor's events of an attempt."""
        return jsonl(run / "attempts" / str(attempt) / "events.jsonl")

    def wait_event(self, run: Path, kind: str, attempt: int = 1, timeout: float = DEFAULT_TIMEOUT, **fields: Any) -> dict:
        """Waits for a lead event of that type whose fields have these values."""
        def find() -> dict | None:
            for event in self.events(run, attempt):
                if event.get("type") == kind and all(event.get(key) == value for key, value in fields.items()):
                    return event
            return None
        try:
            return wait_until(find, f"event {kind} {fields} in {run.name}", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nevents: {self.events(run, attempt)}") from None

    def wait_end(self, run: Path, attempt: int = 1, timeout: float = DEFAULT_TIMEOUT) -> dict:
        return self.wait_event(run, "end", attempt, timeout)

    def log(self, run: Path, attempt: int = 1, name: str = "std.log") -> bytes:
        path = run / "attempts" / str(attempt) / "logs" / name
        return path.read_bytes() if path.exists() else b""

    def wait_log(self, run: Path, text: str | bytes, attempt: int = 1, timeout: float = DEFAULT_TIMEOUT) -> bytes:
        wanted = text.encode() if isinstance(text, str) else text
        return wait_until(lambda: wanted in (log := self.log(run, attempt)) and log, f"{wanted!r} in the log", timeout)

    def lead(self, run: Path, attempt: int = 1) -> int:
        """The pid of the attempt's last supervisor."""
        return wait_until(lambda: [event for event in self.events(run, attempt) if event["type"] == "attempt"], "a supervisor")[-1]["pid"]

    def waiter(self, run: Path, attempt: int = 1) -> int:
        """The pid of the waiter of rank 0."""
        path = run / "attempts" / str(attempt) / "nodes" / "0" / "rank-0.jsonl"
        return wait_until(lambda: [line for line in jsonl(path) if line["type"] == "start"], "a start")[0]["waiter"]

    # -- processes ------------------------------------------------------------------------------------------------------

    def owned(self) -> dict[int, str]:
        """Processes that carry this store in their environment or command line: supervisors, waiters, scripts."""
        mark, found = str(self.home).encode(), {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                folder = Path(entry.path)
                command = (folder / "cmdline").read_bytes()
                if mark in command or mark in (folder / "environ").read_bytes() or mark in os.fsencode(os.readlink(folder / "cwd")):
                    if alive(int(entry.name)):
                        found[int(entry.name)] = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
            except OSError:
                continue
        return found

    def kill_owned(self, number: int = signal.SIGKILL, only: Callable[[str], bool] = lambda command: True) -> list[int]:
        """Signals every process of this store whose command line `only` accepts; returns their pids."""
        hit = []
        for pid, command in self.owned().items():
            if only(command):
                try:
                    os.kill(pid, number)
                    hit.append(pid)
                except ProcessLookupError:
                    pass
        return hit

    def clean_up(self) -> None:
        """Ends all that still runs with this store, stopped processes included."""
        for session in self.sessions:
            session.close()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for _ in range(100):
            if not self.kill_owned():
                break
            time.sleep(POLL)


class Project:
    """A source directory to train in."""

    def __init__(self, path: Path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, content: str | bytes | dict | list, mode: int | None = None) -> Path:
        """Writes a file (a dict or list as JSON) and returns its path."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, (dict, list)):
            content = json.dumps(content, indent=2) + "\n"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            path.chmod(mode)
        return path

    def script(self, body: str, name: str = "train.py") -> Path:
        return self.write(name, body if body.endswith("\n") else body + "\n")

    def spec(self, name: str = "a.run.json", **fields: Any) -> Path:
        """A run configuration: the given fields over {"script": "train.py"} (which `command` or `module` replace)."""
        base = {} if {"command", "module", "script"} & fields.keys() else {"script": "train.py"}
        return self.write(name, {**base, **fields})

    def git(self, *args: str) -> str:
        """Runs git here with a fixed identity and no configuration of the user."""
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_AUTHOR_NAME": "T",
               "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "T", "GIT_COMMITTER_EMAIL": "t@example.org"}
        done = subprocess.run(["git", *args], cwd=self.path, env=env, capture_output=True, text=True, timeout=DEFAULT_TIMEOUT)
        assert done.returncode == 0, done.stderr
        return done.stdout
