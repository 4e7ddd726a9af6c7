"""The order s as a dial of the scale of the weights: the signal of fresh networks, and accuracies.

All orders start from the same random numbers: `reinitialize(model, s=s, seed=seed)` changes the
scale of the weights and nothing else.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path

import _quiet  # noqa: F401
import keras
import numpy as np
from _digits import ORDER, WIDTH, Array, Run, Setting, digits, network
from _progress import Display, console
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rich.table import Table
from scipy.stats import t as student

from keras_fracinit import FracReLU, gain, log_norm, reinitialize
from keras_fracinit.estimators import s_scale

DEPTH = 20
SETTING = Setting("20 ReLU layers of 64 units", (64,), DEPTH, 0.01, "SGD", 12, 5)
# The orders, and their colours (Okabe and Ito).
ORDERS = {2.0: "#D55E00", 1.0: "#0072B2", 0.0: "#009E73"}


def name_of(s: float) -> str:
    return "s = 2 (He)" if s == 2.0 else f"s = {s:g}"


def fresh(setting: Setting, s: float, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = network(setting)
    reinitialize(model, s=s, seed=seed)
    return model


def makes(setting: Setting) -> dict[str, Callable[[int], keras.Model]]:
    return {name_of(s): functools.partial(fresh, setting, s) for s in ORDERS}


def scales_of(draws: int, display: Display) -> dict[float, Array]:
    """Measures the s-scale of every layer over that of the images: networks x depth."""
    images = digits((64,))[2][:100]
    keras.utils.set_random_seed(0)
    measured = {}
    task = display.add_task("drawing networks", total=draws * len(ORDERS))
    for s in ORDERS:
        initializer, rows = FracReLU(s=s), []
        for _ in range(draws):
            signals = [images]
            for _ in range(DEPTH):
                kernel = keras.ops.convert_to_numpy(initializer((WIDTH, WIDTH)))
                signals.append(np.maximum(signals[-1] @ kernel, 0.0))
            scale = np.array([s_scale(signal, ORDER).value for signal in signals])
            rows.append(scale / scale[0])
            display.step(task)
        measured[s] = np.array(rows)
    return measured


def theory_of(s: float) -> tuple[Array, Array, Array]:
    """Computes, by layer, the scale over all networks, that of the typical one, and its spread."""
    layer = np.arange(DEPTH + 1)
    mean = (gain("relu", s, WIDTH) / gain("relu", ORDER, WIDTH)) ** (layer / 2.0)
    drift, variance = log_norm("relu", s, WIDTH)
    return mean, np.exp(drift * layer), np.exp(2.0 * np.sqrt(variance * layer))


def print_dial(measured: dict[float, Array]) -> None:
    """Prints what each order makes of the weights and, behind the last layer, of the signal."""
    count = len(next(iter(measured.values())))
    table = Table(
        title=f"Size of the signal behind {DEPTH} fresh layers, that of the images being 1"
    )
    table.add_column("order")
    table.add_column("weights\nover He's", justify="right")
    for column in ("mean\nin theory", f"mean of\n{count} networks", "median\nin theory"):
        table.add_column(column, justify="right")
    table.add_column(f"median of\n{count} networks", justify="right")
    for s, scales in measured.items():
        mean, typical, _ = theory_of(s)
        last = scales[:, -1]
        error = 2.0 * last.std(ddof=1) / math.sqrt(count)
        weights = math.sqrt(gain("relu", s, WIDTH) / gain("relu", 2.0, WIDTH))
        table.add_row(
            name_of(s),
            f"{weights:.4f}",
            f"{mean[-1]:.2f}",
            f"{last.mean():.2f} ± {error:.2f}",
            f"{typical[-1]:.2f}",
            f"{np.median(last):.2f}",
        )
    console.print(table, soft_wrap=False)


def _draw_panel(axes: Axes, scales: Array, s: float, colour: str) -> None:
    """Draws one order: single networks and their mean, beside the theory of both."""
    layer = np.arange(DEPTH + 1)
    mean, error = scales.mean(axis=0), 2.0 * scales.std(axis=0, ddof=1) / math.sqrt(len(scales))
    theory, median, spread = theory_of(s)
    inside = np.mean(np.abs(np.log(scales[:, -1] / median[-1])) < np.log(spread[-1]))
    band = "theory: 95 of 100 networks"
    axes.fill_between(layer, median / spread, median * spread, color="0.87", label=band)
    singles = axes.plot(layer, scales[:40].T, color=colour, linewidth=0.7, alpha=0.35)
    singles[0].set_label(f"{len(singles)} networks")
    axes.plot(layer, median, "k:", linewidth=1.5, label="theory: median")
    axes.plot(layer, theory, "k-", linewidth=1.8, label="theory: mean")
    label = f"mean of {len(scales)} networks ± 2 standard errors"
    axes.errorbar(layer, mean, error, fmt="o", markersize=4, color=colour, label=label)
    axes.axhline(1.0, color="0.6", linewidth=0.8)
    axes.set_xlabel("layer (0: the images)")
    axes.set_title(f"{name_of(s)}\n{inside:.0%} of networks end in the band", fontsize=11)


def draw_fresh(measured: dict[float, Array], path: Path) -> None:
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    panels = figure.subplots(1, len(ORDERS), sharex=True, sharey=True)
    for axes, (s, colour) in zip(panels, ORDERS.items(), strict=True):
        _draw_panel(axes, measured[s], s, colour)
    left = panels[0]
    left.set(xlim=(-0.4, DEPTH + 0.4), xticks=range(0, DEPTH + 1, 5), yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("")
    left.set_ylabel("mean |x| over that of the images")
    legend = {"loc": "outside lower center", "ncols": 5, "frameon": False}
    figure.legend(*left.get_legend_handles_labels(), **legend)
    figure.suptitle(f"Digits through {DEPTH} fresh ReLU layers of {WIDTH} units")
    figure.savefig(path, dpi=120)


def paired(first: list[Run], second: list[Run]) -> tuple[float, float]:
    """Computes the mean paired difference of accuracies and half its 95% interval (Student)."""
    differences = [a.accuracy - b.accuracy for a, b in zip(first, second, strict=True)]
    count = len(differences)
    error = float(np.std(differences, ddof=1)) / math.sqrt(count)
    return float(np.mean(differences)), float(student.ppf(0.975, count - 1)) * error


def print_accuracies(runs: dict[str, list[Run]], title: str) -> None:
    """Prints a row for each method, with its difference from the first one."""
    base, *others = runs
    caption = "minus the first: seed by seed,\nmean and its 95% interval (Student)"
    table = Table(title=f"{title}, {len(runs[base])} seeds", caption=caption)
    table.add_column("network")
    for name in ("mean", "worst", "best", "minus the first"):
        table.add_column(name, justify="right")
    for method, group in runs.items():
        final = [run.accuracy for run in group]
        difference, margin = paired(group, runs[base])
        versus = f"{difference:+.3f} ± {margin:.3f}" if method in others else ""
        cells = [f"{value:.3f}" for value in (np.mean(final), min(final), max(final))]
        table.add_row(method, *cells, versus)
    console.print(table, soft_wrap=False)


def verdict(runs: dict[str, list[Run]], first: str, second: str) -> str:
    """States which of two methods is better, and whether that is more than chance."""
    lead, margin = paired(runs[first], runs[second])
    side = "above" if lead >= 0.0 else "below"
    contains = "contains" if abs(lead) <= margin else "does not contain"
    return (
        f"{first} is {abs(lead):.3f} ± {margin:.3f} {side} {second};\n"
        f"this 95% interval, of {len(runs[first])} seeds, {contains} zero."
    )
