"""Measures the outputs of layers, the weights and their gradients on one batch.

The outputs are taken from the calls of the layers themselves: `keras.layers.Layer.__call__` is
intercepted while the model is traced (on torch: run). That reaches nested, shared, subclassed and
quantized layers, which a sub-model of the graph does not. Everything is reduced to a table of
statistics on the device, in one compiled function that returns only the table; a model that Keras
trains without a compiler, or that cannot be compiled, is measured without one. A `StatelessScope`
keeps the pass from changing the state of the model.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from keras_fracinit.estimators import scaled_norms, statistics_of, summarize
from keras_fracinit.models.building import build_model
from keras_fracinit.models.compilers import COMPILERS
from keras_fracinit.models.probe import Data
from keras_fracinit.models.recorder import Recorder, call_model, wide
from keras_fracinit.utils.layer_calls import intercepting
from keras_fracinit.utils.patterns import Names, check_patterns, matches

QUANTITIES = ("activations", "preactivations", "weights", "gradients", "updates")


class Row(NamedTuple):
    """Names one row of a measurement.

    Attributes:
        quantity: One of `QUANTITIES`.
        layer: The path of the layer; for weights, gradients and updates that of the variable.
        call: Counts the outputs, or variables, of one path: a shared layer has one for each call.
        depth: The number of layers with a kernel up to here, this one included. None for a
            variable that is no kernel.
    """

    quantity: str
    layer: str
    call: int
    depth: int | None


@dataclass(frozen=True)
class Request:
    """Says what to measure; the fields are arguments of `MomentLogger`."""

    quantities: tuple[str, ...] = ("activations",)
    orders: tuple[float, ...] = (0.5, 1.0, 2.0)
    kind: str | float = "norm"
    layers: tuple[str, ...] | None = None
    training: bool = False
    tail_index: bool = False

    @property
    def columns(self) -> list[tuple[str, float | None]]:
        """The statistics of each row, and their orders."""
        return statistics_of(self.orders, self.tail_index)

    def selects(self, paths: Callable[[], tuple[str, ...]]) -> bool:
        """Whether a name, path or pattern of `layers` matches one of these paths."""
        return self.layers is None or matches(self.layers, *paths())


class NothingToMeasureError(ValueError):
    """Says that a model has nothing of the quantities that are asked for."""


class Measurement:
    """Computes the statistics of a model on a batch by one function, compiled once or never.

    Args:
        model: A Keras model. One that is not built yet is built by calling it.
        data: The batch, as NumPy arrays.
        request: Says what to measure.
        compiled: Whether the function may be compiled, which takes longer than a few calls of it.

    Attributes:
        first: The table of the first pass, which also finds the rows.

    Calling it returns an array `(rows, request.columns, 2)` of values and standard errors, one row
    for each of `rows`. An output that a later pass does not compute is nan; one that only a later
    pass computes is left out. `model`, its weights and statistics, the seeds of its layers and the
    global random state stay as they are.

    Raises:
        ValueError: If the model cannot be called on the data, or has no loss to take gradients of;
            a `NothingToMeasureError` if nothing is left to measure.
    """

    def __init__(
        self, model: keras.Model, data: Data, request: Request, compiled: bool = True
    ) -> None:
        self.model, self.data, self.request = model, data, request
        if not model.built:
            build_model(model, data.x)
        elif not all(layer.built for layer in model._flatten_layers()):
            # `model.build` marks a model as built whose layers may not be; nor is an unused layer.
            with suppress(Exception):
                build_model(model, data.x)
        self._tensors = Data(*(keras.tree.map_structure(_tensor, part) for part in data))
        variables = {id(v): v for v in [*model.variables, *model.metrics_variables]}
        self.trainable = list(model.trainable_variables)
        for variable in self.trainable:
            variables.pop(id(variable), None)
        self.others = list(variables.values())
        self._names = Names(model)
        self.selected = [
            i
            for i, variable in enumerate(self.trainable)
            if request.selects(partial(self._names.of_variable, variable))
        ]
        self.gradients = "gradients" in request.quantities
        self.rows: list[Row] = []
        self._traced: list[Row] = []  # the rows of the last trace
        self._lost_shapes = False
        # The paths of every layer and variable, selected or not, in order.
        self._seen: list[tuple[str, ...]] = []
        self._positions: list[int] = []
        self._previous: list[Any] | None = None
        self._identity = _identity(model)
        first = None
        if compiled and not _is_trained_eagerly(model):
            with suppress(Exception):  # raised again below, unless the compiler was at fault
                first = self._start(compiled=True)
        if first is None or self._lost_shapes:
            first = self._start(compiled=False)
        self.first: npt.NDArray[np.float64] = first
        self.rows = self._traced
        self._check_selection()

    def __call__(self) -> npt.NDArray[np.float64]:
        watched = self._watched()
        previous, self._previous = self._previous, watched
        table = self._measure(watched if previous is None else previous)
        if previous is None:  # nothing to compare with
            table[[row.quantity == "updates" for row in self.rows]] = np.nan
        return table

    def _start(self, compiled: bool) -> npt.NDArray[np.float64]:
        """The first pass, which traces the model and so finds the rows."""
        self.compiled = compiled
        # Without a compiler many small operations are faster on the host than one by one.
        self._xp = ops if compiled or self.gradients else np
        self._run = COMPILERS[keras.backend.backend()](self)
        return self._measure(self._watched())

    def fits(self, model: keras.Model) -> bool:
        """Whether the compiled function still describes this model."""
        now = _identity(model)
        return len(now) == len(self._identity) and all(
            a is b for a, b in zip(now, self._identity, strict=True)
        )

    def _watched(self) -> list[Any]:
        """The weights whose updates are measured; copies, because JAX gives the arrays away."""
        if "updates" not in self.request.quantities:
            return []
        return [ops.copy(self.trainable[i].value) for i in self.selected]

    def _measure(self, previous: list[Any]) -> npt.NDArray[np.float64]:
        scale = None
        if self.gradients:
            # Half-precision gradients underflow unless the loss is scaled as in training.
            scale, optimizer = ops.ones(()), self.model.optimizer
            scale = scale if optimizer is None else optimizer.scale_loss(scale)
        with np.errstate(all="ignore"):
            table = self._run(self._tensors, scale, previous)
        if table is None:
            table = np.empty((0, len(self.request.columns), 2))
        host = table if isinstance(table, np.ndarray) else ops.convert_to_numpy(table)
        return self._in_first_order(np.asarray(host, float)[np.argsort(self._positions)])

    def _in_first_order(self, table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The rows of the first pass: without a compiler the calls of a model may vary."""
        if not self.rows or self._traced == self.rows:
            return table
        measured = {row[:3]: values for row, values in zip(self._traced, table, strict=True)}
        missing = np.full(table.shape[1:], np.nan)
        return np.stack([measured.get(row[:3], missing) for row in self.rows])

    # The two parts of the compiled function; between them each backend takes the gradient.

    def forward(
        self, trainable: list[Any], others: list[Any], data: Data, scale: Any
    ) -> tuple[Any, list[Any]]:
        """The scaled loss (None without gradients) and the norms of the outputs of the layers."""
        recorder = Recorder(self._wants, lambda t: self._norms_of(t, self.request.kind))
        values = [*zip(self.trainable, trainable, strict=True)]
        values += zip(self.others, others, strict=True)
        loss, training = None, self.request.training
        with keras.StatelessScope(values, collect_losses=self.gradients):
            if {"activations", "preactivations", "gradients"} & {*self.request.quantities}:
                with intercepting(recorder):
                    prediction = call_model(self.model, data.x, training)
                if self.gradients:
                    loss = ops.convert_to_tensor(self._loss(data, prediction, training))
                    loss *= ops.cast(scale, loss.dtype)
        self._lost_shapes = recorder.lost_shapes
        if self.request.layers is not None:
            self._seen = [self._names.of_layer(*called) for called in recorder.called]
            self._seen += [self._names.of_variable(variable) for variable in self.trainable]
        self._traced = _numbered(recorder.rows)
        return loss, recorder.reduced

    def _wants(self, quantity: str, layer: Any, path: str) -> bool:
        """Whether this quantity of a layer is measured."""
        paths = partial(self._names.of_layer, layer, path)
        return quantity in self.request.quantities and self.request.selects(paths)

    def reduce(
        self,
        norms: list[Any],
        trainable: list[Any],
        gradients: Any,
        previous: list[Any],
        scale: Any,
    ) -> Any:
        """The table of statistics, rows in the order of `_positions`."""
        kernels = {i: depth for depth, i in enumerate(_kernels(self.trainable), start=1)}
        values = [trainable[i] for i in self.selected]
        tensors = {"weights": values}
        if previous:
            tensors["updates"] = [new - old for new, old in zip(values, previous, strict=True)]
        if gradients is not None:
            cast = [wide(gradients[i]) for i in self.selected]
            tensors["gradients"] = [gradient / ops.cast(scale, gradient.dtype) for gradient in cast]
        rows: list[tuple[str, str, int | None]] = []
        for quantity in self.request.quantities:
            for i, tensor in zip(self.selected, tensors.get(quantity, ()), strict=False):
                rows.append((quantity, self.trainable[i].path, kernels.get(i)))
                # A variable is a column of entries: samples of one unit.
                norms.append(self._norms_of(ops.reshape(tensor, (-1, 1)), "unit"))
        self._traced = self._traced + _numbered(rows)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, norm in enumerate(norms):
            groups.setdefault((*norm.shape, str(norm.dtype)), []).append(index)
        self._positions = [index for group in groups.values() for index in group]
        tables = [self._summary([norms[index] for index in group]) for group in groups.values()]
        return self._xp.concatenate(tables) if tables else None

    def _summary(self, norms: list[Any]) -> Any:
        """Summarizes all norms of one shape in one computation instead of many small ones."""
        xp = self._xp
        statistics = summarize(xp.stack(norms), self.request.orders, self.request.tail_index, xp=xp)
        pairs = [xp.stack(statistics[key], axis=-1) for key in self.request.columns]
        return xp.stack(pairs, axis=1)

    def _norms_of(self, tensor: Any, kind: Any) -> Any:
        tensor = wide(tensor)
        return scaled_norms(
            tensor if self._xp is ops else ops.convert_to_numpy(tensor), kind, self._xp
        )

    def _loss(self, data: Data, prediction: Any, training: bool) -> Any:
        (x, y, sample_weight), model = data, self.model
        compute_loss = model.compute_loss
        overridden = getattr(compute_loss, "__func__", None) is not keras.Model.compute_loss
        if not (model.loss is not None or model.losses or overridden):
            raise ValueError(
                "`quantities` with 'gradients' needs a loss: one that the model is compiled with, "
                "or that its layers add. Received: loss=None"
            )
        # As Keras does: an override may be older than the argument.
        known = inspect.signature(compute_loss).parameters
        options = {"training": training} if "training" in known else {}
        try:
            return compute_loss(x, y, prediction, sample_weight, **options)
        except Exception as error:
            shapes = keras.tree.map_structure(np.shape, self.data.y)
            raise ValueError(
                "The targets of `probe` must fit the loss of the model. "
                f"Received: y of shape {shapes}\n{error}"
            ) from error

    def _check_selection(self) -> None:
        """Refuses a pattern that matches no layer, whose rows would silently be missing."""
        check_patterns("layers", self.request.layers or (), self._seen, "layers of the model")
        if not self.rows:
            raise NothingToMeasureError(
                f"`quantities` must name something that model {self.model.name!r} has. "
                f"Received: quantities={self.request.quantities}, layers={self.request.layers}"
            )


def _numbered(rows: Iterable[tuple[str, str, int | None]]) -> list[Row]:
    calls: Counter[tuple[str, str]] = Counter()
    numbered = []
    for quantity, path, depth in rows:
        numbered.append(Row(quantity, path, calls[quantity, path], depth))
        calls[quantity, path] += 1
    return numbered


def _kernels(variables: Sequence[Any]) -> list[int]:
    return [index for index, variable in enumerate(variables) if len(variable.shape) > 1]


def _identity(model: Any) -> list[Any]:
    """The objects that a compiled function depends on, to be compared by identity."""
    trained_by = [getattr(model, name, None) for name in ("optimizer", "loss")]
    trained_by.append(_is_trained_eagerly(model))
    return [model, *trained_by, *model.weights, *model.trainable_variables]


def _is_trained_eagerly(model: Any) -> bool:
    """Whether the model is compiled to be trained without a compiler."""
    if not model.compiled:
        return False
    on_jax = keras.backend.backend() == "jax"  # where that is what `jit_compile` says
    return bool(model.run_eagerly or (on_jax and not model.jit_compile))


def _tensor(array: Any) -> Any:
    return None if array is None else ops.convert_to_tensor(array)
