"""`MomentLogger`, which records the moments of every layer's signal while a model trains."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any

import keras

from keras_fracinit.callbacks.chief import is_chief
from keras_fracinit.callbacks.record_files import RecordFile, csv_file, local_path
from keras_fracinit.callbacks.records import COLUMNS, Layout, Record
from keras_fracinit.callbacks.steps import StepCounter, may_stand_still
from keras_fracinit.callbacks.tensorboard_file import events_file
from keras_fracinit.estimators import check_kind
from keras_fracinit.models.measurement import (
    QUANTITIES,
    Measurement,
    NothingToMeasureError,
    Request,
)
from keras_fracinit.models.probe import probe_arrays, probe_data
from keras_fracinit.utils.validation import (
    check_choice,
    check_integer,
    check_order,
    check_several,
    check_type,
)

if TYPE_CHECKING:
    import pandas as pd


@keras.saving.register_keras_serializable(package="keras_fracinit")
class MomentLogger(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the moments of every layer's signal while a model trains.

    For each layer it records the s-scale `m_s = (mean (|A|/sqrt(units))^s)^(1/s)` of its output A
    on a fixed batch, the probe, for several orders s; an initializer of order s keeps `m_s` from
    layer to layer. If it falls over depth the signal vanishes, if it rises the signal explodes; for
    a fresh network `LayerScale` says how far chance may take it. It also records mean and variance
    of the log-norm `log(|A|/sqrt(units))` over the samples that are not zero, the share of samples
    that are zero, and the number of samples with a nan or inf in them.

    The last axis of an output holds its units; positions (pixels, time steps) count as samples.
    Training is not touched: weights, history, statistics of normalization, seeds and the global
    random state are those of a training without the callback.

    Args:
        probe: The batch: an array, a list or dict of inputs, a pair `(x, y)` or triple
            `(x, y, sample_weight)`, a `tf.data.Dataset`, a `PyDataset` or a torch `DataLoader`.
            A dataset gives its first batch, when the callback is made; where a shuffling pipeline
            is also trained on, that advances its order. If there are more than 256 samples, the
            first 256 are used, with a warning. 64 are enough to see a trend.
        orders: The orders s, each in [0, 2]. At s = 0 the scale is `exp(mean log)`.
        quantities: Any of
            "activations" (default): the output of every layer.
            "preactivations": the input of the activation of every layer with a kernel.
            "weights": every trainable variable, its entries as samples of one unit.
            "gradients": those of the loss on the probe, in the same way; they need targets.
            "updates": the change of every trainable variable since the last record, likewise.
        every: "epoch" (default), or a number of optimizer steps. A record is also made before the
            first step of each fit, unless it would repeat the last one.
        layers: Names or paths of layers, or patterns of them such as "block_1/*"; their variables
            and inner layers are included. All by default.
        kind: "norm" (default), or "unit" to take every unit of every sample by itself,
            `m_s = (mean |A_j|^s)^(1/s)`; or a number alpha in (0, 2) for the l_alpha norm in place
            of the Euclidean one, which layers of alpha-stable weights keep.
        training: False (default) measures the network as it is used, True as it is trained, with
            dropout and random slopes, which is what an initializer with `dropout` is made for.
        tail_index: Whether Hill's estimate of the tail index is recorded too, from the square root
            of the number of samples.
        to_logs: What goes into the logs of an epoch, and so into the progress line, History,
            CSVLogger and the metrics of KerasTuner. "slopes" (default): the slope over depth at
            the order nearest to 1, of two quantities at most. True: the slopes and the s-scales of
            the last layer at all orders, and the seconds that the record took. "all": everything.
            False: nothing.
        prefix: Stands before every key of the logs, to tell several loggers apart.
        path: A CSV file (its name ends in .csv) to which every record is appended at once, in the
            columns of `history` and a last one, run, which counts from 0 the loggers that have
            written to the file. (A file of version 0.1 is continued without it.)
        append: True (default) continues a file that exists. False overwrites it.
        log_dir: A folder for events that TensorBoard shows. Writing them does not need TensorFlow.

    Attributes:
        history: All records as a tidy pandas frame with the columns step (of the optimizer; batches
            if `model.optimizer` is not used, as in a GAN), epoch, layer (a path; of a variable for
            weights, gradients and updates), call (counts the outputs of one path: a shared layer
            has several), quantity, statistic ("s_scale", "log_norm_mean", "log_norm_variance",
            "zeros", "nonfinite", "tail_index", "slope", "seconds"), order (of "s_scale" and
            "slope"), value and stderr. The standard error is over the samples of the probe, all in
            one network.

    The slope is that of `log m_s` against the number of layers with a kernel passed so far, in nats
    per layer. Keys of the logs and tags of TensorBoard are
    `{quantity}/{layer path}[/{call}]/{statistic}`, with "s1" for the s-scale of order 1,
    `{quantity}/slope/s1` and `logger/seconds`.

    Copies (also by pickle) are new callbacks of the same configuration, without records. With
    another model the records start afresh. If a layer calls inner layers in a loop (RNN,
    Bidirectional, TimeDistributed), only its own output is recorded. Operations that are no layers
    are not recorded, nor outputs that are not floating-point samples. A model that cannot be
    compiled, or is compiled with `run_eagerly=True`, is measured without a compiler. Where several
    processes train one model, all of them measure it and the chief alone writes files.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of range; when training starts, if the probe does not fit
            the model, a layer is not found, or a file cannot be written. Whatever fails later costs
            a warning and the record, not the training.

    Example:

    >>> import keras, numpy as np
    >>> from keras_fracinit import FracReLU, MomentLogger
    >>> x, y = np.random.default_rng(0).normal(size=(2, 64, 8))
    >>> relu = FracReLU(s=1.0)
    >>> stack = [keras.layers.Dense(8, "relu", kernel_initializer=relu) for _ in range(3)]
    >>> model = keras.Sequential([keras.Input((8,)), *stack])
    >>> model.compile("sgd", "mse")
    >>> logger = MomentLogger(x)
    >>> log = model.fit(x, y, epochs=2, callbacks=[logger], verbose=0)
    >>> history = logger.history
    >>> scales = history[(history.statistic == "s_scale") & (history.order == 1)]
    >>> scales.pivot(index="layer", columns="step", values="value").shape  # layers, records
    (3, 3)
    >>> "activations/slope/s1" in log.history
    True

    Source: Gurbuzbalaban and Hu, AISTATS 2021, arXiv 2005.11878, for the moments.
    """

    def __init__(
        self,
        probe: Any,
        orders: Sequence[float] = (0.5, 1.0, 2.0),
        quantities: Sequence[str] = ("activations",),
        *,
        every: int | str = "epoch",
        layers: Sequence[str] | None = None,
        kind: str | float = "norm",
        training: bool = False,
        tail_index: bool = False,
        to_logs: bool | str = "slopes",
        prefix: str = "",
        path: Any = None,
        append: bool = True,
        log_dir: Any = None,
    ) -> None:
        super().__init__()
        quantities = check_several("quantities", quantities)
        if layers is not None:
            names = check_several("layers", layers)
            layers = _distinct(check_type("layers", name, str) for name in names)
        self.request = Request(
            quantities=_distinct(check_choice("quantities", q, QUANTITIES) for q in quantities),
            orders=_distinct(map(check_order, check_several("orders", orders))),
            kind=check_kind(kind),
            layers=layers,
            training=check_type("training", training, bool),
            tail_index=check_type("tail_index", tail_index, bool),
        )
        if every != "epoch":
            if not isinstance(every, Integral):
                raise TypeError(
                    "`every` must be 'epoch' or a number of optimizer steps. "
                    f"Received: every={every!r} (of type {type(every)})"
                )
            every = check_integer("every", every, 1, 2**62)
            self._hook_batches()
        self.every = every
        if to_logs not in ("all", "slopes"):
            check_type("to_logs", to_logs, bool)
        self.to_logs, self.prefix = to_logs, check_type("prefix", prefix, str)
        self.path = None if path is None else local_path("path", path)
        self.log_dir = None if log_dir is None else local_path("log_dir", log_dir)
        self.append = check_type("append", append, bool)
        if self.path is not None and self.path.suffix != ".csv":
            raise ValueError(f"`path` must end in .csv. Received: path={str(path)!r}")
        self.probe = probe_arrays(probe)
        if "gradients" in self.request.quantities and not isinstance(self.probe, tuple | list):
            raise ValueError(_NEEDS_TARGETS.format(type(probe)))
        self._forget()

    def _forget(self) -> None:
        self.records: list[Record] = []
        self._measurement: Any = None
        self._files: list[RecordFile[Record]] = []
        self._layout: Any = None
        self._values: Any = None  # of the last record; None if that failed
        self._epoch = 0
        self._due = math.inf
        self._warned = False
        self._steps = StepCounter(1 if isinstance(self.every, str) else self.every)

    @property
    def history(self) -> pd.DataFrame:
        """Everything recorded so far, as a tidy frame with the columns `COLUMNS`."""
        import pandas as pd

        rows = [row for record in self.records for row in record.rows()]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _hook_batches(self) -> None:
        # On the instance, not in the class: Keras gives up the asynchronous dispatch of callbacks
        # as soon as one has a hook for batches.
        self.on_train_batch_end = self._on_train_batch_end

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if may_stand_still(model):
            self._hook_batches()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        model = self.model
        if self._measurement is not None and self._measurement.model is not model:
            self._forget()
        self._warned = False
        if self._measurement is None or not self._measurement.fits(model):
            self._layout = None
            data = probe_data(self.probe, model)
            gradients = "gradients" in self.request.quantities
            # A loss that the layers add, or one of the model itself, may need no targets.
            if gradients and data.y is None and model.loss is not None:
                raise ValueError(_NEEDS_TARGETS.format("inputs alone"))
            try:
                self._measurement = Measurement(model, data, self.request)
            except NothingToMeasureError as error:
                warnings.warn(f"Nothing is recorded: {error}", RuntimeWarning, stacklevel=2)
                return
            self._layout = Layout(self._measurement.rows, self.request.columns)
        if not self._files and is_chief(model):
            if self.path is not None:
                self._files.append(csv_file(self.path, COLUMNS, Record.rows, self.append))
            if self.log_dir is not None:
                self._files.append(events_file(self.log_dir, Record.scalars))
        self._beginning = True
        self._steps.begin_fit(model, self.records[-1].step if self.records else 0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = epoch
        self._steps.begin_epoch()
        if self._layout is not None and self._beginning:  # only now is the epoch known
            self._beginning = False
            with self._training_goes_on():
                step = self._steps.steps(self.model)
                self._due = self._next_due(step)
                self._record(step, unless_repeated=True)

    def _on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._steps.end_batch(batch)
        if isinstance(self.every, str) or self._layout is None:
            return
        # The optimizer is asked only when a record may be due, because on JAX that brings the state
        # of the model back first.
        if self._steps.bound >= self._due:
            with self._training_goes_on():
                step = self._steps.steps(self.model)
                if step >= self._due:
                    self._due = self._next_due(step)
                    self._record(step)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        layout = self._layout
        if layout is None:
            return
        if self.every == "epoch":
            with self._training_goes_on():
                self._record(self._steps.steps(self.model))
        if logs is not None:
            values = self._values
            for i in layout.logged(self.to_logs):
                value = math.nan if values is None else float(values[i, 0])
                logs[self.prefix + layout.tags[i]] = value

    @contextmanager
    def _training_goes_on(self) -> Iterator[None]:
        """Makes one warning for each fit of whatever goes wrong in a record."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"MomentLogger could not record: {type(error).__name__}: {error}. Training "
                    "goes on, and the next record is tried.",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def _next_due(self, step: int) -> float:
        if isinstance(self.every, str):
            return math.inf
        return (step // self.every + 1) * self.every

    def _record(self, step: int, unless_repeated: bool = False) -> None:
        start, self._values = time.perf_counter(), None
        values = self._values = self._layout.values(self._measurement(), start)
        record = Record(time.time(), step, self._epoch, self._layout, values)
        if unless_repeated and self.records and record.repeats(self.records[-1]):
            return
        self.records.append(record)
        for file in self._files:
            with self._training_goes_on():
                file.write(self.records)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy is a new callback of the same configuration: compiled functions and open models
        # can be neither copied nor pickled, and KerasTuner copies every callback for every trial.
        return type(self).from_config, (self.get_config(),)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MomentLogger:
        return cls(**{**config, "probe": _restored(config["probe"])})

    def get_config(self) -> dict[str, Any]:
        return {
            "probe": self.probe,
            "orders": list(self.request.orders),
            "quantities": list(self.request.quantities),
            "every": self.every,
            "layers": None if self.request.layers is None else list(self.request.layers),
            "kind": self.request.kind,
            "training": self.request.training,
            "tail_index": self.request.tail_index,
            "to_logs": self.to_logs,
            "prefix": self.prefix,
            "path": None if self.path is None else str(self.path),
            "append": self.append,
            "log_dir": None if self.log_dir is None else str(self.log_dir),
        }


_NEEDS_TARGETS = (
    "`quantities` with 'gradients' needs targets: `probe` must be a pair (x, y). Received: {}"
)


def _restored(config: Any) -> Any:
    """The arrays of a probe that Keras has serialized; anything else as it is."""
    if isinstance(config, dict):
        if "class_name" in config:
            return keras.saving.deserialize_keras_object(config)
        return {name: _restored(value) for name, value in config.items()}
    if isinstance(config, list):
        return [_restored(value) for value in config]
    return config


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
