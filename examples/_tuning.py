"""The search of `quickstart.py`: KerasTuner looks for the order s and the learning rate."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import _quiet  # noqa: F401
import keras
import keras_tuner
import numpy as np
import pandas as pd
from _dial import SETTING
from _digits import BATCH, compile_for, digits, network
from _progress import Display, console
from rich.table import Table

from keras_fracinit import plots
from keras_fracinit.tuner import FracInitHyperModel, reference, results

VALIDATION = 360  # of the training images; those to test on have no part in the search
FOLDER = "search"  # in the output directory, and deleted when a search begins
REFERENCE = "reference"  # the name of that trial in the results

RELOAD = """
import sys, numpy, keras, keras_fracinit
model, inputs, predictions = sys.argv[1:]
model = keras.saving.load_model(model)
numpy.save(predictions, model.predict(numpy.load(inputs), verbose=0))
"""


class Budget(NamedTuple):
    trials: int
    executions: int  # of each trial, and of the reference
    epochs: int  # of each execution


def build(hp: Any) -> keras.Model:
    """Builds a plain Keras model; `FracInitHyperModel` makes the order of its kernels tunable."""
    rate = hp.Float("learning_rate", 3e-3, 3e-2, sampling="log")
    return compile_for(SETTING._replace(rate=rate), network(SETTING))


def tuned(values: Mapping[str, Any], seed: int) -> keras.Model:
    """Builds a fresh network with these hyperparameters."""
    keras.utils.set_random_seed(seed)
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    return FracInitHyperModel(build).build(hp)


def search(output: Path, budget: Budget, display: Display) -> keras_tuner.Tuner:
    """Runs the search, and trains its best learning rate at s = 2."""
    x, y, _, _ = digits(SETTING.shape)
    task = display.add_task("searching s", total=(budget.trials + 1) * budget.executions)
    # KerasTuner copies callbacks, but not their functions, so all copies advance the one bar.
    tick = keras.callbacks.LambdaCallback(on_train_end=lambda _: display.step(task))
    options: dict[str, Any] = {
        "validation_data": (x[-VALIDATION:], y[-VALIDATION:]),
        "validation_batch_size": VALIDATION,
        "epochs": budget.epochs,
        "batch_size": BATCH,
        "callbacks": [tick],
        "verbose": 0,
    }
    keras.utils.set_random_seed(0)  # the order of the images
    tuner = keras_tuner.RandomSearch(
        FracInitHyperModel(build, seed=0),
        objective="val_accuracy",
        max_trials=budget.trials,
        executions_per_trial=budget.executions,
        seed=1,  # 0 would mean none
        directory=output,
        project_name=FOLDER,
        overwrite=True,
    )
    tuner.search(x[:-VALIDATION], y[:-VALIDATION], **options)
    reference(tuner, x[:-VALIDATION], y[:-VALIDATION], **options)
    return tuner


def best_values(tuner: keras_tuner.Tuner) -> dict[str, Any]:
    return dict(tuner.get_best_hyperparameters()[0].values)


def print_search(tuner: keras_tuner.Tuner, budget: Budget) -> None:
    """Prints a row for each trial, the best first, and one for the reference."""
    frame = results(tuner)
    trials = frame.groupby("trial")
    table = Table(
        title=f"Search of s: {budget.trials} trials (executions of each: {budget.executions}, "
        f"epochs: {budget.epochs})",
        caption=f"score: accuracy on {VALIDATION:,} of the training images, at the best epoch\n"
        "reference: the best trial again at s = 2, which is He\n"
        "slope: of the log-norm over depth before training, in nats per layer",
    )
    columns = ("trial", "s", "learning rate", "score", "of each execution", "status", "slope")
    for column in columns:
        table.add_column(column, justify="left" if column in ("trial", "status") else "right")
    for trial in trials["score"].mean().sort_values(ascending=False).index:
        runs = trials.get_group(trial)
        mean = runs[["s", "learning_rate", "score", "slope_initial"]].mean()
        table.add_row(
            trial,
            f"{mean['s']:.2f}",
            f"{mean['learning_rate']:.4f}",
            f"{mean['score']:.3f}",
            ", ".join(f"{score:.3f}" for score in runs["score"]),
            _status(runs["status"]),
            f"{mean['slope_initial']:+.3f}",
            style="bold" if trial == REFERENCE else None,
        )
    console.print(table, soft_wrap=False)


def _status(statuses: pd.Series) -> str:
    """Names the status of all executions, or counts them by status."""
    counts = statuses.value_counts()
    if len(counts) == 1:
        return str(counts.index[0])
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def draw_search(tuner: keras_tuner.Tuner, path: Path) -> None:
    axes = plots.score_by_order(results(tuner))
    axes.set_title("every trial has a learning rate of its own", fontsize="medium")
    axes.figure.savefig(path, dpi=120)


def check_reload(model: keras.Model, output: Path) -> bool:
    """Checks that a fresh process without this script predicts the same from the saved file."""
    _, _, x_test, y_test = digits(SETTING.shape)
    paths = [output / name for name in ("best.keras", "x_test.npy", "predictions.npy")]
    model.save(paths[0])
    np.save(paths[1], x_test)
    console.print(f"saved     {paths[0]}")
    command = [sys.executable, "-c", RELOAD, *map(str, paths)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        console.print(f"reload    FAILED\n{child.stderr}", markup=False)
        return False
    here, there = model.predict(x_test, verbose=0), np.load(paths[2])
    accuracy = np.mean(there.argmax(axis=1) == y_test)
    same = np.allclose(here, there, rtol=1e-5, atol=1e-5)
    console.print(
        f"reload    in a fresh process: {'the same' if same else 'OTHER'} predictions\n"
        f"          (largest difference {np.abs(here - there).max():g}), accuracy {accuracy:.3f}"
    )
    return same
