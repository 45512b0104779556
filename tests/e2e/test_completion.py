# SPDX-License-Identifier: Apache-2.0
"""Words that a shell offers: of runs the newest first."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def words(trainctl, *line: str) -> list[str]:
    return trainctl.ok("completion", "--words", "bash", "--", *line).text.split()


def runs(trainctl) -> list[str]:
    """Two names, made in turn: neither the order of letters nor that of folders is the order of time."""
    for name in ("b", "a", "b", "c"):
        trainctl.ok("run", "--name", name, "--", "true")
    return ["c-1", "b-2", "a-1", "b-1"]


def test_the_newest_runs_come_first(trainctl):
    assert words(trainctl, "show", "") == []
    newest = runs(trainctl)
    assert [word for word in words(trainctl, "show", "") if not word.startswith("-")] == ["@", *newest]
    assert words(trainctl, "logs", "b") == ["b-2", "b-1"]
    trainctl.ok("rm", "c-1")
    assert words(trainctl, "show", "c") == []


def test_of_many_runs_the_newest_are_offered(trainctl):
    trainctl.ok("run", "--", "true")
    (first,) = trainctl.runs()
    for number in range(2, 320):
        copy = first.with_name(f"{first.name[:-3]}{number:03d}".replace(first.name[:10], "7zzzzzzzzz", 1))
        shutil.copytree(first, copy, symlinks=True)
        (copy / "plan.json").write_text((first / "plan.json").read_text().replace('"true-1"', f'"true-{number}"'))
    offered = words(trainctl, "show", "true")
    assert offered[0] == "true-319" and len(offered) == 300 and "true-1" not in offered


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_the_shell_keeps_the_order(trainctl, shell):
    newest = runs(trainctl)
    script = {
        "bash": 'source <(trainctl completion bash); COMP_WORDS=(trainctl show ""); COMP_CWORD=2; _trainctl; printf "%s\\n" "${COMPREPLY[@]}"; complete -p trainctl',
        "fish": 'trainctl completion fish | source; complete -C "trainctl show "',
    }[shell]
    done = subprocess.run([shell, "-c", script], env=trainctl.environment(), cwd=trainctl.cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    assert [word for word in done.stdout.split() if word in newest] == newest, done.stdout
    assert shell != "bash" or "nosort" in done.stdout
