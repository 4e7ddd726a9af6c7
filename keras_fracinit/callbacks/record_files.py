"""Files that grow by whole records while a model trains, in any format and in CSV."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from keras_fracinit.utils.validation import check_path

Record = TypeVar("Record")


class RecordFile(Generic[Record]):
    """A file to which training appends, and whose errors cannot stop the training.

    A record is written by one call to the system, whole or not at all. If that fails (the disk is
    full, the folder gone) there is one warning, and every later record tries again to write those
    that are missing; a file that was deleted is written again from the first record of this run.

    Args:
        path: The file; its folders are made.
        header: The bytes at the start of a new file.
        encode: Makes bytes of a record.
        argument: The name of the argument that gave the path, for messages.

    Raises:
        ValueError: If the file cannot be written.
    """

    def __init__(
        self, path: Path, header: bytes, encode: Callable[[Record], bytes], argument: str
    ) -> None:
        self.path, self.argument = path, argument
        self._header, self._encode = header, encode
        self._written = 0
        self._warned = False
        with _must_be_writable(argument, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"")

    def write(self, records: Sequence[Record]) -> None:
        """Appends the records that are not in the file yet; `records` are all of this run."""
        try:
            if not self.path.exists():
                self._written = 0
                self._warn("it was deleted, and is written anew")
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(b"".join(map(self._encode, records[self._written :])))
            self._written = len(records)
        except OSError as error:
            self._warn(f"{error}; what is missing is kept and tried again at every record")

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            data = data if size else self._header + data
            try:
                if os.write(descriptor, data) < len(data):
                    raise OSError("no space left for a whole record")
            except OSError:
                os.ftruncate(descriptor, size)  # never half a row
                raise
        finally:
            os.close(descriptor)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"`{self.argument}`={str(self.path)!r}: {reason}. Training goes on.",
                RuntimeWarning,
                stacklevel=2,
            )


def local_path(argument: str, path: Any) -> Path:
    """The path, with `~` expanded; one with a scheme would become a folder of that name.

    Raises:
        TypeError: If `path` is no path.
        ValueError: If it starts with a scheme, such as "gs://".
    """
    local = check_path(argument, path)
    if re.match("[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):  # a path object has lost the second slash
        raise ValueError(
            f"`{argument}` must be on a local file system. Received: {argument}={str(path)!r}"
        )
    return Path(os.path.expanduser(local))


def csv_file(
    path: Path,
    columns: Sequence[str],
    rows: Callable[[Record], Iterable[Sequence[Any]]],
    append: bool = True,
) -> RecordFile[Record]:
    """A CSV file to which each record adds rows, with a last column "run" that counts from 0.

    A file that exists is continued with the next run, or emptied if `append` is False. One that was
    begun without that column is continued without it. Part of a row, which a process killed while
    it wrote may have left, is cut off.

    Raises:
        ValueError: If the file cannot be written, or does not start with these columns.
    """
    old, header = _csv_bytes([columns]), _csv_bytes([[*columns, "run"]])
    run: tuple[int, ...] = (0,)
    if path.is_file():
        with _must_be_writable("path", path), path.open("r+b") as file:
            start = file.read(len(header))
            if start.startswith(old) and append:
                header, run = old, ()
            elif not (start.startswith(old) or header.startswith(start)):
                raise ValueError(
                    "`path` must be a new file or one that MomentLogger has written. "
                    f"Received: path={str(path)!r}, which starts with {start[:80]!r}"
                )
            last = _last_row(file)
            if not append:
                file.truncate(0)
            elif run and last.isdigit():
                run = (int(last) + 1,)

    def encode(record: Record) -> bytes:
        return _csv_bytes((*row, *run) for row in rows(record))

    return RecordFile(path, header, encode, "path")


@contextmanager
def _must_be_writable(argument: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"`{argument}` must be writable. Received: {argument}={str(path)!r} ({error})"
        ) from error


def _csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _last_row(file: Any) -> bytes:
    """Cuts off what is no whole row, and gives the last field of the last one."""
    size = file.seek(0, os.SEEK_END)
    tail_start = max(0, size - 65536)  # much longer than a row
    file.seek(tail_start)
    rows, _, unfinished = file.read().rpartition(b"\n")
    if unfinished:
        file.truncate(size - len(unfinished))
    return bytes(rows[max(rows.rfind(b"\n"), rows.rfind(b",")) + 1 :])
