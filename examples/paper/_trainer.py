"""Trains several networks at once by plain SGD in JAX, with the arithmetic of Keras' `fit`."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _networks import (
    CLASSES,
    Array,
    Network,
    batches,
    initial_biases,
    initial_kernels,
    load_digits,
)

EVERY = 70  # steps between two looks at the test accuracy; a divisor of 14,070
LEFT_CHANCE = 0.2  # a network whose accuracy never exceeds it "never left chance"
Tree = Any  # a pytree of arrays


class Outcome(NamedTuple):
    """The outcome of a stack of networks, which is the first axis of every array.

    Attributes:
        curve: Test accuracy at step 0 and after every `EVERY` steps.
        loss: Loss of the last minibatch, before the step on it.
        finite: Whether the loss and, in the end, the logits are finite.
        parameters: Pairs of kernel and bias.
    """

    curve: Any
    loss: Any
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
    loss_and_gradient = jax.value_and_grad(functools.partial(_loss, slope))

    def one(parameters: Tree, order: Any) -> Outcome:
        def step(parameters: Tree, chosen: Any) -> tuple[Tree, Any]:
            loss, gradient = loss_and_gradient(parameters, train[0][chosen], train[1][chosen])
            return jax.tree.map(lambda w, g: w - rate * g, parameters, gradient), loss

        def accuracy(parameters: Tree) -> Any:
            return (forward(slope, parameters, test[0]).argmax(axis=1) == test[1]).mean()

        def until_look(parameters: Tree, order: Any) -> tuple[Tree, Any]:
            parameters, losses = jax.lax.scan(step, parameters, order)
            return parameters, (accuracy(parameters), losses[-1])

        before = accuracy(parameters)
        parameters, (curve, losses) = jax.lax.scan(until_look, parameters, order)
        finite = jnp.isfinite(forward(slope, parameters, test[0])).all() & jnp.isfinite(losses[-1])
        return Outcome(jnp.concatenate([before[None], curve]), losses[-1], finite, parameters)

    return jax.vmap(one)(parameters, order)


def train(network: Network, kernels: list[Array], seeds: list[int], steps: int) -> Outcome:
    digits, test = load_digits()
    biases = initial_biases(network, seeds)
    parameters = [(jnp.array(k), jnp.array(b)) for k, b in zip(kernels, biases, strict=True)]
    order = np.stack([batches(seed, len(digits[0]), steps) for seed in seeds])
    shape = (len(seeds), steps // EVERY, EVERY, -1)
    outcome = _train(network.slope, network.rate, parameters, order.reshape(shape), digits, test)
    return jax.block_until_ready(outcome)


def records(network: Network, method: str, seeds: list[int], steps: int) -> list[dict[str, Any]]:
    """Makes the saved record of each network."""
    outcome = train(network, initial_kernels(network, method, seeds), seeds, steps)
    rows = []
    for curve, loss, finite in zip(*map(np.asarray, outcome[:3]), strict=True):
        right = np.flatnonzero(curve >= 0.5)
        # A network that diverged counts as chance; argmax of nan would be arbitrary, a mean nan.
        rows.append(
            {
                "accuracy": round(float(curve[-1]), 4) if finite else 1.0 / CLASSES,
                "loss": round(float(loss) if finite else math.log(CLASSES), 4),
                "left_chance": bool(curve.max() > LEFT_CHANCE),
                "diverged": not bool(finite),
                "steps_to_half": int(right[0]) * EVERY if right.size else None,
            }
        )
    return rows
