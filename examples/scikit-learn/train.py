# SPDX-License-Identifier: Apache-2.0
"""A support vector machine on scikit-learn's handwritten digits, five folds. Knows nothing of trainctl."""

import argparse
import os

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

parser = argparse.ArgumentParser()
parser.add_argument("--kernel", default="rbf")
parser.add_argument("--c", type=float, default=1.0)
parser.add_argument("--shuffle", action="store_true")
options = parser.parse_args()

data, labels = load_digits(return_X_y=True)
data = data / 16.0
folds = StratifiedKFold(5, shuffle=options.shuffle, random_state=0 if options.shuffle else None)
accuracies = []
for fold, (seen, held_out) in enumerate(folds.split(data, labels), start=1):
    model = SVC(C=options.c, kernel=options.kernel).fit(data[seen], labels[seen])
    accuracies.append(model.score(data[held_out], labels[held_out]))
    print(f"fold {fold}: accuracy {accuracies[-1]:.4f}", flush=True)
print(f"mean accuracy {np.mean(accuracies):.4f}")

os.makedirs("outputs", exist_ok=True)
joblib.dump(SVC(C=options.c, kernel=options.kernel).fit(data, labels), "outputs/model.joblib")
