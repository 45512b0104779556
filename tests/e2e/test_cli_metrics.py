# SPDX-License-Identifier: Apache-2.0
# ctest: timeout 300
"""`trainctl metrics`: what a point looks like that several sources have, plots along steps and time, points thinned out."""

from __future__ import annotations

import csv
import io
import os
import re

import pytest
from harness import wait_until

BRAILLE = re.compile("[\u2801-\u28ff]")
TWO_SOURCES = """
import struct, trainctl
from azureml.core import Run
run = Run.get_context()
def as_float(value): return struct.unpack("f", struct.pack("f", value))[0]  # as TensorBoard keeps it
for step in range(5):
    trainctl.log(loss=0.1 * step, accuracy=step, step=step)
    run.log("loss", as_float(0.1 * step))
    run.log("accuracy", step + 0.5)
    run.log("again", 1, step=0)
run.log("loss", 7)
"""


def series(trainctl, *words: str) -> dict[tuple[str, str], list]:
    return {(item["name"], item["source"]): [point["value"] for point in item["points"]]
            for item in trainctl.json("metrics", *words)["items"]}


def test_what_two_sources_say_is_shown_once(trainctl, project):
    project.script(TWO_SOURCES)
    trainctl.ok("run", "train.py")
    found = series(trainctl, "@")
    assert len(found["loss", "script"]) == 5 and found["loss", "azureml"] == [7], "only what the first one does not have"
    assert len(found["accuracy", "script"]) == len(found["accuracy", "azureml"]) == 5, "other values are others"
    assert found["again", "azureml"] == [1] * 5, "one source may say the same twice"
    rows = list(csv.DictReader(io.StringIO(trainctl.ok("metrics", "@", "loss", "--csv").text)))
    assert [row["source"] for row in rows].count("script") == 5 and len(rows) == 6
    table = trainctl.ok("metrics", "@").text
    assert re.search(r"^loss \[script 0\] +0\.4 +4 .* 5 ", table, re.M) and re.search(r"^loss \[azureml 0\] +7 +5 .* 1$", table, re.M), table
    assert trainctl.json("show", "@")["metrics"]["loss"]["last"] == pytest.approx(0.4)
    project.script(TWO_SOURCES.replace('run.log("loss", 7)', ""))
    trainctl.ok("run", "train.py")
    assert ("loss", "azureml") not in series(trainctl, "@") and "loss [" not in trainctl.ok("metrics", "@").text


def plot(trainctl, *words: str) -> list[str]:
    """The lines of the plot, below the table: curve, axis with numbers, names."""
    text = trainctl.ok("metrics", *words, "--width", "70", "--height", "8").text.rpartition("\n\n")[2]
    assert BRAILLE.search(text), text
    return text.splitlines()


def test_plots(trainctl, project):
    project.script("import trainctl\nfor step in range(0, 40, 2): trainctl.log(loss=10.0 ** -(step / 10), step=step)\n")
    for _ in range(2):
        trainctl.ok("run", "train.py")
    along_steps, along_time, logarithmic = (plot(trainctl, "@", "loss", *more) for more in ([], ["--x", "time"], ["--log"]))
    assert along_steps[-2].split() == ["0", "10", "20", "30", "step"] and along_steps[-1].split() == ["●", "loss"]
    assert along_time[-2].startswith("    0 s ") and "step" not in along_time[-2] and along_time[-1] == along_steps[-1]
    assert BRAILLE.search(trainctl.ok("metrics", "@", "--x", "time").text), "who says along what wants a plot, in a pipe too"
    assert any(line.startswith("0.001 ┤") for line in logarithmic) and not any("0.001" in line for line in along_steps)
    assert plot(trainctl, "@", "@2", "--name", "loss")[-1].split() == ["●", "train-2", "loss", "▲", "train-1", "loss"]
    assert "epoch" in trainctl.run("metrics", "@", "--x", "epoch", code=2).error


def test_points_are_thinned_out_with_their_peaks(trainctl, project):
    project.script("import trainctl\nfor step in range(10_000): trainctl.log(loss=99.0 if step == 5_000 else 1.0, step=step)\n")
    trainctl.ok("run", "train.py")
    [item] = trainctl.json("metrics", "@", "loss", "--points", "100")["items"]
    assert item["count"] == 10_000 and len(item["points"]) <= 100
    assert {item["points"][0]["step"], item["points"][-1]["step"]} == {0, 9_999} and 99.0 in [p["value"] for p in item["points"]]
    assert len(trainctl.json("metrics", "@", "loss")["items"][0]["points"]) == 10_000
    assert trainctl.ok("metrics", "@", "loss", "--points", "100", "--csv").text.count("\n") <= 101


def test_metrics_of_the_system(trainctl, project):
    project.script("import time, trainctl\ntrainctl.log(loss=1)\nwhile not any('system' in name for name in __import__('os').listdir("
                   "__import__('os').environ['TRAINCTL_METRICS'])): time.sleep(0.02)\n")
    project.spec(metrics={"system": {"interval": "1s"}}, limits={"timeout": "60s"})
    trainctl.ok("submit", "a.run.json")
    assert {name.split("/")[0] for name, _ in series(trainctl, "@")} == {"loss"}
    with_system = series(trainctl, "@", "--system")
    assert ("loss", "script") in with_system and any(source == "system" for _, source in with_system)
    assert "system/" not in trainctl.ok("metrics", "@").text and "system/" in trainctl.ok("metrics", "@", "--system").text


def test_without_metrics_of_the_system(trainctl, project):
    """It goes on until a run that was started after it has two samples."""
    project.script("import os\nopen(os.environ['GO']).read()\n")  # until somebody opens the other side
    runs = {}
    for name, enabled in (("without", False), ("with", True)):
        os.mkfifo(trainctl.root / f"{name}.go")
        trainctl.ok("submit", project.spec(f"{name}.run.json", metrics={"system": {"enabled": enabled, "interval": "1s"}},
                                           environment_variables={"GO": str(trainctl.root / f"{name}.go")}), "--detach")
        runs[name] = trainctl.last_run()

    def samples(name: str) -> list[bytes]:
        return [line for file in (runs[name] / "attempts/1").rglob("system-*") for line in file.read_bytes().splitlines() if b"system/cpu" in line]

    wait_until(lambda: len(samples("with")) >= 2, "two samples")
    for name in runs:
        open(trainctl.root / f"{name}.go", "w").close()
    trainctl.ok("wait", *(run.name for run in runs.values()))
    assert not list((runs["without"] / "attempts/1").rglob("system-*"))
