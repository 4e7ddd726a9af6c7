"""Trains several nets at once: stacked weights, one compiled function for each kind of net.

The layers are unrolled, not scanned over: XLA compiles 40 of them in half a second, and the scan
costs a third more time per step. About five nets to a stack is best: more fall out of the cache.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import keras
import numpy as np

from _learning.methods import batches, initial_kernels
from _learning.networks import ACTIVATIONS, CLASSES, DATASETS, Array, Cell, Network

PROBE = 256  # training images on which the accuracy is followed
LEFT_CHANCE = 0.2  # a run whose training accuracy never exceeds it is dead
Tree = Any  # a pytree of arrays


@dataclass(frozen=True)
class Settings:
    """The settings that all runs of a grid share, and the numbers of runs."""

    steps: int = 1000
    batch: int = 32  # 64 costs 1.7 times as much per step
    every: int = 50  # steps between two looks at the training accuracy
    seeds: int = 20
    selection_seeds: int = 5
    stack: int = 5  # nets trained at once; divides both counts of seeds


class Optimizer(NamedTuple):
    """An optimizer with Keras' arithmetic.

    Attributes:
        start: Parameters to state.
        update: Gradients, state, number of the step from 1 -> update before the rate, state.
        ladder: The learning rates to choose from; see `choose_rate`.
        keras: The same in Keras, to check against.
    """

    start: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Any], tuple[Tree, Tree]]
    ladder: tuple[float, ...]
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
        (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        keras.optimizers.SGD,
    ),
    "adam": Optimizer(
        lambda p: (jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p)),
        _adam,
        (0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03),
        keras.optimizers.Adam,
    ),
}


class Outcome(NamedTuple):
    """The outcome of a stack of nets, the last axis of the first two arrays, else the first."""

    losses: Any  # of the batch of every step, before the step
    curve: Any  # training accuracy on the probe at step 0 and after every `every` steps
    predictions: Any  # classes of the held-out images
    finite: Any  # whether the logits of all of them are finite
    parameters: Any  # pairs of kernel and bias


def forward(network: Network, parameters: Tree, x: Any, uniforms: Any = None) -> Any:
    """Computes logits, nets x images x classes, of images common to all (rank 2) or per net."""
    activation = ACTIVATIONS[network.activation]
    *hidden, (last, last_bias) = parameters
    for layer, (kernel, bias) in enumerate(hidden):
        x = x @ kernel + bias[:, None]
        if uniforms is None or activation.training is None:
            x = activation.inference(x)
        else:
            x = activation.training(x, uniforms[:, layer])
    return x @ last + last_bias[:, None]


def _uniforms(network: Network, keys: Any, step: Any, batch: int) -> Any:
    """Draws nets x layers x images x units, of 16 bits since drawing costs as much as matrices."""
    if ACTIVATIONS[network.activation].training is None:
        return None
    shape = (network.depth, batch, network.width // 2)
    draw = jax.vmap(lambda key: jax.random.bits(jax.random.fold_in(key, step), shape, "uint32"))
    pairs = draw(keys)  # two of a word, because JAX' own 16 bits cost a word each
    return jnp.concatenate([pairs >> 16, pairs & 0xFFFF], axis=-1).astype("float32") / 65536.0


def _loss(network: Network, parameters: Tree, x: Any, y: Any, uniforms: Any) -> tuple[Any, Any]:
    """Sums the losses: the nets share nothing, so the gradient of the sum holds that of each."""
    log_p = jax.nn.log_softmax(forward(network, parameters, x, uniforms))
    each = -jnp.take_along_axis(log_p, y[..., None], axis=-1)[..., 0].mean(axis=1)
    return each.sum(), each


@functools.cache
def trainer(network: Network, optimizer: str) -> Callable[..., Outcome]:
    """Compiles `(parameters, rates, keys, order, train, probe, held_out) -> Outcome`.

    `order` holds the images of every step, looks x steps x nets x batch.
    """
    start, update, *_ = OPTIMIZERS[optimizer]
    gradient_of = jax.grad(functools.partial(_loss, network), has_aux=True)

    def run(
        parameters: Tree, rates: Any, keys: Any, order: Any, train: Any, probe: Any, held_out: Any
    ) -> Outcome:
        images, labels = train

        def one_step(carry: Tree, chosen: Any) -> tuple[Tree, Any]:
            parameters, state, step = carry
            uniforms = _uniforms(network, keys, step, chosen.shape[1])
            gradient, losses = gradient_of(parameters, images[chosen], labels[chosen], uniforms)
            change, state = update(gradient, state, (step + 1).astype(jnp.float32))
            parameters = jax.tree.map(
                lambda w, c: w - rates.reshape(-1, *[1] * (w.ndim - 1)) * c, parameters, change
            )
            return (parameters, state, step + 1), losses

        def accuracy(parameters: Tree) -> Any:
            logits = forward(network, parameters, probe[0])
            return (logits.argmax(axis=-1) == probe[1]).mean(axis=1)

        def until_look(carry: Tree, order: Any) -> tuple[Tree, Any]:
            carry, losses = jax.lax.scan(one_step, carry, order)
            return carry, (losses, accuracy(carry[0]))

        before = accuracy(parameters)
        carry = (parameters, start(parameters), jnp.int32(0))
        (parameters, *_), (losses, curve) = jax.lax.scan(until_look, carry, order)
        logits = forward(network, parameters, held_out)
        return Outcome(
            losses.reshape(-1, len(rates)),
            jnp.concatenate([before[None], curve]),
            logits.argmax(axis=-1),
            jnp.isfinite(logits).all(axis=(1, 2)),
            parameters,
        )

    return jax.jit(run, donate_argnums=0)


def train(
    cell: Cell, kernels: list[Array], rates: list[float], seeds: tuple[int, ...], settings: Settings
) -> Outcome:
    """Trains a stack: for each net a rate, a seed and `kernels`, nets x fan-in x fan-out."""
    data = DATASETS[cell.dataset]()
    parameters = [(jnp.array(k), jnp.zeros((len(k), k.shape[-1]))) for k in kernels]
    count = len(data.train[0])
    steps = [batches(seed, count, settings.steps, settings.batch) for seed in seeds]
    order = np.stack(steps, axis=1).reshape(-1, settings.every, len(seeds), settings.batch)
    outcome = trainer(cell.network, cell.optimizer)(
        parameters,
        jnp.array(rates, jnp.float32),
        jax.vmap(jax.random.key)(jnp.array(seeds)),
        order,
        data.train,
        tuple(part[:PROBE] for part in data.train),
        np.concatenate([data.validation[0], data.test[0]]),
    )
    return jax.block_until_ready(outcome)


def _records(cell: Cell, outcome: Outcome, every: int) -> list[dict[str, Any]]:
    """Makes the saved record of each net of a stack."""
    data = DATASETS[cell.dataset]()
    split = len(data.validation[0])
    predictions = np.asarray(outcome.predictions)
    records = []
    for net, finite in enumerate(np.asarray(outcome.finite)):
        curve = np.asarray(outcome.curve)[:, net]
        right = np.flatnonzero(curve >= 0.5)
        accuracies = {
            "validation": np.mean(predictions[net, :split] == data.validation[1]),
            "test": np.mean(predictions[net, split:] == data.test[1]),
        }
        records.append(
            {
                # A run that diverged counts as chance; argmax of nan would be arbitrary.
                **{k: round(float(v), 4) if finite else 1 / CLASSES for k, v in accuracies.items()},
                "dead": bool(not finite or curve.max() <= LEFT_CHANCE),
                "diverged": bool(not finite),
                "steps_to_half": int(right[0]) * every if len(right) else None,
            }
        )
    return records


def choose_rate(ladder: tuple[float, ...], score: Callable[[float], float]) -> float:
    """Chooses the best of the three middle rates, and of further ones while the best is at an end.

    A rate that suits one method fails another: plain SGD wants 0.001 in a linear net from He, 0.1
    in a ReLU net from Xavier. Among equals it is the smallest, so that where all diverge the search
    goes down.
    """
    low = (len(ladder) - 3) // 2
    high = low + 2
    scores = {at: score(ladder[at]) for at in range(low, high + 1)}
    while True:
        best = max(sorted(scores), key=scores.__getitem__)
        following = best - 1 if best == min(scores) else best + 1
        if following in scores or not 0 <= following < len(ladder):
            return ladder[best]
        scores[following] = score(ladder[following])


def run_method(cell: Cell, method: str, settings: Settings) -> dict[str, Any]:
    """Runs a method in a cell: the rate is chosen on some seeds, the figures come from others."""
    began, stack = time.perf_counter(), settings.stack
    final = tuple(range(settings.seeds))
    selection = tuple(range(1000, 1000 + settings.selection_seeds))
    images = DATASETS[cell.dataset]().train[0]
    kernels = initial_kernels(method, cell.network, final + selection, images)

    def run(first: int, seeds: tuple[int, ...], rate: float) -> list[dict[str, Any]]:
        records = []
        for start in range(0, len(seeds), stack):
            some = seeds[start : start + stack]
            part = [kernel[first + start :][: len(some)] for kernel in kernels]
            outcome = train(cell, part, [rate] * len(some), some, settings)
            records += _records(cell, outcome, settings.every)
        return records

    tried: dict[float, list[float]] = {}

    def score(rate: float) -> float:
        tried[rate] = [record["validation"] for record in run(len(final), selection, rate)]
        return float(np.mean(tried[rate]))

    best = choose_rate(OPTIMIZERS[cell.optimizer].ladder, score)
    records = run(0, final, best)
    return {
        "rate": best,
        "selection": {f"{rate:g}": tried[rate] for rate in sorted(tried)},
        **{key: [record[key] for record in records] for key in records[0]},
        "seconds": round(time.perf_counter() - began, 2),
    }


def _keras_model(cell: Cell, rate: float) -> keras.Model:
    layers = [keras.Input((cell.network.inputs,))]
    for _ in range(cell.depth):
        layers += [keras.layers.Dense(cell.width), *ACTIVATIONS[cell.activation].layers()]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[cell.optimizer].keras(rate), loss)
    return model


def check(cell: Cell, method: str, steps: int = 60) -> dict[str, float]:
    """Computes the largest relative differences from Keras' own `fit` on the same batches."""
    settings, data = Settings(steps=steps, every=steps // 2), DATASETS[cell.dataset]()
    seeds, net = (3, 4), 1  # two nets, of which the second is checked
    kernels = initial_kernels(method, cell.network, seeds, data.train[0])
    rate = OPTIMIZERS[cell.optimizer].ladder[3]
    ours = train(cell, kernels, [rate, rate], seeds, settings)

    model = _keras_model(cell, rate)
    weights = [part for k in kernels for part in (k[net], np.zeros(k.shape[-1]))]
    model.set_weights(weights)
    means: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: means.append(logs["loss"])
    )
    order = batches(seeds[net], len(data.train[0]), steps, settings.batch).reshape(-1)
    x, y = (part[order] for part in data.train)
    model.fit(x, y, batch_size=settings.batch, shuffle=False, verbose=0, callbacks=[note])

    # Keras reports the mean over the steps so far.
    running = np.cumsum(ours.losses[:, net]) / np.arange(1, steps + 1)
    trained = [part[net] for pair in ours.parameters for part in pair]
    theirs = model.get_weights()
    distance = max(np.abs(a - b).max() for a, b in zip(trained, theirs, strict=True))
    moved = max(np.abs(a - b).max() for a, b in zip(weights, theirs, strict=True))
    return {
        "losses": float(np.max(np.abs(running / np.array(means) - 1.0))),
        "weights, of what they moved": float(distance / moved),
    }


def milliseconds(cell: Cell, settings: Settings) -> float:
    """Measures processor time per net and step, the least of three short runs after compiling."""
    short = Settings(**{**asdict(settings), "steps": 2 * settings.every})
    seeds = tuple(range(settings.stack))
    kernels = initial_kernels("He", cell.network, seeds, DATASETS[cell.dataset]().train[0])
    rates, times = [0.001] * len(seeds), []
    for _ in range(4):
        start = time.process_time()  # other processes do not count
        train(cell, kernels, rates, seeds, short)
        times.append(time.process_time() - start)
    return 1e3 * min(times[1:]) / (short.steps * len(seeds))
