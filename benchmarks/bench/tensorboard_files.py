# SPDX-License-Identifier: Apache-2.0
"""tensorboard_files.py write FILE POINTS | read FOLDER: makes an event file of scalars, or loads one as TensorBoard does and
prints RATE tensorboard points/s. Run with TensorBoard's Python."""

import os
import sys
import time

if sys.argv[1] == "write":
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    with open(sys.argv[2], "wb") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
        for step in range(int(sys.argv[3])):
            value = Summary.Value(tag="loss" if step % 2 else "accuracy", simple_value=step * 0.5)
            records.write(Event(wall_time=1.0 + step, step=step // 2, summary=Summary(value=[value])).SerializeToString())
else:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    began = time.perf_counter()
    loaded = EventAccumulator(os.path.abspath(sys.argv[2]), size_guidance={"scalars": 0})
    loaded.Reload()
    points = sum(len(loaded.Scalars(tag)) for tag in loaded.Tags()["scalars"])
    print(f"RATE tensorboard {points / (time.perf_counter() - began):.0f}", flush=True)
