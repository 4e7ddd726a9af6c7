"""Records each execution of a trial in a file: hyperparameters, seed, score, status, log-norms.

KerasTuner keeps only the mean over the executions of a trial, so every execution has a file of its
own beside `trial.json`. KerasTuner's Gaussian process reads an infinite score as 0, the best a loss
can be, and skips failed trials, so it never learns where training diverges. A score that is not
finite is therefore replaced by a penalty: a finite score that is worse than all others.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_fracinit.estimators import log_slope
from keras_fracinit.models.measurement import Measurement, Request
from keras_fracinit.models.probe import probe_arrays, probe_data
from keras_fracinit.tuner.scores import COMPLETED, FAILED, PREFIX, Logs
from keras_fracinit.utils.files import write_whole

MOMENTS = ("slope_initial", "slope_final", "spread_initial", "spread_final")


_REQUEST = Request(orders=(0.0,))


_SLOPE, _VARIANCE = (
    _REQUEST.columns.index(column) for column in (("s_scale", 0.0), ("log_norm_variance", None))
)


@dataclass
class Execution:
    """The record of one execution; its fields are columns of `results`.

    Attributes:
        trial: The id of the trial.
        execution: The number of the execution, from 0 on.
        values: The hyperparameters.
        seed: The seed from which the kernels were drawn.
        score: The objective, or the penalty where that is not finite.
        status: "completed", "diverged", "collapsed" or "failed".
        slope_initial: The slope of the log-norm over depth, in nats per layer, before training.
        slope_final: The same after training.
        spread_initial: The standard deviation over samples of the log-norm of the last layer, in
            nats, before training.
        spread_final: The same after training.
        message: The error of a failed execution; empty for others.
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
        """The finite values that become metrics of the trial in KerasTuner."""
        measured = {name: getattr(self, name) for name in MOMENTS}
        values = {"diverged": float(self.status != COMPLETED), **measured}
        return {PREFIX + name: value for name, value in values.items() if math.isfinite(value)}


class LogNormProbe:
    """Measures the log-norm over depth of a model on a probe; without a probe it gives nan.

    It measures twice, before and after training, so compiling would cost more than it saves.

    Attributes:
        initial: The slope in nats per layer with a kernel, and the standard deviation over samples
            in the last layer, both at construction.
        measure: A function that measures the same two again.
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
        """Whether the model gives the same output for every sample of the probe."""
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


def probe_from(data: Any, limit: int) -> Any:
    """Takes the first samples of training data; None if the data has no known form."""
    try:
        return None if data is None else probe_arrays(data, limit)
    except (TypeError, ValueError):
        return None
