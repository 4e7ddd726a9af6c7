"""Measures what `MomentLogger` costs in time per epoch, beside Keras' TensorBoard, and memory.

    KERAS_BACKEND=tensorflow python benchmarks/moment_logger.py

Every callback works in every other epoch of one training, so that a slow moment of the machine hits
both kinds of epochs; only ratios mean anything. The first record, in which the model is traced, is
shown apart. Nothing here is asserted.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import tempfile
from typing import Any

# More threads than cores make torch ten times slower while anything else runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _models import residual_net
from _timing import shares
from rich.console import Console
from rich.table import Table

from keras_fracinit import FracReLU, MomentLogger

BATCH, STEPS = 256, 40
console = Console(highlight=False, width=110)


def mlp() -> keras.Model:
    relu = FracReLU(s=1.0)
    hidden = [keras.layers.Dense(64, "relu", kernel_initializer=relu) for _ in range(20)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def contenders(probe: tuple[Any, Any], folder: str) -> dict[str, keras.callbacks.Callback]:
    both = ("activations", "gradients")
    callbacks = {
        "MomentLogger": MomentLogger(probe[0]),
        "  64 samples": MomentLogger(probe[0][:64]),
        "  and gradients": MomentLogger(probe, quantities=both),
    }
    if keras.backend.backend() == "tensorflow":
        callbacks["TensorBoard (weights)"] = keras.callbacks.TensorBoard(folder, histogram_freq=1)
    return callbacks


def compare(name: str, model: keras.Model, pairs: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * STEPS, *model.input_shape[1:])).astype("float32")
    y = rng.integers(10, size=len(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss)

    table = Table(
        title=f"{name} on {keras.backend.backend()}: epoch of {STEPS} steps, batch {BATCH}",
        caption=f"medians of {pairs} epochs with and {pairs} without, in turn; one record alone, "
        "by its own clock, over an epoch without",
    )
    for column in ("", "without, ms", "with, ms", "more", "one record alone", "first fit, s more"):
        table.add_column(column, justify="right" if column else "left")
    with tempfile.TemporaryDirectory() as folder:
        rivals = contenders((x[:BATCH], y[:BATCH]), folder)
        costs = shares(model, x, y, BATCH, list(rivals.values()), pairs)
    for contender, cost in zip(rivals, costs, strict=True):
        own = f"{1e3 * cost.record:.2f} ms = {cost.record / cost.without:+.2%}"
        cells = (
            f"{1e3 * cost.without:.1f}",
            f"{1e3 * cost.with_it:.1f}",
            f"{cost.with_it / cost.without - 1:+.1%}",
            "" if math.isnan(cost.record) else own,
        )
        table.add_row(contender, *cells, f"{cost.start:.2f}")
    console.print(table)


def memory(records: int = 1000) -> None:
    """Measures the growth of the process over many records, beside the size of the records."""
    model = mlp()
    model.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 64)), rng.normal(size=(64, 10))
    logger = MomentLogger((x, y), quantities=("activations", "gradients"))
    marks = []
    for _ in range(2):
        model.fit(x, y, batch_size=64, epochs=records // 2, callbacks=[logger], verbose=0)
        marks.append(resident_bytes())
    start = resident_bytes()
    model.fit(x, y, batch_size=64, epochs=records, callbacks=[logger], verbose=0)
    grown = resident_bytes() - start
    held = sum(record.values.nbytes for record in logger.records[-records:])
    start = resident_bytes()
    model.fit(x, y, batch_size=64, epochs=records, verbose=0)
    console.print(
        f"Memory: {records} records grew the process by {grown / 2**20:.1f} MiB, of which the "
        f"records are {held / 2**20:.1f} MiB; {records} epochs without the callback by "
        f"{(resident_bytes() - start) / 2**20:.1f} MiB."
    )


def resident_bytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    quick = "--short" in sys.argv
    memory()  # first, while nothing that was freed can hide what grows
    compare("MLP of 20 x 64", mlp(), pairs=20)
    if not quick:
        compare("Residual conv net", residual_net(16, 16), pairs=4)
