# SPDX-License-Identifier: Apache-2.0
"""Fits a line with two processes. Each sees its half of the data; the gradients are averaged."""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--resume-from", type=Path)
arguments = parser.parse_args()

dist.init_process_group(os.environ.get("TRAINCTL_BACKEND", "gloo"))
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
x = torch.linspace(-1, 1, 200).reshape(-1, 1)
y = 3 * x + 1
x, y = x[rank::world], y[rank::world]

model = torch.nn.Linear(1, 1)
first = 0
if arguments.resume_from:
    saved = torch.load(arguments.resume_from / "checkpoint.pt")
    model.load_state_dict(saved["model"])
    first = saved["epoch"]
parallel = DistributedDataParallel(model)
optimizer = torch.optim.SGD(parallel.parameters(), lr=0.3)

for epoch in range(first + 1, first + arguments.epochs + 1):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(parallel(x), y)
    loss.backward()
    optimizer.step()
    mean = loss.detach().clone()
    dist.all_reduce(mean)
    if rank == 0:
        print(f"epoch {epoch}: loss {mean.item() / world:.6f}")

if rank == 0:
    outputs = Path(os.environ["TRAINCTL_OUTPUTS"])
    torch.save({"model": model.state_dict(), "epoch": first + arguments.epochs}, outputs / "checkpoint.pt")
dist.destroy_process_group()
