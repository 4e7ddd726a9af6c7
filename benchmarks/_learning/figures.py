"""Computes the figures of the report from the saved cells alone."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from _learning import cells, methods
from _learning.cells import Cell
from _learning.methods import ORDERS, TUNED
from _learning.networks import ACTIVATIONS
from _learning.tasks import TASKS, Array, linear_score
from _learning.training import cautious

RESAMPLES = 4000
# Weights that differ in the order alone.
BY_ORDER: dict[str, dict[float, str]] = {
    "Gaussian": ORDERS,
    "mirrored Gaussian": {s: f"mirrored s={s:g}" for s in (2.0, 1.0, 0.5, 0.0)},
    "Gaussian, smooth activation": {s: f"smooth s={s:g}" for s in (2.0, 1.0, 0.0)},
}
Runs = dict[str, Any]  # of a method in a cell, as they are saved


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Loads the cells of the grid by name, each with the name of its block.

    In a block those of an activation are together, and among these those of a data set.
    """
    activations, datasets = list(ACTIVATIONS), list(TASKS)
    saved = {}
    for block in cells.BLOCKS:
        own = sorted(
            block.cells,
            key=lambda cell: (activations.index(cell.activation), datasets.index(cell.dataset)),
        )
        for cell in own:
            path = folder / f"{cell.name}.json"
            if path.exists():
                saved[cell.name] = {"block": block.name, **json.loads(path.read_text())}
    return saved


def interval(samples: Array) -> tuple[float, float]:
    """The middle 95% of bootstrap samples."""
    # No interpolation: between a number and infinity it would give nan.
    low, high = np.quantile(samples, [0.025, 0.975], method="nearest")
    return float(low), float(high)


@functools.lru_cache(maxsize=8)
def resamples(count: int) -> Array:
    """Draws seeds with replacement: the same for all methods, so that differences are paired."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def difference(runs: Runs, others: Runs | None, key: str = "test") -> tuple[float, float, float]:
    """The mean of the paired differences and its interval; nan where nothing is to be paired."""
    if others is None or len(others[key]) != len(runs[key]):
        return math.nan, math.nan, math.nan
    each = np.array(runs[key], float) - np.array(others[key], float)
    return (float(each.mean()), *interval(each[resamples(len(each))].mean(axis=1)))


def _figures(runs: Runs, origin: Runs | None) -> dict[str, Any]:
    """Computes the figures of a method in a cell."""
    test = np.array(runs["test"])
    steps = np.array([math.inf if n is None else n for n in runs["steps_to_half"]])
    count, dead = len(test), int(sum(runs["dead"]))
    chosen = resamples(count)
    selection = runs["selection"].get(f"{runs['rate']:g}")
    gap, *ends = difference(runs, origin)
    figures: dict[str, Any] = {
        "rate": runs["rate"],
        "selected": cautious(selection) if selection else math.nan,
        "runs": count,
        "mean": test.mean(),
        "median": np.median(test),
        "worst": test.min(),
        "dead": dead / count,
        "diverged": float(np.mean(runs["diverged"])),
        "steps_to_half": np.median(steps),
        "difference": gap,
    }
    intervals = {
        "mean": interval(test[chosen].mean(axis=1)),
        # A bootstrap of no dead run among 20 would say that there are none: Wilson's interval.
        "dead": tuple(binomtest(dead, count).proportion_ci(method="wilson")),
        "steps_to_half": interval(np.median(steps[chosen], axis=1)),
        "difference": tuple(ends),
    }
    for name, (low, high) in intervals.items():
        figures |= {f"{name}_low": low, f"{name}_high": high}
    return figures


def _tuned(runs: dict[str, Runs]) -> float | None:
    """Chooses the order as a rate is chosen, by the scores of the selection seeds."""
    if not all(method in runs and runs[method]["selection"] for method in ORDERS.values()):
        return None

    def score(s: float) -> float:
        return max(cautious(scores) for scores in runs[ORDERS[s]]["selection"].values())

    return max(ORDERS, key=score)


def _reference(cell: Cell, runs: dict[str, Runs]) -> str:
    """The usual method for an activation, or He's where the usual one was not run."""
    usual = methods.reference(cell.activation)
    return usual if usual in runs else "He (Keras)"


def frame(saved: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Makes a frame with one row for each cell and method.

    `linear` is the score of a linear model, and `passes` says whether the interval of the mean lies
    above it. `selected` is that by which the rate was chosen.
    """
    columns = {block.name: [*block.methods, TUNED] for block in cells.BLOCKS}
    rows = []
    for name, content in saved.items():
        runs, cell = dict(content["methods"]), Cell(**content["cell"])
        origin, line = _reference(cell, runs), linear_score(cell.dataset, cell.bottleneck)
        order = _tuned(runs)
        if order is not None:
            runs[TUNED] = runs[ORDERS[order]]
        for method in columns[content["block"]]:
            if method not in runs:
                continue
            figures = _figures(runs[method], runs.get(origin))
            s = order if method == TUNED else math.nan
            head = {"block": content["block"], "name": name, **content["cell"]}
            tail = {"reference": origin, "linear": line, "passes": figures["mean_low"] > line}
            rows.append(head | {"method": method, "s": s} | figures | tail)
    return pd.DataFrame(rows)


def orders(saved: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Compares orders with s = 2, paired by seed: a row for each cell, weights and order."""
    rows = []
    for name, content in saved.items():
        runs = content["methods"]
        for weights, by_order in BY_ORDER.items():
            base = runs.get(by_order[2.0])
            if base is None:
                continue
            for s in sorted(by_order, reverse=True):
                own = runs.get(by_order[s])
                if own is None:
                    continue
                row = {"block": content["block"], "name": name, "weights": weights, "s": s}
                row |= {"rate": own["rate"], "runs": len(own["test"])}
                for key, label in (("test", "mean"), ("dead", "dead")):
                    ends = difference(own, base, key)
                    suffixes = ("difference", "difference_low", "difference_high")
                    row[label] = float(np.mean(own[key]))
                    row |= {f"{label}_{e}": v for e, v in zip(suffixes, ends, strict=True)}
                rows.append(row)
    frame = pd.DataFrame(rows)
    # An order is compared where there is another to compare it with.
    return frame[frame.groupby(["name", "weights"]).s.transform("size") > 1] if rows else frame
