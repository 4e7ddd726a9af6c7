"""Draws several recorded histories side by side, for a comparison at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from keras_fracinit.plots.history import (
    Table,
    add_colorbar,
    band_of,
    check_steps,
    draw_map,
    draw_profile,
    height_of,
    norm_of,
    select,
)
from keras_fracinit.plots.style import Figure


def draw_runs(tables: dict[str, Table], profiles: list[Any], title: str) -> Figure:
    """Draws a column for each run: heat map above profile, with shared colours and scales."""
    height, norm = max(map(height_of, tables.values())), norm_of(tables.values())
    figure = Figure(figsize=(1.0 + 5.0 * len(tables), 4.0 + height), layout="constrained")
    upper, lower = figure.subplots(2, len(tables), height_ratios=(height, 4.0))
    figure.suptitle(title)
    first = next(iter(tables.values()))
    for place, (name, table) in enumerate(tables.items()):
        mesh = draw_map(upper[place], table, norm)
        upper[place].set_title(name, parse_math=False)
        if place:
            upper[place].tick_params(labelleft=any(t.names != first.names for t in tables.values()))
            lower[place].tick_params(labelleft=False)
            lower[place].sharey(lower[0])
        draw_profile(lower[place], table, *profiles[place])
    lower[0].set_ylabel(first.label)
    if norm:
        add_colorbar(mesh, first, list(upper))
    return figure


def compare(
    runs: Mapping[str, pd.DataFrame],
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    steps: Sequence[int] | None = None,
    theory: Mapping[str, Sequence[Any]] | None = None,
    start: float | None = None,
) -> Figure:
    """Draws the heat maps of several runs in the same colours, above their profiles on one axis.

    Args:
        runs: Two or more histories by name.
        statistic, order, quantity, steps, start: As for `profile`, the same for all runs.
        theory: As for `profile`, by the name of the run, for all runs or some.

    Returns:
        A new figure.

    Raises:
        TypeError, ValueError: As for `profile`, with a note that names the run.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> history = pd.DataFrame([row], columns=COLUMNS)
    >>> figure = compare({"He": history, "s = 1": history})
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['He', 's = 1']
    """
    if not isinstance(runs, Mapping):
        raise TypeError(f"`runs` must be a dict of histories. Received: runs={type(runs)}")
    if len(runs) < 2:
        raise ValueError(f"`runs` must hold two or more. Received: runs={list(runs)}")
    if theory is not None and (not isinstance(theory, Mapping) or not {*theory} <= {*runs}):
        rule = f"`theory` must be a dict by names of the runs {list(runs)}"
        raise ValueError(f"{rule}. Received: {theory=}")
    tables, profiles = {}, []
    for name, history in runs.items():
        try:
            tables[name] = table = select(history, statistic, order, quantity)
            band = band_of((theory or {}).get(name), start, table)
            profiles.append((check_steps(steps, table.steps), band))
        except (TypeError, ValueError) as error:
            error.add_note(f"In the run {name!r}.")
            raise
    return draw_runs(tables, profiles, quantity)
