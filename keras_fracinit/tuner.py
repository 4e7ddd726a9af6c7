"""The order s as a hyperparameter of KerasTuner: in a build function of your own, or in any other.

A search is only as good as its worst habit, and KerasTuner has some: it takes an infinite loss for
a perfect one, ends after three diverged trials in a row, forgets all but the mean of the executions
of a trial and never runs the default. `FracInitHyperModel` and `reference` see to that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import keras_tuner
from keras import optimizers

from keras_fracinit._hypermodel import FracInitHyperModel
from keras_fracinit._resuming import resumable
from keras_fracinit._search_space import frac_initializer, order
from keras_fracinit._trials import COMPLETED, Execution, epochs_of, score_of
from keras_fracinit._validation import check_integer, check_real, check_several, check_type
from keras_fracinit.activations import law_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FracInitHyperModel",
    "FracMLP",
    "frac_initializer",
    "order",
    "reference",
    "results",
    "resumable",
]

REFERENCE = "reference"  # the trial of `reference`, in the results
_LARGEST = 2**31 - 1


class FracMLP(FracInitHyperModel):
    """A hypermodel of multilayer perceptrons for tabular and flattened data, ready to be searched.

    `depth` hidden layers of `width` units with the same activation and a dense output layer, under
    plain Keras; depth, width, activation, the order s of all layers and the learning rate are
    hyperparameters of these names. The kernels are drawn from normal distributions. Inputs of any
    shape are flattened.

    Args:
        units: The number of outputs.
        loss: A loss, as for `keras.Model.compile`.
        metrics: Names of metrics, as for `keras.Model.compile`.
        depth: The number of hidden layers, or its range `(low, high)`.
        width: The number of units of each, or its range, sampled by its logarithm.
        activation: A name that `keras_fracinit.initializer_for` knows, or several to choose from.
        learning_rate: A number, or its range, sampled by its logarithm.
        optimizer: The name of an optimizer.
        output_activation: The name of the activation after the last layer. None by default: the
            outputs are logits, of which the loss has to know.
        **options: Further arguments of `FracInitHyperModel`, by name.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If an argument is out of range.

    Example:

    >>> import keras_tuner
    >>> from keras_fracinit.tuner import FracMLP
    >>> hypermodel = FracMLP(1, "mse", depth=(2, 8), width=16)
    >>> hp = keras_tuner.HyperParameters()
    >>> model = hypermodel.build(hp)
    >>> hp.values
    {'depth': 2, 'activation': 'relu', 'learning_rate': 0.0001, 's': 2.0}
    """

    def __init__(
        self,
        units: int,
        loss: Any,
        metrics: Sequence[str] = (),
        *,
        depth: int | Sequence[int] = (2, 20),
        width: int | Sequence[int] = (16, 256),
        activation: str | Sequence[str] = ("relu", "leaky_relu"),
        learning_rate: float | Sequence[float] = (1e-4, 1e-1),
        optimizer: str = "adam",
        output_activation: str | None = None,
        **options: Any,
    ) -> None:
        units = check_integer("units", units, 1, _LARGEST)
        depths = _range("depth", depth, partial(check_integer, low=1, high=_LARGEST))
        widths = _range("width", width, partial(check_integer, low=1, high=_LARGEST))
        rates = _range("learning_rate", learning_rate, _check_positive)
        several = [activation] if isinstance(activation, str) else activation
        names = [check_type("activation", a, str) for a in check_several("activation", several)]
        for name in names:
            law_of(name)  # which knows it, or says so
        optimizers.get(check_type("optimizer", optimizer, str))

        def build(hp: Any) -> keras.Model:
            depth = _choose(hp.Int, "depth", depths)
            width = _choose(hp.Int, "width", widths, sampling="log")
            activation = hp.Choice("activation", names) if len(names) > 1 else names[0]
            hidden = [_dense(width, activation) for _ in range(depth)]
            output = _dense(units, output_activation)
            model = keras.Sequential([keras.layers.Flatten(), *hidden, output])
            chosen = optimizers.get(optimizer)
            chosen.learning_rate = _choose(hp.Float, "learning_rate", rates, sampling="log")
            model.compile(chosen, loss, metrics=list(metrics))
            return model

        super().__init__(build, **options)


def results(tuner: Any) -> pd.DataFrame:
    """All executions of a search, one row each.

    They are read from the folder of the search, so any process that shares it may ask, while the
    search runs and after it.

    Args:
        tuner: The tuner.

    Returns:
        A frame with the columns trial (its id; "reference" for those of `reference`), execution, a
        column for each hyperparameter (with " (hp)" after its name where that is taken), seed,
        score (the objective, at its best epoch; where it is no number, the finite one that the
        search was given instead), status ("completed", "diverged", "collapsed", "failed"), and of
        the log-norm slope_initial and slope_final, its slope over depth in nats per layer before
        and after training, spread_initial and spread_final, its standard deviation over samples in
        the last layer. A trial without such records, because its build failed or its hypermodel is
        no `FracInitHyperModel`, has one row with the mean score. `attrs` holds the "objective" and
        its "direction".

    Example:

    >>> import keras_tuner, numpy as np, tempfile
    >>> from keras_fracinit.tuner import FracMLP, results
    >>> x, y = np.random.default_rng(0).normal(size=(2, 64, 4))
    >>> search = keras_tuner.RandomSearch(
    ...     FracMLP(1, "mse", depth=2, width=4, seed=0),
    ...     objective="loss",
    ...     max_trials=2,
    ...     executions_per_trial=2,
    ...     directory=tempfile.mkdtemp(),
    ... )
    >>> search.search(x, y[:, :1], verbose=0)
    >>> frame = results(search)
    >>> frame[["trial", "execution", "status"]].values.tolist()
    [['0', 0, 'completed'], ['0', 1, 'completed'], ['1', 0, 'completed'], ['1', 1, 'completed']]
    """
    import pandas as pd

    records: list[dict[str, Any]] = []
    for folder in sorted(Path(tuner.project_dir).glob("trial_*")):
        files = sorted(folder.glob("execution_*.json"), key=lambda path: (len(path.name), path))
        records += [json.loads(path.read_text()) for path in files] or _of_trial(folder)
    frame = pd.DataFrame(records, columns=[field.name for field in fields(Execution)])
    frame = frame.drop(columns="message").astype({"execution": "Int64", "seed": "Int64"})
    values = pd.DataFrame(frame.pop("values").tolist(), index=frame.index)
    values = values.rename(columns=lambda name: f"{name} (hp)" if name in frame else name)
    joined = pd.concat([frame.iloc[:, :2], values, frame.iloc[:, 2:]], axis=1)
    objective = tuner.oracle.objective
    joined.attrs.update(objective=objective.name, direction=objective.direction)
    return joined


def reference(
    tuner: Any, *fit_args: Any, orders: Sequence[str] | None = None, **fit_kwargs: Any
) -> pd.DataFrame:
    """Trains the best trial's other hyperparameters at s = 2, with as many executions.

    A search never tries the default by itself, so without this nobody knows what s was worth.

    Args:
        tuner: The tuner, after its search.
        *fit_args: What was given to `search`.
        orders: The names of the hyperparameters to set to 2. Those of a `FracInitHyperModel` by
            default, and otherwise "s".
        **fit_kwargs: What was given to `search`, by name.

    Returns:
        The rows of `results` about it, where they remain; if there were some already they are
        replaced.

    Raises:
        ValueError: If no trial was completed, or the names are not among its hyperparameters.
    """
    best = next((t for t in tuner.oracle.get_best_trials(1) if t.status == "COMPLETED"), None)
    if best is None:
        raise ValueError("`tuner` must have completed a trial. Received: a search that has none")
    hp = best.hyperparameters.copy()
    if orders is None:
        known = isinstance(tuner.hypermodel, FracInitHyperModel)
        orders = tuner.hypermodel.orders(hp) if known else ["s"]
    for name in check_several("orders", orders):
        if name not in hp.values:
            raise ValueError(
                f"`orders` must name hyperparameters, which are {', '.join(hp.values)}. "
                f"Received: {name!r}"
            )
        hp.values[name] = 2.0
    # Hyperband goes on from the weights of an earlier trial, which had another s.
    hp.values.pop("tuner/trial_id", None)
    if "tuner/initial_epoch" in hp.values:
        hp.values["tuner/initial_epoch"] = 0
    trial = keras_tuner.engine.trial.Trial(hp, REFERENCE, "RUNNING")
    outcomes = tuner.run_trial(trial, *fit_args, **fit_kwargs)
    objective, folder = tuner.oracle.objective, tuner.get_trial_dir(REFERENCE)
    if not isinstance(tuner.hypermodel, FracInitHyperModel):
        for number, outcome in enumerate(outcomes):
            score = score_of(epochs_of(outcome, objective), objective)
            Execution(REFERENCE, number, dict(hp.values), None, score, COMPLETED).save(folder)
    frame = results(tuner)
    return frame[frame["trial"] == REFERENCE]


def _of_trial(folder: Path) -> list[dict[str, Any]]:
    """A trial of which there is no more than what KerasTuner keeps."""
    path = folder / "trial.json"
    if not path.exists():
        return []
    trial = json.loads(path.read_text())
    row = {"trial": trial["trial_id"], "values": trial["hyperparameters"]["values"]}
    return [{**row, "score": trial["score"], "status": trial["status"].lower()}]


def _check_positive(name: str, value: Any) -> float:
    number = check_real(name, value)
    if number <= 0.0:
        raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
    return number


def _range(name: str, value: Any, check: Callable[..., Any]) -> tuple[Any, Any]:
    """A number, or the two ends of a range."""
    ends = list(value) if isinstance(value, Sequence) else [value, value]
    if len(ends) != 2:
        raise ValueError(f"`{name}` must be a number or a pair. Received: {name}={value}")
    low, high = (check(name, end) for end in ends)
    if low > high:
        raise ValueError(f"`{name}` must be a range (low, high). Received: {name}={value}")
    return low, high


def _choose(parameter: Callable[..., Any], name: str, ends: tuple[Any, Any], **options: Any) -> Any:
    low, high = ends
    return low if low == high else parameter(name, low, high, **options)


def _dense(units: int, activation: str | None) -> keras.layers.Layer:
    """Scaled for the case that no law is known for what follows; otherwise it is drawn anew."""
    lecun = keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal")
    return keras.layers.Dense(units, activation, kernel_initializer=lecun)
