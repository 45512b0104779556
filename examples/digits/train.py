# SPDX-License-Identifier: Apache-2.0
"""Trains a support vector machine on scikit-learn's handwritten digits and keeps the model.

Runs with and without trainctl: outside a run `trainctl.log` is simply not there and the model lands in ./outputs."""

import argparse
import os
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

try:
    import trainctl
except ImportError:
    trainctl = None


def log(step: int, **values: float) -> None:
    if trainctl is not None:
        trainctl.log(step=step, **values)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--c", type=float, default=1.0, help="how hard the model tries to fit every digit")
    parser.add_argument("--gamma", type=float, default=0.001)
    parser.add_argument("--folds", type=int, default=10)
    options = parser.parse_args()

    data, labels = load_digits(return_X_y=True)
    print(f"{len(data)} digits of 8 x 8 pixels, {options.folds} folds")

    def new_model():
        return SVC(C=options.c, gamma=options.gamma)

    accuracies = []
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=0)
    for fold, (seen, held_out) in enumerate(folds.split(data, labels), start=1):
        model = new_model().fit(data[seen], labels[seen])
        predicted = model.predict(data[held_out])
        accuracies.append(float(np.mean(predicted == labels[held_out])))
        f1 = float(f1_score(labels[held_out], predicted, average="macro"))
        log(fold, accuracy=accuracies[-1], mean_accuracy=float(np.mean(accuracies)), f1=f1)
        print(f"fold {fold:2}/{options.folds}  accuracy {accuracies[-1]:.3f}  mean {np.mean(accuracies):.3f}  f1 {f1:.3f}")

    outputs = Path(os.environ.get("TRAINCTL_OUTPUTS", "outputs"))
    outputs.mkdir(parents=True, exist_ok=True)
    joblib.dump(new_model().fit(data, labels), outputs / "model.joblib")
    print(f"accuracy {np.mean(accuracies):.4f} ± {np.std(accuracies):.4f} over {options.folds} folds; the model is in model.joblib")


if __name__ == "__main__":
    main()
