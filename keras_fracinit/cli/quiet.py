"""Imports Keras without the lines that its backend writes on the way."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def import_quietly(name: str) -> None:
    """Imports a module; an error is raised, all else that goes to stderr is lost.

    On import TensorFlow writes to the descriptor of stderr, whatever its log level, and later what
    `TF_CPP_MIN_LOG_LEVEL` lets through. Who sets that variable to 0 sees all of it.
    """
    if name in sys.modules:
        return
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        importlib.import_module(name)
        return
    with _no_stderr():
        importlib.import_module(name)


@contextmanager
def _no_stderr() -> Iterator[None]:
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
