"""Trains several networks at once by plain SGD in JAX, with the arithmetic of Keras' `fit`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _networks import CLASSES, Array, Network, batches, initial_kernels, load_digits

EVERY = 70  # steps between two looks at the test accuracy; a divisor of 14,070
LEFT_CHANCE = 0.2  # a network whose accuracy never exceeds it "never left chance"
Tree = Any  # a pytree of arrays


class Outcome(NamedTuple):
    """The outcome of a stack of networks, which is the first axis of every array.

    Attributes:
        curve: Test accuracy at step 0 and after every `EVERY` steps.
        finite: Whether the logits are finite in the end.
        parameters: Pairs of kernel and bias.
    """

    curve: Any
    finite: Any
    parameters: Tree


def forward(slope: float, parameters: Tree, x: Any) -> Any:
    """Computes logits. The derivative at 0, where dead units are, is the one from below."""
    for kernel, bias in parameters:
        x = x @ kernel + bias
        x = jnp.where(x > 0.0, x, slope * x)
    return x


def _loss(slope: float, parameters: Tree, x: Any, y: Any) -> Any:
    log_p = jax.nn.log_softmax(forward(slope, parameters, x))
    return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()


@functools.partial(jax.jit, static_argnames="slope")
def _train(
    slope: float, rate: float, parameters: Tree, order: Any, train: Any, test: Any
) -> Outcome:
    """Trains; `order` has the images of every step, networks x looks x steps x batch."""
    gradient_of = jax.grad(functools.partial(_loss, slope))

    def one(parameters: Tree, order: Any) -> Outcome:
        def step(parameters: Tree, chosen: Any) -> tuple[Tree, None]:
            gradient = gradient_of(parameters, train[0][chosen], train[1][chosen])
            return jax.tree.map(lambda w, g: w - rate * g, parameters, gradient), None

        def accuracy(parameters: Tree) -> Any:
            return (forward(slope, parameters, test[0]).argmax(axis=1) == test[1]).mean()

        def until_look(parameters: Tree, order: Any) -> tuple[Tree, Any]:
            parameters, _ = jax.lax.scan(step, parameters, order)
            return parameters, accuracy(parameters)

        before = accuracy(parameters)
        parameters, curve = jax.lax.scan(until_look, parameters, order)
        finite = jnp.isfinite(forward(slope, parameters, test[0])).all()
        return Outcome(jnp.concatenate([before[None], curve]), finite, parameters)

    return jax.vmap(one)(parameters, order)


def train(network: Network, kernels: list[Array], seeds: list[int], steps: int) -> Outcome:
    digits, test = load_digits()
    parameters = [(jnp.array(k), jnp.zeros((len(k), k.shape[-1]))) for k in kernels]
    order = np.stack([batches(seed, len(digits[0]), steps) for seed in seeds])
    shape = (len(seeds), steps // EVERY, EVERY, -1)
    outcome = _train(network.slope, network.rate, parameters, order.reshape(shape), digits, test)
    return jax.block_until_ready(outcome)


def records(network: Network, method: str, seeds: list[int], steps: int) -> list[dict[str, Any]]:
    """Makes the saved record of each network."""
    outcome = train(network, initial_kernels(network, method, seeds), seeds, steps)
    rows = []
    for curve, finite in zip(*map(np.asarray, outcome[:2]), strict=True):
        right = np.flatnonzero(curve >= 0.5)
        # A network that diverged counts as chance; argmax of nan would be arbitrary.
        rows.append(
            {
                "accuracy": round(float(curve[-1]), 4) if finite else 1.0 / CLASSES,
                "left_chance": bool(curve.max() > LEFT_CHANCE),
                "diverged": not bool(finite),
                "steps_to_half": int(right[0]) * EVERY if right.size else None,
            }
        )
    return rows
