"""Checks, reads and writes the files of the command line."""

from __future__ import annotations

import importlib
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_fracinit.utils.files import replacing

_LONGEST = 1000  # characters of a message: some of Keras' hold the whole model


def existing(option: str, path: Path) -> Path:
    """Returns the path if a file is there, and refuses it otherwise."""
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise ValueError(
            f"`{option}` must be a file. Received: {option}={str(path)!r}, which is {kind}"
        )
    return path


def check_output(option: str, path: Path, overwrite: bool, suffix: str = "") -> None:
    """Refuses a path that cannot be written, or that exists and may not be replaced."""
    received = f"Received: {option}={str(path)!r}"
    if not path.name.endswith(suffix):
        raise ValueError(f"`{option}` must end in {suffix}. {received}")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"`{option}` must be a file in a folder that can be written. {received}")
    if os.path.lexists(path) and not overwrite:
        raise ValueError(
            f"`{option}` must be a new file, or `--overwrite` be given. {received}, which exists"
        )


def check_distinct(paths: Mapping[str, Path]) -> None:
    """Refuses options that name the same file, since one would replace the other."""
    seen: dict[str, str] = {}
    for option, path in paths.items():
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            raise ValueError(
                f"`{option}` must be another file than `{other}`. "
                f"Received: {option}={str(path)!r} for both"
            )


def check_picture(path: Path) -> None:
    """Refuses a picture without matplotlib, or in a format that it does not write."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "`--picture` needs matplotlib: pip install 'keras-fracinit[plots]'"
        ) from error
    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise ValueError(
            f"`--picture` must end in one of {', '.join(f'.{kind}' for kind in sorted(kinds))}. "
            f"Received: --picture={str(path)!r}"
        )


@contextmanager
def whole(option: str, path: Path, overwrite: bool) -> Iterator[Path]:
    """Gives a path to write to, and moves that file to `path` when all of it is written."""
    with replacing(path) as unfinished:
        yield unfinished
        check_output(option, path, overwrite)  # a file may have appeared in the meantime


def load_model(path: Path, modules: Sequence[str], unsafe: bool, compile: bool) -> Any:
    """Loads a saved model, after importing the modules that register its classes."""
    received = f"Received: model={str(existing('model', path))!r}"
    written = "`model` must be a .keras file that Keras has written whole."
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(f"{written} {received}")
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise ImportError(
                "`--import` must name a module that can be imported. "
                f"Received: --import={name!r} ({one_line(error)})"
            ) from error
    try:
        return keras.saving.load_model(path, compile=compile, safe_mode=not unsafe)
    except Exception as error:  # with a damaged file Keras fails anywhere, with any error
        causes = list(_causes(error))
        text = " ".join(map(str, causes))
        if "safe_mode" in text:
            raise ValueError(
                "`model` must not hold Python code, such as a Lambda layer, unless you trust it: "
                f"`--unsafe` runs it. {received}"
            ) from error
        unknown = re.search(r"Could not (?:locate|interpret) [^.]{1,120}", text)
        if unknown:
            raise ValueError(
                "`model` must be made of classes and functions that are registered with Keras: "
                f"`--import` a module that does it. {received} ({unknown[0]})"
            ) from error
        raise ValueError(f"{written} {received} ({one_line(error)})") from error


def load_data(path: Path, limit: int) -> Any:
    """Loads the first samples: an array, a dict of named arrays or a list of numbered ones."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)  # the rest stays on the disk
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                arrays = {name: _samples(loaded[name], limit) for name in loaded.files}
        else:
            arrays = {"": _samples(loaded, limit)}
    except Exception as error:
        raise ValueError(
            "`--data` must be a .npy or .npz file of arrays with a first axis of samples, without "
            f"pickled objects. Received: --data={str(path)!r} ({one_line(error)})"
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


def _samples(array: Any, limit: int) -> Any:
    if not isinstance(array, np.ndarray) or array.ndim == 0:  # NumPy gives other members as bytes
        raise TypeError(f"no array with a first axis, but {array!r:.80}")
    return np.array(array[:limit])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def one_line(error: BaseException) -> str:
    """The text of an error on one line. Keras' have many lines, and escape codes of terminals."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ..."
