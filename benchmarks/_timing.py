"""What the benchmarks time with: calls in turn, whole epochs in turn, and what they ran on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_fracinit import MomentLogger

BACKEND = keras.backend.backend()


def finish(values: Any) -> None:
    """Waits until the device has computed the values: backends return earlier."""
    if BACKEND == "jax":
        import jax

        jax.block_until_ready(values)
    elif BACKEND == "torch":
        import torch

        if torch.accelerator.is_available():
            torch.accelerator.synchronize()
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            tf.test.experimental.sync_devices()


def weights(model: Any) -> list[Any]:
    """The values of a model's weights, which `finish` can wait for."""
    return [variable.value for variable in model.weights]


def seconds(call: Callable[[], Any]) -> float:
    """Measures one call, to the end of the computation of what it returns."""
    start = time.perf_counter()
    finish(call())
    return time.perf_counter() - start


class Pair(NamedTuple):
    """The seconds of two calls that were measured in turn.

    Attributes:
        start: The very first calls, which trace, compile and fill caches.
        medians: The medians of the later ones.
        ratio: The median over the pairs of the first call's time over the second's.
    """

    start: tuple[float, float]
    medians: tuple[float, float]
    ratio: float


def in_turn(
    first: Callable[[], Any],
    second: Callable[[], Any],
    rounds: int,
    budget: float = float("inf"),
) -> Pair:
    """Measures two calls pair by pair: two pairs to warm up, then so many rounds.

    After `budget` seconds it begins no other round but the first, and no second warm-up.
    """
    began = time.perf_counter()

    def is_over() -> bool:
        return time.perf_counter() - began > budget

    start = seconds(first), seconds(second)
    if not is_over():
        seconds(first), seconds(second)
    pairs = []
    for turn in range(rounds):  # who goes first alternates, so a slow moment hits both
        order = (first, second) if turn % 2 else (second, first)
        times = [seconds(call) for call in order]
        pairs.append(times if turn % 2 else times[::-1])
        if is_over():
            break
    ours, theirs = zip(*pairs, strict=True)
    medians = statistics.median(ours), statistics.median(theirs)
    return Pair(start, medians, statistics.median(a / b for a, b in pairs))


class EveryOther(keras.callbacks.Callback):
    """Lets a callback work in every other epoch only, and times the epochs of both kinds."""

    def __init__(self, callback: keras.callbacks.Callback) -> None:
        super().__init__()
        self.callback = callback
        self.seconds: tuple[list[float], list[float]] = ([], [])  # without it, with it

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def on_train_begin(self, logs: Any = None) -> None:
        self.callback.on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self.callback.on_train_end(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.start = time.perf_counter()
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch % 2:
            self.callback.on_epoch_end(epoch, logs)
        self.seconds[epoch % 2].append(time.perf_counter() - self.start)


class Share(NamedTuple):
    """What a callback adds to an epoch, in seconds.

    Attributes:
        without: The median epoch without it.
        with_it: The median epoch with it, the other epochs of the same training.
        record: One record of a `MomentLogger`, by its own clock; nan for other callbacks.
        start: What the first epoch with it takes in addition.
    """

    without: float
    with_it: float
    record: float
    start: float


def shares(
    model: keras.Model, x: Any, y: Any, batch: int, callbacks: list[Any], pairs: int
) -> list[Share]:
    """Measures callbacks of a compiled model, each in a training of so many pairs of epochs."""

    def train(epochs: int, *callbacks: keras.callbacks.Callback) -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=batch, epochs=epochs, callbacks=[*callbacks], verbose=0)
        return time.perf_counter() - start

    train(2)
    plain, found = train(1), []
    for callback in callbacks:
        start = train(1, callback) - plain
        clock = EveryOther(callback)
        train(2 * pairs, clock)
        record = float("nan")
        if isinstance(callback, MomentLogger):
            history = callback.history
            record = history[history.statistic == "seconds"].value.iloc[2:].median()
        without, with_it = map(statistics.median, clock.seconds)
        found.append(Share(without, with_it, record, start))
    return found


def device() -> str:
    """The name of the device that the backend computes on."""
    if BACKEND == "jax":
        import jax

        if jax.default_backend() != "cpu":
            return str(jax.devices()[0].device_kind)
    elif BACKEND == "torch":
        import torch

        if torch.cuda.is_available():
            return str(torch.cuda.get_device_name())
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            return str(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name))
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} CPUs"


def versions() -> str:
    """Of Python and the packages that a time depends on."""
    found = [f"Python {platform.python_version()}"]
    for name in ("keras-fracinit", "keras", BACKEND, "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} unknown")
    return ", ".join(found)
