# SPDX-License-Identifier: Apache-2.0
"""Gradient descent on (w - 3)^2; prints what trainctl reads as metrics."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.1)
parser.add_argument("--steps", type=int, default=10)
arguments = parser.parse_args()

w = 0.0
for step in range(arguments.steps):
    w -= arguments.rate * 2 * (w - 3)
    print(f"step {step}: loss {(w - 3) ** 2:.6f}")
