"""Tells whether the command line is starting, which reads its arguments before it imports Keras."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

PROGRAM = "keras-fracinit"


def is_starting() -> bool:
    """Whether `keras-fracinit` or `python -m keras_fracinit` is starting, and Keras is not there.

    Everywhere else an import of the package imports all of it, which registers its classes.
    """
    if "keras" in sys.modules or not getattr(sys, "argv", None):
        return False
    if sys.argv[0] == "-m":  # as long as Python looks for the module, in its own package or another
        return ("-m", "keras_fracinit") in pairwise(sys.orig_argv)
    return Path(sys.argv[0]).stem == PROGRAM
