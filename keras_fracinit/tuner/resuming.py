"""A search that goes on after it was killed, at whatever moment, with all that it knew.

KerasTuner can continue a search, but not always. It finds its folder only once a first trial has
ended; it empties a file before it writes it again; what a trial has come to and what is known of
all trials are two files, written one after the other, the second of which takes a trial that has
ended for a running one; and `GridSearch` does not write where in the grid it is.
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
    """Makes a search go on from what earlier processes, killed at any moment, have done of it.

    To be called before `search`, each time the script runs, on a tuner made with `overwrite=False`.
    Trials that ended stay as they are; those that were running are run again from their beginning,
    with the same hyperparameters; then the search goes on. Whether it was begun by one process or
    by several does not matter. What changes together is written as a whole from then on.

    Args:
        tuner: A `keras_tuner.Tuner` of any kind, whose folder is on a local or shared disk.

    Returns:
        The tuner.

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
    chief = isinstance(oracle, keras_tuner.Oracle)  # or alone; a worker has a proxy
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
    """Replaces the two methods with which it writes its files."""
    pending: dict[str, str] = {}

    def save_trial(trial: Any) -> None:
        """Until the oracle, which has to agree with it, is saved too: that follows."""
        pending[f"trial_{trial.trial_id}/trial.json"] = json.dumps(trial.get_state())

    def save() -> None:
        state, trials = oracle.get_state(), oracle.trials
        # One that has ended leaves them only after it was saved, and would be run once more.
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
    """Carries out what the journal says; as often as need be, for it may be killed too."""
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
    """The trials in the order of the grid; each will be asked for its next one once more."""

    def compare(first: str, second: str) -> int:
        values = (oracle.trials[trial].hyperparameters.values for trial in (first, second))
        return int(oracle._compare(*values))

    ordered = sorted(oracle.trials, key=cmp_to_key(compare))
    oracle._ordered_ids = type(oracle._ordered_ids)()
    for trial in ordered:
        oracle._ordered_ids.insert(trial)
    oracle._populate_next = ordered
