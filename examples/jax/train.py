# SPDX-License-Identifier: Apache-2.0
"""A small network tells three spirals apart, with JAX and Optax."""

import argparse
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

try:
    import trainctl
except ImportError:  # outside of a run nothing is logged
    trainctl = None

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
options = parser.parse_args()


def spirals(points: int, seed: int):
    """Three arms around one centre, with some noise."""
    source = np.random.default_rng(seed)
    label = np.arange(points) % 3
    radius = source.uniform(0, 1, points)
    angle = 4 * radius + label * 2 * np.pi / 3 + source.normal(0, 0.15, points)
    return jnp.array(np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1)), jnp.array(label)


def forward(layers, x):
    for weights, bias in layers[:-1]:
        x = jax.nn.relu(x @ weights + bias)
    return x @ layers[-1][0] + layers[-1][1]


def loss_of(layers, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(forward(layers, x), y).mean()


@jax.jit
def step(layers, state, x, y):
    loss, gradients = jax.value_and_grad(loss_of)(layers, x, y)
    updates, state = optimizer.update(gradients, state)
    return optax.apply_updates(layers, updates), state, loss


keys = jax.random.split(jax.random.key(0), 3)
layers = [(jax.random.normal(key, (wide, high)) * (2 / wide) ** 0.5, jnp.zeros(high))
          for key, wide, high in zip(keys, (2, 64, 64), (64, 64, 3))]
optimizer = optax.adam(0.01)
state = optimizer.init(layers)
(data, labels), (held_out, truth) = spirals(1500, 0), spirals(600, 1)
for epoch in range(1, options.epochs + 1):
    losses = []
    for batch in np.random.default_rng(epoch).permutation(len(data)).reshape(-1, 50):
        layers, state, loss = step(layers, state, data[batch], labels[batch])
        losses.append(float(loss))
    accuracy = float((forward(layers, held_out).argmax(1) == truth).mean())
    print(f"epoch {epoch}: loss {np.mean(losses):.4f} accuracy {accuracy:.4f}")
    if trainctl:
        trainctl.log(loss=np.mean(losses), accuracy=accuracy, step=epoch)

os.makedirs("outputs", exist_ok=True)
np.savez("outputs/weights.npz", *[array for layer in layers for array in layer])
