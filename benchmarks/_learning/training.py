"""Trains several nets at once: stacked weights, one compiled function for each kind of net.

On a processor about five nets to a stack are best: more fall out of the cache. On a GPU a step
takes as long for one net as for a hundred, so that all nets of a cell are trained at once.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from _learning.cells import Cell, Settings
from _learning.methods import METHODS, batches, initial_kernels
from _learning.networks import ACTIVATIONS, Network, forward, stacked
from _learning.tasks import Array, task

PROBE = 256  # training samples on which the score is followed
LOSS_SCALE = 1024.0  # of float16, whose small gradients would vanish
ROOM = 6e9  # bytes of a GPU's memory for one stack
Tree = Any  # a pytree of arrays


class Optimizer(NamedTuple):
    """An optimizer with Keras' arithmetic.

    Attributes:
        start: Parameters to state.
        update: Gradients, state, number of the step from 1 -> update before the rate, state.
        ladder: The learning rates to choose from; see `following_rates`.
        middle: The position of the second of the three rates that are always tried.
        keras: The same in Keras, to check against.
    """

    start: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Any], tuple[Tree, Tree]]
    ladder: tuple[float, ...]
    middle: int
    keras: Callable[[float], keras.optimizers.Optimizer]


def _adam(gradient: Tree, state: Tree, step: Any) -> tuple[Tree, Tree]:
    first = jax.tree.map(lambda m, g: m + (g - m) * (1.0 - 0.9), state[0], gradient)
    second = jax.tree.map(lambda v, g: v + (g * g - v) * (1.0 - 0.999), state[1], gradient)
    bias = jnp.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
    update = jax.tree.map(lambda m, v: bias * m / (jnp.sqrt(v) + 1e-7), first, second)
    return update, (first, second)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(
        lambda p: (),
        lambda g, state, _: (g, state),
        (1e-5, 3e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        6,
        keras.optimizers.SGD,
    ),
    "adam": Optimizer(
        lambda p: (jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p)),
        _adam,
        (1e-6, 3e-6, 1e-5, 3e-5, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
        6,
        keras.optimizers.Adam,
    ),
}


class Outcome(NamedTuple):
    """The outcome of a stack of nets, which is the last axis of the first two, else the first."""

    losses: Any  # of the batch of every step, before the step
    curve: Any  # training score on the probe at step 0 and after every `every` steps
    validation: Any  # scores
    test: Any
    finite: Any  # whether the outputs on both are finite
    parameters: Any  # see `networks.forward`


def _uniforms(network: Network, keys: Any, step: Any, batch: int) -> Any:
    """Draws layers x nets x samples x units, of 16 bits since drawing costs as much as matrices."""
    if ACTIVATIONS[network.activation].training is None:
        return None
    shape = (network.depth, batch, network.stages[0].units // 2)
    draw = jax.vmap(
        lambda key: jax.random.bits(jax.random.fold_in(key, step), shape, "uint32"), out_axes=1
    )
    pairs = draw(keys)  # two of a word, because JAX' own 16 bits cost a word each
    return jnp.concatenate([pairs >> 16, pairs & 0xFFFF], axis=-1).astype("float32") / 65536.0


def _losses(outputs: Any, targets: Any) -> Any:
    """Computes the mean loss of each net: cross-entropy of labels, else squares."""
    if jnp.issubdtype(targets.dtype, jnp.floating):
        return jnp.square(outputs - targets).mean(axis=(1, 2))
    log_p = jax.nn.log_softmax(outputs)
    return -jnp.take_along_axis(log_p, targets[..., None], axis=-1)[..., 0].mean(axis=1)


def _scores(outputs: Any, targets: Any) -> Any:
    """Computes the accuracy of each net, or the share of variance that it explains, at least 0."""
    if not jnp.issubdtype(targets.dtype, jnp.floating):
        return (outputs.argmax(axis=-1) == targets).mean(axis=1)
    errors = jnp.square(outputs - targets).sum(axis=(1, 2))
    return jnp.maximum(0.0, 1.0 - errors / jnp.square(targets - targets.mean(axis=0)).sum())


@functools.cache
def trainer(network: Network, optimizer: str) -> Callable[..., Outcome]:
    """Compiles `(parameters, slopes, rates, keys, order, train, probe, validation, test)`.

    `order` holds the samples of every step, looks x steps x nets x batch.
    """
    start, update, *_ = OPTIMIZERS[optimizer]
    scale = LOSS_SCALE if network.precision == "float16" else 1.0

    def loss(parameters: Tree, slopes: Any, x: Any, y: Any, uniforms: Any) -> tuple[Any, Any]:
        # The nets share nothing, so the gradient of the sum holds that of each.
        each = _losses(forward(network, parameters, x, slopes, uniforms), y)
        return scale * each.sum(), each

    def gradient_of(parameters: Tree, *arguments: Any) -> tuple[Tree, Any]:
        gradient, each = jax.grad(loss, has_aux=True)(parameters, *arguments)
        if scale == 1.0:
            return gradient, each
        # A net some of whose gradients are not finite leaves the step out, as in Keras.
        leaves = jax.tree.leaves(gradient)
        finite = functools.reduce(
            jnp.logical_and,
            [jnp.isfinite(g).all(axis=(0, *range(2, g.ndim))) for g in leaves],
        )

        def scaled(g: Any) -> Any:
            return jnp.where(finite.reshape(-1, *[1] * (g.ndim - 2)), g / scale, 0.0)

        return jax.tree.map(scaled, gradient), each

    def run(
        parameters: Tree, slopes: Any, rates: Any, keys: Any, order: Any, train: Any, *parts: Any
    ) -> Outcome:
        inputs, targets = train
        probe, validation, test = parts

        def one_step(carry: Tree, chosen: Any) -> tuple[Tree, Any]:
            parameters, state, step = carry
            uniforms = _uniforms(network, keys, step, chosen.shape[1])
            gradient, losses = gradient_of(
                parameters, slopes, inputs[chosen], targets[chosen], uniforms
            )
            change, state = update(gradient, state, (step + 1).astype(jnp.float32))
            parameters = jax.tree.map(
                lambda w, c: w - rates.reshape(-1, *[1] * (w.ndim - 2)) * c, parameters, change
            )
            return (parameters, state, step + 1), losses

        def score(parameters: Tree, part: Any) -> Any:
            return _scores(forward(network, parameters, part[0], slopes), part[1])

        def until_look(carry: Tree, order: Any) -> tuple[Tree, Any]:
            carry, losses = jax.lax.scan(one_step, carry, order)
            return carry, (losses, score(carry[0], probe))

        before = score(parameters, probe)
        carry = (parameters, start(parameters), jnp.int32(0))
        (parameters, *_), (losses, curve) = jax.lax.scan(until_look, carry, order)
        outputs = [forward(network, parameters, part[0], slopes) for part in (validation, test)]
        return Outcome(
            losses.reshape(-1, len(rates)),
            jnp.concatenate([before[None], curve]),
            _scores(outputs[0], validation[1]),
            _scores(outputs[1], test[1]),
            jnp.isfinite(outputs[0]).all(axis=(1, 2)) & jnp.isfinite(outputs[1]).all(axis=(1, 2)),
            parameters,
        )

    return jax.jit(run, donate_argnums=0)


def train(
    cell: Cell,
    kernels: list[Array],
    slopes: list[float],
    rates: list[float],
    seeds: list[int],
    settings: Settings,
) -> Outcome:
    """Trains a stack: for each net a slope, a rate, a seed and `kernels`, nets x shape."""
    data, network = task(cell.dataset), cell.network
    steps = [batches(seed, len(data.train[0]), settings.steps, settings.batch) for seed in seeds]
    order = np.stack(steps, axis=1).reshape(-1, settings.every, len(seeds), settings.batch)
    outcome = trainer(network, cell.optimizer)(
        stacked(network, kernels),
        jnp.array(slopes, jnp.float32),
        jnp.array(rates, jnp.float32),
        jax.vmap(jax.random.key)(jnp.array(seeds)),
        order,
        data.train,
        tuple(part[:PROBE] for part in data.train),
        data.validation,
        data.test,
    )
    return jax.block_until_ready(outcome)


def _records(cell: Cell, outcome: Outcome, every: int) -> list[dict[str, Any]]:
    """Makes the saved record of each net of a stack."""
    data = task(cell.dataset)
    records = []
    for net, finite in enumerate(np.asarray(outcome.finite)):
        curve = np.asarray(outcome.curve)[:, net]
        right = np.flatnonzero(curve >= (1.0 + data.chance) / 2.0)
        scores = {"validation": outcome.validation[net], "test": outcome.test[net]}
        records.append(
            {
                # A run that diverged counts as chance; argmax of nan would be arbitrary.
                **{k: round(float(v), 4) if finite else data.chance for k, v in scores.items()},
                "dead": bool(not finite or np.nanmax(curve) <= data.alive),
                "diverged": bool(not finite),
                "steps_to_half": int(right[0]) * every if len(right) else None,
            }
        )
    return records


# --- learning rates ------------------------------------------------------------------------------


def cautious(scores: list[float]) -> float:
    """The mean less one standard deviation: a rate with one bad run among five is a bad rate."""
    return float(np.mean(scores) - np.std(scores, ddof=1))


def best_rate(tried: dict[float, float]) -> float:
    """The smallest of the best, so that where all diverge the search goes down."""
    return max(sorted(tried), key=tried.__getitem__)


def following_rates(
    ladder: tuple[float, ...], middle: int, tried: dict[float, float]
) -> list[float]:
    """Lists the rates to try next: three in the middle, then the one beyond the best at an end.

    A rate that suits one method fails another: plain SGD wants 0.001 in a linear net from He, 0.1
    in a ReLU net from Xavier, and the deeper a net is the smaller its rates.
    """
    if not tried:
        return list(ladder[middle - 1 : middle + 2])
    at = ladder.index(best_rate(tried))
    return [ladder[i] for i in (at - 1, at + 1) if 0 <= i < len(ladder) and ladder[i] not in tried]


def _neighbours(ladder: tuple[float, ...], rates: list[float]) -> list[float]:
    """Adds the rates beside, which a GPU trains in the same time, before they are asked for."""
    near = {ladder.index(rate) + step for rate in rates for step in (-1, 0, 1)}
    return [ladder[i] for i in sorted(near) if 0 <= i < len(ladder)]


class Run(NamedTuple):
    method: str
    rate: float
    seed: int


def on_processor() -> bool:
    return jax.default_backend() == "cpu"


def stack_of(cell: Cell, settings: Settings) -> int:
    """The number of nets that are trained at once."""
    if on_processor():
        return settings.selection_seeds
    data, network = task(cell.dataset), cell.network
    windows = 9 if network.stages[0].convolves else 1
    units = cell.width * windows * network.positions
    signals = max(len(data.test[0]) * units * 2, 3 * settings.batch * units * cell.depth)
    return max(1, int(ROOM / (4.0 * (6 * network.weights + signals))))


def run_all(
    cell: Cell, runs: list[Run], kernels: dict[str, list[Array]], settings: Settings
) -> dict[Run, dict[str, Any]]:
    """Trains nets; `kernels` holds those of all seeds, in the order of `all_seeds`."""
    seeds, stack = all_seeds(settings), stack_of(cell, settings)
    found: dict[Run, dict[str, Any]] = {}
    for first in range(0, len(runs), stack):
        some = runs[first : first + stack]
        own = [
            np.stack([kernels[run.method][site][seeds.index(run.seed)] for run in some])
            for site in range(len(cell.network.sites))
        ]
        slopes = [METHODS[run.method].slope_in(cell.network) for run in some]
        outcome = train(cell, own, slopes, [r.rate for r in some], [r.seed for r in some], settings)
        found |= zip(some, _records(cell, outcome, settings.every), strict=True)
    return found


def all_seeds(settings: Settings) -> tuple[int, ...]:
    """The seeds from which the figures come, then those on which rates are chosen."""
    return (*range(settings.seeds), *range(1000, 1000 + settings.selection_seeds))


def run_methods(cell: Cell, names: list[str], settings: Settings) -> dict[str, dict[str, Any]]:
    """Runs methods in a cell: rates are chosen on some seeds, the figures come from others."""
    began, seeds = time.perf_counter(), all_seeds(settings)
    final, selection = seeds[: settings.seeds], seeds[settings.seeds :]
    inputs = task(cell.dataset).train[0]
    kernels = {name: initial_kernels(name, cell.network, seeds, inputs) for name in names}
    _, _, ladder, middle, _ = OPTIMIZERS[cell.optimizer]
    known: dict[Run, float] = {}
    tried: dict[str, dict[float, float]] = {name: {} for name in names}

    def wanted(name: str) -> list[float]:
        return [] if cell.rate else following_rates(ladder, middle, tried[name])

    while waiting := {name: rates for name in names if (rates := wanted(name))}:
        missing = [
            Run(name, rate, seed)
            for name, rates in waiting.items()
            for rate in (rates if on_processor() else _neighbours(ladder, rates))
            for seed in selection
            if Run(name, rate, seed) not in known
        ]
        known |= {
            run: r["validation"] for run, r in run_all(cell, missing, kernels, settings).items()
        }
        for name, rates in waiting.items():
            for rate in rates:
                tried[name][rate] = cautious([known[Run(name, rate, seed)] for seed in selection])
    best = {name: cell.rate or best_rate(tried[name]) for name in names}
    runs = [Run(name, best[name], seed) for name in names for seed in final]
    records = run_all(cell, runs, kernels, settings)
    spent = (time.perf_counter() - began) / len(names)
    results = {}
    for name in names:
        rows = [records[Run(name, best[name], seed)] for seed in final]
        results[name] = {
            "rate": best[name],
            "selection": {
                f"{rate:g}": [known[Run(name, rate, seed)] for seed in selection]
                for rate in sorted(tried[name])
            },
            **{key: [row[key] for row in rows] for key in rows[0]},
            "seconds": round(spent, 2),
            "device": jax.devices()[0].device_kind,
        }
    return results


def milliseconds(cell: Cell, settings: Settings) -> float:
    """Measures processor time per net and step, the least of two short runs after compiling."""
    short = replace(settings, steps=20, every=10)
    seeds = list(range(settings.selection_seeds))
    kernels = initial_kernels("ours s=1", cell.network, tuple(seeds), task(cell.dataset).train[0])
    size, times = len(seeds), []
    for _ in range(3):
        start = time.process_time()  # other processes do not count
        train(cell, kernels, [0.0] * size, [1e-5] * size, seeds, short)
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:]) / (short.steps * size)
