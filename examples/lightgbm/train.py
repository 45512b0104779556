# SPDX-License-Identifier: Apache-2.0
"""Boosted trees tell malignant from benign tumours (scikit-learn's breast cancer data). Knows nothing of trainctl: what LightGBM
prints is enough."""

import argparse
import os

import lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=40)
parser.add_argument("--leaves", type=int, default=15)
options = parser.parse_args()

data, labels = load_breast_cancer(return_X_y=True)
seen, held_out, known, truth = train_test_split(data, labels, test_size=0.3, random_state=0, stratify=labels)
train = lightgbm.Dataset(seen, known)
test = lightgbm.Dataset(held_out, truth, reference=train)
parameters = {"objective": "binary", "num_leaves": options.leaves, "metric": ["binary_logloss", "auc"], "verbose": -1, "seed": 0}
booster = lightgbm.train(parameters, train, options.rounds, [train, test], ["training", "valid_0"], callbacks=[lightgbm.log_evaluation(1)])

os.makedirs("outputs", exist_ok=True)
booster.save_model("outputs/model.txt")
