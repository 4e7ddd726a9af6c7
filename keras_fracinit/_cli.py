"""The command line: arguments and files in, tables and files out."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from keras_fracinit import laws, smooth
from keras_fracinit._changes import Options
from keras_fracinit._choice import initializer_for
from keras_fracinit._cli_files import (
    check_distinct,
    check_output,
    check_picture,
    existing,
    load_data,
    load_model,
    one_line,
    whole,
)
from keras_fracinit._operating_point import fate_of
from keras_fracinit._printing import text_of
from keras_fracinit._probe import LIMIT
from keras_fracinit._validation import check_integer, check_width
from keras_fracinit.activations import law_of
from keras_fracinit.diagnosis import diagnose
from keras_fracinit.initializers import DISTRIBUTIONS
from keras_fracinit.moments import death_probability
from keras_fracinit.planning import reinitialize
from keras_fracinit.smooth_initializers import SmoothScale

_ORDER = (
    "the order of the moment to keep, from 0 to 2: 2 keeps the variance (He, or LeCun where no "
    "activation follows), 1 the first moment, 0 is the Lyapunov limit, which keeps the typical "
    "signal (default: %(default)g)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code: 2 after an error, 130 after an interrupt."""
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    except Exception:  # Python's own exit code, 1, would speak against a model
        traceback.print_exc()
        return 2


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
    names = ("s", "only", "skip", "include_frozen", "distribution", "alpha", "biases", "dropout")
    options = {name: getattr(arguments, name) for name in names}
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
        except Exception as error:  # whatever a layer without a configuration says
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
        print(text_of(table), end="")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m keras_fracinit",
        description="Initializers that keep any fractional moment of the signal, for saved models.",
        epilog="Exit code: 0, or 2 after an error, which leaves every file as it was.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_diagnose(commands)
    _add_reinitialize(commands)
    _add_gain(commands)
    return parser


def _add_command(commands: Any, run: Any, name: str, text: str, epilog: str = "") -> Any:
    command = commands.add_parser(
        name, help=text, description=text, epilog=epilog, allow_abbrev=False
    )
    command.set_defaults(run=run)
    return command


def _add_diagnose(commands: Any) -> None:
    command = _add_command(
        commands,
        _diagnose,
        "diagnose",
        "Says what the layers of a saved model make of the size of a signal, and what ails it.",
        "Exit code: 0 if the model is healthy, 1 if a verdict speaks against it, 2 after an error.",
    )
    _add_model(command)
    _add = command.add_argument
    _add(
        "--data",
        required=True,
        type=Path,
        metavar="X.npy",
        help="inputs of the model: a .npy file, or a .npz file of one array, or of one for each "
        "input by its name; the first axis is that of samples",
    )
    _add(
        "--limit",
        type=int,
        default=LIMIT,
        help="how many samples to use, the first ones; at most %(default)s (default: %(default)s)",
    )
    _add("--training", action="store_true", help="run the model in training mode, with dropout")
    _add("--csv", type=Path, metavar="TABLE.csv", help="write the table to this file")
    _add("--picture", type=Path, metavar="OUT.png", help="draw it; needs matplotlib")
    _add_overwrite(command)


def _add_reinitialize(commands: Any) -> None:
    command = _add_command(
        commands,
        _reinitialize,
        "reinitialize",
        "Draws the kernels of a saved model anew, so that the s-th moment of the signal is kept "
        "from layer to layer, and writes it to another file. What a compiled model's optimizer "
        "remembers of them starts anew.",
    )
    _add_model(command)
    _add = command.add_argument
    _add("--s", type=float, default=1.0, help=_ORDER)
    _add("--out", type=Path, metavar="NEW.keras", help="the file to write")
    _add("--seed", type=int, help="an integer in [0, 2^32), for draws that repeat (default: new)")
    patterns = {"nargs": "+", "action": "extend", "metavar": "PATTERN"}
    _add("--only", **patterns, help="layers or variables to draw, such as 'block1*' (default: all)")
    _add("--skip", **patterns, help="layers or variables to leave as they are (default: none)")
    _add("--include-frozen", action="store_true", help="draw layers that are not trainable, too")
    _add(
        "--distribution",
        choices=DISTRIBUTIONS,
        help="of the weights (default: that of each kernel's own initializer)",
    )
    _add("--alpha", type=float, help="the tail index of stable weights, between 1 and 2")
    _add("--biases", choices=("keep", "zero"), default="keep", help="(default: %(default)s)")
    _add("--dropout", action="store_true", help="keep the moment in training mode, with dropout")
    _add("--dry-run", action="store_true", help="print the plan and write nothing")
    _add_overwrite(command)


def _add_gain(commands: Any) -> None:
    command = _add_command(
        commands,
        _gain,
        "gain",
        "Prints the gain of one layer, gain = fan-in * variance of its weights, beside He's.",
    )
    _add = command.add_argument
    names = ", ".join(("linear", "relu", "leaky_relu", *smooth.NAMES))
    _add(
        "--activation",
        default="relu",
        help=f"{names}, or another activation of Keras (default: %(default)s)",
    )
    _add("--width", type=int, required=True, help="output units of the layer")
    _add("--s", type=float, default=1.0, help=_ORDER)
    _add("--fan-in", type=int, help="inputs that one unit sums over (default: the width)")
    _add("--negative-slope", type=float, help="of leaky_relu (default: Keras' 0.2)")
    _add("--dropout", type=float, default=0.0, help="its rate (default: %(default)g)")


def _add_model(command: Any) -> None:
    command.add_argument("model", type=Path, metavar="MODEL.keras", help="the saved model")
    command.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module that registers the model's own layers; may be repeated",
    )
    command.add_argument(
        "--unsafe",
        action="store_true",
        help="run Python code that the model file holds (Lambda layers); only if you trust it",
    )


def _add_overwrite(command: Any) -> None:
    command.add_argument(
        "--overwrite", action="store_true", help="replace files that exist (default: refuse)"
    )
