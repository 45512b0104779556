# SPDX-License-Identifier: Apache-2.0
"""A small network tells three spirals apart. Runs with Keras 3 and Keras 2, and knows nothing of trainctl: what `fit` prints is
enough."""

import argparse
import os

import keras
import numpy as np

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


print("Keras", keras.__version__, "on", keras.backend.backend())
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(64, "relu"),
                          keras.layers.Dense(3, "softmax")])
model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(*spirals(1500, 0), batch_size=50, epochs=options.epochs, validation_data=spirals(600, 1))

os.makedirs("outputs", exist_ok=True)
model.save("outputs/model.keras")
