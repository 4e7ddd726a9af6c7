"""Elects the process that writes, where several train one model together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def _tensorflow(model: Any) -> bool:
    return bool(model.distribute_strategy.extended.should_save_summary)


def _jax(model: Any) -> bool:
    import jax

    return bool(jax.process_index() == 0)


def _torch(model: Any) -> bool:
    import torch

    group = torch.distributed
    return not (group.is_available() and group.is_initialized()) or group.get_rank() == 0


_ELECTIONS: dict[str, Callable[[Any], bool]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": _torch,
}


def is_chief(model: Any) -> bool:
    """Whether this process is the one that writes files; true if there is no other."""
    return _ELECTIONS[keras.backend.backend()](model)
