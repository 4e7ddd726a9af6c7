"""The initializers: a gain from `moments`, a fan from the shape, a draw by Keras' own samplers.

One base class does everything; a public class only names its law. They derive from the public
`VarianceScaling` because Keras hands the axes of an `EinsumDense` kernel (hence of attention) to
subclasses of that class alone.
"""

from __future__ import annotations

import functools
import inspect
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import ml_dtypes

from keras_fracinit import laws
from keras_fracinit.activations import parameters_of
from keras_fracinit.initializers.draws import (
    ENORMOUS,
    Draw,
    draw_of,
    warn_of_enormous_weights,
)
from keras_fracinit.initializers.fans import check_axes, check_shape, fans_of
from keras_fracinit.initializers.pairs import check_pairs, check_taps, pair_law_of
from keras_fracinit.laws import stable
from keras_fracinit.propagation import moments
from keras_fracinit.utils.choices import check_weights
from keras_fracinit.utils.printing import record_html
from keras_fracinit.utils.validation import check_choice, check_integer, check_real

MODES = ("fan_in", "fan_out")


@dataclass(frozen=True)
class LayerScale:
    """The scale of a kernel of one shape, and the effect of the layer on the signal.

    Attributes:
        fan_in: Inputs that one output unit sums over.
        fan_out: Outputs that one input unit reaches, as Keras counts them.
        width: The number of output units d at one position: the filters of a convolution.
        gain: `fan * stddev^2`, with the fan of the initializer's mode; `fan * stddev^alpha` for
            stable weights.
        stddev: The standard deviation of one weight; of a stable one, which has none, its scale.
        ratio: `stddev` over that of `reference`; nan for stable weights.
        reference: "LeCun" for linear, "He" otherwise: the scale that keeps the variance without
            dropout.
        log_norm_mean: Mean of the log-norm that the layer adds, in nats, given survival.
        log_norm_std: Its standard deviation, in nats.
        alpha: The tail index of stable weights; 2 for all others.
        block: `(inputs, units)` of the block that is drawn, where pairs or taps make it smaller
            than the kernel: gain, stddev and log-norm are those of the block, and the log-norm is
            that of the differences of pairs. None for a plain kernel.
        s_is_active: Whether the order s changes the scale. It does not where the block is
            orthogonal, does not contract, and the output is linear in the differences: then the
            norm is kept surely, and with it every moment.
    """

    fan_in: int
    fan_out: int
    width: int
    gain: float
    stddev: float
    ratio: float = field(compare=False)  # follows from the others; a nan equals nothing
    reference: str
    log_norm_mean: float
    log_norm_std: float
    alpha: float = field(default=2.0, kw_only=True)
    block: tuple[int, int] | None = field(default=None, kw_only=True)
    s_is_active: bool = field(default=True, kw_only=True)

    _repr_html_ = record_html

    def __str__(self) -> str:
        scale = f"stddev {self.stddev:.6g} = {self.ratio:.6g} x {self.reference}"
        if self.alpha < 2.0:
            scale = f"alpha {self.alpha:g}, scale {self.stddev:.6g}"
        block = "" if self.block is None else f", block {self.block[0]} x {self.block[1]}"
        return (
            f"fan_in {self.fan_in}, fan_out {self.fan_out}, width {self.width}{block}: "
            f"gain {self.gain:.6g}, {scale}"
            f"; log-norm per layer {self.log_norm_mean:+.5f} +- {self.log_norm_std:.5f}"
            + ("" if self.s_is_active else ", whatever s is")
        )


def _in_the_name_of_the_class(init: Callable[..., None]) -> Callable[..., None]:
    """Makes wrong arguments a TypeError that names the class of the object, not the base class."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked(self: _FracInitializer, *arguments: Any, **options: Any) -> None:
        try:
            signature.bind(self, *arguments, **options)
        except TypeError as error:
            own = [name for name in inspect.signature(type(self)).parameters if name != "options"]
            names = dict.fromkeys([*own, *list(signature.parameters)[1:]])
            known = ", ".join(f"`{name}`" for name in names)
            raise TypeError(
                f"{type(self).__name__}: {error}. Its arguments are {known}{_owners(options)}"
            ) from None
        init(self, *arguments, **options)

    return checked


def _owners(options: Iterable[str]) -> str:
    """Says which initializers have arguments that others lack."""
    classes = {cls.__name__: inspect.signature(cls).parameters for cls in INITIALIZERS.values()}
    return "".join(
        f"; {name} has `{option}`"
        for option in options
        for name, parameters in classes.items()
        if option in parameters and option not in classes["FracReLU"]
    )


class _FracInitializer(keras.initializers.VarianceScaling):  # type: ignore[misc]
    """Keeps the s-th moment through a layer that follows `_law`. Arguments: see `FracReLU`.

    A public class says what it is for: `class FracReLU(_FracInitializer, for_laws=[laws.ReLU()])`
    has one law; one for types of laws stores the law itself, as `_law`, in its constructor.
    """

    _law: laws.Law
    pairs: Any = None  # these two for pickles of 0.1, which lack them
    taps: Any = "all"

    def __init_subclass__(cls, for_laws: Sequence[laws.Law | type[laws.Law]] = ()) -> None:
        super().__init_subclass__()
        for law in for_laws:
            INITIALIZERS[law] = cls
            if isinstance(law, laws.Law):
                cls._law = law

    @_in_the_name_of_the_class
    def __init__(
        self,
        s: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "untruncated_normal",
        dropout: float = 0.0,
        method: str = "exact",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
        alpha: float | None = None,
        pairs: Any = None,
        taps: Any = "all",
    ) -> None:
        check_choice("mode", mode, MODES)
        check_weights(distribution, alpha)
        dropout = check_real("dropout", dropout)
        law = laws.Dropout(self._law, dropout) if dropout else self._law
        self.pairs, self.taps = check_pairs(pairs), check_taps(taps)
        if self.pairs is not None and self.pairs.on_outputs:
            law = pair_law_of(law, self.pairs.form)
        weights = law if alpha is None else stable.Stable(law, alpha)
        self.law, self.s = moments.checked(weights, s, method)
        input_axes, output_axes = check_axes(input_axes, output_axes)
        super().__init__(
            scale=1.0 / law.mean,  # the limit of the gain as the width grows
            mode=mode,
            seed=_check_seed(seed),
            input_axes=input_axes,
            output_axes=output_axes,
        )
        if seed is None:
            # Keras draws a seed here once and repeats it on every call, and EinsumDense copies it
            # into a clone: layers that share the instance would get equal kernels, and the theory
            # of independent layers would be void.
            self.seed = None
        self.distribution = distribution
        self.dropout = dropout
        self.method = method
        self.alpha = None if alpha is None else self.law.exponent

    def __call__(self, shape: Iterable[int], dtype: Any = None) -> Any:
        draw = self._draw_of(check_shape(shape))
        dtype, largest = _check_dtype(dtype)
        if draw.stddev > largest:
            width = draw.fans.width
            message = moments.overflow_message(self.law, self.s, width, "stddev", dtype)
            raise ValueError(message)
        if draw.ratio > ENORMOUS:
            name, width = type(self).__name__, draw.fans.width
            warn_of_enormous_weights(name, self.law, self.s, width, draw.ratio)
        return draw.sample(dtype, _fresh_seed() if self.seed is None else self.seed)

    def _draw_of(self, shape: tuple[int, ...]) -> Draw:
        """What a kernel of this shape is drawn with, by the present values of all attributes."""
        inputs, outputs = self.input_axes, self.output_axes
        return draw_of(
            self.law,
            self.s,
            self.method,
            self.mode,
            self.distribution,
            shape,
            None if inputs is None else tuple(inputs),
            None if outputs is None else tuple(outputs),
            self.pairs,
            self.taps,
        )

    def describe(self, shape: Iterable[int]) -> LayerScale:
        """The scale of a kernel of this shape, and the log-norm that its layer adds.

        The log-norm is that of `|y|/sqrt(d)` over `|x|/sqrt(n)` in mode "fan_in", and of `|y|` over
        `|x|/sqrt(receptive field)` in mode "fan_out". For "truncated_normal" and "uniform" it is
        the Gaussian one, which they approach as the layer widens.

        Args:
            shape: The shape of the kernel. It does not show the gates of a recurrent kernel: for an
                LSTM the width here is `4 * units`.

        Returns:
            An immutable record that prints as one line.

        Raises:
            ValueError: If the shape is unusable or the gain not finite, as when drawing.

        Example:

        >>> from keras_fracinit import FracReLU
        >>> print(FracReLU(s=1.0).describe((784, 64)))  # doctest: +NORMALIZE_WHITESPACE
        fan_in 784, fan_out 64, width 64: gain 2.03982, stddev 0.051008 = 1.00991 x He; log-norm
        per layer -0.01020 +- 0.14405
        """
        shape = check_shape(shape)
        draw = self._draw_of(shape)
        block, fans, gain = draw.block, draw.fans, draw.gain
        whole = fans_of(shape, self.input_axes, self.output_axes)
        mean, variance = moments.log_norm(self.law, self.s, fans.width, self.method)
        if self.distribution == "orthogonal":
            # |W x| is |x| |z_d|/|z_m|: the part of the norm of an m-vector of normals is taken out.
            norm = moments.log_norm(laws.Linear(), self.s, fans.longer, self.method)
            mean, variance = mean - norm.mean, variance - norm.variance
        # Plain kernels are their own block, and the last factor is 1.
        square = gain * self._law.mean * (getattr(whole, self.mode) / getattr(fans, self.mode))
        certain = self.law.is_certain and self.distribution == "orthogonal"
        return LayerScale(
            *whole,
            gain=gain,
            stddev=draw.stddev,
            ratio=math.sqrt(square) if self.alpha is None else math.nan,
            reference="LeCun" if self._law == laws.Linear() else "He",
            log_norm_mean=mean,
            log_norm_std=math.sqrt(max(variance, 0.0)),  # linear, square, orthogonal: 0 to rounding
            alpha=self.law.exponent,
            block=None if block.shape == shape else (fans.fan_in, fans.width),
            s_is_active=not (certain and fans.width >= fans.fan_in),
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **self._parameters_of(self._law),
            "s": self.s,
            "mode": self.mode,
            "distribution": self.distribution,
            "dropout": self.dropout,
            "method": self.method,
            "seed": super().get_config()["seed"],
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
            "alpha": self.alpha,
            "pairs": None if self.pairs is None else self.pairs.config,
            "taps": self.taps if isinstance(self.taps, str) else list(self.taps),
        }

    def __repr__(self) -> str:
        config = self.get_config() | {"seed": self.seed}
        usual = inspect.signature(_FracInitializer).parameters
        shown = [
            f"{name}={value!r}"
            for name, value in config.items()
            if name in ("s", "seed") or name not in usual or value != usual[name].default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    @classmethod
    def _parameters_of(cls, law: laws.Law) -> dict[str, Any]:
        """The arguments of the constructor that lead to a law: none if the class has only one."""
        return {} if hasattr(cls, "_law") else parameters_of(law)


# The initializer of a law, or of all laws of a type. Each class enters itself.
INITIALIZERS: dict[laws.Law | type[laws.Law], type[_FracInitializer]] = {}


def _check_dtype(dtype: Any) -> tuple[str, float]:
    """Gives the name of a floating-point type, and its largest number."""
    dtype = keras.config.floatx() if dtype is None else dtype
    if isinstance(dtype, str):
        return _float_type(dtype)
    return _float_type(str(keras.backend.standardize_dtype(dtype)))


@functools.cache
def _float_type(dtype: str) -> tuple[str, float]:
    name = str(keras.backend.standardize_dtype(dtype))
    if not keras.backend.is_float_dtype(name):
        raise ValueError(f"`dtype` must be a floating-point type. Received: dtype={dtype}")
    return name, float(ml_dtypes.finfo(name).max)


def _fresh_seed() -> int:
    """The seed of one draw, from Python's generator, which `keras.utils.set_random_seed` governs.

    It is `random.randint(1, 10**9)`, as in Keras, without its checks, which take longer.
    """
    while (number := random.getrandbits(30)) >= 10**9:
        pass
    return number + 1


def _check_seed(seed: Any) -> Any:
    if seed is None or isinstance(seed, dict | keras.random.SeedGenerator):
        return seed  # a dict is a SeedGenerator's configuration, read back by Keras
    return check_integer("seed", seed, 0, 2**32 - 1)  # the range that every backend accepts
