# SPDX-License-Identifier: Apache-2.0
"""Stands between sshd and what a client starts on the host (ForceCommand), and looks at what the client sends. Files in
its folder say what to do, so that a test can change it between two commands:

    silence   milliseconds after which the machines of a run give each other up, in place of a minute. They take the place of
              the addresses that the target names, which the machines then find out themselves.
    hold      an operation. What asks for it never arrives; the file `held` says that it was sent.

    Sshd(…, options=[f"ForceCommand exec {sys.executable} {stdio_filter} {folder}"])
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ADDRESSES = re.compile(rb'"addresses":\["[^]]*\]')
UNFINISHED = re.compile(rb'"addresses":\["[^]]*$')


def wish(folder: Path, name: str) -> str:
    path = folder / name
    return path.read_text().strip() if path.exists() else ""


def shortened(data: bytes, silence: str) -> bytes:
    """The same length, so that the frame around it stays right."""
    return ADDRESSES.sub(lambda found: f'"silence_ms":{silence}'.encode().ljust(len(found[0])), data)


def main() -> int:
    folder, command = Path(sys.argv[1]), os.environ.get("SSH_ORIGINAL_COMMAND")
    if command is None:
        return 1
    child = subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE)
    waiting = b""
    while data := os.read(0, 1 << 16):
        data, waiting = waiting + data, b""
        if silence := wish(folder, "silence"):
            data = shortened(data, silence)
            if unfinished := UNFINISHED.search(data):
                data, waiting = data[:unfinished.start()], data[unfinished.start():]
        held = wish(folder, "hold")
        if held and f'"op":"{held}"'.encode() in data:
            (folder / "held").touch()
            while os.read(0, 1 << 16):  # until whoever sent it is gone
                pass
            break
        try:
            child.stdin.write(data)
            child.stdin.flush()
        except BrokenPipeError:
            break
    try:
        child.stdin.close()
    except BrokenPipeError:
        pass
    return child.wait()


sys.exit(main())
