"""One execution of a trial: what it was, what came of it, and the file that says so.

KerasTuner keeps the mean over the executions of a trial; here every execution has a file of its own
beside `trial.json`. And KerasTuner's Gaussian process reads an infinite score as 0, the best a loss
can be, and passes over failed trials, so that it never learns where training diverges: a score that
is no number is replaced by a finite one that is worse than all others.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from keras_fracinit._files import write_whole
from keras_fracinit._probe import probe_arrays, probe_data
from keras_fracinit.estimators import log_slope
from keras_fracinit.models import Measurement, Request

Logs = dict[str, float]
MOMENTS = ("slope_initial", "slope_final", "spread_initial", "spread_final")
COMPLETED, DIVERGED, COLLAPSED, FAILED = "completed", "diverged", "collapsed", "failed"
PREFIX = "fracinit/"  # of what is added to the metrics of KerasTuner
_FAR = 1e9  # a bad score where nothing at all is known of what is good
_ALL = 10**6  # trials
_REQUEST = Request(orders=(0.0,))
_SLOPE, _VARIANCE = (
    _REQUEST.columns.index(column) for column in (("s_scale", 0.0), ("log_norm_variance", None))
)


@dataclass
class Execution:
    """What is known of one execution; the fields are columns of `results`.

    Attributes:
        trial: The id of the trial.
        execution: The number of the execution, from 0 on.
        values: The hyperparameters.
        seed: From which the kernels were drawn.
        score: The objective; where it is no number, what the search was told instead.
        status: One of the words above.
        slope_initial: Of the log-norm over depth, in nats per layer, before training.
        slope_final: The same after training.
        spread_initial: The standard deviation over samples of the log-norm of the last layer.
        spread_final: The same after training.
        message: What went wrong.
    """

    trial: str
    execution: int
    values: dict[str, Any]
    seed: int | None = None
    score: float = math.nan
    status: str = FAILED
    slope_initial: float = math.nan
    slope_final: float = math.nan
    spread_initial: float = math.nan
    spread_final: float = math.nan
    message: str = ""

    def save(self, folder: str) -> None:
        path = Path(folder) / f"execution_{self.execution}.json"
        write_whole(path, json.dumps(asdict(self), indent=1))

    def metrics(self) -> Logs:
        """What KerasTuner keeps of it among the metrics of the trial."""
        measured = {name: getattr(self, name) for name in MOMENTS}
        values = {"diverged": float(self.status != COMPLETED), **measured}
        return {PREFIX + name: value for name, value in values.items() if math.isfinite(value)}


class Signal:
    """The log-norm over depth of one model on a probe; it stays nan where there is none.

    It is measured twice, so compiling it would cost more than it saves.

    Attributes:
        initial: Its slope in nats per layer with a kernel, and its spread over samples at the end,
            when this was made.
        measure: Gives the same two as they are now.
    """

    def __init__(self, model: Any, probe: Any) -> None:
        self.x: Any = None
        self.measure, self.initial = _nothing, _nothing()
        if probe is not None:
            data = probe_data(probe, model)
            measurement = Measurement(model, data, _REQUEST, compiled=False)
            self.x, self.initial = data.x, _slope_and_spread(measurement, measurement.first)
            self.measure = lambda: _slope_and_spread(measurement, measurement())

    def is_constant(self, model: Any) -> bool:
        """Whether the model has the same answer for every sample of the probe."""
        if self.x is None:
            return False
        outputs = keras.tree.flatten(model.predict_on_batch(self.x))
        return all(
            np.ptp(output, axis=0).max() <= 1e-6 * np.abs(output).max() for output in outputs
        )


def _nothing() -> tuple[float, float]:
    return math.nan, math.nan


def _slope_and_spread(measurement: Measurement, table: Any) -> tuple[float, float]:
    depths = np.array([row.depth for row in measurement.rows], dtype=float)
    slope = log_slope(depths, table[:, _SLOPE, 0]).value
    return slope, math.sqrt(table[-1, _VARIANCE, 0])


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


def probe_from(data: Any, limit: int) -> Any:
    """The first samples of the data of a training, or None if it is of no known form."""
    try:
        return None if data is None else probe_arrays(data, limit)
    except (TypeError, ValueError):
        return None


def _diverged(trial: Any) -> bool:
    name = PREFIX + "diverged"
    return _has(trial, name) and trial.metrics.get_best_value(name) > 0.0


def _has(trial: Any, name: str) -> bool:
    return bool(trial.metrics.exists(name))


def _finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if math.isfinite(value)]
