# SPDX-License-Identifier: Apache-2.0
"""A small network tells three spirals apart, alone, as one of several mirrored workers, or with parameter servers: TF_CONFIG
says which. Knows nothing of trainctl: it writes for TensorBoard."""

import argparse
import json
import os

import numpy as np
import tensorflow as tf

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
options = parser.parse_args()


def spirals(points: int, seed: int):
    """Three arms around one centre, with some noise."""
    source = np.random.default_rng(seed)
    label = np.arange(points) % 3
    radius = source.uniform(0, 1, points)
    angle = 4 * radius + label * 2 * np.pi / 3 + source.normal(0, 0.15, points)
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1).astype("float32"), label


config = json.loads(os.environ.get("TF_CONFIG", "{}"))
cluster, task = config.get("cluster", {}), config.get("task", {"type": "worker", "index": 0})
if "ps" in cluster:
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    if task["type"] in ("worker", "ps"):  # does what the chief says, until it is ended
        tf.distribute.Server(resolver.cluster_spec(), job_name=task["type"], task_index=task["index"], protocol="grpc").join()
    strategy = tf.distribute.ParameterServerStrategy(resolver)
elif len(cluster.get("worker", [])) > 1:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
else:
    strategy = tf.distribute.get_strategy()
leads = task["type"] == "chief" or "chief" not in cluster and task["index"] == 0

tf.keras.utils.set_random_seed(0)
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(64, "relu"), tf.keras.layers.Dense(64, "relu"),
                                 tf.keras.layers.Dense(3)])
    model.compile(tf.keras.optimizers.Adam(0.01), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"])

sharing = tf.data.Options()
sharing.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA  # there are no files to share out
data = tf.data.Dataset.from_tensor_slices(spirals(1500, 0)).shuffle(1500).repeat().batch(50).with_options(sharing)
held_out = tf.data.Dataset.from_tensor_slices(spirals(600, 1)).batch(50).repeat().with_options(sharing)
model.fit(data, validation_data=held_out, epochs=options.epochs, steps_per_epoch=30, validation_steps=12,
          verbose=2 if leads else 0, callbacks=[tf.keras.callbacks.TensorBoard("logs")] if leads else [])
if leads:
    os.makedirs("outputs", exist_ok=True)
    np.savez("outputs/weights.npz", *model.get_weights())
