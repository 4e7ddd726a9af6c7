"""Plain networks on real digits: shared by `quickstart.py` and `deep_plain_network.py`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, NamedTuple

import _progress
import _quiet  # noqa: F401
import keras
import numpy as np
import numpy.typing as npt
from _progress import Display
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from keras_fracinit import MomentLogger

Array = npt.NDArray[Any]
layers = keras.layers

BATCH, TEST = 32, 360
WIDTH = 64
ORDER = 1.0  # of the moments that are watched during training
PROBE = 64  # images on which they are watched


class Setting(NamedTuple):
    """A network and how it is trained."""

    title: str
    shape: tuple[int, ...]
    depth: int
    rate: float
    optimizer: str
    epochs: int
    seeds: int


class Job(NamedTuple):
    """One training, in whatever process; `make` draws a network from a seed."""

    setting: Setting
    method: str
    make: Callable[[int], keras.Model]
    seed: int
    watched: bool


class Run(NamedTuple):
    """A training that is over."""

    method: str
    seed: int
    history: dict[str, list[float]]
    weights: list[Array]
    moments: Any  # the frame of MomentLogger, where the job was watched

    @property
    def accuracy(self) -> float:
        return self.history["val_accuracy"][-1]


class Report(NamedTuple):
    """The test accuracy of a run behind one more epoch."""

    setting: Setting
    method: str
    seed: int
    accuracy: float


@functools.cache
def digits(shape: tuple[int, ...]) -> tuple[Array, Array, Array, Array]:
    """Loads 8 x 8 images in [-1, 1] and labels: 1,437 for training and 360 for testing."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    x = (images[order] / 8.0 - 1.0).astype("float32").reshape(-1, *shape)
    y = labels[order]
    return x[TEST:], y[TEST:], x[:TEST], y[:TEST]


@functools.cache
def linear_accuracy() -> float:
    """Computes the test accuracy of logistic regression, the bar that a network has to pass."""
    x, y, x_test, y_test = digits((64,))
    return float(LogisticRegression(C=0.1, max_iter=1000).fit(x, y).score(x_test, y_test))


def network(setting: Setting, kernels: Any = "he_normal") -> keras.Model:
    """Builds a plain network: dense layers, or convolutions of 3 x 3 for images.

    `kernels` has an initializer for each hidden layer, or is a name, of which Keras makes a new
    instance for each layer: one instance with a seed would give all of them the same kernel.
    """
    stack: list[Any] = [keras.Input(setting.shape)]
    for i in range(setting.depth):
        kernel = kernels if isinstance(kernels, str) else kernels[i]
        options: dict[str, Any] = {"activation": "relu", "kernel_initializer": kernel}
        options["name"] = f"hidden_{i + 1}"  # the same in every process
        if len(setting.shape) == 1:
            stack.append(layers.Dense(WIDTH, **options))
        else:
            stack.append(layers.Conv2D(16, 3, padding="same", **options))
    if len(setting.shape) == 3:
        stack.append(layers.GlobalAveragePooling2D())
    head = layers.Dense(10, kernel_initializer="lecun_normal", name="logits")
    return keras.Sequential([*stack, head], name="digits")


def compile_for(setting: Setting, model: keras.Model) -> keras.Model:
    on_tensorflow = keras.backend.backend() == "tensorflow"
    model.compile(
        getattr(keras.optimizers, setting.optimizer)(setting.rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # One thread runs these small steps in a third of the time without XLA.
        jit_compile=False if on_tensorflow else "auto",
    )
    return model


@functools.cache
def _shared_model(shape: tuple[int, ...], depth: int, optimizer: str) -> keras.Model:
    """Builds the one model of all such runs in this process; each further one would be traced."""
    setting = Setting("", shape, depth, 0.001, optimizer, 1, 1)
    model = compile_for(setting, network(setting))
    x, y, _, _ = digits(shape)
    # A first fit takes a batch ahead of time to build the metrics, which on JAX and torch would
    # change the order of the images in the first run of every process.
    model.fit(x[:BATCH], y[:BATCH], batch_size=BATCH, verbose=0)
    return model


def train(job: Job) -> Run:
    """Trains from new weights. The result depends on the job alone, not on the process."""
    setting = job.setting
    x, y, x_test, y_test = digits(setting.shape)
    model = _shared_model(setting.shape, setting.depth, setting.optimizer)
    model.set_weights(job.make(job.seed).get_weights())
    for variable in model.optimizer.variables:
        variable.assign(keras.ops.zeros(variable.shape, variable.dtype))
    model.optimizer.learning_rate = setting.rate

    def tell(epoch: int, logs: dict[str, float]) -> None:
        _progress.report(Report(setting, job.method, job.seed, float(logs["val_accuracy"])))

    callbacks = [keras.callbacks.LambdaCallback(on_epoch_end=tell)]
    logger = MomentLogger(x_test[:PROBE], orders=(ORDER,))
    keras.utils.set_random_seed(job.seed)  # the order of the images depends on nothing else
    fitted = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=setting.epochs,
        validation_data=(x_test, y_test),
        validation_batch_size=TEST,
        callbacks=[*callbacks, logger] if job.watched else callbacks,
        verbose=0,
    )
    moments = logger.history if job.watched else None
    return Run(job.method, job.seed, fitted.history, model.get_weights(), moments)


def start(
    pool: ProcessPoolExecutor,
    display: Display,
    description: str,
    setting: Setting,
    makes: dict[str, Callable[[int], keras.Model]],
    first_seed: int = 0,
    watched: bool = False,
) -> list[Future[Run]]:
    """Starts a training for every method and seed; those of the first seed may be watched."""
    jobs = [
        Job(setting, method, make, seed, watched and seed == first_seed)
        for seed in range(first_seed, first_seed + setting.seeds)
        for method, make in makes.items()
    ]
    task = display.add_task(description, total=len(jobs))

    def show(run: Run) -> Run:
        display.step(task, f"{run.method}, seed {run.seed}: test accuracy {run.accuracy:.3f}")
        return run

    return [_then(pool.submit(train, job), show) for job in jobs]


def _then(future: Future[Run], action: Callable[[Run], Run]) -> Future[Run]:
    """Returns a future that is done once the action is, which a mere callback is not."""
    done: Future[Run] = Future()

    def finish(finished: Future[Run]) -> None:
        try:
            done.set_result(action(finished.result()))
        except BaseException as error:  # raised again by whoever waits
            done.set_exception(error)

    future.add_done_callback(finish)
    return done


def collect(futures: list[Future[Run]]) -> dict[str, list[Run]]:
    """Collects the results by method, in the order of the seeds."""
    runs: dict[str, list[Run]] = {}
    for future in futures:
        run = future.result()
        runs.setdefault(run.method, []).append(run)
    return runs
