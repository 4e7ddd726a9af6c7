"""Searches killed before and after everything that they write, and continued."""

import contextlib
import json
import signal
import subprocess
import sys
import textwrap

import keras_tuner
import pytest
from cases import quick

from keras_fracinit.tuner import order, resumable, resuming


class Killed(BaseException):
    """No `except Exception` of KerasTuner's sees it, as none sees SIGKILL."""


def black_box(kind):
    """A search of a function, of which it counts the calls."""

    class Tuner(kind):
        def run_trial(self, trial, calls, verbose):
            hp = trial.hyperparameters
            calls.append((trial.trial_id, dict(hp.values)))
            return {"loss": (order(hp) - 0.7) ** 2 + hp.values.get("rate", 0.0)}

    return Tuner


def declare(hp):
    order(hp, high=1.5, default=1.5)
    hp.Float("rate", 0.0, 1.0)


def space():
    hp = keras_tuner.HyperParameters()
    declare(hp)
    return hp


SEARCHES = {
    "random": (keras_tuner.RandomSearch, {"max_trials": 4}),
    "bayesian": (keras_tuner.BayesianOptimization, {"max_trials": 4, "num_initial_points": 3}),
    "hyperband": (keras_tuner.Hyperband, {"max_epochs": 4, "factor": 2}),
    "grid": (keras_tuner.GridSearch, {"max_trials": 5}),
}


def make(name, folder):
    kind, options = SEARCHES[name]
    return resumable(
        black_box(kind)(
            objective=keras_tuner.Objective("loss", "min"),
            hyperparameters=space(),
            seed=3,
            directory=folder,
            project_name=name,
            **options,
        )
    )


def outcome(tuner):
    """What a search came to, without the times and without the order of hashes."""
    oracle, state = tuner.oracle, tuner.oracle.get_state()
    found = {"orders": (state["start_order"], state["end_order"], state["retry_queue"])}
    found["statuses"] = {name: trial.status for name, trial in oracle.trials.items()}
    if not isinstance(oracle, keras_tuner.oracles.BayesianOptimizationOracle):
        # The state of that one's random numbers is not saved, so what it guesses is not repeated.
        found["trials"] = {n: (t.score, t.hyperparameters.values) for n, t in oracle.trials.items()}
        found["tried"] = sorted(state["tried_so_far"])
    return found


def killing(monkeypatch, moment):
    """Kills at a moment; of each thing written there is one before it and one after it."""
    moments = iter(range(10**6))

    def watched(step):
        def call(*args):
            if next(moments) == moment:
                raise Killed
            result = step(*args)
            if next(moments) == moment:
                raise Killed
            return result

        return call

    monkeypatch.setattr(resuming, "write_whole", watched(resuming.write_whole))
    monkeypatch.setattr(resuming.Path, "unlink", watched(resuming.Path.unlink))


@pytest.mark.slow
@pytest.mark.parametrize("name", quick("random", *(n for n in SEARCHES if n != "random")))
def test_killed_at_any_moment_it_comes_to_the_same(name, tmp_path, monkeypatch):
    whole, calls = make(name, tmp_path / "whole"), []
    whole.search(calls=calls, verbose=0)
    assert len(whole.oracle.trials) > 3
    assert [trial for trial, _ in calls] == list(whole.oracle.trials)  # each was run once
    # Guessing takes a second, and Hyperband has many trials.
    for moment in range(0, 10**6, {"bayesian": 11, "hyperband": 5}.get(name, 1)):
        folder, before, after = tmp_path / str(moment), [], []
        with monkeypatch.context() as context:
            killing(context, moment)
            try:
                make(name, folder).search(calls=before, verbose=0)
            except Killed:
                killed = True
            else:
                killed = False  # there are no more moments
        search = make(name, folder)
        search.search(calls=after, verbose=0)
        assert outcome(search) == outcome(whole), moment
        # Every trial was run once, but the one that was interrupted: twice, with the same values.
        ids = [trial for trial, _ in before + after]
        assert list(dict.fromkeys(ids)) == sorted(search.oracle.trials), moment
        assert len(ids) - len(set(ids)) <= 1, moment
        for trial, values in before + after:
            assert values == search.oracle.trials[trial].hyperparameters.values, moment
        assert not list(folder.rglob("journal.json"))
        if not killed:
            break
    assert moment > 20


def test_what_it_writes_is_what_kerastuner_reads(tmp_path):
    make("random", tmp_path).search(calls=[], verbose=0)
    kind, options = SEARCHES["random"]
    plain = black_box(kind)(
        objective=keras_tuner.Objective("loss", "min"),
        hyperparameters=space(),
        directory=tmp_path,
        project_name="random",
        **options,
    )
    assert [trial.status for trial in plain.oracle.trials.values()] == ["COMPLETED"] * 4
    assert plain.oracle.get_best_trials(1)[0].score == min(
        trial.score for trial in plain.oracle.trials.values()
    )


def test_a_grid_is_searched_to_its_end_and_no_point_twice(tmp_path, monkeypatch):
    def grid(hp):
        order(hp, low=0.0, step=1.0)
        hp.Choice("rate", [0.0, 1.0])

    monkeypatch.setattr(sys.modules[__name__], "declare", grid)
    monkeypatch.setitem(SEARCHES, "grid", (keras_tuner.GridSearch, {}))
    calls = []

    class OnePerProcess(list):
        def append(self, call):
            if self:
                raise Killed
            super().append(call)

    for _ in range(6):
        made = OnePerProcess()
        with contextlib.suppress(Killed):
            make("grid", tmp_path).search(calls=made, verbose=0)
        calls += made
    points = sorted((values["s"], values["rate"]) for _, values in calls)
    assert points == [(s, rate) for s in (0.0, 1.0, 2.0) for rate in (0.0, 1.0)]
    make("grid", tmp_path).search(calls=calls, verbose=0)
    assert len(calls) == 6  # there is nothing left


@pytest.mark.slow
def test_a_real_process_killed_in_its_first_trial(tmp_path):
    """KerasTuner alone would not find the folder, and begin anew."""
    script = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(sys.path[0])!r})
        import keras_tuner
        from keras_fracinit.tuner import order, resumable
        class Tuner(keras_tuner.RandomSearch):
            def run_trial(self, trial, verbose):
                print(order(trial.hyperparameters), flush=True)
                time.sleep(float(sys.argv[1]))
                return {{"loss": 1.0}}
        hp = keras_tuner.HyperParameters()
        order(hp)
        search = Tuner(objective=keras_tuner.Objective("loss", "min"), hyperparameters=hp,
                       max_trials=1, directory={str(tmp_path)!r})
        resumable(search).search(verbose=0)
    """)
    command = [sys.executable, "-c", script]
    first = subprocess.Popen([*command, "600"], stdout=subprocess.PIPE, text=True)
    s = first.stdout.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    (trial,) = tmp_path.rglob("trial.json")
    assert json.loads(trial.read_text())["status"] == "RUNNING"
    second = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert second.stdout.splitlines()[-1] == s.strip()
    assert json.loads(trial.read_text())["status"] == "COMPLETED"


def test_only_tuners_are_taken():
    with pytest.raises(TypeError, match="`tuner` must be a BaseTuner"):
        resumable(None)
