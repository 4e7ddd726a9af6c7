"""Writes files whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a path to write to, and moves that file to `path` when the block ends without an error.

    A process killed at any moment leaves the old file or the new one.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    unfinished = target.with_name(f".{os.getpid()}.{target.name}")  # the suffix is the format
    try:
        yield unfinished
        os.replace(unfinished, target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Replaces the content of a file, in one step."""
    with replacing(path) as unfinished:
        unfinished.write_text(text)
