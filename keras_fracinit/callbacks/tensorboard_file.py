"""Writes the records of a training as TensorBoard events."""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keras_fracinit.callbacks.record_files import Record, RecordFile

_serial = itertools.count()


def events_file(
    folder: Path, scalars: Callable[[Record], tuple[float, int, Iterable[tuple[str, float]]]]
) -> RecordFile[Record]:
    """A new file of TensorBoard events in `folder`; `scalars` gives time, step, and tags of each.

    Events are encoded in memory by tensorboard's own classes. Its writer of whole files is not
    used, because it has a queue and a thread, and stops the training when the disk is full.

    Raises:
        ValueError: If the folder cannot be written.
    """
    # Here and not at the head: a fifth of a second, which only those who give a folder spend. None
    # of the three imports TensorFlow.
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    def frame(event: Any) -> bytes:
        buffer = io.BytesIO()
        RecordWriter(buffer).write(event.SerializeToString())
        return buffer.getvalue()

    def encode(record: Record) -> bytes:
        wall_time, step, values = scalars(record)
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in values])
        return frame(Event(wall_time=wall_time, step=step, summary=summary))

    start = time.time()
    name = f"events.out.tfevents.{start:.0f}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
    header = frame(Event(wall_time=start, file_version="brain.Event:2"))
    return RecordFile(folder / name, header, encode, "log_dir")
