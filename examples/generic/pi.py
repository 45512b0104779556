# SPDX-License-Identifier: Apache-2.0
"""The area of a circle by throwing darts at a square."""

import argparse
import random

parser = argparse.ArgumentParser()
parser.add_argument("--darts", type=int, default=100000)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

source = random.Random(options.seed)
inside = 0
for dart in range(1, options.darts + 1):
    inside += source.random() ** 2 + source.random() ** 2 <= 1
    if dart % (options.darts // 10) == 0:
        print(f"{dart} darts: pi is about {4 * inside / dart:.5f}", flush=True)
