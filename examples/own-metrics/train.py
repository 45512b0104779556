# SPDX-License-Identifier: Apache-2.0
"""Logs metrics of its own: by trainctl.log, and by printing a line that run.json has a pattern for."""
import argparse
import math

try:
    import trainctl  # on PYTHONPATH in every run of trainctl
except ImportError:  # run by hand without it: nothing is logged
    trainctl = None

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--lr", type=float, default=0.1)
args = parser.parse_args()

if trainctl:
    trainctl.log_params(args)
for epoch in range(1, args.epochs + 1):
    loss = math.exp(-args.lr * epoch) + 0.02 * math.sin(epoch)
    accuracy = 1 - loss / 2
    if trainctl:
        trainctl.log({"train/loss": loss, "accuracy": accuracy}, step=epoch)
    print("epoch %d/%d: validation loss %.4f" % (epoch, args.epochs, loss * 1.1))

if trainctl:
    with open(trainctl.outputs("model.txt"), "w") as file:
        file.write("lr=%g accuracy=%.4f\n" % (args.lr, accuracy))
    trainctl.log_text("note", "trained for %d epochs" % args.epochs)
