# SPDX-License-Identifier: Apache-2.0
"""writers.py WHICH COUNT: logs COUNT metric values, one a call, and prints RATE name values/s. Run with the writer's Python."""

import json
import os
import sys
import tempfile
import time


def rate(name, count, call):
    began = time.perf_counter()
    for step in range(count):
        call(step)
    print(f"RATE {name} {count / (time.perf_counter() - began):.0f}", flush=True)


def with_trainctl(count):
    import trainctl
    trainctl.log(loss=0.0, step=0)
    rate("trainctl.log", count, lambda step: trainctl.log(loss=step * 0.1, step=step))
    handle = os.open(os.path.join(tempfile.mkdtemp(), "m.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    rate("bare-write-of-a-line", count, lambda step: os.write(handle, (json.dumps({"k": "loss", "s": step, "v": step * 0.1}) + "\n").encode()))


def with_tensorboard(count):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    writer = EventFileWriter(tempfile.mkdtemp(dir="."))
    rate("tensorboard", count, lambda step: writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=step * 0.1)]))))
    writer.close()


def with_mlflow(which, count):
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow
    folder = tempfile.mkdtemp(dir=".")
    mlflow.set_tracking_uri(f"sqlite:///{os.path.abspath(folder)}/m.db" if which.endswith("sqlite") else f"file://{os.path.abspath(folder)}")
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.0, step=0)
        rate(which, count, lambda step: mlflow.log_metric("loss", step * 0.1, step=step))


if __name__ == "__main__":
    which, count = sys.argv[1], int(sys.argv[2])
    if which == "trainctl":
        with_trainctl(count)
    elif which == "tensorboard":
        with_tensorboard(count)
    else:
        with_mlflow(which, count)
