# SPDX-License-Identifier: Apache-2.0
"""The smallest run: prints, and keeps one file. Needs nothing but Python."""

import argparse
import os
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--name", default="world")
options = parser.parse_args()

print(f"hello, {options.name}")
outputs = Path(os.environ.get("TRAINCTL_OUTPUTS", "outputs"))
outputs.mkdir(parents=True, exist_ok=True)
(outputs / "greeting.txt").write_text(f"hello, {options.name}\n")
