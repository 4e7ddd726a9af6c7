"""The command line: `keras-fracinit`, or `python -m keras_fracinit`."""

from keras_fracinit.cli.main import main

__all__ = [
    "main",
]
