"""Measures time and memory of re-initializing and diagnosing a whole model.

    python benchmarks/whole_model.py                  # some minutes
    python benchmarks/whole_model.py --repeats 5 --batch 8

VGG16 (138 million weights) and a VGG of an eighth of its widths, for images of 64 x 64. Times are
medians over the repeats, everything in turn in one process, and ratios to building the model. LSUV,
once, is data-driven: it runs the model up to each layer, and needs orthonormal kernels first; for
VGG16 their QR decomposition takes minutes, so there it only scales. Memory (on Linux) is the peak
of the resident set, in sizes of the largest kernel (392 MiB), each in a fresh process. Memory that
is resident before the call is subtracted: the model, its input, and all that the same call on the
small VGG, whose kernels have 1 MiB at most, has loaded, traced and left with the allocator. The
allocator (glibc's) is told to return freed memory, of which it keeps some 32 MiB otherwise.

Another table plans residual networks of 500 and 2,000 layers, in processor time: the time for each
layer must not grow with their number.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _lsuv import lsuv
from _models import small_vgg
from _timing import finish, seconds, weights
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_fracinit import diagnose, plan, reinitialize

layers = keras.layers
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "VGG16": (lambda: keras.applications.VGG16(weights=None), 224),
    "small VGG": (small_vgg, 64),
}


def calls(name: str, model: Any, x: Any) -> dict[str, Callable[[], Any]]:
    whole = name != "VGG16"
    return {
        "reinitialize": lambda: [reinitialize(model, s=1.0, seed=0), weights(model)],
        "diagnose": lambda: diagnose(model, x),
        "one call of the model": lambda: model(x, training=False),
        "LSUV" if whole else "LSUV without its QR": lambda: lsuv(model, x, orthogonal=whole),
    }


def images(size: int, batch: int) -> Any:
    return np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)


def times(name: str, batch: int, repeats: int) -> dict[str, list[float]]:
    build, size = MODELS[name]
    x, found = images(size, batch), {}
    for repeat in track(range(repeats + 1), f"{name}, times", console=console, transient=True):
        start = time.perf_counter()
        model = build()
        finish(weights(model))
        taken = {"building it": time.perf_counter() - start}
        for label, call in calls(name, model, x).items():
            if repeat == 1 or not label.startswith("LSUV"):  # minutes: once is enough
                taken[label] = seconds(call)
        for label, value in taken.items():
            if repeat:  # the first one traces and fills caches
                found.setdefault(label, []).append(value)
    return found


def resident(field: str) -> float:
    """Reads the resident bytes of this process ("VmRSS"), or their peak ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    return 1024.0 * float(status.partition(f"{field}:")[2].split()[0])


def constant(self: Any, shape: Any, dtype: Any) -> Any:
    # No zeros: these torch takes from the system, which gives the memory only when it is written.
    return keras.ops.full(shape, 1.0 / np.prod(shape[:-1]), dtype)


def peak_over_largest_kernel(name: str, label: str, batch: int) -> float:
    build, size = MODELS[name]
    # What building has drawn and freed stays with the allocator, and would hide the peak.
    keras.initializers.GlorotUniform.__call__ = constant
    warm = small_vgg()
    calls(name, warm, images(64, batch))[label]()
    finish(weights(warm))
    model, x = build(), images(size, batch)
    call = calls(name, model, x)[label]
    finish(weights(model))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    call()
    finish(weights(model))
    largest = max(float(np.prod(v.shape)) * 4.0 for v in model.weights)
    return (resident("VmHWM") - before) / largest


def in_fresh_process(name: str, label: str, batch: int) -> float:
    returning = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    command = [sys.executable, __file__, "--batch", str(batch), "--memory-of", name, label]
    environment = {**os.environ, **returning}
    output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(output.stdout.split()[-1])


def deep(count: int) -> Any:
    """A residual network of so many dense layers, in parts: Keras recurses over those of one."""
    inputs = x = keras.Input((8,))
    for _ in range(count // 100):
        first = part = keras.Input((8,))
        for _ in range(50):
            part = layers.add([part, layers.Dense(8)(layers.Dense(8, "relu")(part))])
        x = keras.Model(first, part)(x)
    return keras.Model(inputs, x)


def depths() -> Table:
    plan(deep(100))  # imports what it needs
    table = Table(title=f"Residual networks, {keras.backend.backend()}")
    for column in ("layers", "building it, s", "plan, s", "plan, ms for each layer", "mirrored, s"):
        table.add_column(column, justify="right")
    for count in (500, 2000):
        start = time.process_time()
        model = deep(count)
        taken = [time.process_time() - start]
        for options in ({}, {"mirrored": True, "branches": "zero"}):
            start = time.process_time()
            plan(model, **options)
            taken.append(time.process_time() - start)
        built, plain, mirrored = taken
        cells = [f"{built:.1f}", f"{plain:.1f}", f"{1000 * plain / count:.1f}", f"{mirrored:.1f}"]
        table.add_row(str(count), *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(peak_over_largest_kernel(*arguments.memory_of, arguments.batch))
        return
    console.print(depths())
    for name in MODELS:
        found = times(name, arguments.batch, arguments.repeats)
        base = statistics.median(found["building it"])
        table = Table(title=f"{name}, {arguments.batch} images, {keras.backend.backend()}")
        table.add_column("")
        for column in ("seconds", "over building it", "peak memory over the largest kernel"):
            table.add_column(column, justify="right")
        for label, values in found.items():
            middle = statistics.median(values)
            memory = ""
            if name == "VGG16" and label != "building it" and not label.startswith("LSUV"):
                memory = f"{in_fresh_process(name, label, arguments.batch):.2f}"
            table.add_row(label, f"{middle:.2f}", f"{middle / base:.2f}", memory)
        console.print(table)


if __name__ == "__main__":
    main()
