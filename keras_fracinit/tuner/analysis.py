"""Collects the executions of a search in a table, and trains the reference at s = 2."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras_tuner

from keras_fracinit.tuner.execution import Execution
from keras_fracinit.tuner.hypermodel import FracInitHyperModel
from keras_fracinit.tuner.scores import COMPLETED, score_of
from keras_fracinit.utils.validation import check_several

if TYPE_CHECKING:
    import pandas as pd


REFERENCE = "reference"  # the trial of `reference`, in the results


def results(tuner: Any) -> pd.DataFrame:
    """Reads all executions of a search into a table, one row each.

    They are read from the folder of the search, so any process that shares the folder may call
    this, during the search and after it.

    Args:
        tuner: The tuner.

    Returns:
        A frame with the columns trial (its id; "reference" for those of `reference`), execution, a
        column for each hyperparameter (with " (hp)" after its name where that is taken; empty for
        an order that no kernel of the model has), seed (empty where nothing was drawn), score (the
        objective at its best epoch, the mean of such a list as `fit` may return, or the penalty
        that the search was given where it is not finite), status ("completed", "diverged",
        "collapsed", "failed"), and of the log-norm slope_initial and slope_final, its slope over
        depth in nats per layer before and after training, spread_initial and spread_final, its
        standard deviation over samples in the last layer. A trial without such records (its build
        failed, or its hypermodel is no `FracInitHyperModel`) has one row with the mean score.
        `attrs` holds the "objective" and its "direction".

    Raises:
        TypeError: If `tuner` is no tuner, such as the folder of one.

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

    _check_tuner(tuner)
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

    A search never tries the default by itself, so only this comparison shows what tuning s gained.
    Where a `FracInitHyperModel` tunes `mirrored`, the reference is not mirrored.

    Args:
        tuner: The tuner, after its search.
        *fit_args: The positional arguments that `search` was given.
        orders: The names of the hyperparameters to set to 2. Those of a `FracInitHyperModel` by
            default, and otherwise "s".
        **fit_kwargs: The named arguments that `search` was given.

    Returns:
        The rows of `results` for these executions. They stay in `results`; another call replaces
        them.

    Raises:
        TypeError: If `tuner` is no tuner.
        ValueError: If no trial was completed, or the names are not among its hyperparameters.
    """
    _check_tuner(tuner)
    best = next((t for t in tuner.oracle.get_best_trials(1) if t.status == "COMPLETED"), None)
    if best is None:
        raise ValueError("`tuner` must have completed a trial. Received: a search that has none")
    hp = best.hyperparameters.copy()
    if orders is None and isinstance(tuner.hypermodel, FracInitHyperModel):
        orders = tuner.hypermodel.set_default(hp)
    for name in check_several("orders", ["s"] if orders is None else orders):
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
            score = score_of(outcome, objective)
            Execution(REFERENCE, number, dict(hp.values), None, score, COMPLETED).save(folder)
    frame = results(tuner)
    return frame[frame["trial"] == REFERENCE]


def _check_tuner(tuner: Any) -> None:
    if not isinstance(tuner, keras_tuner.engine.base_tuner.BaseTuner):
        raise TypeError(
            "`tuner` must be a tuner of KerasTuner; one that is made with the `directory` and "
            "`project_name` of an earlier search, and `overwrite=False`, reads that search. "
            f"Received: tuner={tuner!r} (of type {type(tuner)})"
        )


def _of_trial(folder: Path) -> list[dict[str, Any]]:
    """Makes the row of a trial of which only KerasTuner's own file exists."""
    path = folder / "trial.json"
    if not path.exists():
        return []
    trial = json.loads(path.read_text())
    row = {"trial": trial["trial_id"], "values": trial["hyperparameters"]["values"]}
    return [{**row, "score": trial["score"], "status": trial["status"].lower()}]
