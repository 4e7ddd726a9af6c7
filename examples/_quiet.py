"""Starts Keras and TensorFlow without their noise, on one thread. Import it before either.

Matrices of 64 x 64 gain nothing from more threads, and processes fill the cores.
"""

from __future__ import annotations

import logging
import os

for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
logging.getLogger("tensorflow").setLevel("ERROR")  # a search builds, and traces, many models

# On import TensorFlow writes to the descriptor of stderr, whatever its log level.
stderr = os.dup(2)
with open(os.devnull, "w") as devnull:
    os.dup2(devnull.fileno(), 2)
try:
    import keras  # noqa: F401
    import tensorflow  # noqa: F401  # Keras' fit imports it on every backend
finally:
    os.dup2(stderr, 2)
    os.close(stderr)
