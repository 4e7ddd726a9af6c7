"""A deep, plain network from He, orthogonal and mirrored weights: training, chart, table, picture.

The three differ in their first weights alone; the order of the images, the optimizer and its rate
are the same. Mirrored weights are drawn into the model as it is, by
`reinitialize(model, mirrored=True)`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401
import keras
import numpy as np
from _digits import (
    ORDER,
    PROBE,
    TEST,
    WIDTH,
    Report,
    Run,
    Setting,
    collect,
    digits,
    linear_accuracy,
    network,
    start,
)
from _progress import Display, console
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from keras_fracinit import FracLinear, FracReLU, diagnose, plots, reinitialize
from keras_fracinit.estimators import s_scale

DENSE = Setting("50 ReLU layers of 64 units", (64,), 50, 0.003, "SGD", 12, 3)
CONV = Setting("30 convolutions, 3 x 3, 16 channels", (8, 8, 1), 30, 0.0003, "Adam", 4, 2)

# Okabe and Ito's colours.
METHODS = {"HeNormal": "#D55E00", "orthogonal": "#E69F00", "mirrored": "#0072B2"}


def fresh(setting: Setting, method: str, seed: int) -> keras.Model:
    """Builds the network and draws its weights."""
    keras.utils.set_random_seed(seed)  # initializers without a seed draw afresh
    kernels: Any = "he_normal"
    if method == "orthogonal":
        kernels = [keras.initializers.Orthogonal(2**0.5, seed + i) for i in range(setting.depth)]
    model = network(setting, kernels)
    if method == "mirrored":
        reinitialize(model, mirrored=True, seed=seed)
    return model


class Chart:
    """Draws test accuracy against epochs with letters, so far as the runs have come."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.runs: dict[tuple[str, int], list[float]] = {}

    def add(self, report: Report) -> None:
        if report.setting == self.setting:
            self.runs.setdefault((report.method, report.seed), []).append(report.accuracy)

    def __rich__(self) -> Text:
        epochs, rows = self.setting.epochs, 10
        step = max(1, min(8, 56 // epochs))
        cells: dict[tuple[int, int], tuple[str, str]] = {}
        columns = range(epochs * step + 1)
        for column in columns:
            cells[round(linear_accuracy() * rows), column] = ("-", "")
        for mark in (".", "letter"):  # letters over dots
            for (method, _), accuracies in list(self.runs.items()):
                known = np.arange(1, len(accuracies) + 1) * step
                between = known if mark == "letter" else range(step, len(accuracies) * step + 1)
                for column, value in zip(
                    between, np.interp(between, known, accuracies), strict=True
                ):
                    letter = method[0] if mark == "letter" else mark
                    cells[round(value * rows), int(column)] = (letter, METHODS[method])
        text = Text()
        for row in range(rows, -1, -1):
            text.append(f"  {row / rows:.1f} |" if row % 2 == 0 else "      |")
            for column in columns:
                text.append(*cells.get((row, column), (" ", "")))
            text.append("\n")
        text.append(" " * 8 + "".join(f"{epoch:>{step}}" for epoch in range(1, epochs + 1)) + "\n")
        text.append("test accuracy against epochs, one curve for each seed\n")
        for method, colour in METHODS.items():
            text.append(f"{method[0]} {method}   ", colour)
        return text.append(f"- linear model {linear_accuracy():.3f}\n")


def compare(
    pool: ProcessPoolExecutor,
    setting: Setting,
    chart: Chart,
    first_seed: int = 0,
    watched: bool = False,
    meanwhile: Callable[[Display], None] = lambda display: None,
) -> dict[str, list[Run]]:
    """Trains from all weights and shows it; `meanwhile` runs in this process."""
    makes = {method: functools.partial(fresh, setting, method) for method in METHODS}
    with Display(chart) as display:
        description = f"training {setting.depth} layers"
        futures = start(pool, display, description, setting, makes, first_seed, watched)
        meanwhile(display)
        runs = collect(futures)
        every = [run for group in runs.values() for run in group]
        chart.runs = {(run.method, run.seed): run.history["val_accuracy"] for run in every}
    if display.disable:
        console.print(chart)
    return runs


def print_table(runs: dict[str, list[Run]], setting: Setting) -> None:
    count = len(next(iter(runs.values())))
    table = Table(title=f"Test accuracy on {TEST} digits, {count} seed{'s' * (count > 1)}")
    table.add_column("weights")
    for column in ("mean", "worst", "training\nloss", "epochs to\nhalf the loss\nof chance"):
        table.add_column(column, justify="right")
    table.add_column("diagnosis")
    images, half = digits(setting.shape)[0][:128], 0.5 * np.log(10.0)
    for method, group in runs.items():
        test, losses = [run.accuracy for run in group], [run.history["loss"] for run in group]
        reached = [int(np.argmax(np.array(loss) < half)) + 1 for loss in losses]
        everywhere = all(min(loss) < half for loss in losses)
        epochs = f"{np.mean(reached):.1f}" if everywhere else "not in every run"
        numbers = (np.mean(test), min(test), np.mean([loss[-1] for loss in losses]))
        verdict = diagnose(fresh(setting, method, group[0].seed), images).verdicts[0]
        cells = [f"{number:.3f}" for number in numbers]
        table.add_row(method, *cells, epochs, verdict.partition(":")[0])
    table.add_row("linear model", f"{linear_accuracy():.3f}")
    console.print(table, soft_wrap=False)
    console.print(
        "The linear model is the bar to pass: a network that reaches it can be trained.\n"
        "That it makes use of its depth is not what these digits can show."
    )


def draw_moments(runs: dict[str, list[Run]], setting: Setting, path: Path) -> None:
    """Draws the signal in every layer during training, and in theory before it."""
    hidden, logits = (WIDTH, WIDTH), (WIDTH, 10)
    he, head = FracReLU(s=2.0).describe(hidden), FracLinear(s=2.0).describe(logits)
    figure = plots.compare(
        {method: runs[method][0].moments for method in ("HeNormal", "mirrored")},
        order=ORDER,
        theory={"HeNormal": [he] * setting.depth + [head]},
        start=s_scale(digits(setting.shape)[2][:PROBE], ORDER).value,
    )
    figure.set_size_inches(11.0, 9.5)
    figure.suptitle("Size of the signal in each layer, while the network trains")
    figure.savefig(path, dpi=110)


def draw(runs: dict[str, list[Run]], setting: Setting, path: Path) -> None:
    """Draws the loss and the test accuracy of every run against epochs."""
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, colour in METHODS.items():
        for run in runs[method]:
            epochs = np.arange(1, len(run.history["loss"]) + 1)
            label = method if run is runs[method][0] else None
            left.plot(epochs, run.history["loss"], color=colour, label=label)
            right.plot(epochs, run.history["val_accuracy"], color=colour, label=label)
    left.set(xlabel="epoch", ylabel="training loss (cross-entropy)", ylim=(0.0, 2.6))
    left.axhline(np.log(10.0), color="0.5", linestyle=":")
    right.set(xlabel="epoch", ylabel="test accuracy", ylim=(0.0, 1.02))
    right.axhline(linear_accuracy(), color="0.5", linestyle="--", label="a linear model")
    right.axhline(0.1, color="0.5", linestyle=":", label="chance")
    right.legend(frameon=False, fontsize=9, loc=(0.03, 0.42))
    figure.suptitle(
        f"{setting.title} on 1,437 digits: {setting.optimizer}, rate {setting.rate:g}, "
        f"one line for each seed",
        fontsize=11,
    )
    figure.savefig(path, dpi=120)
