"""Tests the program as users start it: its help, its exit codes, and answers without a backend."""

import os
import subprocess
import sys
from importlib import metadata

import keras
import pytest
from command_line import cli, refused

import keras_fracinit as kf
from keras_fracinit.cli.main import main
from keras_fracinit.utils.starting import is_starting


def test_an_interrupt_is_130(folder, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.saving, "load_model", interrupt)
    assert cli("reinitialize model.keras --dry-run") == 130


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["diagnose", "reinitialize", "gain"]),
        ("diagnose", ["0 if the model is healthy, 1 if", "(default: 256)", "--overwrite"]),
        (
            "reinitialize",
            ["2 keeps the variance (He", "Lyapunov limit", "zero for mirrored kernels"],
        ),
        ("gain", ["2 keeps the variance (He", "1 the first moment", "(default: relu)"]),
    ],
)
def test_help(command, words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in words:
        assert word in text


def test_a_command_is_required(folder, capsys):
    assert "arguments are required: COMMAND" in refused(capsys)
    assert "invalid choice: 'tune'" in refused(capsys, "tune")


def run(*argv, **changes):
    """Runs Python as a user does, who has set no level for messages."""
    environment = {**os.environ, **changes}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=environment)


MODULE_RUN = ("-m", "keras_fracinit")
# As the installed script does it, whose name is what is known of it.
SCRIPT_RUN = (
    "-c",
    "import sys; sys.argv[0] = '/usr/bin/keras-fracinit'\n"
    "from keras_fracinit.cli.main import main; sys.exit(main())",
)


def test_the_script_is_installed():
    (script,) = metadata.entry_points(group="console_scripts", name="keras-fracinit")
    assert script.load() is main


@pytest.mark.parametrize(
    ("argv", "code", "answer"),
    [
        ("--help", 0, "usage: keras-fracinit [-h]"),
        ("reinitialize --help", 0, "usage: keras-fracinit reinitialize"),
        ("--version", 0, f"keras-fracinit {kf.__version__}\n"),
        ("gain --width 0", 2, "error: `width` must satisfy"),
        ("gain --width 8 --dropout 1", 2, "error: `dropout` must satisfy"),
        ("reinitialize m.keras --out n.h5", 2, "error: `--out` must end in .keras"),
        ("reinitialize m.keras --dry-run --alpha 1.5", 2, "error: `distribution` must be"),
        ("diagnose m.keras --data x.npy", 2, "error: `model` must be a file"),
        ("diagnoze", 2, "error: argument COMMAND: invalid choice"),
    ],
)
def test_an_answer_needs_no_backend(argv, code, answer):
    """Keras refuses to be imported with a backend that there is not."""
    done = run(*SCRIPT_RUN, *argv.split(), KERAS_BACKEND="none")
    assert done.returncode == code
    assert (done.stdout if code == 0 else done.stderr).startswith(answer)
    assert (done.stderr if code == 0 else done.stdout) == ""


def test_so_with_python_m():
    done = run(*MODULE_RUN, "--help", KERAS_BACKEND="none")
    assert done.stdout.startswith("usage: python -m keras_fracinit [-h]")
    done = run(*MODULE_RUN, "gain", "--width", "8", KERAS_BACKEND="none")
    assert done.returncode == 2
    assert "Unable to import backend" in done.stderr


@pytest.mark.parametrize(
    ("argv", "original", "starts"),
    [
        (["-m", "--help"], ["python", "-W", "error", "-m", "keras_fracinit", "--help"], True),
        # Python looks for the module of a package that imports this one.
        (["-m", "keras_fracinit"], ["python", "-m", "theirs.train", "keras_fracinit"], False),
        (["/usr/bin/keras-fracinit"], ["python", "/usr/bin/keras-fracinit"], True),
        (["keras-fracinit.exe", "gain"], ["python.exe", "keras-fracinit.exe", "gain"], True),
        (["train.py"], ["python", "train.py"], False),
        ([""], ["python"], False),
        ([], [], False),
    ],
)
def test_only_the_command_line_puts_imports_off(argv, original, starts, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert not is_starting()  # since Keras is here
    monkeypatch.delitem(sys.modules, "keras")
    assert is_starting() == starts


@pytest.mark.slow
def test_the_program_diagnoses(folder):
    done = run(*SCRIPT_RUN, "diagnose", "healthy.keras", "--data", "x.npy")
    assert done.stderr == ""
    assert "healthy" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.returncode == 0
