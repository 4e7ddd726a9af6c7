"""Runs the three commands of the command line: diagnose, reinitialize and gain."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

from rich.console import Console

# All of the package: a model may use any of its classes.
from keras_fracinit import death_probability, diagnose, initializer_for, laws, reinitialize
from keras_fracinit.cli.files import one_line, whole
from keras_fracinit.cli.models import load_model
from keras_fracinit.initializers.smooth import SmoothScale
from keras_fracinit.laws.base import law_of
from keras_fracinit.laws.smooth import fate_of
from keras_fracinit.planning.options import Options
from keras_fracinit.utils.printing import NARROW, WIDE, render


def _diagnose(arguments: argparse.Namespace) -> int:
    model = load_model(arguments.model, arguments.modules, arguments.unsafe, compile=False)
    try:
        diagnosis = diagnose(model, arguments.x, training=arguments.training)
    except ValueError as error:  # `x` is what `--data` holds
        option = f"Received: --data={str(arguments.data)!r} "
        text = str(error).replace("`x`", "`--data`").replace("Received: x ", option)
        raise ValueError(text) from error
    _show(diagnosis, arguments.wide)
    with ExitStack() as files:  # all of them or none
        for option, path in arguments.outputs.items():
            unfinished = files.enter_context(whole(option, path, arguments.overwrite))
            if option == "--csv":
                diagnosis.to_pandas().to_csv(unfinished, index=False)
            else:
                from keras_fracinit import plots  # which needs matplotlib

                plots.diagnosis(diagnosis).savefig(unfinished)
    for path in arguments.outputs.values():
        _say(f"Written to {path}.")
    return 0 if diagnosis.healthy else 1


def _reinitialize(arguments: argparse.Namespace) -> int:
    options = {field.name: getattr(arguments, field.name) for field in fields(Options)}
    model = load_model(arguments.model, arguments.modules, arguments.unsafe, compile=True)
    plan = reinitialize(model, seed=arguments.seed, dry_run=arguments.dry_run, **options)
    _show(plan, arguments.wide)
    if arguments.dry_run:
        _say("Nothing is written.")
        return 0
    if all(change.skipped for change in plan):
        raise ValueError("There is no kernel to draw, for the reasons in the table")
    with whole("--out", arguments.out, arguments.overwrite) as path:
        try:
            model.save(path)
        except Exception as error:  # a layer without a configuration may raise anything
            raise ValueError(
                f"The model must be one that Keras saves ({one_line(error)})"
            ) from error
    _say(f"Drawn with seed {plan.seed} and written to {arguments.out}.")
    return 0


def _gain(arguments: argparse.Namespace) -> int:
    width, fan_in, slope = arguments.width, arguments.fan_in, arguments.negative_slope
    law = law_of(arguments.activation if slope is None else laws.LeakyReLU(slope))
    initializer = initializer_for(law, arguments.s, dropout=arguments.dropout)
    scale = initializer.describe((fan_in, width))
    he, name = 1.0 / law.mean, scale.reference
    rows = {
        "law": str(initializer.law),
        "gain": f"{scale.gain:.13g}",
        f"gain of {name}": f"{he:.13g}",
        "ratio of the gains": f"{scale.gain / he:.13g}",
        f"stddev at fan-in {fan_in}": f"{scale.stddev:.13g}",
        f"ratio to that of {name}": f"{scale.ratio:.13g}",
        "log-norm per layer": f"{scale.log_norm_mean:+.6g} +- {scale.log_norm_std:.6g}",
        "P(all units are zero)": f"{death_probability(initializer.law, width):.6g}",
    }
    if isinstance(scale, SmoothScale):
        rows["unit size"] = fate_of(scale.length_slope)
        rows["slope of the length map"] = f"{scale.length_slope:.6g}"
        rows["gradient factor"] = f"{scale.gradient_factor:.6g}"
    longest = max(map(len, rows))
    for name, value in rows.items():
        _say(f"{name:<{longest}}  {value}")
    return 0


RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "diagnose": _diagnose,
    "reinitialize": _reinitialize,
    "gain": _gain,
}


def _show(record: Any, wide: bool) -> None:
    """Prints a record: on a terminal as wide as that is, elsewhere as wide as it is anywhere."""
    width = WIDE if wide else NARROW
    if not sys.stdout.isatty():
        _say(render(record._table(wide), width), end="")
        return
    console = Console()
    if wide:  # rather than columns of single digits, lines that the terminal breaks
        console.width = max(console.width, WIDE)
    console.print(record._table(wide))


def _say(text: str, end: str = "\n") -> None:
    """Prints at once. That nobody reads it, as behind `| head`, is no reason to write no file."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
