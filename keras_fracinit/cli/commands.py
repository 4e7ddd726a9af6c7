"""Runs the three commands of the command line: diagnose, reinitialize and gain."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_fracinit import laws
from keras_fracinit.cli.files import (
    check_distinct,
    check_output,
    check_picture,
    existing,
    load_data,
    load_model,
    one_line,
    whole,
)
from keras_fracinit.diagnosis.pipeline import diagnose
from keras_fracinit.initializers.lookup import initializer_for
from keras_fracinit.initializers.smooth import SmoothScale
from keras_fracinit.laws.base import law_of
from keras_fracinit.laws.smooth import fate_of
from keras_fracinit.models.probe import LIMIT
from keras_fracinit.planning.execute import reinitialize
from keras_fracinit.planning.options import Options
from keras_fracinit.propagation.moments import death_probability
from keras_fracinit.utils.printing import render
from keras_fracinit.utils.validation import check_integer, check_width


def _diagnose(arguments: argparse.Namespace) -> int:
    check_integer("limit", arguments.limit, 1, LIMIT)
    named = {"--csv": arguments.csv, "--picture": arguments.picture}
    outputs = {option: path for option, path in named.items() if path is not None}
    inputs = {"model": arguments.model, "--data": arguments.data}
    for option, path in inputs.items():
        existing(option, path)
    for option, path in outputs.items():
        check_output(option, path, arguments.overwrite)
    check_distinct({**inputs, **outputs})
    if arguments.picture is not None:
        check_picture(arguments.picture)
    x = load_data(arguments.data, arguments.limit)
    model = load_model(arguments.model, arguments.modules, arguments.unsafe, compile=False)
    diagnosis = diagnose(model, x, training=arguments.training)
    _show(diagnosis)
    with ExitStack() as files:  # all of them or none
        for option, path in outputs.items():
            unfinished = files.enter_context(whole(option, path, arguments.overwrite))
            if option == "--csv":
                diagnosis.to_pandas().to_csv(unfinished, index=False)
            else:
                from keras_fracinit import plots  # which needs matplotlib

                plots.diagnosis(diagnosis).savefig(unfinished)
    for path in outputs.values():
        print(f"Written to {path}.")
    return 0 if diagnosis.healthy else 1


def _reinitialize(arguments: argparse.Namespace) -> int:
    options = {field.name: getattr(arguments, field.name) for field in fields(Options)}
    Options(**options)  # before a large model is read
    if arguments.seed is not None:
        check_integer("seed", arguments.seed, 0, 2**32 - 1)
    if arguments.out is not None:
        check_output("--out", arguments.out, arguments.overwrite, suffix=".keras")
    elif not arguments.dry_run:
        raise ValueError("`--out` must be given, or `--dry-run`. Received: neither")
    model = load_model(arguments.model, arguments.modules, arguments.unsafe, compile=True)
    plan = reinitialize(model, seed=arguments.seed, dry_run=arguments.dry_run, **options)
    _show(plan)
    if arguments.dry_run:
        print("Nothing is written.")
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
    print(f"Drawn with seed {plan.seed} and written to {arguments.out}.")
    return 0


def _gain(arguments: argparse.Namespace) -> int:
    width, slope = check_width(arguments.width), arguments.negative_slope
    fan_in = width if arguments.fan_in is None else arguments.fan_in
    fan_in = check_integer("fan_in", fan_in, 1, sys.maxsize)
    if slope is not None and arguments.activation != "leaky_relu":
        raise ValueError(
            "`negative_slope` must go with the activation 'leaky_relu'. "
            f"Received: negative_slope={slope}, activation={arguments.activation!r}"
        )
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
    table = Table(box=None, show_header=False)
    for row in rows.items():
        table.add_row(*row)
    _show(table)
    return 0


def _show(table: Any) -> None:
    if sys.stdout.isatty():
        Console().print(table)
    else:
        print(render(table), end="")
