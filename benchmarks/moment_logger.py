"""What `MomentLogger` costs: time per epoch, against no callback and Keras' TensorBoard; memory.

    KERAS_BACKEND=tensorflow python benchmarks/moment_logger.py

Every model is compiled once and trained in turn with each set of callbacks, a few epochs at a time,
so that a slow moment of the machine hits all of them; only ratios mean anything. The first record,
in which the model is traced, is shown apart. Nothing here is asserted.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# More threads than cores make torch ten times slower while anything else runs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_fracinit import FracReLU, MomentLogger

BATCH, STEPS = 256, 40
console = Console(highlight=False, width=110)


def mlp() -> keras.Model:
    relu = FracReLU(s=1.0)
    hidden = [keras.layers.Dense(64, "relu", kernel_initializer=relu) for _ in range(20)]
    return keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10)])


def residual_net() -> keras.Model:
    inputs = x = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    for filters, strides in ((16, 1), (32, 2), (64, 2)):
        shortcut = keras.layers.Conv2D(filters, 1, strides=strides)(x)
        x = keras.layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.add([keras.layers.BatchNormalization()(x), shortcut]))
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


class EpochTimes(keras.callbacks.Callback):
    """Seconds from the start of each epoch to the end of what the callbacks before it do."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)


def contenders(probe: tuple[Any, Any], folder: str) -> dict[str, Callable[[], list[Any]]]:
    """Makes the callbacks of each contender, once."""
    makers: dict[str, Callable[[], list[Any]]] = {
        "no callback": list,
        "MomentLogger": lambda: [MomentLogger(probe[0])],
        "MomentLogger, 64 samples": lambda: [MomentLogger(probe[0][:64])],
        "  and gradients": lambda: [MomentLogger(probe, quantities=("activations", "gradients"))],
    }
    if keras.backend.backend() == "tensorflow":
        makers["TensorBoard (weights)"] = lambda: [
            keras.callbacks.TensorBoard(folder, histogram_freq=1)
        ]
    return makers


def compare(name: str, model: keras.Model, rounds: int, epochs: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * STEPS, *model.input_shape[1:])).astype("float32")
    y = rng.integers(10, size=len(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-3), loss)
    folder = tempfile.mkdtemp()
    made = {k: make() for k, make in contenders((x[:BATCH], y[:BATCH]), folder).items()}
    times: dict[str, list[float]] = {contender: [] for contender in made}
    first: dict[str, float] = {}

    def train(contender: str, count: int) -> tuple[list[float], float]:
        clock, start = EpochTimes(), time.perf_counter()
        callbacks = [*made[contender], clock]
        model.fit(x, y, batch_size=BATCH, epochs=count, callbacks=callbacks, verbose=0)
        return clock.seconds, time.perf_counter() - start

    for contender in made:  # warm, and trace
        train("no callback", 1)
        _, plain = train("no callback", 1)
        first[contender] = train(contender, 1)[1] - plain
    for _ in range(rounds):
        for contender in made:
            times[contender] += train(contender, epochs)[0]
    shutil.rmtree(folder)

    base = statistics.median(times["no callback"])
    table = Table(
        title=f"{name} on {keras.backend.backend()}: epoch of {STEPS} steps, batch {BATCH}",
        caption=f"medians of {rounds * epochs} epochs; 'by its own clock': the record alone, "
        "over an epoch without callback",
    )
    for column in ("", "ms per epoch", "against none", "by its own clock", "first fit, s more"):
        table.add_column(column, justify="right" if column else "left")
    for contender, callbacks in made.items():
        seconds = statistics.median(times[contender])
        own = ""
        if callbacks and isinstance(callbacks[0], MomentLogger):
            history = callbacks[0].history
            record = history[history.statistic == "seconds"].value.iloc[2:].median()
            own = f"{1e3 * record:.2f} ms = {record / base:+.2%}"
        extra = "" if contender == "no callback" else f"{first[contender]:.2f}"
        cells = (f"{1e3 * seconds:.1f}", f"{seconds / base - 1:+.1%}", own, extra)
        table.add_row(contender, *cells)
    console.print(table)


def memory(records: int = 1000) -> None:
    """Growth of the process over many records, beside the size of the records themselves."""
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
    compare("MLP of 20 x 64", mlp(), rounds=2 if quick else 10, epochs=5)
    if not quick:
        compare("Residual conv net", residual_net(), rounds=2, epochs=2)
    memory()
