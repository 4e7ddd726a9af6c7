"""Reads the scores of an execution, and replaces those that are no numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import keras_tuner
import numpy as np

Logs = dict[str, float]


COMPLETED, DIVERGED, COLLAPSED, FAILED = "completed", "diverged", "collapsed", "failed"


PREFIX = "fracinit/"  # of what is added to the metrics of KerasTuner


_FAR = 1e9  # a bad score where nothing at all is known of what is good


_ALL = 10**6  # trials


class Guard(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a training that has diverged, and a search whose objective is never logged."""

    def __init__(self, objective: Any, must_log: bool) -> None:
        super().__init__()
        self.objective, self.must_log = objective, must_log

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.must_log:
            check_logged(self.objective, logs or {})
        if not is_finite(logs or {}, self.objective):
            self.model.stop_training = True


def components(objective: Any) -> list[Any]:
    """The objectives of which it is the sum."""
    return list(getattr(objective, "objectives", [objective]))


def check_logged(objective: Any, logs: Mapping[str, float]) -> None:
    missing = [part.name for part in components(objective) if part.name not in logs]
    if missing:
        raise keras_tuner.errors.FatalValueError(
            f"The objective must be logged by training, which gives {', '.join(map(repr, logs))}. "
            f"Received: objective={missing[0]!r}; is it spelled as the metric is named, and is "
            "there validation data if it begins with 'val_'?"
        )


def is_finite(logs: Mapping[str, float], objective: Any) -> bool:
    names = {"loss", "val_loss", *(part.name for part in components(objective))}
    return all(math.isfinite(logs[name]) for name in names if name in logs)


def epochs_of(result: Any, objective: Any) -> list[Logs]:
    """What `HyperModel.fit` may return, as the logs of each epoch."""
    if isinstance(result, keras.callbacks.History):
        names = list(result.history)
        rows = zip(*result.history.values(), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]
    if isinstance(result, Mapping):
        return [dict(result)]
    if isinstance(result, int | float | np.floating):
        return [{objective.name: float(result)}]
    return []  # which KerasTuner refuses in its own words


def score_of(epochs: list[Logs], objective: Any) -> float:
    """The best epoch, as KerasTuner takes it; nan if there is none."""
    values = [objective.get_value(logs) for logs in epochs if objective.has_value(logs)]
    numbers = [float(value) for value in values if not math.isnan(value)]
    choose = max if objective.direction == "max" else min
    return choose(numbers, default=math.nan)


def with_values(result: Any, values: Logs, objective: Any) -> Any:
    """The result of a fit with some of its values replaced and others added."""
    if isinstance(result, keras.callbacks.History):
        changed = copy.copy(result)
        length = len(next(iter(result.history.values()), []))
        constant = {name: [value] * length for name, value in values.items()}
        changed.history = {**result.history, **constant}
        return changed
    return {**epochs_of(result, objective)[0], **values}


def penalties(
    objective: Any, epochs: list[Logs], oracle: Any, untrained: Mapping[str, float]
) -> Logs:
    """A score for an execution that has none: worse than every one that is known, yet not by far.

    One range of the known scores below the worst of them, so that a Gaussian process still sees how
    the others differ. Known are the healthy trials of the search, what this execution itself had
    reached, and the untrained network, so that a trial which has learned nothing is no worse.
    """
    trials = [
        trial
        for trial in oracle.get_best_trials(_ALL)
        if trial.status == "COMPLETED" and not _diverged(trial)
    ]
    replaced = {}
    for part in components(objective):
        healthy = [t.metrics.get_best_value(part.name) for t in trials if _has(t, part.name)]
        own = [logs.get(part.name, math.nan) for logs in epochs]
        known = _finite([*healthy, *own, untrained.get(part.name, math.nan)])
        low, high = min(known, default=-_FAR), max(known, default=_FAR)
        distance = high - low or abs(high) or 1.0
        replaced[part.name] = high + distance if part.direction == "min" else low - distance
    if objective.name not in replaced:  # a sum of several
        replaced[objective.name] = objective.get_value(replaced)
    return replaced


def evaluate(model: Any, training: Any, validation: Any, objective: Any) -> Logs:
    """The metrics of a model on the data that the objective is about, in any form Keras takes."""
    names = [part.name for part in components(objective)]
    logs: Logs = {}
    for prefix, data in (("val_", validation), ("", training)):
        wanted = any(name.startswith("val_") == bool(prefix) for name in names)
        if wanted and data is not None and model.compiled:
            parts = data if isinstance(data, tuple | list) else (data,)
            arguments = dict(zip(("x", "y", "sample_weight"), parts, strict=False))
            found = model.evaluate(**arguments, verbose=0, return_dict=True)
            logs |= {prefix + name: value for name, value in found.items()}
    return logs


def _diverged(trial: Any) -> bool:
    name = PREFIX + "diverged"
    return _has(trial, name) and trial.metrics.get_best_value(name) > 0.0


def _has(trial: Any, name: str) -> bool:
    return bool(trial.metrics.exists(name))


def _finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]
