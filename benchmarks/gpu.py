"""Measures what the package costs on the device that the backend has, a GPU above all.

    KERAS_BACKEND=jax python benchmarks/gpu.py --output gpu.md
    KERAS_BACKEND=torch python benchmarks/gpu.py --only models --precision mixed_float16
    python benchmarks/gpu.py --short                    # small models, for a CPU

Draws: a kernel from our initializers against the like of Keras. Models: `reinitialize` and
`diagnose` for VGG16 and a Transformer of 12 blocks, against building the model and against one
training step. Logger: an epoch with a `MomentLogger` against one without, for a convolutional net
and that Transformer. Models and logger come in float32 and in mixed precision, in turn.

Times are wall-clock medians over calls in turn, each to the end of the computation; the first
calls, which trace and compile, are shown apart. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import functools
import gc
import io
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from _models import residual_net, small_vgg, transformer
from _timing import BACKEND, device, in_turn, shares, versions, weights
from rich import box
from rich.console import Console
from rich.table import Table

from keras_fracinit import FracReLU, MomentLogger, diagnose, reinitialize

ROUNDS = 40  # at most
QUANTITIES = {"activations": ("activations",), "and gradients": ("activations", "gradients")}
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


class Network(NamedTuple):
    """A model with the size of its batches.

    Attributes:
        build: Builds it.
        optimizer: The name of its optimizer.
        batch: The number of samples in a batch.
        words: How many words its sequences are of; 0 for images.
    """

    build: Callable[[], Any]
    optimizer: str
    batch: int
    words: int = 0


def vgg16() -> Any:
    return keras.applications.VGG16(weights=None)


NETWORKS = {
    "VGG16": Network(vgg16, "sgd", 16),
    "Transformer of 12 blocks": Network(lambda: transformer(12, 512, 8, 128), "adam", 32, 1000),
    "residual net": Network(lambda: residual_net(32, 64, blocks=3), "sgd", 128),
}
SHORT = {
    "small VGG": Network(small_vgg, "sgd", 4),
    "narrow Transformer of 12 blocks": Network(lambda: transformer(12, 64, 4, 16), "adam", 8, 1000),
    "small residual net": Network(lambda: residual_net(16, 16), "sgd", 32),
}


class Figures(NamedTuple):
    """A table, to be printed and written; its columns of numbers come last."""

    title: str
    caption: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def table(self, **options: Any) -> Table:
        table = Table(**options)
        for column in self.words:
            table.add_column(column)
        for column in self.numbers:
            table.add_column(column, justify="right")
        for row in self.rows:
            table.add_row(*row)
        return table


class Benchmark:
    """The three parts, each of which yields its tables."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.networks = SHORT if arguments.short else NETWORKS
        self.short, self.budget = arguments.short, arguments.budget
        self.pairs, self.steps = arguments.pairs, arguments.steps
        self.policies = ("float32", arguments.precision)
        self.models = functools.cache(self.built)

    def built(self, name: str, policy: str) -> Any:
        network, before = self.networks[name], keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            model = network.build()
            with_softmax = getattr(model.layers[-1], "activation", None)
            from_logits = with_softmax is not keras.activations.softmax
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
            model.compile(network.optimizer, loss)
        finally:
            keras.config.set_dtype_policy(before)
        return model

    def data(self, name: str, batches: int) -> tuple[Any, Any]:
        rng, network = np.random.default_rng(0), self.networks[name]
        shape = (batches * network.batch, *self.models(name, "float32").input_shape[1:])
        if network.words:
            x = rng.integers(network.words, size=shape).astype("int32")
        else:
            x = rng.normal(size=shape).astype("float32")
        return x, rng.integers(10, size=len(x)).astype("int32")

    def draws(self) -> Iterator[Figures]:
        he, orthogonal = keras.initializers.HeNormal(), keras.initializers.Orthogonal()
        rivals = (
            ("normal", FracReLU(), he),
            ("normal, mirrored", FracReLU(pairs="both"), he),
            ("truncated normal", FracReLU(distribution="truncated_normal"), he),
            ("orthogonal", FracReLU(distribution="orthogonal"), orthogonal),
            (
                "orthogonal, mirrored",
                FracReLU(distribution="orthogonal", pairs="both"),
                orthogonal,
            ),
        )
        shapes = [(256, 256), (1024, 1024), (3, 3, 512, 512), (25088, 4096)]
        rows = []
        for label, ours, theirs in rivals:
            for shape in shapes[:2] if self.short else shapes:
                calls = functools.partial(ours, shape), functools.partial(theirs, shape)
                pair = in_turn(*calls, ROUNDS, self.budget)
                cells = (f"{1e3 * value:.3f}" for value in pair.medians)
                name, size = type(theirs).__name__, " x ".join(map(str, shape))
                rows.append((label, name, size, *cells, f"{pair.ratio:.2f}"))
        yield Figures(
            f"Drawing a kernel on {BACKEND}: FracReLU against Keras",
            "HeNormal truncates its numbers. A policy of mixed precision leaves kernels in "
            "float32, so it makes no difference here.",
            ("FracReLU", "Keras", "shape"),
            ("ours, ms", "Keras', ms", "ratio"),
            rows,
        )

    def whole_models(self) -> Iterator[Figures]:
        for name in list(self.networks)[:2]:
            yield self.whole_model(name)

    def whole_model(self, name: str) -> Figures:
        def on_both(call: Callable[[Any], Any]) -> Any:
            models = (self.models(name, policy) for policy in self.policies)
            return in_turn(*(functools.partial(call, m) for m in models), ROUNDS, self.budget)

        def changed(model: Any, **options: Any) -> list[Any]:
            reinitialize(model, seed=0, **options)
            return weights(model)

        built = [lambda policy=p: weights(self.built(name, policy)) for p in self.policies]
        found = {"building it": in_turn(*built, ROUNDS, self.budget)}
        gc.collect()  # the models it has built
        x, y = self.data(name, 1)
        found |= {
            "reinitialize": on_both(changed),
            "reinitialize, mirrored": on_both(lambda model: changed(model, mirrored=True)),
            "one call, not compiled": on_both(lambda model: model(x, training=False)),
            "diagnose, no gradients": on_both(lambda model: diagnose(model, x, gradients=False)),
            "diagnose": on_both(lambda model: diagnose(model, x)),
            # The last, since it gives the optimizer a state.
            "one training step": on_both(
                lambda model: (model.train_on_batch(x, y), weights(model))
            ),
        }
        size = sum(math.prod(v.shape) for v in self.models(name, "float32").weights) / 1e6
        base, step = (found[key].medians[0] for key in ("building it", "one training step"))
        rows = []
        for label, pair in found.items():
            plain, other = pair.medians
            cells = (pair.start[0], plain, plain / base, plain / step, other, 1.0 / pair.ratio)
            digits = (2, 4, 2, 2, 4, 2)
            numbers = (f"{v:.{d}f}" for v, d in zip(cells, digits, strict=True))
            rows.append((label, *numbers))
        return Figures(
            f"{name} on {BACKEND}: {size:.0f} million weights, {len(x)} samples",
            "First: the first call, in float32, which traces or compiles. All others: medians. The "
            "training step is compiled where Keras compiles it.",
            ("",),
            ("first, s", "float32, s", "/building", "/step", f"{self.policies[1]}, s", "/float32"),
            rows,
        )

    def logger(self) -> Iterator[Figures]:
        for name in list(self.networks)[1:]:
            yield self.shares_of(name)

    def shares_of(self, name: str) -> Figures:
        batch, rows = self.networks[name].batch, []
        x, y = self.data(name, self.steps)
        probe = x[: min(64, batch)], y[: min(64, batch)]
        for policy in self.policies:
            loggers = [MomentLogger(probe, quantities=each) for each in QUANTITIES.values()]
            costs = shares(self.models(name, policy), x, y, batch, loggers, self.pairs)
            for label, cost in zip(QUANTITIES, costs, strict=True):
                more = cost.with_it / cost.without - 1.0
                epoch = f"{1e3 * cost.without:.1f}", f"{1e3 * cost.with_it:.1f}", f"{more:+.1%}"
                record = f"{1e3 * cost.record:.2f}", f"{cost.record / cost.without:.2%}"
                rows.append((policy, label, *epoch, *record, f"{cost.start:.2f}"))
        return Figures(
            f"MomentLogger, {name} on {BACKEND}: epochs of {self.steps} steps of {batch} samples",
            f"A record for each epoch, of {len(probe[0])} samples. Medians of {self.pairs} epochs "
            "with and as many without, in turn; a record alone is by its own clock.",
            ("precision", "quantities"),
            ("without, ms", "with, ms", "more", "record, ms", "/epoch", "first, s more"),
            rows,
        )


def products() -> str:
    """How the backend multiplies float32, which decides what mixed precision can save."""
    if BACKEND == "jax":
        import jax

        return f"jax_default_matmul_precision {jax.config.jax_default_matmul_precision}"
    if BACKEND == "torch":
        import torch

        return (
            f"matmul {torch.get_float32_matmul_precision()}, "
            f"TF32 in cuDNN {torch.backends.cudnn.allow_tf32}"
        )
    import tensorflow as tf

    return f"TF32 {tf.config.experimental.tensor_float_32_execution_enabled()}"


def write(path: Path, head: list[str], figures: list[Figures]) -> None:
    lines = [f"- {line}" for line in head]
    for each in figures:
        page = Console(file=io.StringIO(), width=160)
        page.print(each.table(box=box.MARKDOWN))
        rows = page.file.getvalue().splitlines()[1:-1]  # but for the empty borders
        lines += ["", f"## {each.title}", "", each.caption, "", *rows]
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ("draws", "models", "logger")
    parser.add_argument("--only", choices=parts, nargs="+", default=parts)
    parser.add_argument("--precision", default="mixed_bfloat16", help="the policy beside float32")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds for a pair of calls")
    parser.add_argument("--pairs", type=int, default=5, help="epochs with a logger, and without")
    parser.add_argument("--steps", type=int, default=50, help="of an epoch")
    parser.add_argument("--short", action="store_true", help="small models and kernels")
    parser.add_argument(
        "--stop", type=float, default=math.inf, help="begin no table after so many seconds"
    )
    parser.add_argument("--output", type=Path, help="a Markdown file, written after each table")
    arguments, start = parser.parse_args(), time.perf_counter()
    command = shlex.join(["python", *sys.argv])
    head = [f"{device()}; float32: {products()}", versions(), f"KERAS_BACKEND={BACKEND} {command}"]
    console.print(*head, sep="\n")
    benchmark = Benchmark(arguments)
    done: list[Figures] = []
    runs = {"draws": benchmark.draws, "models": benchmark.whole_models, "logger": benchmark.logger}
    for part in arguments.only:
        for figures in runs[part]():
            done.append(figures)
            console.print(figures.table(title=figures.title, caption=figures.caption))
            if arguments.output:
                write(arguments.output, head, done)
            if time.perf_counter() - start > arguments.stop:
                console.print(f"Stopped after {arguments.stop:g} s.")
                return


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
