"""Lists activations and networks: dense, convolutional, residual, autoencoders."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_fracinit import RandomizedLeakyReLU, laws
from keras_fracinit.laws import Smooth


@dataclass(frozen=True)
class Activation:
    """The activation of a hidden layer.

    Attributes:
        law: The law from which the gains of He and ours are computed.
        inference: The function without noise, of the pre-activations and of the slope of a leaky
            ReLU (which a method may choose; others ignore it).
        training: The same with noise: of the pre-activations and of uniform numbers in [0, 1), one
            for each. None if there is no noise.
        layers: The same in Keras, of the slope, to check against.
    """

    law: laws.Law
    inference: Callable[[Any, Any], Any]
    layers: Callable[[float], list[keras.layers.Layer]]
    training: Callable[[Any, Any], Any] | None = None


SLOPE, LOWER, UPPER, RATE = 0.1, 1 / 8, 1 / 3, 0.1


def _leaky(x: Any, slope: Any) -> Any:
    return jnp.where(x > 0, x, slope * x)


def _randomized(x: Any, uniform: Any) -> Any:
    return jnp.where(x >= 0, x, (LOWER + (UPPER - LOWER) * uniform) * x)


def _dropped(x: Any, uniform: Any) -> Any:
    return jnp.where(uniform < RATE, 0.0, jax.nn.relu(x) / (1.0 - RATE))


def _named(name: str, function: Callable[[Any], Any]) -> Activation:
    return Activation(
        Smooth(name), lambda x, _: function(x), lambda _: [keras.layers.Activation(name)]
    )


def _leaky_layers(slope: float) -> list[keras.layers.Layer]:
    return [keras.layers.LeakyReLU(negative_slope=slope)]


ACTIVATIONS: dict[str, Activation] = {
    "relu": Activation(laws.ReLU(), _leaky, _leaky_layers),
    "leaky": Activation(laws.LeakyReLU(SLOPE), _leaky, _leaky_layers),
    "leaky0.01": Activation(laws.LeakyReLU(0.01), _leaky, _leaky_layers),
    "linear": Activation(laws.Linear(), lambda x, _: x, lambda _: []),
    "rrelu": Activation(
        laws.RandomizedLeakyReLU(LOWER, UPPER),
        lambda x, _: _randomized(x, 0.5),
        lambda _: [RandomizedLeakyReLU(LOWER, UPPER)],
        _randomized,
    ),
    "dropout": Activation(
        laws.Dropout(laws.ReLU(), RATE),
        lambda x, _: jax.nn.relu(x),
        lambda _: [keras.layers.ReLU(), keras.layers.Dropout(RATE)],
        _dropped,
    ),
    "tanh": _named("tanh", jnp.tanh),
    "gelu": _named("gelu", functools.partial(jax.nn.gelu, approximate=False)),
    "silu": _named("silu", jax.nn.silu),
    "selu": _named("selu", jax.nn.selu),
}


def is_smooth(law: laws.Law) -> bool:
    """Whether a scale of the weights is right only at one size of the signal."""
    return isinstance(law, Smooth)


@dataclass(frozen=True)
class Stage:
    """Equal layers in a row, which are scanned over.

    Attributes:
        kind: "dense"; "conv", of 3 x 3 with padding; "block" and "conv block", `x + f(x)` of two
            such layers with twice the units between them. In front of "dense" the positions of a
            convolutional signal are averaged.
        count: The number of layers or blocks.
        inputs: Units or channels of the input.
        units: Units or channels of the output.
        active: Whether the activation follows (in a block it stands between the two).
    """

    kind: str
    count: int
    inputs: int
    units: int
    active: bool = True

    @property
    def convolves(self) -> bool:
        return self.kind.startswith("conv")

    @property
    def is_block(self) -> bool:
        return self.kind.endswith("block")

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Gives the shapes of the kernels of one layer or block."""
        window = (3, 3) if self.convolves else ()
        if self.is_block:
            hidden = 2 * self.units
            return [(*window, self.inputs, hidden), (*window, hidden, self.units)]
        return [(*window, self.inputs, self.units)]


class Site(NamedTuple):
    """A kernel of a network.

    Attributes:
        stage: The position of its stage.
        first: Whether its input is data, or a linear function of data.
        active: Whether the activation follows.
        last: Whether it makes the outputs of the network.
        closes: Whether its output is added to the skip path of a block.
        paired: Whether its input, in a mirrored network, is made of pairs.
    """

    shape: tuple[int, ...]
    stage: int
    first: bool
    active: bool
    last: bool
    closes: bool
    paired: bool


@dataclass(frozen=True)
class Network:
    """Stages of layers, the last of which makes logits or real outputs.

    Attributes:
        shape: The shape in which the first stage takes the inputs.
        precision: The type of the signal; parameters and losses are float32.
    """

    shape: tuple[int, ...]
    stages: tuple[Stage, ...]
    activation: str
    precision: str = "float32"

    @property
    def law(self) -> laws.Law:
        return ACTIVATIONS[self.activation].law

    @property
    def depth(self) -> int:
        """Counts the activations on the way."""
        return sum(s.count for s in self.stages if s.active)

    @property
    def weights(self) -> int:
        """Counts the numbers in all kernels."""
        return sum(math.prod(site.shape) for site in self.sites)

    @property
    def positions(self) -> int:
        """Counts the places at which the kernels of an image's network are applied; else 1."""
        return math.prod(self.shape[:2]) if self.stages[0].convolves else 1

    @functools.cached_property
    def sites(self) -> list[Site]:
        """Lists the kernels in the order in which they are applied."""
        sites: list[Site] = []
        met = paired = False
        for at, stage in enumerate(self.stages):
            last = at == len(self.stages) - 1
            for shape in stage.shapes * stage.count:
                closes = stage.is_block and shape[-2] > shape[-1]
                active = stage.active and not closes
                sites.append(Site(shape, at, not met, active, last, closes, paired))
                met, paired = met or active, active
        return sites


def _entry(kind: str, inputs: int) -> tuple[tuple[int, ...], int]:
    """The shape of the inputs, and their channels: convolutions see grey images."""
    side = math.isqrt(inputs)
    return ((side, side, 1), 1) if kind == "conv" else ((inputs,), inputs)


def plain(
    kind: str, inputs: int, outputs: int, depth: int, width: int, activation: str, **options: Any
) -> Network:
    """Layers of one kind, and outputs."""
    shape, channels = _entry(kind, inputs)
    stages = (
        Stage(kind, 1, channels, width),
        Stage(kind, depth - 1, width, width),
        Stage("dense", 1, width, outputs, active=False),
    )
    return Network(shape, stages, activation, **options)


def residual(
    kind: str, inputs: int, outputs: int, depth: int, width: int, activation: str
) -> Network:
    """A linear embedding, blocks `x + f(x)`, and outputs."""
    shape, channels = _entry(kind, inputs)
    stages = (
        Stage(kind, 1, channels, width, active=False),
        Stage("conv block" if kind == "conv" else "block", depth, width, width),
        Stage("dense", 1, width, outputs, active=False),
    )
    return Network(shape, stages, activation)


def autoencoder(
    inputs: int, outputs: int, depth: int, width: int, activation: str, bottleneck: int
) -> Network:
    """Half of the layers before and half of them behind a linear bottleneck."""
    half = depth // 2
    stages = (
        Stage("dense", 1, inputs, width),
        Stage("dense", half - 1, width, width),
        Stage("dense", 1, width, bottleneck, active=False),
        Stage("dense", 1, bottleneck, width),
        Stage("dense", half - 1, width, width),
        Stage("dense", 1, width, outputs, active=False),
    )
    return Network((inputs,), stages, activation)


FAMILIES: dict[str, Callable[..., Network]] = {
    "dense": functools.partial(plain, "dense"),
    "conv": functools.partial(plain, "conv"),
    "residual": functools.partial(residual, "dense"),
    "convresidual": functools.partial(residual, "conv"),
    "autoencoder": autoencoder,
}


# --- the forward pass of many networks at once ----------------------------------------------------


def _patches(x: Any) -> Any:
    """Gathers the 3 x 3 windows of zero-padded images: the last axis becomes 9 times as long."""
    high, wide = x.shape[-3:-1]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    windows = [padded[..., i : i + high, j : j + wide, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(windows, axis=-1)


def _linear(stage: Stage, x: Any, kernel: Any, bias: Any) -> Any:
    """Multiplies nets x samples x ... x inputs by one kernel for each net."""
    if stage.convolves:
        x = _patches(x)
        kernel = kernel.reshape(len(kernel), -1, kernel.shape[-1])
    flat = x.reshape(x.shape[0], -1, x.shape[-1]) @ kernel.astype(x.dtype)
    flat = flat + bias[:, None].astype(x.dtype)
    return flat.reshape(*x.shape[:-1], flat.shape[-1])


def _next(apply: Callable[..., Any], x: Any, layer: Any) -> tuple[Any, None]:
    return apply(x, layer), None


def forward(network: Network, parameters: Any, x: Any, slopes: Any, uniforms: Any = None) -> Any:
    """Computes outputs, nets x samples x outputs.

    Args:
        parameters: For each stage the kernels and biases of one layer, pairs of arrays whose first
            axes are the layers of the stage and the nets.
        x: Samples, one row each: common to all (rank 2) or nets x samples x inputs.
        slopes: The slope of leaky ReLU for each net.
        uniforms: Layers x nets x samples x units, for activations with noise.
    """
    activation = ACTIVATIONS[network.activation]

    def act(u: Any, uniform: Any) -> Any:
        if uniform is not None:
            return activation.training(u, uniform)  # type: ignore[misc]
        return activation.inference(u, slopes.reshape(-1, *[1] * (u.ndim - 1)).astype(u.dtype))

    def one_layer(stage: Stage, x: Any, layer: Any) -> Any:
        pairs, uniform = layer
        y = _linear(stage, x, *pairs[0])
        if stage.active:
            y = act(y, uniform)
        return x + _linear(stage, y, *pairs[1]) if stage.is_block else y

    nets = len(slopes)
    x = jnp.broadcast_to(x, (nets, *x.shape[-2:])).astype(network.precision)
    x = x.reshape(*x.shape[:2], *network.shape)
    done = 0
    for stage, layers in zip(network.stages, parameters, strict=True):
        if not stage.convolves and x.ndim > 3:
            x = x.mean(axis=(2, 3))
        part = None if uniforms is None or not stage.active else uniforms[done : done + stage.count]
        done += stage.count if stage.active else 0
        apply = functools.partial(one_layer, stage)
        if stage.convolves:
            apply = jax.checkpoint(apply)  # windows are nine times as large as the signal
        if stage.count == 1:
            x = apply(x, jax.tree.map(lambda leaf: leaf[0], (layers, part)))
        elif stage.count > 1:
            x, _ = jax.lax.scan(functools.partial(_next, apply), x, (layers, part))
    return x.astype("float32")


def stacked(network: Network, kernels: list[Any]) -> Any:
    """Arranges the kernels of the sites, nets x shape, as parameters with biases of zero."""
    parameters: list[Any] = []
    for at, stage in enumerate(network.stages):
        own = [k for k, site in zip(kernels, network.sites, strict=True) if site.stage == at]
        of_layer = len(stage.shapes)
        arrays = [jnp.asarray(np.stack(own[i::of_layer])) for i in range(of_layer if own else 0)]
        parameters.append([(k, jnp.zeros((*k.shape[:2], k.shape[-1]))) for k in arrays])
    return parameters
