"""Measures how much `FracInitHyperModel` adds to the cost of a trial, and in which parts."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import keras
import keras_tuner
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_fracinit.tuner import FracInitHyperModel, execution, hypermodel

BATCH, STEPS, EPOCHS = 128, 40, 8
RATES = (1e-4, 1e-3)  # of learning: no trial may diverge, which would end it early
# The parts of the wrapper: the functions, and the namespaces in which they are looked up.
PARTS: dict[str, tuple[Any, str]] = {
    "reading the model": (hypermodel, "kernels_of"),
    "drawing the kernels": (hypermodel, "initialize"),
    "the signal at the start": (execution.LogNormProbe, "__init__"),
    "the signal at the end": (execution.Measurement, "__call__"),
    "writing the file": (execution.Execution, "save"),
}
# For every trial, bare and wrapped: seconds by the clock and of the processor.
Times = dict[str, list[tuple[float, float]]]
console = Console(highlight=False, width=110)


def compiled(hp: Any, model: keras.Model) -> keras.Model:
    optimizer = keras.optimizers.SGD(hp.Float("learning_rate", *RATES, sampling="log"))
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def mlp(hp: Any) -> keras.Model:
    hidden = [keras.layers.Dense(64, "relu", kernel_initializer="he_normal") for _ in range(20)]
    layers = [keras.Input((64,)), *hidden, keras.layers.Dense(10)]
    return compiled(hp, keras.Sequential(layers))


def conv_net(hp: Any) -> keras.Model:
    def conv(filters: int, strides: int) -> keras.layers.Layer:
        options = {"padding": "same", "activation": "relu", "kernel_initializer": "he_normal"}
        return keras.layers.Conv2D(filters, 3, strides, **options)

    convs = [conv(filters, strides) for filters in (8, 16, 32) for strides in (2, 1)]
    head = [keras.layers.Flatten(), keras.layers.Dense(10)]
    return compiled(hp, keras.Sequential([keras.Input((16, 16, 3)), *convs, *head]))


@contextmanager
def clocks(seconds: Counter[str]) -> Iterator[None]:
    """Adds up processor time for each part inside this context."""

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[part] += time.process_time() - start

        return call

    with ExitStack() as stack:
        for part, (owner, name) in PARTS.items():
            call = timed(part, getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, call))
        yield


class Search:
    """A search that is continued trial by trial."""

    def __init__(self, hypermodel: Any, shape: tuple[int, ...], folder: str) -> None:
        rng = np.random.default_rng(0)
        x = rng.normal(size=(BATCH * STEPS + 512, *shape)).astype("float32")
        y = rng.integers(10, size=len(x))
        self.data = (x[:-512], y[:-512])
        self.validation = (x[-512:], y[-512:])
        options = {"objective": "val_loss", "max_trials": 0, "seed": 1}
        self.tuner = keras_tuner.RandomSearch(hypermodel, directory=folder, **options)

    def trial(self) -> tuple[float, float]:
        self.tuner.oracle.max_trials += 1
        start = time.perf_counter(), time.process_time()
        self.tuner.search(
            *self.data,
            validation_data=self.validation,
            epochs=EPOCHS,
            batch_size=BATCH,
            verbose=0,
        )
        return time.perf_counter() - start[0], time.process_time() - start[1]


def measure(build: Any, rounds: int) -> tuple[Times, dict[str, list[float]]]:
    """Measures both times of every trial, bare and wrapped, and those of the parts."""
    shape = build(keras_tuner.HyperParameters()).input_shape[1:]
    parts: dict[str, list[float]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as wrapped:
        searches = {
            "bare": Search(build, shape, bare),
            "wrapped": Search(FracInitHyperModel(build), shape, wrapped),
        }
        times: Times = {name: [] for name in searches}
        for turn in range(-1, rounds):  # who goes first alternates, so a slow moment hits both
            for name in sorted(searches, reverse=bool(turn % 2)):
                seconds: Counter[str] = Counter()
                with clocks(seconds):
                    elapsed = searches[name].trial()
                if turn < 0:  # the first of each warms up
                    continue
                times[name].append(elapsed)
                if name == "wrapped":
                    for part in PARTS:
                        parts[part].append(seconds[part])
    return times, parts


def report(rounds: int) -> None:
    for title, build in (("MLP of 20 x 64", mlp), ("Conv net", conv_net)):
        times, parts = measure(build, rounds)
        print_times(title, times, parts)


def print_times(title: str, times: Times, parts: dict[str, list[float]]) -> None:
    table = Table(
        title=f"{title} on {keras.backend.backend()}: trials of {EPOCHS} epochs of {STEPS} steps, "
        f"batch {BATCH}",
        caption=f"medians of {len(times['bare'])} trials bare and as many wrapped, in turn;\n"
        "more: ratio of the medians, and quartiles of the ratio pair by pair;\nbelow the parts of "
        "a wrapped trial; other processes disturb the clock more than the processor's time",
    )
    table.add_column("")
    for column in ("clock, s", "more", "processor, s", "more"):
        table.add_column(column, justify="right")
    bare, wrapped = (np.array(times[name]) for name in ("bare", "wrapped"))
    medians = np.median(bare, axis=0)
    more = np.median(wrapped, axis=0) / medians - 1.0
    low, high = np.quantile(wrapped / bare - 1.0, (0.25, 0.75), axis=0)
    cells = [
        (f"{seconds:.3f}", f"{ratio:+.1%} ({first:+.1%} to {last:+.1%})")
        for seconds, ratio, first, last in zip(
            np.median(wrapped, axis=0), more, low, high, strict=True
        )
    ]
    table.add_row("bare", f"{medians[0]:.3f}", "", f"{medians[1]:.3f}", "")
    table.add_row("wrapped", *cells[0], *cells[1])
    table.add_section()
    own = {part: float(np.median(seconds)) for part, seconds in parts.items()}
    for part, seconds in {**own, "all of them": sum(own.values())}.items():
        table.add_row(f"  {part}", "", "", f"{seconds:.4f}", f"{seconds / medians[1]:+.1%}")
    console.print(table)
