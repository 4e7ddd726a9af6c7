"""Loads a saved model, and says in one line why one does not load."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_fracinit.cli.files import existing, one_line


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


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
