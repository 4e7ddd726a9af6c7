"""One thread for each process, and no backend that talks on import. Comes before the backend.

Matrices of 64 x 64 gain nothing from more threads, and processes fill the cores.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel("ERROR")  # a search builds, and traces, many models


@contextmanager
def silence() -> Iterator[None]:
    """TensorFlow writes to the descriptor of stderr on import, whatever its log level."""
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        for descriptor in (stderr, devnull):
            os.close(descriptor)
