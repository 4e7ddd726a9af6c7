"""Lists the methods of initialization that are compared, as tables.

The kernel of the outputs starts from Keras' default whatever the method, since hidden layers are
compared; mirrored networks end with half of it, and its negative.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from _lsuv import unit_output

from _learning.draws import (
    KERNELS,
    ORDER,
    OUTPUTS,
    Draw,
    Method,
    each,
    fan_in,
    glorot,
    he,
    of_order,
    orthogonal,
    scaled,
    truncated,
    uniform,
)
from _learning.networks import ACTIVATIONS, Network, is_smooth
from _learning.smooth import smooth_of_order, stable
from _learning.structures import (
    delta_orthogonal,
    isometric,
    mirrored,
    normal_block,
    orthogonal_block,
    zero_branches,
    zero_one,
)
from _learning.tasks import Array
from keras_fracinit import laws
from keras_fracinit.propagation import slope_for


def _bare(law: laws.Law) -> laws.Law:
    """Removes the dropout, which the formulas of others leave out."""
    return law.law if isinstance(law, laws.Dropout) else law


def random_walk(law: laws.Law, n: int, d: int) -> float:
    """The scale of Sussillo and Abbott, arXiv 1412.6558, as the authors compare with it."""
    growth = 1.0 / (2.0 * n) if law == laws.Linear() else 1.2 / (n - 2.4)
    return math.exp(growth) / math.sqrt(_bare(law).mean * n)


def _leaky_variance(n: int, s: float, slope: float) -> float:
    a2 = slope**2
    second = (2.0 - s) * ((5.0 * s - 24.0) * a2 + 10.0) / (2.0 * (s + 2.0) * a2 + 4.0)
    return 2.0 / ((1.0 + a2) * n) + second / n**2


# The variances as the authors print them, with the fan-in in the place of the width and to first
# order in the squared slope, at the orders of their own experiments.
AUTHORS: dict[type[laws.Law], Callable[[Any, int], float]] = {
    laws.ReLU: lambda law, n: 2.0 / n + 5.0 * (2.0 - 0.8) / (2.0 * n**2),
    laws.Linear: lambda law, n: 1.0 / n + (2.0 - 1.0) / (2.0 * n**2),
    laws.LeakyReLU: lambda law, n: _leaky_variance(n, 1.0, law.negative_slope),
}


def authors(law: laws.Law, n: int, d: int) -> float:
    """The scale of Gurbuzbalaban and Hu, arXiv 2005.11878."""
    return math.sqrt(AUTHORS[type(_bare(law))](_bare(law), n))


def _lsuv(draw: Draw) -> list[Array]:
    """Gives every layer's output variance 1 on one batch, in inference mode."""
    signal, result = draw.inputs[None], []
    for normals in draw.normals:
        kernel, output = unit_output(signal, normals)
        result.append(kernel)
        signal = np.asarray(ACTIVATIONS[draw.network.activation].inference(output, np.zeros(1)))
    return result


def slope_to(cosine: float) -> Callable[[Network], float]:
    return lambda network: slope_for(network.depth, cosine)


def _is_relu(law: laws.Law) -> bool:
    return law == laws.ReLU()


# --- the tables ----------------------------------------------------------------------------------

KERAS: dict[str, Method] = {
    # Whatever follows a kernel, as the name of an initializer in every layer does.
    "He (Keras)": each(
        lambda draw, site, z: (
            truncated(z) * math.sqrt(1.0 / (_bare(draw.law).mean * fan_in(site.shape)))
        )
    ),
    "Xavier": each(lambda draw, site, z: uniform(z) * glorot(site.shape)),
    "orthogonal": each(lambda draw, site, z: orthogonal(z) / math.sqrt(_bare(draw.law).mean)),
}
OURS = {f"ours s={s:g}": scaled(of_order(s)) for s in (0.0, 0.5, 1.0, 1.5)}
CURES: dict[str, Method] = {
    "mirrored": mirrored(orthogonal_block),
    **{f"mirrored s={s:g}": mirrored(normal_block(s)) for s in (0.0, 0.5, 1.0, 2.0)},
    **{
        f"slope {eta:g}": KERAS["orthogonal"]._replace(slope=slope_to(eta), knows=_is_relu)
        for eta in (0.9, 0.7)
    },
    **{f"slope {eta:g} s=2": scaled(he, slope=slope_to(eta), knows=_is_relu) for eta in (0.9, 0.7)},
    "mirrored slope 0.9": mirrored(orthogonal_block, slope=slope_to(0.9), knows=_is_relu),
}
METHODS: dict[str, Method] = {
    "He (Keras)": KERAS["He (Keras)"],
    "He": scaled(he),
    "Xavier": KERAS["Xavier"],
    "random walk": scaled(random_walk),
    "authors": scaled(authors, knows=lambda law: type(_bare(law)) in AUTHORS),
    "orthogonal": KERAS["orthogonal"],
    "LSUV": Method(_lsuv),
    "ZerO": each(zero_one),
    **OURS,
    **CURES,
    # convolutional
    "delta-orthogonal": each(delta_orthogonal),
    "mirrored center": mirrored(orthogonal_block, taps="center"),
    "mirrored center s=2": mirrored(normal_block(2.0), taps="center"),
    # residual
    "zero": each(zero_branches),
    "isometry": Method(isometric, knows=lambda law: law.pair is not None),
    # smooth
    "LeCun": each(lambda draw, site, z: z / math.sqrt(fan_in(site.shape))),
    "He sqrt2": each(lambda draw, site, z: z * math.sqrt(2.0 / fan_in(site.shape))),
    "orthogonal 1": each(lambda draw, site, z: orthogonal(z)),
    **{f"smooth s={s:g}": smooth_of_order(s) for s in (0.0, 1.0, 2.0)},
    "gradient s=1": smooth_of_order(1.0, signal=0.0),
    "geometric s=1": smooth_of_order(1.0, signal=0.5),
    **{f"stable {alpha:g}": stable(alpha) for alpha in (1.8, 1.5, 1.2)},
}
# What "s tuned" chooses from. He is ours at s = 2, to the last bit.
ORDERS = {0.0: "ours s=0", 0.5: "ours s=0.5", 1.0: "ours s=1", 1.5: "ours s=1.5", 2.0: "He"}
TUNED = "s tuned"


def reference(activation: str) -> str:
    """Names the method that differences are taken from: Keras' default, or its advice for SELU."""
    if not is_smooth(ACTIVATIONS[activation].law):
        return "He (Keras)"
    return "LeCun" if activation == "selu" else "Xavier"


# --- kernels and batches from a seed -------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _normals(network: Network, seeds: tuple[int, ...]) -> tuple[list[Array], Array]:
    def draw(stream: int, shape: tuple[int, ...]) -> Array:
        draws = [np.random.default_rng([seed, stream]) for seed in seeds]
        return np.stack([rng.standard_normal(shape, dtype="float32") for rng in draws])

    *hidden, last = (site.shape for site in network.sites)
    kernels = [draw(KERNELS + at, shape) for at, shape in enumerate(hidden)]
    return kernels, np.float32(glorot(last)) * uniform(draw(OUTPUTS, last))


def initial_kernels(
    name: str, network: Network, seeds: tuple[int, ...], inputs: Array
) -> list[Array]:
    """Draws the kernels of all sites, seeds x shape. `inputs` are those of the task."""
    hidden, outputs = _normals(network, seeds)
    method = METHODS[name]
    if method.mirrored:
        half = outputs[:, : outputs.shape[1] // 2]
        outputs = np.concatenate([half, -half], axis=1)
    return [
        *method.kernels(Draw(hidden, network, method.law(network), inputs[:256], seeds)),
        outputs,
    ]


def batches(seed: int, samples: int, steps: int, batch: int) -> Array:
    """Orders the samples: whole epochs, each in a new order, without the incomplete batch."""
    rng, per_epoch = np.random.default_rng([seed, ORDER]), samples // batch
    epochs = [rng.permutation(samples)[: per_epoch * batch] for _ in range(-(-steps // per_epoch))]
    return np.concatenate(epochs).reshape(-1, batch)[:steps].astype("int32")
