"""Reads the inputs of a model from a file: NumPy's, or a table of comma-separated numbers."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from keras_fracinit.cli.files import one_line

_MAGIC = (b"\x93NUMPY", b"PK\x03\x04", b"PK\x05\x06")  # of a .npy file, an archive, an empty one


def load_data(path: Path, limit: int) -> Any:
    """Loads the first samples: an array, a dict of named arrays or a list of numbered ones."""
    try:
        arrays = _rows(path, limit) if path.suffix.lower() == ".csv" else _arrays(path, limit)
    except Exception as error:
        raise ValueError(
            "`--data` must be a .npy or .npz file of arrays with a first axis of samples, without "
            "pickled objects, or a .csv file of comma-separated numbers, a row for each sample. "
            f"Received: --data={str(path)!r} ({one_line(error)})"
        ) from error
    sizes = {name: len(array) for name, array in arrays.items()}
    if len({*sizes.values()}) != 1 or 0 in sizes.values():
        raise ValueError(
            "`--data` must hold samples, of each array the same number. "
            f"Received: --data={str(path)!r} of sizes {list(sizes.values())}"
        )
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    # These are the names that numpy.savez gives to arrays without one.
    numbered = [f"arr_{position}" for position in range(len(arrays))]
    return [arrays[name] for name in numbered] if {*numbered} == {*arrays} else arrays


def _arrays(path: Path, limit: int) -> dict[str, Any]:
    with path.open("rb") as file:  # NumPy takes every other file for a pickle
        if not file.read(8).startswith(_MAGIC):
            raise TypeError("its content is not that of a NumPy file")
    loaded = np.load(path, mmap_mode="r", allow_pickle=False)  # the rest stays on the disk
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        return {"": _samples(loaded, limit)}
    with loaded:
        return {name: _samples(loaded[name], limit) for name in loaded.files}


def _samples(array: Any, limit: int) -> Any:
    if not isinstance(array, np.ndarray) or array.ndim == 0:  # NumPy gives other members as bytes
        raise TypeError(f"no array with a first axis, but {array!r:.80}")
    return np.array(array[:limit])


def _rows(path: Path, limit: int) -> dict[str, Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader(file), None)
        if first is None:
            raise ValueError("it is empty")
        rows = (line for line in file if line.strip())
        if all(map(_is_number, first)):
            rows = (line for part in ([",".join(first)], rows) for line in part)
        lines = [line for line, _ in zip(rows, range(limit), strict=False)]
    if not lines:
        return {"": np.zeros((0, len(first)))}
    return {"": np.loadtxt(lines, delimiter=",", quotechar='"', comments=None, ndmin=2)}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
