# SPDX-License-Identifier: Apache-2.0
"""mlflow_list.py COUNT: a SQLite store of mlflow with COUNT finished runs (one metric pair, one tag each) in the current folder;
prints SECONDS of a search that filters and orders by a metric. Rows are inserted directly: its API takes 60 ms a run."""

import os
import random
import sqlite3
import sys
import time
import uuid

import mlflow

mlflow.set_tracking_uri(f"sqlite:///{os.path.abspath('list.db')}")
mlflow.set_experiment("bench")
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("bench").experiment_id


def fill(count):
    with mlflow.start_run():
        mlflow.log_metrics({"accuracy": 0.5, "loss": 0.7})
    database = sqlite3.connect("list.db")

    def template(table):
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        return columns, dict(zip(columns, database.execute(f"select * from {table} limit 1").fetchone()))

    def insert(table, columns, values):
        database.execute(f"insert into {table}({','.join(columns)}) values({','.join('?' * len(columns))})", [values[name] for name in columns])

    runs, run = template("runs")
    latest, metric = template("latest_metrics")
    now = int(time.time() * 1000)
    for index in range(count - 1):
        run_id = uuid.uuid4().hex
        insert("runs", runs, dict(run, run_uuid=run_id, name=f"r{index}", start_time=now + index, end_time=now + index + 5))
        for key in ("accuracy", "loss"):
            insert("latest_metrics", latest, dict(metric, key=key, value=random.random(), run_uuid=run_id))
        database.execute("insert into tags(key,value,run_uuid) values(?,?,?)", ("mlflow.runName", f"r{index}", run_id))
    database.commit()
    database.close()


if not client.search_runs([experiment], max_results=1):
    fill(int(sys.argv[1]))
times = []
for _ in range(3):
    began = time.perf_counter()
    client.search_runs([experiment], "metrics.accuracy > 0.5", order_by=["metrics.accuracy DESC"], max_results=20)
    times.append(time.perf_counter() - began)
print(f"SECONDS {sorted(times)[1]:.4f}")
