"""Makes figures, tables and the picture from the saved cells alone."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy.stats import binomtest

from _learning.methods import METHODS, ORDERS, SMOOTH_METHODS, TUNED, reference
from _learning.networks import ACTIVATIONS, Array, cells, is_smooth

RESAMPLES = 4000


class Section(NamedTuple):
    """Activations whose cells have the same methods, and are shown together."""

    heading: str
    activations: list[str]
    methods: list[str]  # in the order of the columns
    summaries: list[list[str]]  # activations over which there is one table each
    picture: str


_SMOOTH = [name for name, activation in ACTIVATIONS.items() if is_smooth(activation.law)]
_OTHERS = [name for name in ACTIVATIONS if name not in _SMOOTH]
SECTIONS = (
    Section(
        "Learning from different initializations",
        _OTHERS,
        [*METHODS, TUNED],
        [_OTHERS],
        "learning.png",
    ),
    Section(
        "Smooth activations and heavy-tailed weights",
        _SMOOTH,
        list(SMOOTH_METHODS),
        [[activation] for activation in _SMOOTH],
        "smooth.png",
    ),
)


def _references(activations: list[str]) -> str:
    """Names in words the methods that differences are taken from."""
    usual = reference(activations[0])
    others = [f"{a}: {reference(a)}" for a in activations if reference(a) != usual]
    return usual + (f" ({', '.join(others)})" if others else "")


def split(figures: pd.DataFrame) -> list[tuple[Section, pd.DataFrame]]:
    """Splits the figures into sections."""
    parts = [
        (section, figures[figures.activation.isin(section.activations)]) for section in SECTIONS
    ]
    return [(section, part) for section, part in parts if len(part)]


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Loads cells by name, in the order of the grid, then those that the grid lacks."""
    saved = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    order = [cell.name for cell in cells() if cell.name in saved]
    return {name: saved[name] for name in [*order, *(n for n in saved if n not in order)]}


def _interval(samples: Array) -> tuple[float, float]:
    # No interpolation: between a number and infinity it would give nan.
    low, high = np.quantile(samples, [0.025, 0.975], method="nearest")
    return float(low), float(high)


def _figures(runs: dict[str, Any], reference: dict[str, Any] | None) -> dict[str, Any]:
    """Computes the figures of a method in a cell. Resamplings share seeds, so they are paired."""
    test = np.array(runs["test"])
    steps = np.array([math.inf if n is None else n for n in runs["steps_to_half"]])
    count = len(test)
    chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    dead = int(sum(runs["dead"]))
    figures: dict[str, Any] = {
        "rate": runs["rate"],
        "runs": count,
        "mean": test.mean(),
        "median": np.median(test),
        "worst": test.min(),
        "dead": dead / count,
        "diverged": float(np.mean(runs["diverged"])),
        "steps_to_half": np.median(steps),
        "difference": math.nan,
    }
    intervals = {
        "mean": _interval(test[chosen].mean(axis=1)),
        "median": _interval(np.median(test[chosen], axis=1)),
        # A bootstrap of no dead run among 20 would say that there are none: Wilson's interval.
        "dead": tuple(binomtest(dead, count).proportion_ci(method="wilson")),
        "steps_to_half": _interval(np.median(steps[chosen], axis=1)),
        "difference": (math.nan, math.nan),
    }
    if reference is not None and len(reference["test"]) == count:
        difference = test - np.array(reference["test"])
        figures["difference"] = difference.mean()
        intervals["difference"] = _interval(difference[chosen].mean(axis=1))
    for name, (low, high) in intervals.items():
        figures |= {f"{name}_low": low, f"{name}_high": high}
    return figures


def _tuned(methods: dict[str, Any]) -> float | None:
    """Chooses the order with the best validation accuracy over the selection seeds."""
    if not all(method in methods for method in ORDERS.values()):
        return None

    def score(s: float) -> float:
        return max(float(np.mean(a)) for a in methods[ORDERS[s]]["selection"].values())

    return max(ORDERS, key=score)


def frame(saved: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Makes a frame with one row for each cell and method."""
    known = {a: section.methods for section in SECTIONS for a in section.activations}
    rows = []
    for name, content in saved.items():
        methods = dict(content["methods"])
        origin = reference(content["cell"]["activation"])
        columns = known[content["cell"]["activation"]]
        order = _tuned(methods)
        if order is not None:
            methods[TUNED] = methods[ORDERS[order]]
        for method in sorted(methods, key=lambda m: columns.index(m) if m in columns else 99):
            figures = _figures(methods[method], methods.get(origin))
            s = order if method == TUNED else math.nan
            head = {"name": name, **content["cell"], "method": method, "s": s}
            rows.append(head | figures | {"reference": origin})
    return pd.DataFrame(rows)


# --- tables --------------------------------------------------------------------------------------


def _range(row: Any, name: str, form: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if math.isnan(row[name]) else f"{row[name]:{form}} [{low:{form}}, {high:{form}}]"


def _steps(row: Any) -> str:
    ends = [row[f"steps_to_half{end}"] for end in ("", "_low", "_high")]
    middle, low, high = ("never" if math.isinf(n) else f"{n:.0f}" for n in ends)
    return middle if middle == low == high else f"{middle} [{low}, {high}]"


def _cells_of(row: Any) -> dict[str, str]:
    """Formats the row of a method."""
    return {
        "method": row.method if math.isnan(row.s) else f"{row.method} ({row.s:g})",
        "rate": f"{row.rate:g}",
        "mean": _range(row, "mean", ".3f"),
        f"minus {row.reference}": _range(row, "difference", "+.3f"),
        "median": f"{row['median']:.3f}",
        "worst": f"{row.worst:.3f}",
        "dead": _range(row, "dead", ".0%"),
        "steps to 50%": _steps(row),
    }


def summary(figures: pd.DataFrame) -> pd.DataFrame:
    """Summarizes each method over its cells; a method may lack some."""
    rows = []
    for method, group in figures.groupby("method", sort=False):
        rows.append(
            {
                "method": method,
                "cells": len(group),
                "mean": f"{group['mean'].mean():.3f}",
                f"minus {group.reference.iloc[0]}": f"{group.difference.mean():+.3f}",
                "cells above": str((group.difference_low > 0).sum()),
                "cells below": str((group.difference_high < 0).sum()),
                "mean of the worst": f"{group.worst.mean():.3f}",
                "dead": f"{group.dead.mean():.1%}",
                "diverged": f"{group.diverged.mean():.1%}",
            }
        )
    return pd.DataFrame(rows)


def _print(console: Console, title: str, rows: list[dict[str, str]], caption: str = "") -> None:
    table = Table(title=title, caption=caption or None)
    for column in rows[0]:
        name = column in ("method", "cell")
        table.add_column(column, justify="left" if name else "right", no_wrap=name)
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


class Summary(NamedTuple):
    title: str
    caption: str
    rows: list[dict[str, str]]


def summaries(section: Section, figures: pd.DataFrame) -> list[Summary]:
    result = []
    for activations in section.summaries:
        part = figures[figures.activation.isin(activations)]
        title = "Over cells" + (f" of {activations[0]}" if len(section.summaries) > 1 else "")
        caption = (
            "cells above, below: the 95% interval of the paired difference from "
            f"{_references(activations)} is on one side of zero"
        )
        if len(part):
            result.append(Summary(title, caption, summary(part).to_dict("records")))
    return result


def print_tables(console: Console, figures: pd.DataFrame, full: bool) -> None:
    if full or figures.name.nunique() <= 4:
        for name, group in figures.groupby("name", sort=False):
            _print(console, str(name), [_cells_of(row) for _, row in group.iterrows()])
    for section, part in split(figures):
        matrix = []
        for name, group in part.groupby("name", sort=False):
            by_method = group.set_index("method")
            best = by_method["mean"].drop(TUNED, errors="ignore").max()
            line = {"cell": str(name)}
            for method in section.methods:
                if method not in by_method.index:
                    line[method.replace(" ", "\n")] = ""
                    continue
                mean = by_method.loc[method, "mean"]
                text = f"{mean:.3f}"[1:] if mean < 1 else "1"
                line[method.replace(" ", "\n")] = f"[bold]{text}[/bold]" if mean == best else text
            matrix.append(line)
        title = f"{section.heading}\nMean test accuracy; bold: the highest in the cell"
        _print(console, title, matrix)
        for title, caption, rows in summaries(section, part):
            _print(console, title, rows, caption)


def _markdown(rows: list[dict[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write_tables(figures: pd.DataFrame, saved: dict[str, dict[str, Any]], folder: Path) -> None:
    figures.to_csv(folder / "learning.csv", index=False, float_format="%.5g")
    parts = []
    for section, part in split(figures):
        about = saved[part.name.iloc[0]]
        settings = ", ".join(f"{key} {value}" for key, value in about["settings"].items())
        versions = ", ".join(f"{key} {value}" for key, value in about["versions"].items())
        parts += [
            f"# {section.heading}",
            f"Settings: {settings}. Versions: {versions}; {about['cpus']} CPUs. "
            f"Command: `{about['command']}`.",
        ]
        if section is SECTIONS[0]:
            parts.append(
                "In brackets 95% intervals: bootstrap over seeds, Wilson for shares. Steps to 50%: "
                "median, training accuracy on a fixed subset."
            )
        for title, caption, rows in summaries(section, part):
            parts += [f"## {title}\n\n{caption}.", _markdown(rows)]
        for name, group in part.groupby("name", sort=False):
            parts += [f"## {name}", _markdown([_cells_of(row) for _, row in group.iterrows()])]
    (folder / "learning.md").write_text("\n\n".join(parts) + "\n")


# --- picture -------------------------------------------------------------------------------------


def _map(axes: Axes, colours: pd.DataFrame, texts: pd.DataFrame, bold: Any, **options: Any) -> Any:
    image = axes.imshow(colours.to_numpy(float), aspect="auto", **options)
    shades = image.to_rgba(colours.to_numpy(float))[..., :3] @ [0.299, 0.587, 0.114]
    for row, column in np.argwhere((texts != "").to_numpy()):
        axes.text(
            column,
            row,
            texts.iat[row, column],
            ha="center",
            va="center",
            fontsize=8,
            color="white" if shades[row, column] < 0.5 else "black",
            fontweight="bold" if bold[row, column] else "normal",
        )
    axes.set_xticks(range(len(colours.columns)), colours.columns, rotation=40, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    groups = [name.split("-")[1] + name.split("-")[3] for name in colours.index]
    for row in range(1, len(groups)):
        if groups[row] != groups[row - 1]:
            axes.axhline(row - 0.5, color="black", linewidth=0.8)
    return image


def draw(figures: pd.DataFrame, folder: Path) -> list[str]:
    """Draws a picture for each section; returns their names."""
    parts = split(figures)
    for section, part in parts:
        _draw(section, part, folder / section.picture)
    return [section.picture for section, _ in parts]


def _draw(section: Section, figures: pd.DataFrame, path: Path) -> None:
    """Draws two maps of cells x methods: accuracy beside the reference, and dead runs."""
    names = list(figures.name.unique())
    columns = [method for method in section.methods if method in set(figures.method)]

    def spread(value: str) -> pd.DataFrame:
        table = figures.pivot(index="name", columns="method", values=value)
        return table.reindex(index=names, columns=columns)

    means, dead = spread("mean"), spread("dead")
    clear = (spread("difference_low") > 0) | (spread("difference_high") < 0)
    figure = Figure(figsize=(17, 2.6 + 0.27 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    options = {"cmap": "RdBu", "vmin": -0.3, "vmax": 0.3}
    texts = means.map(lambda value: "" if math.isnan(value) else f"{value:.2f}")
    image = _map(left, spread("difference"), texts, clear.to_numpy(), **options)
    left.set_yticks(range(len(names)), names)
    origin = _references(list(dict.fromkeys(figures.activation)))
    left.set_title(f"mean test accuracy; colour: minus {origin}, bold: 95% interval without zero")
    figure.colorbar(image, ax=left, shrink=0.4, extend="both")
    texts = dead.map(lambda value: f"{value:.0%}" if value > 0 else "")
    options = {"cmap": "OrRd", "vmin": 0.0, "vmax": 1.0}
    image = _map(right, dead, texts, np.zeros(dead.shape), **options)
    right.set_title("dead runs: training accuracy never left chance")
    figure.colorbar(image, ax=right, shrink=0.4)
    figure.savefig(path, dpi=130)
