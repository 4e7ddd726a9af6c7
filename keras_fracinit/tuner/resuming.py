"""Lets a search continue after its process was killed at any moment, without losing a trial.

KerasTuner can continue a search, but not always. It finds its folder only once a first trial has
ended. It empties a file before it writes it again. The state of one trial and the state of all
trials are two files, written one after the other, and the second lists a trial that has just ended
as running. `GridSearch` does not save its position in the grid.
"""

from __future__ import annotations

import json
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import keras_tuner

from keras_fracinit.utils.files import write_whole
from keras_fracinit.utils.validation import check_type

_JOURNAL = "journal.json"


def resumable(tuner: Any) -> Any:
    """Makes a search continue the work of earlier processes, even if they were killed.

    Call it before `search`, each time the script runs, on a tuner made with `overwrite=False`.
    Trials that ended stay as they are; trials that were running start again with the same
    hyperparameters; then the search continues. One process or several may have begun it. From then
    on, files that belong together are written as a whole.

    Args:
        tuner: A `keras_tuner.Tuner` of any kind, whose folder is on a local or shared disk.

    Returns:
        The same tuner.

    Raises:
        TypeError: If `tuner` is no tuner.

    Example:

    >>> import keras_tuner, numpy as np, tempfile
    >>> from keras_fracinit.tuner import FracMLP, resumable
    >>> x, y = np.random.default_rng(0).normal(size=(2, 64, 4))
    >>> folder = tempfile.mkdtemp()
    >>> for trials in (1, 2):  # or the same script, run twice
    ...     mlp = FracMLP(1, "mse", depth=2, width=4)
    ...     options = {"objective": "loss", "max_trials": trials, "directory": folder}
    ...     search = resumable(keras_tuner.RandomSearch(mlp, **options))
    ...     print("trials so far:", len(search.oracle.trials))
    ...     search.search(x, y[:, :1], verbose=0)
    trials so far: 0
    Reloading Tuner from ...
    trials so far: 1
    """
    check_type("tuner", tuner, keras_tuner.engine.base_tuner.BaseTuner)
    oracle, folder = tuner.oracle, Path(tuner.project_dir)
    # A worker of a distributed search has a proxy of the chief's oracle.
    chief = isinstance(oracle, keras_tuner.Oracle)
    if chief:
        _recover(oracle, folder)
        _write_as_a_whole(oracle, folder)

    def save() -> None:
        if chief:
            oracle.save()
        write_whole(folder / f"{tuner.tuner_id}.json", json.dumps(tuner.get_state()))

    tuner.save = save
    tuner.save()
    return tuner


def _write_as_a_whole(oracle: Any, folder: Path) -> None:
    """Replaces the two methods with which an oracle writes its files."""
    pending: dict[str, str] = {}

    def save_trial(trial: Any) -> None:
        """Holds the trial back until the oracle, which must agree with it, is saved too."""
        pending[f"trial_{trial.trial_id}/trial.json"] = json.dumps(trial.get_state())

    def save() -> None:
        state, trials = oracle.get_state(), oracle.trials
        # The oracle drops a trial that has ended from these only after saving, so a process that
        # continues would run it once more.
        state["ongoing_trials"] = {
            tuner: trial
            for tuner, trial in state["ongoing_trials"].items()
            if trials[trial].status == "RUNNING"
        }
        pending["oracle.json"] = json.dumps(state)
        write_whole(folder / _JOURNAL, json.dumps(pending))
        _replay(folder)
        pending.clear()

    oracle.save, oracle._save_trial = save, save_trial


def _replay(folder: Path) -> None:
    """Writes the files that the journal holds. A killed replay is simply repeated."""
    journal = folder / _JOURNAL
    for name, text in json.loads(journal.read_text()).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_whole(path, text)
    journal.unlink()


def _recover(oracle: Any, folder: Path) -> None:
    if (folder / _JOURNAL).exists():
        _replay(folder)
    if (folder / "oracle.json").exists():
        oracle.reload()
    if isinstance(oracle, keras_tuner.oracles.GridSearchOracle):
        _order_grid(oracle)


def _order_grid(oracle: Any) -> None:
    """Restores the order of the grid, and has the oracle look for the successor of every trial."""

    def compare(first: str, second: str) -> int:
        values = (oracle.trials[trial].hyperparameters.values for trial in (first, second))
        return int(oracle._compare(*values))

    ordered = sorted(oracle.trials, key=cmp_to_key(compare))
    oracle._ordered_ids = type(oracle._ordered_ids)()
    for trial in ordered:
        oracle._ordered_ids.insert(trial)
    oracle._populate_next = ordered
