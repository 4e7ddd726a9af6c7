"""Checks the files that the command line is given, and writes those it makes. Imports no Keras."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

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


def one_line(error: BaseException) -> str:
    """The text of an error on one line. Keras' have many lines, and escape codes of terminals."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ..."
