"""Pictures of a history (heat maps of layers x steps, profiles against depth), of a search, and of
a diagnosis.

A history is the frame `MomentLogger.history`, or what `pandas.read_csv` makes of its file. Of rows
that give the same number twice the last counts; rows without a layer are left out. Nothing here is
global: no pyplot, no rcParams. The figure of the axes that are returned is `ax.figure`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_fracinit._drawing import (
    add_colorbar,
    draw_map,
    draw_profile,
    draw_runs,
    draw_search,
    height_of,
    norm_of,
)
from keras_fracinit._drawing_diagnosis import draw_diagnosis
from keras_fracinit._tables import band_of, check_steps, search_of, select
from keras_fracinit._validation import check_type
from keras_fracinit.diagnosis import Diagnosis


def heatmap(
    history: pd.DataFrame,
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Every layer (the first at the top) at every recorded step, logarithmic for "s_scale".

    Cells that have no colour, because they are nan, infinite or (if logarithmic) not positive, are
    hatched, with a key below; cells that were not recorded are blank.

    Args:
        history: The frame, see above.
        statistic: One of those that the frame holds for `quantity`.
        order: The order s, where the statistic has one; ignored elsewhere.
        quantity: One of those that the frame holds.
        limits: The values (low, high) at the ends of the colours. Defaults to those drawn.
        ax: The axes to draw on, and to return. Defaults to new ones in a figure of their own.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the frame does not hold what is asked for, or `limits` are out of order.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> ax = heatmap(pd.DataFrame([row], columns=COLUMNS))
    >>> ax.figure.axes[1].get_ylabel()  # of the colorbar
    's-scale (s = 1)'
    """
    table = select(history, statistic, order, quantity)
    norm = norm_of([table], limits)
    axes = ax or Figure(figsize=(8.0, height_of(table)), layout="constrained").subplots()
    mesh = draw_map(axes, table, norm)
    if norm:
        add_colorbar(mesh, table, axes)
    axes.set_title(quantity)
    return axes


def profile(
    history: pd.DataFrame,
    statistic: str = "s_scale",
    order: float = 1.0,
    *,
    quantity: str = "activations",
    steps: Sequence[int] | None = None,
    theory: Sequence[Any] | None = None,
    start: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One line against depth for each step, with two standard errors either way.

    The theory of fresh networks: `start * exp(sum of means)` is the typical one, and 95% of them
    lie within `exp(+- 2 sqrt(sum of variances))` times that, the sums over the layers passed.

    Args:
        history, statistic, order, quantity, ax: As for `heatmap`.
        steps: Recorded steps. Defaults to the first and the last.
        theory: What `initializer.describe(shape)` returns, for each row of depth.
        start: The scale of the input, positive: that of the theory at depth 0.

    Raises:
        TypeError, ValueError: As for `heatmap`; if a step was not recorded; if the theory is of
            another length or statistic, or has no `start`.

    Example:

    >>> from keras_fracinit.callbacks import COLUMNS
    >>> row = (0, 0, "net/dense", 0, "activations", "s_scale", 1.0, 0.9, 0.01)
    >>> ax = profile(pd.DataFrame([row], columns=COLUMNS), steps=[0])
    >>> ax.get_ylabel()
    's-scale (s = 1)'
    """
    table = select(history, statistic, order, quantity)
    chosen, band = check_steps(steps, table.steps), band_of(theory, start, table)
    axes = ax or Figure(figsize=(7.0, 4.5), layout="constrained").subplots()
    draw_profile(axes, table, chosen, band)
    axes.set(title=quantity, ylabel=table.label)
    return axes


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
    """The heat maps of several runs in the same colours, above their profiles on the same axis.

    Args:
        runs: Two or more histories by name.
        statistic, order, quantity, steps, start: As for `profile`, the same for all runs.
        theory: As for `profile`, by name, for all runs or some.

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


def score_by_order(results: pd.DataFrame, order: str = "s", ax: Axes | None = None) -> Axes:
    """The score of a search against the order s of its initializers, and that of the reference.

    Points are completed executions, diamonds those of the reference, whose median is the dashed
    line. The solid line joins the medians of the trials, in order of s; where trials share one it
    goes through the median of their medians.

    What an execution that diverged or collapsed scored is a penalty, no measurement. It is a cross
    in the grey strip at the worse edge, which has no scale, as is a failed one; the counts are in
    the legend. Medians are over the completed executions alone, so crosses beside a median say that
    it flatters; where nothing has completed the line is broken.

    Args:
        results: What `tuner.results` returns, or `pandas.read_csv` makes of its file. Left out are
            rows without an order (inactive, in a conditional search) and trials still running.
            Where `results.attrs` (which a file loses) has no "direction", less is better if the
            penalties are above the scores, and otherwise more.
        order: The hyperparameter across, a column of numbers.
        ax: The axes to draw on, and to return. Defaults to new ones in a figure of their own.

    Returns:
        The axes.

    Raises:
        TypeError: If `results` is no DataFrame.
        ValueError: If it lacks a column, or has no completed execution with an order.

    Example:

    >>> rows = [("0", 0.8, 0.91, "completed"), ("reference", 2.0, 0.87, "completed")]
    >>> ax = score_by_order(pd.DataFrame(rows, columns=["trial", "s", "score", "status"]))
    >>> ax.get_legend().get_texts()[-1].get_text()
    'reference: s = 2 (He)'
    """
    search = search_of(results, order)
    axes = ax or Figure(figsize=(7.0, 4.5), layout="constrained").subplots()
    draw_search(axes, search, order)
    axes.set(xlabel=order, ylabel=search.score)
    return axes


def diagnosis(diagnosis: Diagnosis) -> Figure:
    """The size of the signal through a network, and how alike its inputs become.

    Above, on a logarithmic scale, the size of each output. Where theory follows, the band of one
    draw is grey and what it expects of these weights dotted. Below, one minus the mean cosine
    between inputs; in the shaded part they are parallel, and what follows cannot tell them apart.
    The verdicts are the title: green if the network is healthy, else vermilion.

    Args:
        diagnosis: What `keras_fracinit.diagnose` returns.

    Returns:
        A figure of its own; `figure.savefig("diagnosis.png")` keeps it.

    Raises:
        TypeError: If `diagnosis` is none.

    Example:

    >>> import keras
    >>> from keras_fracinit import diagnose, plots
    >>> hidden = [keras.layers.Dense(32, "relu") for _ in range(10)]
    >>> model = keras.Sequential([keras.Input((8,)), *hidden])
    >>> figure = plots.diagnosis(diagnose(model, keras.random.normal((32, 8))))
    >>> [axes.get_ylabel() for axes in figure.axes][0]
    'size of the signal'
    """
    return draw_diagnosis(check_type("diagnosis", diagnosis, Diagnosis))
