# SPDX-License-Identifier: Apache-2.0
"""A perceptron on Fashion-MNIST with Chainer, or with ChainerMN when several MPI processes run it. Knows nothing of trainctl:
LogReport's file is enough."""

import argparse
import gzip
import os

import chainer
import numpy as np
from chainer import functions, links, training
from chainer.training import extensions

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of the four idx files")
parser.add_argument("--images", type=int, default=10000, help="how many of the 60,000 to train with")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--communicator", help="of ChainerMN, e.g. naive")
options = parser.parse_args()


def images(part: str, count: int):
    with gzip.open(f"{options.data}/{part}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + count * 784), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(f"{options.data}/{part}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count), np.uint8, offset=8)
    return chainer.datasets.TupleDataset(pixels.astype(np.float32) / 255, labels.astype(np.int32))


class Perceptron(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.first, self.second, self.last = links.Linear(784, 100), links.Linear(100, 100), links.Linear(100, 10)

    def forward(self, x):
        return self.last(functions.relu(self.second(functions.relu(self.first(x)))))


np.random.seed(0)
model, optimizer, leads = links.Classifier(Perceptron()), chainer.optimizers.Adam(), True
data, held_out = images("train", options.images), images("t10k", 2000)
if options.communicator:
    import chainermn

    comm = chainermn.create_communicator(options.communicator)
    leads = comm.rank == 0
    print(f"process {comm.rank} of {comm.size}", flush=True)
    optimizer = chainermn.create_multi_node_optimizer(optimizer, comm)
    data, held_out = (chainermn.scatter_dataset(part, comm, shuffle=True, seed=0) for part in (data, held_out))
optimizer.setup(model)

updater = training.StandardUpdater(chainer.iterators.SerialIterator(data, 100), optimizer)
trainer = training.Trainer(updater, (options.epochs, "epoch"), out="result")
evaluator = extensions.Evaluator(chainer.iterators.SerialIterator(held_out, 100, repeat=False, shuffle=False), model)
trainer.extend(chainermn.create_multi_node_evaluator(evaluator, comm) if options.communicator else evaluator)
if leads:
    trainer.extend(extensions.LogReport())
    trainer.extend(extensions.PrintReport(["epoch", "main/loss", "main/accuracy", "validation/main/accuracy", "elapsed_time"]))
trainer.run()
if leads:
    os.makedirs("outputs", exist_ok=True)
    chainer.serializers.save_npz("outputs/model.npz", model)
