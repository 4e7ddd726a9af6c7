"""One execution of a trial: what it was, what came of it, and the file that says so.

KerasTuner keeps the mean over the executions of a trial; here every execution has a file of its own
beside `trial.json`. And KerasTuner's Gaussian process reads an infinite score as 0, the best a loss
can be, and passes over failed trials, so that it never learns where training diverges: a score that
is no number is replaced by a finite one that is worse than all others.
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


class LogNormProbe:
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


def probe_from(data: Any, limit: int) -> Any:
    """The first samples of the data of a training, or None if it is of no known form."""
    try:
        return None if data is None else probe_arrays(data, limit)
    except (TypeError, ValueError):
        return None
