"""Says which arguments the command line takes. Imports no Keras, so that an answer is quick."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NoReturn

from keras_fracinit.cli.checks import check_diagnose, check_gain, check_reinitialize
from keras_fracinit.utils.choices import BIASES, BRANCHES, DISTRIBUTIONS, LIMIT, TAPS
from keras_fracinit.utils.starting import PROGRAM

_ORDER = (
    "the order of the moment to keep, from 0 to 2: 2 keeps the variance (He, or LeCun where no "
    "activation follows), 1 the first moment, 0 is the Lyapunov limit, which keeps the typical "
    "signal (default: %(default)g)"
)


class _Version(argparse.Action):
    """Looks the version up only if it is asked for: that takes longer than all the rest."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> NoReturn:
        from keras_fracinit import __version__

        print(PROGRAM, __version__)
        parser.exit()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def parser_of(program: str) -> argparse.ArgumentParser:
    """Builds the parser of the command line; `program` is how it was called."""
    parser = _Parser(
        prog=program,
        allow_abbrev=False,
        description="Initializers that keep any fractional moment of the signal, for saved models.",
        epilog="Exit code: 0, or 2 after an error, which leaves every file as it was.",
    )
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_diagnose(commands)
    _add_reinitialize(commands)
    _add_gain(commands)
    return parser


def _add_command(commands: Any, check: Any, name: str, text: str, epilog: str = "") -> Any:
    command = commands.add_parser(
        name, help=text, description=text, epilog=epilog, allow_abbrev=False
    )
    command.set_defaults(check=check)
    return command


def _add_diagnose(commands: Any) -> None:
    command = _add_command(
        commands,
        check_diagnose,
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
        help="inputs of the model, with a first axis of samples: a .npy file; a .npz file of one "
        "array, or of one for each input by its name; or a .csv file of numbers, a row for each "
        "sample, with or without a header",
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
    _add_output(command)


def _add_reinitialize(commands: Any) -> None:
    command = _add_command(
        commands,
        check_reinitialize,
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
    _add(
        "--biases",
        choices=BIASES,
        help="of the kernels that are drawn (default: zero for mirrored kernels, keep for others)",
    )
    _add("--dropout", action="store_true", help="keep the moment in training mode, with dropout")
    _add(
        "--mirrored",
        action="store_true",
        help="mirror every kernel that can be: units in pairs, so that all moments and angles are "
        "kept; the table says which form each kernel takes, or why none",
    )
    _add(
        "--taps",
        choices=TAPS,
        default="all",
        help="of mirrored convolutions; center: the one tap at the place of the output, where "
        "there is one (default: %(default)s)",
    )
    _add(
        "--branches",
        choices=BRANCHES,
        default="keep",
        help="of residual sums; keep: each keeps the moment of its own output, zero: it starts at "
        "0, isometry: mirrored blocks that keep the norm, where they can (default: %(default)s)",
    )
    _add("--dry-run", action="store_true", help="print the plan and write nothing")
    _add_output(command)


def _add_gain(commands: Any) -> None:
    command = _add_command(
        commands,
        check_gain,
        "gain",
        "Prints the gain of one layer, gain = fan-in * variance of its weights, beside He's.",
    )
    _add = command.add_argument
    _add(
        "--activation",
        default="relu",
        help="linear, relu, leaky_relu, tanh, gelu or another activation of Keras "
        "(default: %(default)s)",
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


def _add_output(command: Any) -> None:
    command.add_argument(
        "--wide", action="store_true", help="show all columns of the table, in up to 200 characters"
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace files that exist (default: refuse)"
    )
