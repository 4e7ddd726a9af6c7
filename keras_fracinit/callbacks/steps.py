"""Counts the steps of a training: those of the model's optimizer, or batches if it stands still."""

from __future__ import annotations

import threading
from typing import Any

import keras


class StepCounter:
    """Counts on from fit to fit, also when the optimizer starts again at zero.

    A model with its own `train_step` may have optimizers that Keras does not know (a GAN has two),
    and a model without trainable variables has nothing to optimize. `model.optimizer` then stands
    still, and batches are counted.

    Args:
        patience: The number of batches after which an optimizer that has not moved is taken to
            stand still.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._offset = 0  # of our steps from those of the optimizer
        self._optimizer: Any = None
        self._start = 0  # the steps of the optimizer when the count of batches began
        self._by_batches = False
        self._batches = self._earlier_batches = 0  # the earlier ones are those of other epochs
        self._lock = threading.Lock()
        self._accumulation = 1
        self._may_stand_still = False

    def begin_fit(self, model: Any, recorded: int) -> None:
        """Starts a fit, whose first step is not before the last `recorded`."""
        still, iterations = may_stand_still(model), _iterations(model)
        same = self._may_stand_still and model.optimizer is self._optimizer
        if still and same and iterations == self._start:
            return  # several short fits count as one
        if self._by_batches:
            recorded = max(recorded, self._offset + self._start + self._batches)
        self._optimizer, self._start = model.optimizer, iterations
        self._offset += max(0, recorded - self._offset - self._start)
        self._by_batches = False
        self._batches = self._earlier_batches = 0
        self._accumulation = getattr(model.optimizer, "gradient_accumulation_steps", None) or 1
        self._may_stand_still = still

    def begin_epoch(self) -> None:
        self._earlier_batches = self._batches

    def end_batch(self, batch: int) -> None:
        """Counts up to this batch of the epoch; with several steps for an execution it jumps."""
        with self._lock:  # Keras may call from several threads, and in any order
            self._batches = max(self._batches, self._earlier_batches + batch + 1)

    @property
    def bound(self) -> int:
        """A number that the steps do not exceed; on JAX it costs less than the steps."""
        batches = self._batches
        if not self._may_stand_still:
            batches = -(-batches // self._accumulation)
        return self._offset + self._start + batches

    def steps(self, model: Any) -> int:
        moved = _iterations(model) - self._start
        passed = self._batches // self._accumulation
        self._by_batches |= self._may_stand_still and not moved and passed >= self._patience
        return self._offset + self._start + (self._batches if self._by_batches else moved)


def may_stand_still(model: Any) -> bool:
    """Whether a model may train, or seem to, without a step of `model.optimizer`."""
    own = type(model).train_step is not keras.Model.train_step
    return own or model.optimizer is None or not model.trainable_variables


def _iterations(model: Any) -> int:
    if model.optimizer is None:
        return 0
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))
