# SPDX-License-Identifier: Apache-2.0
"""Every test of python/trainctl.py runs a small script, in each interpreter that is found: that is what users do."""
import glob
import json
import os
import subprocess
import sys
import textwrap

import pytest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def interpreters():
    found = {"%d.%d" % sys.version_info[:2]: sys.executable}
    for path in sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python3"))):
        found.setdefault(".".join(path.split(os.sep)[-3].split(".")[:2]), path)
    return sorted(found.items(), key=lambda item: [int(n) for n in item[0].split(".")])


@pytest.fixture(params=[path for _, path in interpreters()], ids=[name for name, _ in interpreters()])
def python(request):
    return request.param


class Script:
    def __init__(self, python, folder):
        self.python = python
        self.folder = folder
        self.metrics = os.path.join(str(folder), "metrics")
        self.outputs = os.path.join(str(folder), "outputs")
        os.mkdir(self.outputs)
        self.env = {k: v for k, v in os.environ.items() if k not in ("PYTHONUNBUFFERED", "RANK")}
        self.env.update(
            PYTHONPATH=os.path.join(ROOT, "python"),
            PYTHONDONTWRITEBYTECODE="1",  # the repository stays clean
            TRAINCTL_METRICS=self.metrics,
            TRAINCTL_OUTPUTS=self.outputs,
            TRAINCTL_RUN_ID="01jdabc",
        )

    def start(self, code, **options):
        code = "import trainctl\n" + textwrap.dedent(code)
        return subprocess.Popen([self.python, "-c", code], cwd=str(self.folder), env=self.env, **options)

    def run(self, code):
        """Runs the script, which must succeed; its stderr."""
        process = self.start(code, stderr=subprocess.PIPE)
        errors = process.communicate(timeout=120)[1].decode()
        assert process.returncode == 0, errors
        return errors

    def raw(self, rank=0):
        with open(os.path.join(self.metrics, "script-r%d.jsonl" % rank), "rb") as file:
            return file.read()

    def lines(self, rank=0):
        text = self.raw(rank)
        assert text == b"" or text.endswith(b"\n")
        assert all(len(line) < 4096 for line in text.split(b"\n"))
        return [json.loads(line.decode("ascii")) for line in text.split(b"\n") if line]

    def points(self, rank=0):
        return [(p["name"], p["step"], p["value"]) for p in self.lines(rank) if "type" not in p]


@pytest.fixture
def script(python, tmp_path):
    return Script(python, tmp_path)
