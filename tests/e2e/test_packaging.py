# SPDX-License-Identifier: Apache-2.0
"""What `cmake --install` puts where; manual pages and completions from the program itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from harness import BIN_DIR, REPOSITORY


@pytest.fixture
def installed(scratch):
    build = BIN_DIR.parent
    if not (build / "cmake_install.cmake").exists() or shutil.which("cmake") is None:
        pytest.skip("the binaries are not in a build folder")
    prefix = scratch / "usr"
    subprocess.run(["cmake", "--install", build, "--prefix", prefix], check=True, capture_output=True)
    return prefix


def commands(trainctl) -> list[str]:
    return trainctl.ok("completion", "--words", "bash", "--", "").text.split()


def test_install(installed, trainctl):
    assert subprocess.run([installed / "bin" / "trainctl", "--version"], capture_output=True, text=True).stdout.startswith("trainctl ")
    for runner in ("trainctl-runner", "trainctl-runner-aarch64"):  # the second: --target trainctl-runner-aarch64
        assert (installed / "bin" / runner).stat().st_mode & 0o111, runner
    pages = {path.name for path in (installed / "share" / "man" / "man1").iterdir()}
    assert pages == {"trainctl.1"} | {f"trainctl-{command}.1" for command in commands(trainctl)}
    for path in ("share/bash-completion/completions/trainctl", "share/zsh/site-functions/_trainctl",
                 "share/fish/vendor_completions.d/trainctl.fish", "share/doc/trainctl/copyright", "share/doc/trainctl/README.md",
                 "share/doc/trainctl/docs/quickstart.md", "share/trainctl/schemas/run.schema.json"):
        assert (installed / path).stat().st_size > 0, path
    assert (installed / "share/doc/trainctl/copyright").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()


def test_manual_pages_render_without_a_complaint(trainctl):
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    for command in ["", *commands(trainctl)]:
        page = trainctl.ok("help", "--man", *command.split()).out
        shown = subprocess.run(["groff", "-man", "-Kutf8", "-Tutf8", "-ww", "-P-cbou"], input=page, capture_output=True)
        assert shown.returncode == 0 and shown.stderr == b"", (command, shown.stderr.decode())
        assert b"NAME" in shown.stdout and b"SYNOPSIS" in shown.stdout, command


def test_manual_pages_say_what_help_says(trainctl):
    for command in commands(trainctl):
        page = trainctl.ok("help", "--man", command).text.replace("\\-", "-")
        assert page.startswith(f'.TH "TRAINCTL-{command.upper()}" 1')
        for line in page.splitlines():
            assert not line.startswith("'") and (not line.startswith(".") or line[1:3].strip() in ("TH", "SH", "SS", "TP", "B", "BR", "I", "nf", "fi")), line
        for word in trainctl.ok("help", command).text.split():
            if word.startswith("--") and word.strip(",.:").isascii() and word[2:].isalpha():
                assert word.strip(",.:;") in page, (command, word)
