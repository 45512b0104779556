# SPDX-License-Identifier: Apache-2.0
"""A small network tells three spirals apart. Knows nothing of trainctl: it prints, and keeps its model in ./outputs."""

import argparse
import math
import os

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=15)
parser.add_argument("--lr", type=float, default=0.01)
options = parser.parse_args()


def spirals(points: int):
    """Three arms around one centre, with some noise."""
    label = torch.arange(points) % 3
    radius = torch.rand(points)
    angle = 4 * radius + label * 2 * math.pi / 3 + 0.15 * torch.randn(points)
    return torch.stack([radius * angle.sin(), radius * angle.cos()], 1), label


torch.manual_seed(0)
data, labels = spirals(1500)
held_out, truth = spirals(600)
model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)

for epoch in range(1, options.epochs + 1):
    total = 0.0
    for batch in torch.randperm(len(data)).split(50):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(data[batch]), labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    with torch.no_grad():
        accuracy = (model(held_out).argmax(1) == truth).float().mean().item()
    print(f"epoch {epoch}: loss {total / len(data):.4f} accuracy {accuracy:.4f}")

os.makedirs("outputs", exist_ok=True)
torch.save(model.state_dict(), "outputs/model.pt")
