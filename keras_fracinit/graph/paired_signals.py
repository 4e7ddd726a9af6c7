"""Tensors whose channels are pairs, and where layers that hand a signal on leave the pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from keras_fracinit.graph.call_graph import Call
from keras_fracinit.graph.operations import Effect
from keras_fracinit.initializers.pairs import Runs


class Signal(NamedTuple):
    """A tensor whose channels are pairs.

    Attributes:
        antisymmetric: Whether its halves are q = -p (state A), or only p - q is linear (state D).
        axis: The axis of the pairs: 1 for channels first, else -1.
        runs: Where the pairs lie along it, as in `Pairs`.
        makers: The kernels whose pairs these are.
        nonnegative: Whether it came out of a ReLU, so that another ReLU hands it on.
        closes: Whether it is the branch of a block in which a signal that came out of a ReLU, plus
            the branch, is antisymmetric (see `planning.branches`).
    """

    antisymmetric: bool
    axis: int
    runs: Runs
    makers: frozenset[int]
    nonnegative: bool = False
    closes: bool = False


# The output of a branch that starts at zero: what it is added to stays as it is.
ZERO = Signal(True, -1, (), frozenset(), True)


class End(Exception):
    """Ends pairs; holds the reason and the kernels that made them."""

    def __init__(self, reason: str, signals: Iterable[Signal | None]) -> None:
        super().__init__(reason)
        self.makers = frozenset[int]().union(*(s.makers for s in signals if s is not None))


Rule = Callable[[Call, list[Signal | None]], Signal | None]


# What layers that hand a signal on do to the place of its pairs.


def _unchanged(call: Call, signals: list[Signal | None]) -> Signal | None:
    return signals[0]


def _negated(call: Call, signals: list[Signal | None]) -> Signal | None:
    return signals[0] and signals[0]._replace(nonnegative=False)


def pooled(call: Call, signals: list[Signal | None]) -> Signal | None:
    """Rule of layers that act on each channel alone, and may drop the axes of positions."""
    signal = signals[0]
    if signal is None:
        return None
    if channel_axis(call.op) != signal.axis:
        raise End(f"{type(call.op).__name__} mixes the pairs with positions", [signal])
    rank = len(getattr(call.outputs[0], "shape", (None,) * 4))
    return signal._replace(axis=-1) if rank == 2 else signal


def _flattened(call: Call, signals: list[Signal | None]) -> Signal | None:
    signal, shape = signals[0], getattr(call.inputs[0], "shape", (None,) * 4)
    if signal is None or len(shape) == 2:
        return signal
    positions = list(shape[1:-1] if signal.axis == -1 else shape[2:])
    if None in positions:
        raise End("Flatten of a shape that is not known ends the pairs", signals)
    count = math.prod(positions)
    # Keras moves the channels back behind the positions where the layer is channels first.
    if signal.axis == -1 or getattr(call.op, "data_format", "") == "channels_first":
        runs = signal.runs * count if len(signal.runs) > 1 else _repeated(signal.runs[0], count)
    else:
        runs = tuple((size * count, number) for size, number in signal.runs)
    return signal._replace(axis=-1, runs=runs)


def _repeated(run: tuple[int, int], times: int) -> Runs:
    return ((run[0], run[1] * times),)


def _reshaped(call: Call, signals: list[Signal | None]) -> Signal | None:
    signal, before, after = signals[0], call.inputs[0].shape, call.outputs[0].shape
    if signal is None or signal.axis != -1:
        raise End(f"{type(call.op).__name__} of channels first ends the pairs", signals)
    if before[-1] == after[-1]:
        return signal
    if len(after) == 2:
        return _flattened(call, signals)
    raise End(f"{type(call.op).__name__} takes the pairs apart", signals)


def _permuted(call: Call, signals: list[Signal | None]) -> Signal | None:
    signal, axes = signals[0], getattr(call.op, "dims", None) or getattr(call.op, "axes", None)
    if signal is None or not axes or axes[-1] not in (len(call.inputs[0].shape) - 1, -1):
        raise End(f"{type(call.op).__name__} ends the pairs", signals)
    return signal


def _joined(call: Call, signals: list[Signal | None]) -> Signal | None:
    if None in signals:
        raise End("Concatenate joins pairs with something without pairs", signals)
    found = [signal for signal in signals if signal is not None]
    axis, rank = call.op.axis, len(call.inputs[0].shape)
    makers = frozenset[int]().union(*(s.makers for s in found))
    antisymmetric = all(s.antisymmetric for s in found)
    if len({s.axis for s in found}) > 1:
        raise End("Concatenate of pairs that lie along different axes", signals)
    joined = found[0]._replace(
        makers=makers,
        antisymmetric=antisymmetric,
        nonnegative=all(s.nonnegative for s in found),
    )
    if axis % rank == found[0].axis % rank:
        return joined._replace(runs=sum((s.runs for s in found), ()))
    if len({s.runs for s in found}) > 1:
        raise End("Concatenate of pairs that lie in different places", signals)
    return joined


HAND_ON: dict[str, Rule] = {
    **dict.fromkeys(
        (
            *("InputLayer", "Identity", "ActivityRegularization", "GaussianNoise", "RepeatVector"),
            *("Cast", "ConvertToTensor", "StopGradient", "GaussianDropout"),
            *("TimeDistributed", "AlphaDropout"),
        ),
        _unchanged,
    ),
    "Negative": _negated,
    **dict.fromkeys(("ZeroPadding", "Cropping", "UpSampling"), pooled),
    **dict.fromkeys(("Flatten", "Ravel"), _flattened),
    "Reshape": _reshaped,
    **dict.fromkeys(("Permute", "Transpose"), _permuted),
    "Concatenate": _joined,
}


def channel_axis(layer: Any) -> int:
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1


def _averaged(call: Call, signals: list[Signal | None]) -> Signal | None:
    if type(call.op).__name__ != "Mean":
        return pooled(call, signals)
    signal, rank = signals[0], len(call.inputs[0].shape)
    axes = call.op.axis if call.op.axis is not None else range(rank)
    reduced = {a % rank for a in ([axes] if isinstance(axes, int) else axes)}
    if signal is None or signal.axis != -1 or rank - 1 in reduced:
        raise End("a mean over the channels ends the pairs", signals)
    return signal


def _picked(call: Call, signals: list[Signal | None]) -> Signal | None:
    raise End("max pooling ends the pairs; average pooling would keep them", signals)


def _handed_on(call: Call, signals: list[Signal | None]) -> Signal | None:
    name = type(call.op).__name__
    return HAND_ON.get(name.rstrip("123D") if name[-1] == "D" else name, ended)(call, signals)


def ended(call: Call, signals: list[Signal | None]) -> Signal | None:
    """The rule of everything else."""
    raise End(f"{type(call.op).__name__} ends the pairs", signals)


# The rules of effects that depend on nothing but the call and its signals.
RULES: dict[Effect, Rule] = {
    Effect.PASSES: _handed_on,
    Effect.AVERAGES: _averaged,
    Effect.PICKS: _picked,
}
