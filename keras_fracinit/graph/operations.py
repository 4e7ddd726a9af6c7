"""Says what each layer and operation of Keras does to a signal: one table that all packages ask.

Plans and diagnoses follow the size of a signal from kernel to kernel. What stands between two
kernels may hand it on, average it, add to it, or take its scale away; an `Effect` names which of
these. Operations have no public classes, so the table is keyed by the names of classes. A class
that derives from one in the table has the row of that one.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from inspect import signature
from itertools import takewhile
from types import FunctionType
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_fracinit.graph.kernel_table import COMPUTED_BY
from keras_fracinit.laws.base import Law, law_of
from keras_fracinit.laws.curves import NAMES
from keras_fracinit.laws.homogeneous import LeakyReLU, ReLU

layers = keras.layers


class Effect(Enum):
    """What a layer or operation does to the size of a signal."""

    PASSES = auto()  # hands it on: reshapes, joins, repeats, pads, adds noise
    AVERAGES = auto()  # makes it smaller by averaging
    PICKS = auto()  # takes some of the entries, by their sizes
    SUMS = auto()  # adds several signals, or a constant
    DROPS = auto()  # sets a random share of the entries to zero and scales up the others
    NORMALIZES = auto()  # takes its scale away
    SCALES = auto()  # multiplies each channel by a number that never changes, and adds one
    MIXES = auto()  # combines its inputs with weights: kernels, attention, recurrent layers
    ACTS = auto()  # applies an activation that has a law to each number alone
    ENDS = auto()  # does something that theory does not follow


class Row(NamedTuple):
    """What is known of the classes of one kind.

    Attributes:
        effect: What they do to the size of a signal.
        source: How a note names the signal behind them; empty if it is named after the class.
        joins: Whether they put several signals side by side, whose sizes may differ.
        by_batch: Whether they do so in training mode only; at inference they divide by what they
            have learned, which is 1 in a fresh model. A frozen one always does that.
    """

    effect: Effect
    source: str = ""
    joins: bool = False
    by_batch: bool = False


ATTENTION = Row(Effect.MIXES, "attention")


_RECURRENT = Row(Effect.MIXES, "a recurrent layer")


_FROZEN = Row(Effect.SCALES)


# `*D` stands for 1D, 2D and 3D.
_ROWS = {
    Row(Effect.PASSES): """
        InputLayer Identity Flatten Reshape Permute RepeatVector TimeDistributed Masking
        ActivityRegularization GaussianNoise GaussianDropout AlphaDropout
        ZeroPadding*D Cropping*D UpSampling*D
        Transpose ExpandDims Squeeze Cast ConvertToTensor GetItem StopGradient Moveaxis Swapaxes
        Ravel Split Unstack Pad BroadcastTo Negative
        """,  # AlphaDropout keeps mean and variance
    Row(Effect.PASSES, joins=True): "Concatenate Stack",
    Row(Effect.AVERAGES): """
        AveragePooling*D GlobalAveragePooling*D AdaptiveAveragePooling*D
        AveragePool AdaptiveAveragePool Mean
        """,
    Row(Effect.PICKS): """
        MaxPooling*D GlobalMaxPooling*D AdaptiveMaxPooling*D
        MaxPool AdaptiveMaxPool
        """,
    Row(Effect.SUMS, "a sum"): "Add Subtract",
    Row(Effect.DROPS): "Dropout",  # and the spatial ones, which derive from it
    Row(Effect.NORMALIZES, "a normalization"): """
        LayerNormalization GroupNormalization RMSNormalization UnitNormalization
        LayerNorm RMSNorm Normalize
        """,
    Row(Effect.NORMALIZES, "a normalization", by_batch=True): "BatchNormalization",
    # SpectralNormalization divides weights, and is what its layer is: a Wrapper.
    # An embedding is a kernel too: its input stands for a vector with a single one.
    Row(Effect.MIXES): """
        Dense EinsumDense Embedding Conv*D Conv*DTranspose DepthwiseConv1D DepthwiseConv2D
        SeparableConv1D SeparableConv2D
        """,
    ATTENTION: """
        MultiHeadAttention GroupedQueryAttention Attention AdditiveAttention
        DotProductAttention Mixing
        """,
    _RECURRENT: "RNN Bidirectional SimpleRNNCell LSTMCell GRUCell StackedRNNCells",
    # These have a law for some of their arguments; without one they end.
    Row(Effect.ACTS): "Activation ReLU LeakyReLU PReLU ELU RandomizedLeakyReLU",
    Row(Effect.ENDS): """
        Softmax LogSoftmax Sparsemax Multiply Dot Maximum Minimum Average
        Lambda Wrapper Pipeline JaxLayer FlaxLayer TFSMLayer TorchModuleWrapper
        IntegerLookup StringLookup Hashing HashedCrossing TextVectorization
        CategoryEncoding Discretization Normalization Rescaling Resizing CenterCrop
        MelSpectrogram STFTSpectrogram AugMix AutoContrast CutMix Equalization MixUp
        ContrastLimitedAdaptiveHistogramEqualization MaxNumBoundingBoxes RandAugment Solarization
        RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
        RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale
        RandomHue RandomInvert RandomPerspective RandomPosterization RandomRotation
        RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom
        """,
}


def _spelled(pattern: str) -> list[str]:
    return [pattern.replace("*", rank) for rank in ("123" if "*" in pattern else "1")]


_TABLE = {
    name: row
    for row, patterns in _ROWS.items()
    for pattern in patterns.split()
    for name in _spelled(pattern)
}


# Somebody else's class may bear the name of one of these and do something else.
_PACKAGES = ("keras", "keras_fracinit")


def listed_row(kind: type) -> Row | None:
    """The row of a class or of the first class in the table that it derives from.

    Somebody else's class that computes its output by itself may do anything, and has none.
    """
    # Behind Layer comes a class of the backend, and JAX's has the name of a layer: JaxLayer.
    for base in takewhile(lambda base: base is not layers.Layer, kind.__mro__):
        if is_ours(base) and base.__name__ in _TABLE:
            return _TABLE[base.__name__]
        if _computes(base):
            return None
    return None


def _computes(kind: type) -> bool:
    """Whether this class is somebody else's, and computes its output by itself."""
    return not is_ours(kind) and any(name in vars(kind) for name in COMPUTED_BY)


def is_ours(kind: Any) -> bool:
    """Whether a class or function belongs to Keras or to this package."""
    return kind.__module__.partition(".")[0] in _PACKAGES


def row_of(op: Any) -> Row:
    """The row of a layer or operation; one that acts without a law, or is unknown, ends."""
    row = listed_row(type(op)) or Row(Effect.ACTS)
    if row.effect is Effect.ACTS and action_of(op).law is None:
        return Row(Effect.ENDS)
    return _FROZEN if row.by_batch and not op.trainable else row


def effect_of(op: Any) -> Effect:
    """What a layer or operation does to the size of a signal."""
    return row_of(op).effect


def ends_signal(op: Any) -> bool:
    """Whether the size of what comes out says nothing of the scale of the kernels before it.

    A sum, a product or several signals side by side have the sizes of all of them.
    """
    row = row_of(op)
    return row.joins or row is ATTENTION or row.effect in _ENDS


_ENDS = (Effect.SUMS, Effect.NORMALIZES, Effect.ENDS)


def moves_size(op: Any) -> bool:
    """Whether an operation may change the size by a factor that depends on the signal: pooling."""
    return effect_of(op) in (Effect.PASSES, Effect.AVERAGES, Effect.PICKS)


def is_normalization(op: Any) -> bool:
    """Whether an operation is a normalization, one that is frozen included."""
    row = listed_row(type(op))
    return row is not None and row.effect is Effect.NORMALIZES


def resets_scale(op: Any, training: bool) -> bool:
    """Whether a layer takes the scale of the signal away in this mode, training or inference."""
    row = row_of(op)
    return row.effect is Effect.NORMALIZES and (training or not row.by_batch)


def scaling_note(op: Any) -> str:
    """What a layer that scales does to a signal, as root mean squares; empty if that is nothing."""
    if not op.built:
        return ""
    mean, variance = _host(op.moving_mean), _host(op.moving_variance)
    gamma = 1.0 if op.gamma is None else _host(op.gamma)
    beta = 0.0 if op.beta is None else _host(op.beta)
    factors = gamma / np.sqrt(variance + op.epsilon)
    factor, offset = (f"{np.sqrt(np.mean(x**2)):.3g}" for x in (factors, beta - mean * factors))
    parts = [f"multiplies by {factor}"] if factor != "1" else []
    parts += [f"adds {offset}"] if offset != "0" else []
    return f"{type(op).__name__} is frozen: it {' and '.join(parts)}" if parts else ""


def _host(variable: Any) -> Any:
    return np.asarray(keras.ops.convert_to_numpy(variable.value), "float64")


class _NoLaw(ValueError):
    """Gives the whole reason why an operation has no law."""


def _gelu(operation: Any) -> Law:
    if operation.approximate:
        raise _NoLaw("the approximate gelu follows, and the law is that of the exact one")
    return law_of("gelu")


def _named(name: str) -> Callable[[Any], Law]:
    """Looks up an operation under the name of an activation, whose defaults it must have."""
    parameters = list(signature(getattr(keras.activations, name)).parameters.values())[1:]

    def law(operation: Any) -> Law:
        for parameter in parameters:
            known, value = parameter.default, getattr(operation, parameter.name)
            if value != known:
                here = f"{name} with {parameter.name} {value:g}"
                raise _NoLaw(f"{here} follows, and the law is that of {parameter.name} {known:g}")
        return law_of(name)

    return law


_NAMES = (
    *NAMES,
    *("sigmoid", "hard_sigmoid", "hard_silu", "hard_tanh", "relu6", "softsign", "log_sigmoid"),
)


_OPERATIONS: dict[str, Callable[[Any], Law]] = {
    # The operation of "hard_tanh" is HardTanh.
    **{name.title().replace("_", ""): _named(name) for name in _NAMES},
    "Gelu": _gelu,
    "Relu": lambda operation: ReLU(),
    "ReLU": lambda op: law_of(layers.ReLU(op.max_value, op.negative_slope, op.threshold)),
    "LeakyRelu": lambda operation: LeakyReLU(operation.negative_slope),
    "Absolute": lambda operation: LeakyReLU(-1.0),
}


class Action(NamedTuple):
    """What an activation does to each number.

    Attributes:
        name: The name of the activation.
        law: Its law; None if it has none.
        reason: Why it has none.
    """

    name: str
    law: Law | None = None
    reason: str = ""


def action_of(op: Any) -> Action:
    """Finds the law of an activation, of a layer that holds one and no kernel, or an operation."""
    inner = getattr(op, "activation", op)
    if isinstance(op, layers.Layer) and listed_row(type(op)) is None:
        inner = op
    name = "linear" if inner is None else getattr(inner, "__name__", type(inner).__name__)
    try:
        known = {} if isinstance(op, layers.Layer) else _OPERATIONS
        if _is_foreign(inner):
            raise ValueError("its base has a law, and it computes otherwise")
        return Action(name, known.get(type(op).__name__, law_of)(op))
    except _NoLaw as error:
        return Action(name, reason=str(error))
    except ValueError as error:
        return Action(name, reason=f"{name} follows{_why(inner, error)}")


def _is_foreign(layer: Any) -> bool:
    """Whether the class of a layer computes otherwise than the one whose law it would get."""
    registered = law_of.registry.keys()
    before = takewhile(lambda base: base not in registered, type(layer).__mro__)
    return isinstance(layer, layers.Layer) and any(map(_computes, before))


def _why(inner: Any, error: ValueError) -> str:
    """Why an activation has no law, and whether it could have one."""
    if isinstance(inner, FunctionType):
        if not is_ours(inner):
            return f": {error}"  # how to make it known
        known = getattr(keras.activations, inner.__name__, None) is inner
    else:
        row = listed_row(type(inner))
        if row is not None and row.effect is Effect.ACTS:
            return f", which has a law for other arguments only; {_REGISTERED}"
        known = row is not None
    return (
        ", which no scale keeps the moments of" if known else f", which is unknown; {_REGISTERED}"
    )


_REGISTERED = "a registered function that computes it, or `law_of.register`, may give it one"


def joint(first: float, second: float) -> float:
    """The rate of two dropouts in a row."""
    return first + second - first * second
