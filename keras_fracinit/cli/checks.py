"""Checks the arguments of each command as far as that goes without Keras, which takes seconds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from keras_fracinit.cli.files import check_distinct, check_output, check_picture, existing
from keras_fracinit.utils.choices import LIMIT, check_mirroring, check_weights
from keras_fracinit.utils.validation import check_integer, check_order, check_width


def check_diagnose(arguments: argparse.Namespace) -> None:
    """Checks the files, and adds `x`, the inputs that it reads, and `outputs`, what to write."""
    check_integer("limit", arguments.limit, 1, LIMIT)
    named = {"--csv": arguments.csv, "--picture": arguments.picture}
    arguments.outputs = {option: path for option, path in named.items() if path is not None}
    inputs: dict[str, Path] = {"model": arguments.model, "--data": arguments.data}
    for option, path in inputs.items():
        existing(option, path)
    for option, path in arguments.outputs.items():
        check_output(option, path, arguments.overwrite)
    check_distinct({**inputs, **arguments.outputs})
    if arguments.picture is not None:
        check_picture(arguments.picture)
    from keras_fracinit.cli.data import load_data  # and NumPy

    arguments.x = load_data(arguments.data, arguments.limit)


def check_reinitialize(arguments: argparse.Namespace) -> None:
    """Checks the order, the weights and the file to write."""
    check_order(arguments.s)
    if arguments.distribution is not None or arguments.alpha is not None:
        check_weights(arguments.distribution, arguments.alpha)
    check_mirroring(arguments.mirrored, arguments.taps, arguments.branches)
    if arguments.seed is not None:
        check_integer("seed", arguments.seed, 0, 2**32 - 1)
    if arguments.out is not None:
        check_output("--out", arguments.out, arguments.overwrite, suffix=".keras")
    elif not arguments.dry_run:
        raise ValueError("`--out` must be given, or `--dry-run`. Received: neither")
    existing("model", arguments.model)


def check_gain(arguments: argparse.Namespace) -> None:
    """Checks the numbers; which activations there are is known to Keras."""
    check_order(arguments.s)
    check_width(arguments.width)
    fan_in = arguments.width if arguments.fan_in is None else arguments.fan_in
    arguments.fan_in = check_integer("fan_in", fan_in, 1, sys.maxsize)
    slope = arguments.negative_slope
    if slope is not None and arguments.activation != "leaky_relu":
        raise ValueError(
            "`negative_slope` must go with the activation 'leaky_relu'. "
            f"Received: negative_slope={slope}, activation={arguments.activation!r}"
        )
    from keras_fracinit.laws import Dropout, LeakyReLU, Linear  # and NumPy

    law = Linear() if slope is None else LeakyReLU(slope)
    Dropout(law, arguments.dropout)
