"""What becomes of each kernel of a model: the orders that were asked for, and why one is left."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_fracinit._drawn import drawn, stretch
from keras_fracinit._operating_point import point_mass_of
from keras_fracinit._patterns import check_patterns, matches
from keras_fracinit._printing import number
from keras_fracinit._stacks import Kernel, initializer_of, kernels_of
from keras_fracinit._validation import check_choice, check_order, check_several, check_type
from keras_fracinit._values import pieces, root_mean_square
from keras_fracinit.initializers import check_weights
from keras_fracinit.orders import effective_order

_IN_MEMORY = 2**20  # bytes
_ROUNDING = 1e-9  # of a gain
Orders = float | Mapping[str, float] | Callable[[float], float]


@dataclass(frozen=True)
class Change:
    """What becomes of one variable.

    Attributes:
        path: Of the variable.
        kind: "dense", "einsum", "convolution", "depthwise", "pointwise", "transposed", "embedding",
            "recurrent", "bias", or "unknown".
        fan_in: Inputs that one output sums over; of a transposed convolution on average.
        width: Output units at one position; of a recurrent kernel those of one gate.
        activation: What acts on the output.
        law: The law that its scale is for, dropout included if it was asked for: of what acts on
            the output, and where that is smooth of what its input came through.
        s: The order that is kept; nan if the variable stays as it is.
        distribution: What is drawn from.
        alpha: The tail index of stable weights; None for all others.
        gain: `fan_in * stddev^2`, of stable weights `fan_in * stddev^alpha`; nan if the variable
            stays as it is.
        stddev_before: Root mean square of the values that it has.
        stddev: Standard deviation of the new ones, of stable ones their scale; nan if the variable
            stays as it is.
        order_before: The order that the values it has keep: 2 is He's, infinity zeros. nan where
            there is no law, or the scale is above that of order 0, so that all moments grow.
        order_censored: Whether `order_before` is but a lower bound: of a smooth activation no order
            above 2 is known, and the order is then 2, printed as ">2".
        skipped: Why the variable stays as it is; empty if it does not.
        note: Where the theory is not exact, and what it leaves out.
    """

    path: str
    kind: str
    fan_in: float = math.nan
    width: int = 0
    activation: str = ""
    law: str = ""
    s: float = math.nan
    distribution: str = ""
    alpha: float | None = None
    gain: float = math.nan
    stddev_before: float = math.nan
    stddev: float = math.nan
    order_before: float = math.nan
    order_censored: bool = False
    skipped: str = ""
    note: str = ""


@dataclass(frozen=True)
class Options:
    """The arguments of `plan`, checked as far as that goes without a model."""

    s: Any
    only: Any
    skip: Any
    include_frozen: bool
    distribution: str | None
    alpha: float | None
    biases: str
    dropout: bool

    def __post_init__(self) -> None:
        if isinstance(self.s, Mapping):
            for pattern, order in self.s.items():
                check_type("s", pattern, str)
                check_order(order)
        elif not callable(self.s):
            object.__setattr__(self, "s", check_order(self.s))
        for name in ("only", "skip"):
            patterns = getattr(self, name)
            if patterns is not None:
                several = [patterns] if isinstance(patterns, str) else check_several(name, patterns)
                object.__setattr__(self, name, [check_type(name, p, str) for p in several])
        check_type("include_frozen", self.include_frozen, bool)
        check_type("dropout", self.dropout, bool)
        if self.distribution is not None or self.alpha is not None:
            check_weights(self.distribution, self.alpha)
        check_choice("biases", self.biases, ("keep", "zero"))

    def order(self, path: str, depth: float) -> float | None:
        """The order of the kernel of this path and relative depth; None if it has none."""
        if isinstance(self.s, Mapping):
            orders = self.s.items()
            return next(
                (check_order(s) for pattern, s in orders if matches((pattern,), path)), None
            )
        return check_order(self.s(depth) if callable(self.s) else self.s)

    def reason(self, path: str) -> str:
        """Why the kernel of this path is not among those to be drawn; empty if it is."""
        if self.only is not None and not matches(self.only, path):
            return "it is not in `only`"
        if matches(self.skip or (), path):
            return "it is in `skip`"
        return ""

    def check_patterns(self, paths: Sequence[str]) -> None:
        """Every pattern must match a kernel, or what was to change would silently stay."""
        for argument in ("s", "only", "skip"):
            patterns = getattr(self, argument)
            several = patterns if isinstance(patterns, list | Mapping) else ()
            check_patterns(argument, several, paths, "variables with kernels")


@dataclass(frozen=True)
class Step:
    """A change, and how it is made.

    Attributes:
        change: What becomes of the variable.
        variable: The variable.
        position: The place of its kernel in the order of the model.
        kernel: What is drawn; None if zeros are set.
        law: The law that the initializer is for.
    """

    change: Change
    variable: Any
    position: int
    kernel: Kernel | None = None
    law: Any = None

    def values(self, seed: int) -> Any:
        """The new values, not yet assigned."""
        if self.kernel is None:
            return ops.zeros(self.variable.shape, self.variable.dtype)
        change, site = self.change, self.kernel.site
        weights = change.distribution, change.alpha
        try:
            return drawn(site, initializer_of(site, self.law, change.s, *weights, seed))
        except ValueError as error:
            raise ValueError(f"{change.path}: {error}") from error


def steps_of(model: Any, options: Options) -> list[Step]:
    """One step for each kernel, and one for each bias that is set to zero."""
    kernels = check_model(model)
    options.check_patterns([kernel.site.path for kernel in kernels])
    steps = []
    for position, kernel in enumerate(kernels):
        depth = position / max(len(kernels) - 1, 1)
        step = _step(kernel, position, options, depth)
        steps.append(step)
        bias = getattr(kernel.site.layer, "bias", None)
        zeroed = options.biases == "zero" and not step.change.skipped and kernel.site.reader.last
        if zeroed and bias is not None:
            change = Change(bias.path, "bias", stddev_before=root_mean_square(bias), stddev=0.0)
            steps.append(Step(change, bias, position))
    return steps


def _step(kernel: Kernel, position: int, options: Options, depth: float) -> Step:
    site, meeting = kernel.site, kernel.meeting
    law = meeting.scales(options.dropout)
    before = root_mean_square(site.variable)
    own = kernel.distribution, kernel.alpha
    distribution, alpha = (options.distribution, options.alpha) if options.distribution else own
    change = Change(
        path=site.path,
        kind=site.reader.kind,
        fan_in=site.fan_in,
        width=site.width,
        activation=meeting.activation,
        law=str(law or ""),
        distribution=distribution,
        alpha=alpha,
        stddev_before=before,
        note="; ".join(filter(None, (site.reader.note(site.layer), meeting.note))),
    )
    if law is not None and kernel.normal:
        kept = order_kept(law, site.width, site.fan_in * before**2)
        change = replace(change, order_before=kept.order, order_censored=kept.censored)
    order = options.order(site.path, depth)
    reason = _reason(kernel, options) or ("" if order is not None else "no pattern of `s` matches")
    if reason or order is None:
        return Step(replace(change, skipped=reason), site.variable, position)
    try:
        initializer = initializer_of(site, law, order, distribution, alpha, None)
        scale = initializer.describe(site.shape)
    except ValueError as error:
        raise ValueError(f"{site.path}: {error}") from error
    stddev = scale.stddev * stretch(site, initializer)
    note = change.note
    if alpha is not None and meeting.source is not None and point_mass_of(law) is None:
        # Sums of stable numbers are made by the largest, so the linear gain falls as the width
        # grows, while a smooth activation is exact at Z/sqrt(2).
        size = math.sqrt(2.0) * scale.gain ** (1.0 / alpha)
        note += f", of stable weights at {size:.2g} of that size"
    change = replace(change, s=order, gain=scale.gain, stddev=stddev, note=note)
    return Step(change, site.variable, position, kernel, law)


def _reason(kernel: Kernel, options: Options) -> str:
    """Why a kernel stays as it is; empty if it does not."""
    reason = kernel.kept or kernel.meeting.reason or options.reason(kernel.site.path)
    if not reason and kernel.site.frozen and not options.include_frozen:
        return "it is frozen"
    if not reason and not (kernel.distribution or options.distribution):
        name = type(kernel.site.initializer).__name__
        return f"its initializer {name} has no scale; `distribution` would give it one"
    return reason


def check_model(model: Any) -> list[Kernel]:
    """The kernels of a model that has some and can be changed."""
    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: {model!r} (of {type(model)})")
    unbuilt = [layer.name for layer in model._flatten_layers() if not layer.built]
    if not model.built or (unbuilt and not model.weights):
        raise ValueError(
            "`model` must be built: call it once on an array of the shape of one batch, or call "
            "its `build(input_shape)`, or begin it with a keras.Input. "
            f"Received: model {model.name!r}, of which {', '.join(unbuilt[:3])} is not built"
        )
    for layer in model._flatten_layers():
        if getattr(layer, "quantization_mode", None):
            raise ValueError(
                "`model` must not be quantized: its kernels are integers. Re-initialize it, then "
                f"quantize it. Received: layer {layer.name!r} in {layer.quantization_mode}"
            )
    kernels = [kernel for kernel in kernels_of(model) if kernel.site.variable is not None]
    if not kernels:
        raise ValueError(f"`model` must have kernels. Received: model {model.name!r} without any")
    return kernels


def check_kept(model: Any, changed: Sequence[Any]) -> None:
    """A nan that stays would spoil the network whatever its kernels are."""
    known = {id(variable) for variable in changed}
    for variable in model.weights:
        floating = keras.backend.is_float_dtype(variable.dtype)
        if id(variable) not in known and floating and not math.isfinite(root_mean_square(variable)):
            raise ValueError(
                "`model` must have finite values in the variables that stay as they are. "
                f"Received: nan or infinite values in {variable.path!r}; build the model anew, or "
                "load its weights from a file"
            )


@contextlib.contextmanager
def restoring() -> Iterator[Callable[[Any], None]]:
    """Gives a function that keeps the values of a variable; they return if the block fails.

    Without a file every kernel would have to be drawn twice, first to see that it can be: twice as
    long, minutes for orthogonal ones, and an interrupt of the second time would stay half done.
    """
    kept: list[Any] = []
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:

        def keep(variable: Any) -> None:
            for piece in pieces(variable):
                file.write(piece.view(np.uint8).data)  # bfloat16 has no buffer of its own
            kept.append(variable)

        try:
            yield keep
        except BaseException:
            file.seek(0)
            for variable in kept:
                dtype, size = np.dtype(variable.dtype), math.prod(variable.shape)
                values = np.frombuffer(file.read(size * dtype.itemsize), dtype)
                variable.assign(values.reshape(variable.shape))
            raise


class Kept(NamedTuple):
    """The order that a gain keeps, and whether the order is above that one, and not known."""

    order: float
    censored: bool = False

    def text(self, digits: int) -> str:
        """None means that no order is kept."""
        if math.isnan(self.order):
            return "none"
        return f"{'>' if self.censored else ''}{number(self.order, digits)}"


def order_kept(law: Any, width: int, gain: float) -> Kept:
    """The order that a gain keeps; nan if all moments grow, or the gain is none."""
    try:
        return Kept(effective_order(law, width, gain=gain))
    except ValueError:
        below = gain * law.mean < 1.0 + _ROUNDING  # the gain of order 2
        return Kept(2.0, True) if below and point_mass_of(law) is not None else Kept(math.nan)
