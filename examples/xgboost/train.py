# SPDX-License-Identifier: Apache-2.0
"""Boosted trees tell malignant from benign tumours (scikit-learn's breast cancer data). Knows nothing of trainctl: what XGBoost
prints is enough."""

import argparse
import os

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=40)
parser.add_argument("--depth", type=int, default=3)
options = parser.parse_args()

data, labels = load_breast_cancer(return_X_y=True)
seen, held_out, known, truth = train_test_split(data, labels, test_size=0.3, random_state=0, stratify=labels)
train, test = xgboost.DMatrix(seen, known), xgboost.DMatrix(held_out, truth)
parameters = {"objective": "binary:logistic", "max_depth": options.depth, "eta": 0.2, "eval_metric": ["logloss", "auc"], "seed": 0}
booster = xgboost.train(parameters, train, options.rounds, evals=[(train, "train"), (test, "test")])

os.makedirs("outputs", exist_ok=True)
booster.save_model("outputs/model.json")
