"""Writes the records of a training as TensorBoard events."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from keras_fracinit.callbacks.record_files import Record, RecordFile

_serial = itertools.count()


def events_file(
    folder: Path, scalars: Callable[[Record], tuple[float, int, Iterable[tuple[str, float]]]]
) -> RecordFile[Record]:
    """A new file of TensorBoard events in `folder`; `scalars` gives time, step, and tags of each.

    Written by hand: the packages that can, bring a second framework with them or take seconds to
    import. The format: TFRecord frames around `Event` protocol buffers
    (tensorflow/core/util/event.proto and framework/summary.proto).

    Raises:
        ValueError: If the folder cannot be written.
    """
    start = time.time()
    name = f"events.out.tfevents.{start:.0f}.{socket.gethostname()}.{os.getpid()}.{next(_serial)}"
    header = _frame(_double(1, start) + _bytes(3, b"brain.Event:2"))

    def encode(record: Record) -> bytes:
        wall_time, step, values = scalars(record)
        summary = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values
        )
        return _frame(_double(1, wall_time) + _key(2, 0) + _varint(step) + _bytes(5, summary))

    return RecordFile(folder / name, header, encode, "log_dir")


def _frame(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _key(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _key(field, 5) + struct.pack("<f", value)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _crc_table() -> list[int]:
    """Of CRC-32C, reflected polynomial 0x82F63B78."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC = _crc_table()


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
