# SPDX-License-Identifier: Apache-2.0
"""mlflow_client.py CALLS BATCHES: the real client's calls against MLFLOW_TRACKING_URI; prints RATE name points/s. With
BENCH_RUN_ID (the server answers nothing useful) that run is taken for granted."""

import os
import sys
import time

import mlflow
from mlflow.entities import Metric

calls, batches = int(sys.argv[1]), int(sys.argv[2])
client = mlflow.MlflowClient()
run = os.environ.get("BENCH_RUN_ID") or os.environ.get("MLFLOW_RUN_ID") or client.create_run("0").info.run_id
client.log_metric(run, "loss", 0.0, step=0)
began = time.perf_counter()
for step in range(calls):
    client.log_metric(run, "loss", step * 0.1, step=step + 1)
print(f"RATE log_metric {calls / (time.perf_counter() - began):.1f}", flush=True)
now = int(time.time() * 1000)
many = [[Metric(f"m{n % 10}", n * 0.1, now, batch * 1000 + n) for n in range(1000)] for batch in range(batches)]
began = time.perf_counter()
for metrics in many:
    client.log_batch(run, metrics=metrics)
print(f"RATE log_batch {batches * 1000 / (time.perf_counter() - began):.1f}", flush=True)
