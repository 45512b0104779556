# SPDX-License-Identifier: Apache-2.0
"""Written for Azure ML: gradient descent on (w - 3)^2, logged with the SDK's Run."""

import argparse

from azureml.core import Run

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float, default=0.1)
parser.add_argument("--steps", type=int, default=10)
arguments = parser.parse_args()

run = Run.get_context()
w = 0.0
for step in range(arguments.steps):
    w -= arguments.rate * 2 * (w - 3)
    run.log("loss", (w - 3) ** 2)
print(f"w = {w:.4f}")
