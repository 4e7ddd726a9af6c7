"""Times an epoch of Keras' own `fit`, from our weights and from He's."""

from __future__ import annotations

import statistics
import time
from typing import Any

import keras
import numpy as np
from _networks import BATCH, CLASSES, INPUTS, NETWORKS, WIDTH, load_digits

from keras_fracinit import initializer_for

EPOCHS, ROUNDS = 10, 20
NETWORK = NETWORKS["relu"]


def _model(initializer: Any) -> keras.Model:
    widths = [*[WIDTH] * NETWORK.depth, CLASSES]
    layers = [
        keras.layers.Dense(width, activation="relu", kernel_initializer=initializer)
        for width in widths
    ]
    model = keras.Sequential([keras.Input((INPUTS,)), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(NETWORK.rate), loss)
    return model


def time_epochs() -> dict[str, Any]:
    """Times epochs in alternation, so that other work on the machine slows both alike.

    Returns:
        Medians over rounds of the seconds that a model takes to be built and of those of an epoch,
        ours and He's, and the ratios of neighbouring epochs.
    """
    x, y = load_digits()[0]
    initializers = {"He": "he_normal", "ours": initializer_for("relu", NETWORK.s)}
    _model("he_normal")  # whatever the backend compiles for the first model
    built: dict[str, list[float]] = {name: [] for name in initializers}
    for _ in range(3):
        for name, initializer in initializers.items():
            begin = time.perf_counter()
            _model(initializer)
            built[name].append(time.perf_counter() - begin)
    models = {name: _model(initializer) for name, initializer in initializers.items()}
    for model in models.values():
        model.fit(x, y, batch_size=BATCH, verbose=0)  # compiles
    epochs: dict[str, list[float]] = {name: [] for name in models}
    for number in range(ROUNDS):
        for name in sorted(models, reverse=bool(number % 2)):
            begin = time.perf_counter()
            models[name].fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
            epochs[name].append((time.perf_counter() - begin) / EPOCHS)
    ratios = np.divide(epochs["ours"], epochs["He"])
    return {
        "backend": f"{keras.backend.backend()}, Keras {keras.__version__}",
        "build_seconds": {name: round(statistics.median(v), 4) for name, v in built.items()},
        "epoch_seconds": {name: round(statistics.median(v), 4) for name, v in epochs.items()},
        "ratios": np.round(ratios, 4).tolist(),
    }
