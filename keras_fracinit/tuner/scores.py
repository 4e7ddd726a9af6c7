"""Reads the scores of an execution, and replaces those that are not finite by a penalty."""

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


PREFIX = "fracinit/"  # of the metrics that this package adds to a trial


_FAR = 1e9  # the penalty where no finite score is known


_ALL = 10**6  # more trials than any search has


class Guard(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops a training that has diverged, and a search whose objective is never logged."""

    def __init__(self, objective: Any, must_log: bool) -> None:
        super().__init__()
        self.objective, self.must_log = objective, must_log

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.must_log:
            check_logged(self.objective, logs or {})
        if not is_finite(logs or {}, self.objective):
            self.model.stop_training = True


def components(objective: Any) -> list[Any]:
    """Splits an objective into the objectives that it sums."""
    return list(getattr(objective, "objectives", [objective]))


def is_unspecified(objective: Any) -> bool:
    """Whether a tuner was given no objective, so that `fit` must return its score."""
    return bool(objective.name == "default_objective")  # its class is not public


def check_logged(objective: Any, logs: Mapping[str, float]) -> None:
    """Raises unless the logs of an epoch hold the objective, or every part of it."""
    missing = [part.name for part in components(objective) if part.name not in logs]
    if not missing or objective.name in logs:
        return
    if is_unspecified(objective):
        raise keras_tuner.errors.FatalTypeError(
            "`objective` of the tuner must be given, unless `fit` of the hypermodel returns the "
            f"score. Received: objective=None; training gives {', '.join(map(repr, logs))}"
        )
    raise keras_tuner.errors.FatalValueError(
        f"The objective must be logged by training, which gives {', '.join(map(repr, logs))}. "
        f"Received: objective={missing[0]!r}; is it spelled as the metric is named, and is "
        "there validation data if it begins with 'val_'?"
    )


def is_finite(logs: Mapping[str, float], objective: Any) -> bool:
    """Whether the losses and the objective are finite, as far as they are logged."""
    names = {"loss", "val_loss", objective.name, *(part.name for part in components(objective))}
    return all(math.isfinite(logs[name]) for name in names if name in logs)


def epochs_of(result: Any, objective: Any) -> list[Logs]:
    """Converts any result that `HyperModel.fit` may return to the logs of each epoch.

    A list of results, such as one for each fold of a cross-validation, has the epochs of all. There
    are none if KerasTuner will refuse the result, which it does with its own message.
    """
    if isinstance(result, list):
        parts = [epochs_of(part, objective) for part in result]
        return [logs for part in parts for logs in part] if all(parts) else []
    if isinstance(result, int | float | np.floating):
        return [{objective.name: float(result)}]
    if isinstance(result, Mapping):
        refused = is_unspecified(objective) and objective.name not in result
        return [] if refused else [dict(result)]
    if isinstance(result, keras.callbacks.History) and not is_unspecified(objective):
        names = list(result.history)
        rows = zip(*result.history.values(), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]
    return []


def score_of(result: Any, objective: Any) -> float:
    """Gives the score as KerasTuner does: the objective at its best epoch, the mean over a list.

    It is nan if no epoch has a number.
    """
    if isinstance(result, list):
        return float(np.mean([score_of(part, objective) for part in result]))
    values = [_value(logs, objective) for logs in epochs_of(result, objective)]
    numbers = [value for value in values if not math.isnan(value)]
    choose = max if objective.direction == "max" else min
    return choose(numbers, default=math.nan)


def _value(logs: Logs, objective: Any) -> float:
    if objective.name in logs:
        return float(logs[objective.name])
    return float(objective.get_value(logs)) if objective.has_value(logs) else math.nan


def with_values(result: Any, values: Logs, objective: Any) -> Any:
    """Copies the result of a fit, with values replaced or added; in a list in each part."""
    if isinstance(result, list):
        return [with_values(part, values, objective) for part in result]
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
    """Computes the penalty of a diverged execution: worse than every known score, but not by far.

    It is worse than the worst known score by one range of the known scores, so that a Gaussian
    process still resolves the differences between the others. Known are the scores of the healthy
    trials of the search, those that this execution reached before it diverged, and that of the
    untrained network, so that a trial that learned nothing still scores better.
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
    """Evaluates a model on the data that the objective uses, in any form Keras takes."""
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
