"""Checks the training against Keras' own `fit`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from _learning.cells import Cell, Settings
from _learning.methods import METHODS, batches, initial_kernels
from _learning.networks import ACTIVATIONS, Network, Stage
from _learning.tasks import Array, task
from _learning.training import OPTIMIZERS, Tree, train


def keras_model(cell: Cell, rate: float) -> keras.Model:
    """The network of a cell in plain Keras, compiled."""
    network, data = cell.network, task(cell.dataset)
    slope = METHODS["He"].slope_in(network)
    inputs = signal = keras.Input((data.inputs,))
    if len(network.shape) == 3:
        signal = keras.layers.Reshape(network.shape)(signal)

    def linear(stage: Stage, units: int, x: Any) -> Any:
        if stage.convolves:
            return keras.layers.Conv2D(units, 3, padding="same")(x)
        x = keras.layers.GlobalAveragePooling2D()(x) if x.ndim == 4 else x
        return keras.layers.Dense(units)(x)

    def act(x: Any) -> Any:
        for layer in ACTIVATIONS[cell.activation].layers(slope):
            x = layer(x)
        return x

    for stage in network.stages:
        for _ in range(stage.count):
            first, *rest = (shape[-1] for shape in stage.shapes)
            y = linear(stage, first, signal)
            y = act(y) if stage.active else y
            signal = keras.layers.Add()([signal, linear(stage, rest[0], y)]) if rest else y
    model = keras.Model(inputs, signal)
    loss = (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        if data.classes
        else keras.losses.MeanSquaredError()
    )
    model.compile(OPTIMIZERS[cell.optimizer].keras(rate), loss)
    return model


def _in_order(network: Network, parameters: Tree, net: int) -> list[Array]:
    """Lists kernels and biases of a net in the order of the sites."""
    return [
        np.asarray(part[layer, net])
        for stage, pairs in zip(network.stages, parameters, strict=True)
        for layer in range(stage.count)
        for pair in pairs
        for part in pair
    ]


def check(cell: Cell, method: str, steps: int = 60) -> dict[str, float]:
    """Computes the largest relative differences from Keras' own `fit` on the same batches."""
    settings, data = Settings(steps=steps, every=steps // 2), task(cell.dataset)
    seeds, net = (3, 4), 1  # two nets, of which the second is checked
    kernels = initial_kernels(method, cell.network, seeds, data.train[0])
    optimizer = OPTIMIZERS[cell.optimizer]
    rate = optimizer.ladder[optimizer.middle]
    slope = METHODS[method].slope_in(cell.network)
    ours = train(cell, kernels, [slope] * 2, [rate] * 2, list(seeds), settings)

    model = keras_model(cell, rate)
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
    trained, theirs = _in_order(cell.network, ours.parameters, net), model.get_weights()
    distance = max(np.abs(a - b).max() for a, b in zip(trained, theirs, strict=True))
    moved = max(np.abs(a - b).max() for a, b in zip(weights, theirs, strict=True))
    return {
        "losses": float(np.max(np.abs(running / np.array(means) - 1.0))),
        "weights, of what they moved": float(distance / moved),
    }
