"""A search in several processes, any of which may be killed: the example and its supervisor."""

import argparse
import importlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import keras
import pytest

from keras_fracinit.tuner import results

FOLDER = Path(__file__).parents[2] / "examples" / "distributed_tuning"
LONG = 300.0  # seconds; a busy machine is no failure


@pytest.fixture
def example(monkeypatch):
    """Imports a script of the example."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module


def wait_for(condition, process, log=None):
    """What the condition returns once it is true; the process should not end before that."""
    deadline = time.monotonic() + LONG
    while not (value := condition()):
        assert process.poll() is None, log and log.read_text()
        assert time.monotonic() < deadline, log and log.read_text()
        time.sleep(0.05)
    return value


# The real thing.

TRIALS, EXECUTIONS = 3, 2
# Of a network of three layers: most of the time of a trial goes into tracing its layers.
SHALLOW = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import search
search.DEPTH = 3
sys.exit(search.main())
"""


class Search:
    """A search of the example under its supervisor, seen from outside."""

    def __init__(self, folder):
        self.folder, self.project, self.log = folder, folder / "digits", folder / "log"
        script = [sys.executable, "-c", SHALLOW, "--directory", folder, "--epochs=4"]
        script += [f"--trials={TRIALS}", f"--executions={EXECUTIONS}"]
        command = [sys.executable, FOLDER / "supervise.py", "--workers=2", "--", *script]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
            )

    def wait_for(self, condition):
        return wait_for(condition, self.process, self.log)

    def processes(self, name):
        """The numbers of all processes that were started under the name."""
        return [int(n) for n in re.findall(rf"{name} started, process (\d+)", self.log.read_text())]

    def oracle(self):
        return json.loads((self.project / "oracle.json").read_text())

    def trial(self, number):
        return json.loads((self.project / f"trial_{number}" / "trial.json").read_text())

    def trained_since(self, name, start):
        """The trial in the middle of which a worker is, having finished an epoch since `start`."""
        try:
            number = self.oracle()["ongoing_trials"][name]
            checkpoint = self.project / f"trial_{number}" / "checkpoint.weights.h5"
            if checkpoint.stat().st_mtime > start and self.trial(number)["status"] == "RUNNING":
                return number
        except (OSError, KeyError, json.JSONDecodeError):  # KerasTuner has not written it yet
            pass
        return None

    def kill(self, name, start=0.0):
        """Kills a member while worker0 is in the middle of a trial, and tells of which."""
        while True:
            trial = self.wait_for(lambda: self.trained_since("worker0", start))
            process = self.processes(name)[-1]
            os.kill(process, signal.SIGSTOP)
            time.sleep(0.2)  # what it had sent before may still have its effect
            if self.trained_since("worker0", start) == trial:
                os.kill(process, signal.SIGKILL)
                return trial
            os.kill(process, signal.SIGCONT)


@pytest.fixture
def search(tmp_path):
    running = Search(tmp_path)
    yield running
    running.process.terminate()
    running.process.wait(LONG)


@pytest.mark.slow
def test_every_trial_survives_the_death_of_a_worker_and_of_the_chief(search, example):
    trial = search.kill("worker0")
    killed = time.time()
    # It comes back, and is in the middle of the same trial again.
    assert search.kill("chief", start=killed) == trial
    assert len(search.processes("worker0")) == 2
    # All come back, and the chief ends by itself.
    assert search.process.wait(LONG) == 0, search.log.read_text()
    starts = {name: len(search.processes(name)) for name in ("chief", "worker0", "worker1")}
    assert starts == {"chief": 2, "worker0": 3, "worker1": 2}

    names = [str(number) for number in range(TRIALS)]
    folders = sorted(path.name for path in search.project.glob("trial_*"))
    assert folders == [f"trial_{name}" for name in names]
    assert sorted(search.oracle()["start_order"]) == names
    assert set(search.oracle()["end_order"]) == set(names)
    trials = [search.trial(name) for name in names]
    assert [trial["status"] for trial in trials] == ["COMPLETED"] * TRIALS
    assert all(math.isfinite(trial["score"]) for trial in trials)
    options = {"tuner": "random", "trials": TRIALS, "executions": EXECUTIONS, "epochs": 4}
    options = argparse.Namespace(directory=search.folder, **options)
    frame = results(example("search").make_tuner(options))
    pairs = list(zip(frame["trial"], frame["execution"], strict=True))
    assert pairs == [(name, number) for name in names for number in range(EXECUTIONS)]
    assert set(frame["status"]) == {"completed"}
    assert frame["s"].nunique() == TRIALS
    assert f"{TRIALS} trials with {TRIALS * EXECUTIONS} executions" in search.log.read_text()


def test_a_search_begun_alone_is_continued_by_a_chief(example, tmp_path, monkeypatch):
    script = example("search")
    options = {"tuner": "random", "trials": 2, "executions": 1, "epochs": 1}
    options = argparse.Namespace(directory=tmp_path, **options)
    alone = script.make_tuner(options)
    trial = alone.oracle.create_trial(alone.tuner_id)
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    chief = script.make_tuner(options)
    assert set(chief.oracle.trials) == {trial.trial_id}
    again = chief.oracle.create_trial("worker0")  # it was not completed
    assert again.trial_id == trial.trial_id
    assert again.hyperparameters.values == trial.hyperparameters.values


# The supervisor alone, with commands that take no time.

QUICK = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import supervise
supervise.PAUSE, supervise.GRACE = 0.1, 0.5
sys.exit(supervise.main())
"""
# Every process leaves a file that says where it was told to find the chief.
MEMBER = """
import os, pathlib, signal, subprocess, sys, time
me, here = os.environ["KERASTUNER_TUNER_ID"], pathlib.Path(sys.argv[1])
start = len(list(here.glob(f"{me}.*")))
address = (os.environ[f"KERASTUNER_ORACLE_{part}"] for part in ("IP", "PORT"))
(here / f"{me}.{start}").write_text(":".join(address))
def wait_for(*names):
    while not all((here / name).exists() for name in names):
        time.sleep(0.02)
def have_child():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
"""


def started(folder):
    """How often each of the members was."""
    return Counter(path.name.partition(".")[0] for path in folder.glob("*.*"))


def supervisor(folder, life, *options, before=""):
    """A supervisor of processes that lead such a life."""
    member = [sys.executable, "-c", MEMBER + life, str(folder)]
    command = [sys.executable, "-c", before + QUICK, *options, "--", *member]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def outcome(process):
    """Status and output, which ends when the last process has closed it: there are no orphans."""
    try:
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, output


def test_a_worker_that_dies_is_started_again_under_its_name(tmp_path):
    life = """
if me == "worker1" and start == 0:
    have_child()
    sys.exit(3)
if me == "worker1" and start == 1: os.kill(os.getpid(), signal.SIGKILL)
if me == "chief": wait_for("worker0.0", "worker1.2")
"""
    status, output = outcome(supervisor(tmp_path, life))
    assert status == 0, output
    assert started(tmp_path) == {"chief": 1, "worker0": 1, "worker1": 3}
    (address,) = {path.read_text() for path in tmp_path.glob("*.*")}
    assert re.fullmatch(r"127\.0\.0\.1:\d+", address)
    assert "worker1 ended with status 3: restart 1 of 5" in output
    assert "worker1 ended by signal 9, Killed: restart 2 of 5" in output


def test_the_port_is_the_one_asked_for(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    status, output = outcome(supervisor(tmp_path, "", "--workers=1", f"--port={port}"))
    assert status == 0, output
    assert {path.read_text() for path in tmp_path.glob("*.*")} == {f"127.0.0.1:{port}"}


def test_it_gives_up_after_so_many_restarts(tmp_path):
    life = """
if me == "worker0":
    wait_for("chief.0", "worker1.0")
    sys.exit(3)
time.sleep(600)
"""
    status, output = outcome(supervisor(tmp_path, life, "--restarts=2"))
    assert status == 1
    assert started(tmp_path) == {"chief": 1, "worker0": 3, "worker1": 1}
    assert "given up: worker0 ended with status 3 after 2 restarts" in output


def test_all_are_started_again_when_the_chief_dies(tmp_path):
    life = """
if me == "chief" and start == 0:
    wait_for("worker0 waits", "worker1 ended")
    os.abort()
if me == "chief": wait_for("worker0.1", "worker1.1", "worker1 ended", "the first is gone")
if me == "worker0" and start == 0:
    (here / "process").write_text(str(os.getpid()))
    (here / "worker0 waits").touch()
    time.sleep(600)
if me == "worker0":
    try: os.kill(int((here / "process").read_text()), 0)
    except ProcessLookupError: (here / "the first is gone").touch()
if me == "worker1": (here / "worker1 ended").touch()
"""
    status, output = outcome(supervisor(tmp_path, life))
    assert status == 0, output
    assert started(tmp_path) == {"chief": 2, "worker0": 2, "worker1": 2}
    assert "worker0 ended" not in output  # that it was stopped is not held against it


def test_a_chief_that_waits_for_nobody_is_started_again(tmp_path):
    life = """
if me == "chief" and start == 0: time.sleep(600)
if me == "chief": wait_for("worker0.1", "worker1.1")
"""
    status, output = outcome(supervisor(tmp_path, life, "--patience=0.5"))
    assert status == 0, output
    assert started(tmp_path) == {"chief": 2, "worker0": 2, "worker1": 2}


@pytest.mark.slow
def test_patience_begins_when_the_last_worker_has_ended(tmp_path):
    life = """
if me == "worker0":
    time.sleep(2.5)
    (here / "worker0 ends").touch()
if me == "chief": wait_for("worker0 ends")
"""
    status, output = outcome(supervisor(tmp_path, life, "--patience=2"))
    assert status == 0, output
    assert started(tmp_path) == {"chief": 1, "worker0": 1, "worker1": 1}


def test_a_worker_that_comes_too_late_is_stopped(tmp_path):
    life = """
if me == "chief": wait_for("worker0.0", "worker1.0")
else: time.sleep(600)
"""
    status, output = outcome(supervisor(tmp_path, life))
    assert status == 0, output
    assert started(tmp_path) == {"chief": 1, "worker0": 1, "worker1": 1}


@pytest.mark.slow
def test_it_takes_no_longer_than_allowed(tmp_path):
    status, output = outcome(supervisor(tmp_path, "time.sleep(600)", "--timeout=1"))
    assert status == 1
    assert "given up: not done after 1 s" in output


# The chief cannot be asked to end, a worker has a child.
STUBBORN = """
if me == "chief": signal.signal(signal.SIGTERM, signal.SIG_IGN)
if me == "worker0": have_child()
(here / f"{me} is ready").touch()
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all(tmp_path, number):
    # Also under nohup, and in the background of a script, where SIGINT is ignored.
    heard = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    heard += "signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = supervisor(tmp_path, STUBBORN, "--workers=3", before=heard)
    wait_for(lambda: len(list(tmp_path.glob("* is ready"))) == 4, process)
    process.send_signal(number)
    status, output = outcome(process)
    assert status == 128 + number
    assert f"given up: {number.name} received" in output


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells children.")
def test_a_killed_supervisor_leaves_nobody_behind(tmp_path):
    process = supervisor(tmp_path, "time.sleep(600)")
    wait_for(lambda: len(started(tmp_path)) == 3, process)
    process.kill()
    assert outcome(process)[0] == -signal.SIGKILL


def test_it_outlives_its_terminal_if_told_so(tmp_path):
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    process = supervisor(tmp_path, "time.sleep(600)", before=nohup)
    wait_for(lambda: len(started(tmp_path)) == 3, process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert outcome(process)[0] == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: command"),
        (["--workers=0", "--", "true"], "--workers must be at least 1"),
        (["--restarts=-1", "--", "true"], "must not be negative"),
        (["--patience=nan", "--", "true"], "must not be negative"),
        (["--timeout=-1", "--", "true"], "must not be negative"),
        (["--port=65536", "--", "true"], "--port 65536: "),
        (["--port=-1", "--", "true"], "--port -1: "),
        (["--port={taken}", "--", "true"], "in use"),
        (["--", "no-such-command"], "no such command: no-such-command"),
    ],
)
def test_bad_arguments_are_refused(example, monkeypatch, capsys, arguments, message):
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [argument.format(taken=server.getsockname()[1]) for argument in arguments]
        monkeypatch.setattr(sys, "argv", ["supervise.py", *arguments])
        with pytest.raises(SystemExit) as raised:
            example("supervise").main()
    assert raised.value.code == 2
    assert message in capsys.readouterr().err
