"""Search the order s that suits a deep, narrow network: in one process, or in many.

    python search.py                                      # alone
    python supervise.py --workers 2 -- python search.py   # a chief and two workers

12 ReLU layers of 16 units without normalisation learn scikit-learn's 8 x 8 digits.
The script is the same however many processes take part. KerasTuner reads from KERASTUNER_TUNER_ID,
KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT whether this process searches alone, is the chief,
which hands out the trials and trains nothing, or is a worker. Started again, it continues the
search in its folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import _quiet  # noqa: F401
import keras
import keras_tuner
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

from keras_fracinit.tuner import FracInitHyperModel, results, resumable

DEPTH, WIDTH = 12, 16
BATCH = 64
PROJECT = "digits"  # the folder in the directory, the same for every process


def build(hp: Any) -> keras.Model:
    """Builds a plain Keras model; `FracInitHyperModel` makes the order of its kernels tunable."""
    hidden = [
        keras.layers.Dense(WIDTH, activation="relu", kernel_initializer="he_normal")
        for _ in range(DEPTH)
    ]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def make_tuner(arguments: argparse.Namespace) -> keras_tuner.Tuner:
    options = {
        "objective": "val_accuracy",
        "executions_per_trial": arguments.executions,
        "seed": 1,  # 0 would mean none
        # KerasTuner counts a trial as failed if the chief is gone when it reports.
        "max_retries_per_trial": 2,
        "directory": arguments.directory,
        "project_name": PROJECT,
        # Never overwrite=True: every process would delete the folder of all.
    }
    hypermodel = FracInitHyperModel(build, low=0.0, high=2.0, seed=0)
    kinds = {
        "random": (keras_tuner.RandomSearch, {"max_trials": arguments.trials}),
        "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": arguments.trials}),
        "hyperband": (keras_tuner.Hyperband, {"max_epochs": arguments.epochs}),
    }
    kind, budget = kinds[arguments.tuner]
    # Continues the search, whichever processes began it and were killed.
    return resumable(kind(hypermodel, **budget, **options))


def print_results(tuner: keras_tuner.Tuner) -> None:
    """Prints a row for each trial, the best first."""
    frame = results(tuner)
    objective, smallest_first = frame.attrs["objective"], frame.attrs["direction"] == "min"
    trials = frame.groupby("trial")
    table = Table(
        title=f"{len(trials)} trials with {len(frame)} executions",
        caption="slope: of the log-norm over depth before training, in nats per layer",
    )
    for column in ("trial", "s", "learning rate", objective, "of each execution", "slope"):
        table.add_column(column, justify="right")
    for trial in trials["score"].mean().sort_values(ascending=smallest_first).index:
        runs = trials.get_group(trial)
        mean = runs[["s", "learning_rate", "score", "slope_initial"]].mean()
        scores = ", ".join(f"{score:.3f}" for score in runs["score"])
        numbers = (f"{mean['s']:.3f}", f"{mean['learning_rate']:.4f}", f"{mean['score']:.3f}")
        table.add_row(trial, *numbers, scores, f"{mean['slope_initial']:+.3f}")
    Console().print(table)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default="output/tuning", help="shared by all")
    parser.add_argument("--tuner", choices=("random", "bayesian", "hyperband"), default="random")
    parser.add_argument("--trials", type=int, default=4, help="Hyperband counts for itself")
    parser.add_argument("--executions", type=int, default=2, help="of each trial")
    parser.add_argument("--epochs", type=int, default=8, help="of each execution")
    arguments = parser.parse_args()
    if min(arguments.trials, arguments.executions, arguments.epochs) < 1:
        parser.error("--trials, --executions and --epochs must be at least 1")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    images, labels = load_digits(return_X_y=True)
    images = (images / 8.0 - 1.0).astype("float32")
    tuner = make_tuner(arguments)
    tuner.search(
        images[:1400],
        labels[:1400],
        validation_data=(images[1400:], labels[1400:]),
        epochs=arguments.epochs,
        batch_size=BATCH,
        # Not only for silence: the display of a chief that was started again does not know the
        # trials that its predecessor handed out, and fails when they end.
        verbose=0,
    )
    name = os.environ.get("KERASTUNER_TUNER_ID")
    if name is None or "chief" in name:  # as KerasTuner decides it
        print_results(tuner)
    return 0


if __name__ == "__main__":
    sys.exit(main())
