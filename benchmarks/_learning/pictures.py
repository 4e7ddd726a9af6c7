"""Draws the figures of the report: scores against depth, and a map for each block."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from _learning import cells
from _learning.cells import Block
from _learning.tasks import task

# Okabe and Ito's colours, and a marker each for those who see none.
CURVES = {
    "He (Keras)": ("#D55E00", "o"),
    "orthogonal": ("#E69F00", "s"),
    "LSUV": ("#CC79A7", "D"),
    "slope 0.9": ("#009E73", "^"),
    "mirrored": ("#0072B2", "P"),
    "mirrored slope 0.9": ("#56B4E9", "X"),
}
PANELS = {
    "digits": "digits",
    "mnist": "MNIST, 3,500 images",
    "cancer": "breast cancer, 30 inputs",
    "product": "sign of x1 x2, 16 inputs",
    "spirals": "two spirals",
    "teacher": "a random network's classes",
}


def draw(figures: pd.DataFrame, folder: Path) -> list[str]:
    """Draws all that there are results for; returns the names of the pictures."""
    plain = figures[
        (figures.activation == "relu")
        & (figures.width == 64)
        & (figures.family == "dense")
        & (figures.precision == "float32")
        & figures.selected.notna()
        & figures.dataset.isin(PANELS)
        & figures.method.isin(CURVES)
    ]
    drawn = []
    choices = {"": _better_optimizer(plain)}
    choices |= {f"-{name}": plain[plain.optimizer == name] for name in ("sgd", "adam")}
    for suffix, part in choices.items():
        if len(part):
            drawn.append(f"depths{suffix}.png")
            draw_depths(part, folder / drawn[-1])
    for block in cells.BLOCKS:
        part = figures[figures.block == block.name]
        if len(part):
            drawn.append(f"map-{block.name}.png")
            draw_map(block, part, folder / drawn[-1])
    return drawn


def _better_optimizer(figures: pd.DataFrame) -> pd.DataFrame:
    """Keeps for each method, task and depth the optimizer with the better selection seeds."""
    best = figures.sort_values("selected", ascending=False, kind="stable")
    return best.drop_duplicates(["dataset", "depth", "method"]).sort_index()


# --- scores against depth ------------------------------------------------------------------------


def draw_depths(figures: pd.DataFrame, path: Path) -> None:
    """Draws a panel for each task: means as lines, and below each the worst run."""
    names = [name for name in PANELS if name in set(figures.dataset)]
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.1 * columns + 0.3, 2.55 * rows + 0.9), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.remove()
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, figures[figures.dataset == name], name)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy")
    present = [method for method in CURVES if method in set(figures.method)]
    handles: list[Any] = [
        Line2D([], [], color=CURVES[m][0], marker=CURVES[m][1], markersize=5, label=m)
        for m in present
    ]
    grey: dict[str, Any] = {"color": "0.35", "linewidth": 1.2}
    handles += [
        Line2D([], [], linestyle="--", label="a linear model", **grey),
        Line2D([], [], linestyle=":", label="the best constant", **grey),
        Line2D([], [], color="0.6", marker="_", markersize=6, label="down to the worst run"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, figures: pd.DataFrame, name: str) -> None:
    chance = task(name).chance
    axes.axhline(figures.linear.iloc[0], color="0.35", linestyle="--", linewidth=1.2)
    axes.axhline(chance, color="0.35", linestyle=":", linewidth=1.2)
    depths = sorted(figures.depth.unique())
    for at, (method, (colour, marker)) in enumerate(CURVES.items()):
        part = figures[figures.method == method].sort_values("depth")
        x = part.depth * 1.03 ** (at - (len(CURVES) - 1) / 2)  # beside each other
        axes.vlines(x, part.worst, part["mean"], color=colour, alpha=0.45, linewidth=1.4)
        axes.plot(x, part.worst, color=colour, alpha=0.6, linestyle="", marker="_", markersize=6)
        axes.plot(x, part["mean"], color=colour, marker=marker, markersize=4.5, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_xticks(depths, [f"{depth:,}" for depth in depths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(depths[0] / 1.2, depths[-1] * 1.2)
    axes.set_ylim(max(0.0, min(chance, figures.worst.min()) - 0.05), 1.03)
    axes.set_title(PANELS[name], fontsize=10)
    axes.set_xlabel("ReLU layers of 64 units", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)


# --- maps of cells x methods ---------------------------------------------------------------------


def draw_map(block: Block, figures: pd.DataFrame, path: Path) -> None:
    """Draws means in the colour of their difference from the reference."""
    names = list(figures.name.unique())
    columns = list(figures.method.unique())
    columns.sort(key=[*block.methods, *columns].index)

    def spread(value: str) -> pd.DataFrame:
        table = figures.pivot(index="name", columns="method", values=value)
        return table.reindex(index=names, columns=columns)

    colours = spread("difference").to_numpy(float)
    figure = Figure(figsize=(3.2 + 0.62 * len(columns), 2.4 + 0.33 * len(names)))
    figure.set_layout_engine("constrained")
    axes = figure.subplots()
    image = axes.imshow(colours, aspect="auto", cmap="RdBu", vmin=-0.3, vmax=0.3)
    shades = image.to_rgba(colours)[..., :3] @ np.array([0.299, 0.587, 0.114])
    clear = (spread("difference_low") > 0) | (spread("difference_high") < 0)
    means, dead, passes = spread("mean"), spread("dead"), spread("passes")
    for row, column in np.argwhere(means.notna().to_numpy()):
        ink = "white" if shades[row, column] < 0.5 else "black"
        bold = "bold" if clear.iat[row, column] else "normal"
        place: dict[str, Any] = {"ha": "center", "color": ink}
        text = f"{means.iat[row, column]:.2f}"
        some = dead.iat[row, column] > 0.0
        up = row - 0.14 if some else row
        axes.text(column, up, text, va="center", fontsize=8, fontweight=bold, **place)
        if some:
            text = f"{dead.iat[row, column]:.0%} dead"
            axes.text(column, row + 0.27, text, va="center", fontsize=5.5, **place)
        if passes.iat[row, column]:
            box = Rectangle((column - 0.44, row - 0.42), 0.88, 0.84, fill=False, linewidth=1.1)
            axes.add_patch(box)
    lines = figures.groupby("name", sort=False).linear.first()
    labels = [f"{name}  ({line:.2f})" for name, line in lines.items()]
    axes.set_yticks(range(len(names)), labels)
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="left")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=8)
    origins = " or ".join(figures.reference.unique())
    axes.set_xlabel(
        f"Mean test score; colour: minus {origins}, bold: 95% interval without zero\n"
        "(): a linear model; frame: the interval of the mean lies above it",
        fontsize=8,
    )
    figure.colorbar(image, ax=axes, shrink=0.5, extend="both", aspect=12, pad=0.01)
    figure.suptitle(block.title, fontsize=11)
    figure.savefig(path, dpi=110)
