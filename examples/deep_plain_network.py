"""Train 50 plain ReLU layers on real digits from He, orthogonal and mirrored weights.

    python examples/deep_plain_network.py           # a minute on one core
    python examples/deep_plain_network.py --conv    # 30 convolutional layers, a minute too

No normalization, no skip connections. The three networks differ in their first weights alone; the
order of the images, the optimizer and its rate are the same. Mirrored weights are drawn into the
model as it is, by `reinitialize(model, mirrored=True)`.

The rate of SGD, 0.003, is the one that suits the other two: of 0.001, 0.003, 0.01, 0.03 and 0.1,
each tried with two other seeds, it is the best for orthogonal weights and among the two best for
HeNormal. Mirrored weights train at the first three, best at 0.01, and are unstable at 0.03; none
trains at 0.1. For convolutions it is 0.0003 with Adam: of 0.0003, 0.001 and 0.003 the only one at
which the others leave chance.

The digits are nearly linearly separable, and a linear model is printed beside the networks: the
example shows which of these networks can be trained at all, and no more than that.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import _quiet  # noqa: F401
import keras
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from keras_fracinit import reinitialize

Array = npt.NDArray[Any]
layers = keras.layers
console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)

BATCH, TEST = 32, 360
# Okabe and Ito's colours.
METHODS = {"HeNormal": "#D55E00", "orthogonal": "#E69F00", "mirrored": "#0072B2"}


class Setting(NamedTuple):
    """A network and how it is trained."""

    title: str
    shape: tuple[int, ...]
    depth: int
    rate: float
    optimizer: str
    epochs: int
    seeds: int


DENSE = Setting("50 ReLU layers of 64 units", (64,), 50, 0.003, "SGD", 12, 3)
CONV = Setting("30 convolutions, 3 x 3, 16 channels", (8, 8, 1), 30, 0.0003, "Adam", 4, 2)


def network(setting: Setting, method: str, seed: int) -> keras.Model:
    """Builds a plain network and draws its weights."""
    keras.utils.set_random_seed(seed)  # initializers without a seed draw afresh
    hidden: Any = "he_normal"
    if method == "orthogonal":
        hidden = [keras.initializers.Orthogonal(2**0.5, seed + i) for i in range(setting.depth)]
    stack: list[Any] = [keras.Input(setting.shape)]
    for i in range(setting.depth):
        kernel = hidden if isinstance(hidden, str) else hidden[i]
        options: dict[str, Any] = {"activation": "relu", "kernel_initializer": kernel}
        if len(setting.shape) == 1:
            stack.append(layers.Dense(64, **options))
        else:
            stack.append(layers.Conv2D(16, 3, padding="same", **options))
    if len(setting.shape) == 3:
        stack.append(layers.GlobalAveragePooling2D())
    model = keras.Sequential([*stack, layers.Dense(10, kernel_initializer="lecun_normal")])
    if method == "mirrored":
        reinitialize(model, mirrored=True, seed=seed)
    return model


def digits(setting: Setting) -> tuple[Array, Array, Array, Array]:
    """Loads images in [-1, 1] and labels, for training and for testing."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = (images[order] / 8.0 - 1.0).astype("float32").reshape(-1, *setting.shape)
    y = labels[order]
    return x[TEST:], y[TEST:], x[:TEST], y[:TEST]


def train(model: keras.Model, setting: Setting, method: str, seed: int, data: Any) -> Any:
    """Trains the one compiled model from new weights; returns its history."""
    x, y, x_test, y_test = data
    model.set_weights(network(setting, method, seed).get_weights())
    for variable in model.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(keras.ops.zeros_like(variable))
    keras.utils.set_random_seed(seed)  # the order of the images
    fitted = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=setting.epochs,
        validation_data=(x_test, y_test),
        validation_batch_size=TEST,
        verbose=0,
    )
    return fitted.history


def compiled(setting: Setting, data: Any) -> keras.Model:
    """Builds the model that all runs share, since each further one would be compiled anew."""
    model = network(setting, "HeNormal", 0)
    model.compile(
        getattr(keras.optimizers, setting.optimizer)(setting.rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # one thread runs these small steps in a third of the time without XLA
    )
    model.fit(data[0][:BATCH], data[1][:BATCH], batch_size=BATCH, verbose=0)
    return model


def draw(runs: dict[str, list[Any]], setting: Setting, linear: float, path: Path) -> None:
    figure = Figure(figsize=(9.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for method, colour in METHODS.items():
        for history in runs[method]:
            epochs = np.arange(1, len(history["loss"]) + 1)
            label = method if history is runs[method][0] else None
            left.plot(epochs, history["loss"], color=colour, label=label)
            right.plot(epochs, history["val_accuracy"], color=colour, label=label)
    left.set(xlabel="epoch", ylabel="training loss (cross-entropy)", ylim=(0.0, 2.6))
    left.axhline(np.log(10.0), color="0.5", linestyle=":")
    right.set(xlabel="epoch", ylabel="test accuracy", ylim=(0.0, 1.02))
    right.axhline(linear, color="0.5", linestyle="--", label="a linear model")
    right.axhline(0.1, color="0.5", linestyle=":", label="chance")
    right.legend(frameon=False, fontsize=9, loc=(0.03, 0.42))
    figure.suptitle(
        f"{setting.title} on 1,437 digits: {setting.optimizer}, rate {setting.rate:g}, "
        f"one line for each seed",
        fontsize=11,
    )
    figure.savefig(path, dpi=120)


def show(runs: dict[str, list[Any]], linear: float) -> None:
    count = len(next(iter(runs.values())))
    table = Table(title=f"Test accuracy on {TEST} digits, {count} seed{'s' * (count > 1)}")
    table.add_column("weights")
    for column in ("mean", "worst", "training loss", "epochs to half the loss of chance"):
        table.add_column(column, justify="right")
    for method, histories in runs.items():
        test = [history["val_accuracy"][-1] for history in histories]
        loss = np.mean([history["loss"][-1] for history in histories])
        half = 0.5 * np.log(10.0)
        first = [int(np.argmax(np.array(h["loss"]) < half)) + 1 for h in histories]
        reached = all(min(h["loss"]) < half for h in histories)
        epochs = f"{np.mean(first):.1f}" if reached else "not in every run"
        table.add_row(method, f"{np.mean(test):.3f}", f"{min(test):.3f}", f"{loss:.3f}", epochs)
    table.add_row("a linear model", f"{linear:.3f}", "", "", "")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    conv = "30 convolutional layers of 16 channels; measured: 58 s of processor time (dense: 59 s)"
    parser.add_argument("--conv", action="store_true", help=conv)
    parser.add_argument("--short", action="store_true", help="one seed, two epochs")
    parser.add_argument("--seeds", type=int, help="runs from each kind of weights")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float, help="the rate of the optimizer")
    parser.add_argument("--optimizer", choices=("SGD", "Adam"))
    parser.add_argument("--output", type=Path, default=Path("output"), help="directory, created")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    setting = CONV if arguments.conv else DENSE
    if arguments.short:
        setting = setting._replace(seeds=1, epochs=2)
    asked = ("seeds", "epochs", "rate", "optimizer")
    setting = setting._replace(**{k: v for k in asked if (v := getattr(arguments, k)) is not None})
    data = digits(setting)
    flat = [x.reshape(len(x), -1) for x in data]
    linear = LogisticRegression(C=0.1, max_iter=1000).fit(flat[0], data[1])
    accuracy = float(linear.score(flat[2], data[3]))
    console.print(
        f"network   {setting.title}, no normalization, no skip connections\n"
        f"training  {setting.optimizer}, rate {setting.rate:g}, {setting.epochs} epochs of "
        f"{-(-len(data[0]) // BATCH)} batches of {BATCH}, {keras.backend.backend()}"
    )
    model, runs = compiled(setting, data), {method: [] for method in METHODS}
    for seed in range(arguments.first_seed, arguments.first_seed + setting.seeds):
        for method in METHODS:
            history = train(model, setting, method, seed, data)
            runs[method].append(history)
            console.print(
                f"{time.perf_counter() - begin:5.0f} s   {method}, seed {seed}: training loss "
                f"{history['loss'][-1]:.3f}, test accuracy {history['val_accuracy'][-1]:.3f}"
            )
    show(runs, accuracy)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"deep_plain_network{'_conv' if arguments.conv else ''}.png"
    draw(runs, setting, accuracy, path)
    used = os.times()
    console.print(
        f"picture   {path}\ntime      {time.perf_counter() - begin:.0f} s, "
        f"{used.user + used.system:.0f} s of processor"
    )


if __name__ == "__main__":
    main()
