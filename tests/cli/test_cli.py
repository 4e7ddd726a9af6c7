"""The command line: what it prints, writes and refuses, and that a refusal changes no file."""

import importlib
import io
import math
import os
import pathlib
import re
import subprocess
import sys
import zipfile
from importlib import metadata

import keras
import numpy as np
import pytest

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.cli import commands
from keras_fracinit.cli.main import main
from keras_fracinit.laws import Smooth
from keras_fracinit.utils.starting import is_starting

layers = keras.layers
HIDDEN, WIDTH, INPUTS, SAMPLES = 12, 16, 6, 20


def array(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def mlp(**options):
    """Named, so that a reloaded model has the paths of the first."""
    hidden = [layers.Dense(WIDTH, "relu", name=f"hidden_{i}", **options) for i in range(HIDDEN)]
    return keras.Sequential(
        [keras.Input((INPUTS,)), *hidden, layers.Dropout(0.1), layers.Dense(2, name="last")],
        name="mlp",
    )


def samples(*shape):
    return np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype("float32")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    keras.utils.set_random_seed(0)  # of one draw in four the inputs collapse, as they may
    mlp().save(folder / "model.keras")
    mlp(kernel_initializer=kf.FracReLU(s=1.0, seed=None)).save(folder / "healthy.keras")
    np.save(folder / "x.npy", samples(INPUTS))
    return folder


@pytest.fixture
def folder(originals, tmp_path, monkeypatch):
    """A working folder with a model, a healthy one and inputs, from which nothing may vanish."""
    for path in originals.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def cli(line):
    return main(line.split())


def refused(capsys, *argv):
    """The message of a command that must fail without a trace."""
    before = contents(pathlib.Path())
    assert main([str(argument) for argument in argv]) == 2
    assert contents(pathlib.Path()) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "\x1b" not in error
    assert error.count("\n") == 1
    return error


def loaded(path):
    return keras.saving.load_model(path)


def weights(model):
    return {variable.path: array(variable) for variable in model.weights}


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[path], second[path]) for path in first
    )


# gain


def quantities(text):
    """The two columns of the table."""
    rows = [line.strip().rsplit("  ", 1) for line in text.splitlines()]
    return {name.strip(): value.strip() for name, value in rows}


@pytest.mark.parametrize(
    ("options", "law", "he", "fan_in"),
    [
        ("--width 64", "relu", 2.0, 64),
        ("--width 8 --s 0.5 --fan-in 100", "relu", 2.0, 100),
        ("--width 8 --s 0 --activation linear", "linear", 1.0, 8),
        ("--width 8 --s 2 --activation leaky_relu", "leaky_relu", 2 / 1.04, 8),
        (
            "--width 8 --s 1.5 --activation leaky_relu --negative-slope -0.5",
            laws.LeakyReLU(-0.5),
            1.6,
            8,
        ),
        (
            "--width 8 --dropout 0.3 --activation relu",
            laws.Dropout(laws.ReLU(), 0.3),
            2.0,
            8,
        ),
    ],
)
def test_the_gain_is_that_of_the_library(options, law, he, fan_in, capsys):
    words = ["gain", *options.split()]
    assert main(words) == 0
    found = quantities(capsys.readouterr().out)
    s = float(words[words.index("--s") + 1]) if "--s" in words else 1.0
    width = int(words[words.index("--width") + 1])
    gain = kf.gain(law, s, width)
    reference = "LeCun" if law == "linear" else "He"
    numbers = {
        "gain": gain,
        f"gain of {reference}": he,
        "ratio of the gains": gain / he,
        f"stddev at fan-in {fan_in}": math.sqrt(gain / fan_in),
        f"ratio to that of {reference}": math.sqrt(gain / he),
    }
    for name, expected in numbers.items():
        assert float(found[name]) == pytest.approx(expected, rel=1e-12), name
    death = float(found["P(all units are zero)"])
    assert death == pytest.approx(kf.death_probability(law, width), rel=1e-5)
    mean, _, spread = found["log-norm per layer"].split()
    assert float(mean) == pytest.approx(kf.log_norm(law, s, width).mean, rel=1e-5)
    assert float(spread) ** 2 == pytest.approx(kf.log_norm(law, s, width).variance, rel=1e-4)


def test_the_gain_of_a_smooth_activation_says_how_long_it_holds(capsys):
    assert main(["gain", "--width", "64", "--activation", "gelu", "--dropout", "0.1"]) == 0
    found = quantities(capsys.readouterr().out)
    law = laws.Dropout(Smooth("gelu"), 0.1)
    assert float(found["gain"]) == pytest.approx(kf.gain(law, 1, 64), rel=1e-12)
    assert float(found["gain of s=2"]) == pytest.approx(1 / Smooth("gelu").mean, rel=1e-12)
    assert float(found["gradient factor"]) == pytest.approx(Smooth("gelu").gradient_factor, 1e-5)
    assert float(found["slope of the length map"]) == pytest.approx(
        Smooth("gelu").length_slope, 1e-5
    )
    assert found["unit size"].startswith("REPELS")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--width 64 --s 2.5", "`s` must satisfy 0 <= s <= 2. Received: s=2.5"),
        ("--width 64 --s nan", "`s` must be finite"),
        ("--width 64 --s one", "argument --s: invalid float value: 'one'"),
        ("--width 0", "`width` must satisfy 1 <= width"),
        ("--width 64 --fan-in 0", "`fan_in` must satisfy 1 <= fan_in"),
        ("--width 64 --activation softmax", "which softmax does not"),
        ("--width 64 --activation nonsense", "Received: activation='nonsense'"),
        ("--width 64 --dropout 1", "`dropout` must satisfy 0 <= dropout < 1"),
        ("--width 64 --negative-slope 0.1", "`negative_slope` must go with the activation"),
        ("--width 1 --s 0.001 --dropout 0.9", "use a larger s"),
        ("", "the following arguments are required: --width"),
        ("--wid 64", "the following arguments are required: --width"),  # no abbreviations
    ],
)
def test_a_gain_that_there_is_not_is_refused(options, message, capsys, folder):
    assert message.lower() in refused(capsys, "gain", *options.split()).lower()


# reinitialize


def test_the_new_file_holds_what_the_plan_says(folder, capsys):
    assert cli("reinitialize model.keras --s 0.5 --seed 3 --out new.keras") == 0
    output = capsys.readouterr().out
    assert output.endswith("Drawn with seed 3 and written to new.keras.\n")
    before, after = weights(loaded("model.keras")), weights(loaded("new.keras"))
    plan = kf.plan(loaded("model.keras"), s=0.5)
    assert len(plan) == HIDDEN + 1
    squares = []
    for change in plan:
        values = after[change.path]
        assert not np.array_equal(values, before[change.path])
        assert f"-> {change.stddev:.4g}" in output
        squares.append((np.mean(values.astype(float) ** 2) / change.stddev**2, values.size))
    # Uniform, as Glorot's were: the variance of v^2 / stddev^2 is 4/5, below that of normal ones.
    for ratio, size in squares:
        assert abs(ratio - 1) < 5 * math.sqrt(0.8 / size)
    for path, values in after.items():
        assert path.endswith("kernel") or np.array_equal(values, before[path])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("", {}),
        ("--s 2 --distribution orthogonal", {"s": 2.0, "distribution": "orthogonal"}),
        (
            "--distribution stable --alpha 1.5",
            {"distribution": "stable", "alpha": 1.5},
        ),
        ("--only hidden_1* last --only hidden_2", {"only": ["hidden_1*", "last", "hidden_2"]}),
        ("--skip last", {"skip": "last"}),
        ("--biases zero --dropout", {"biases": "zero", "dropout": True}),
        ("--include-frozen", {"include_frozen": True}),
        ("--mirrored", {"mirrored": True}),
        (
            "--mirrored --biases keep --taps center --branches zero",
            {"mirrored": True, "biases": "keep", "taps": "center", "branches": "zero"},
        ),
    ],
)
def test_each_option_is_that_of_the_library(words, options, folder):
    model = loaded("model.keras")
    model.get_layer("hidden_3").trainable = False
    for layer in model.layers[:2]:
        layer.bias.assign(np.ones(WIDTH))
    model.save("model.keras")
    argv = ["reinitialize", "model.keras", "--out", "new.keras", "--seed", "7", *words.split()]
    assert main(argv) == 0
    kf.reinitialize(model, seed=7, **options)
    assert same(weights(loaded("new.keras")), weights(model))


@pytest.mark.slow
def test_the_seed_decides(folder, capsys):
    for name, words in (("a", "--seed 1"), ("b", "--seed 1"), ("c", "--seed 2"), ("d", "")):
        assert cli(f"reinitialize model.keras --out {name}.keras {words}") == 0
    a, b, c, d = (weights(loaded(f"{name}.keras")) for name in "abcd")
    assert same(a, b)
    assert not same(a, c)
    assert not same(a, d)
    seed = capsys.readouterr().out.rpartition("seed ")[2].partition(" ")[0]  # printed if drawn
    assert cli(f"reinitialize model.keras --out e.keras --seed {seed}") == 0
    assert same(weights(loaded("e.keras")), d)


@pytest.mark.slow
def test_the_optimizer_is_carried_over_and_starts_anew(folder):
    model = mlp()
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    model.fit(samples(INPUTS), samples(2), epochs=2, batch_size=SAMPLES, verbose=0)
    model.save("fitted.keras")
    assert cli("reinitialize fitted.keras --out new.keras --skip last") == 0
    new = loaded("new.keras")
    assert int(new.optimizer.iterations) == 2
    momenta = {
        slot.path: array(slot) for slot in new.optimizer.variables if "momentum" in slot.path
    }
    assert len(momenta) == 2 * (HIDDEN + 1)
    for path, values in momenta.items():
        assert values.any() == ("hidden" not in path or "kernel" not in path), path
    new.fit(samples(INPUTS), samples(2), verbose=0)


def test_a_dry_run_writes_nothing(folder, capsys, monkeypatch):
    before = contents(folder)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli("reinitialize model.keras --dry-run") == 0
    output = capsys.readouterr().out
    # As wide as it is anywhere, and without colors.
    assert output == f"{kf.plan(loaded('model.keras'))}Nothing is written.\n"
    assert cli("reinitialize model.keras --dry-run --wide") == 0
    wide = kf.plan(loaded("model.keras")).to_string(wide=True)
    assert capsys.readouterr().out == f"{wide}Nothing is written.\n"
    assert cli("reinitialize model.keras --dry-run --out new.keras") == 0
    assert contents(folder) == before


def test_a_terminal_gets_what_fits_into_it(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")

    def longest(line):
        assert cli(line) == 0
        table = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()[:-1]
        return max(len(row.rstrip()) for row in table)

    assert longest("reinitialize model.keras --dry-run") <= 60
    # The terminal breaks its lines, rather than each cell into single digits.
    assert longest("reinitialize model.keras --dry-run --wide") > 80


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_no_encoding_keeps_a_file_from_being_written(encoding, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert cli("reinitialize model.keras --out größe→.keras --wide") == 0
    assert cli("diagnose healthy.keras --data x.npy --csv größe→.csv --wide") == 0
    assert {"größe→.keras", "größe→.csv"} < {*contents(folder)}
    sys.stdout.flush()
    text = sys.stdout.buffer.getvalue().decode(encoding)
    assert "größe→.csv".encode(encoding, "backslashreplace").decode(encoding) in text


def test_no_reader_of_the_output_keeps_a_file_from_being_written(folder, monkeypatch):
    """As behind `| head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert cli("reinitialize model.keras --seed 1 --out new.keras") == 0
        monkeypatch.undo()
    assert (folder / "new.keras").exists()


def test_a_model_without_a_kernel_to_draw_is_not_written(folder, capsys):
    keras.Sequential([keras.Input((3,)), layers.Dense(2, "softmax")]).save("softmax.keras")
    message = refused(capsys, "reinitialize", "softmax.keras", "--out", "new.keras")
    assert "no kernel to draw" in message


def test_an_existing_file_is_replaced_only_when_told(folder, capsys, monkeypatch):
    pathlib.Path("new.keras").write_text("precious")
    words = ["reinitialize", "model.keras", "--seed", "1", "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(keras.saving, "load_model", None)  # it is refused before
        for name in ("new.keras", "model.keras"):
            message = refused(capsys, *words, name)
            assert (
                f"`--out` must be a new file, or `--overwrite` be given. Received: --out='{name}'"
                in message
            )
    assert main([*words, "new.keras", "--overwrite"]) == 0
    assert main([*words, "model.keras", "--overwrite"]) == 0  # in place
    assert same(weights(loaded("new.keras")), weights(loaded("model.keras")))


@pytest.mark.parametrize("out", ["new.h5", "new", "missing/new.keras", "folder.keras"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    out, folder, capsys, monkeypatch
):
    (folder / "folder.keras").mkdir()
    monkeypatch.setattr(keras.saving, "load_model", None)
    message = refused(capsys, "reinitialize", "model.keras", "--overwrite", "--out", out)
    assert message.startswith("error: `--out` must ")
    assert "`--out` must be given" in refused(capsys, "reinitialize", "model.keras")


@pytest.mark.parametrize("error", [OSError("no space left"), NotImplementedError("get_config")])
def test_a_crash_while_saving_leaves_the_old_file(error, folder, capsys, monkeypatch):
    def crash(model, path):
        pathlib.Path(path).write_text("half a model")
        raise error

    monkeypatch.setattr(keras.Model, "save", crash)
    words = ["reinitialize", "model.keras", "--overwrite", "--out"]
    assert str(error) in refused(capsys, *words, "healthy.keras")
    assert str(error) in refused(capsys, *words, "new.keras")


def test_an_interrupt_leaves_the_old_file(folder, monkeypatch):
    def interrupt(model, path):
        pathlib.Path(path).write_text("half a model")
        raise KeyboardInterrupt

    before = contents(folder)
    monkeypatch.setattr(keras.Model, "save", interrupt)
    assert cli("reinitialize model.keras --overwrite --out healthy.keras") == 130
    assert contents(folder) == before


def test_a_file_that_comes_up_in_the_meantime_stays(folder, capsys, monkeypatch):
    save = keras.Model.save

    def slow(model, path):
        save(model, path)
        pathlib.Path("new.keras").write_text("of another process")

    monkeypatch.setattr(keras.Model, "save", slow)
    assert cli("reinitialize model.keras --out new.keras") == 2
    assert "which exists" in capsys.readouterr().err
    assert pathlib.Path("new.keras").read_text() == "of another process"
    assert len(contents(folder)) == 4


def test_a_link_stays_a_link(folder):
    pathlib.Path("link.keras").symlink_to("healthy.keras")
    words = "reinitialize model.keras --seed 1 --overwrite --out link.keras"
    assert main(words.split()) == 0
    assert pathlib.Path("link.keras").is_symlink()
    kf.reinitialize(model := loaded("model.keras"), seed=1)
    assert same(weights(loaded("healthy.keras")), weights(model))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--s 3", "`s` must satisfy 0 <= s <= 2. Received: s=3.0"),
        ("--s -0.5", "`s` must satisfy 0 <= s <= 2. Received: s=-0.5"),
        ("--seed -1", "`seed` must satisfy 0 <= seed <= 4294967295"),
        ("--only nothing*", "`only` must hold names or paths of variables with kernels"),
        ("--skip hiden_1", "Did you mean 'hidden_1'"),
        ("--distribution cauchy", "argument --distribution: invalid choice: 'cauchy'"),
        ("--distribution stable", "`alpha` must be given with `distribution='stable'`"),
        ("--distribution stable --alpha 2", "`alpha` must lie between 1 and 2"),
        ("--biases none", "argument --biases: invalid choice: 'none'"),
        ("--mirrored --taps left", "argument --taps: invalid choice: 'left'"),
        ("--mirrored --branches cut", "argument --branches: invalid choice: 'cut'"),
        ("--import no_such_module", "`--import` must name a module that can be imported"),
        ("--unknown", "unrecognized arguments: --unknown"),
    ],
)
def test_bad_options_are_refused(words, message, folder, capsys):
    argv = ["reinitialize", "model.keras", "--out", "new.keras", *words.split()]
    assert message in refused(capsys, *argv)


@pytest.mark.parametrize("words", ["--taps center", "--branches isometry"])
def test_options_of_mirrored_kernels_need_the_flag(words, folder, capsys):
    """They are refused before a model is looked for: there is none."""
    message = refused(capsys, "reinitialize", "none.keras", "--dry-run", *words.split())
    assert "must go with `mirrored=True`" in message


def test_a_model_that_cannot_be_mirrored_is_refused_with_the_reasons(folder, capsys):
    model = keras.Sequential([keras.Input((INPUTS,)), layers.Dense(5, "relu"), layers.Dense(2)])
    model.save("odd.keras")
    message = refused(capsys, "reinitialize", "odd.keras", "--out", "new.keras", "--mirrored")
    assert "5 units: an odd width has no pairs" in message


# Models


def flipped(data):
    """One byte of the weights is another."""
    position = data.index(b"\x89HDF") + 3000
    return data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :]


def archive(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name, text in members.items():
                file.writestr(name.replace("_", "."), text)

    return write


def built_layer():
    layer = layers.Dense(2)
    layer.build((None, 3))
    return layer


BAD_MODELS = {
    "missing": (lambda path: None, "`model` must be a file"),
    "folder": (lambda path: path.mkdir(), "which is a folder"),
    "text": (lambda path: path.write_text("hello"), "Keras has written whole"),
    "empty": (lambda path: path.touch(), "Keras has written whole"),
    "half": (
        lambda path: path.write_bytes(
            (d := path.with_name("model.keras").read_bytes())[: len(d) // 2]
        ),
        "Keras has written whole",
    ),
    "flipped": (
        lambda path: path.write_bytes(flipped(path.with_name("model.keras").read_bytes())),
        "Keras has written whole",
    ),
    "foreign": (archive(a_txt="hello"), "Keras has written whole"),
    "json": (archive(config_json="{", metadata_json="{}"), "Keras has written whole"),
    "config": (archive(config_json="{}", metadata_json="{}"), "Keras has written whole"),
    "layer": (lambda path: keras.saving.save_model(built_layer(), path), "keras.Model"),
}


@pytest.mark.parametrize("command", ["diagnose", "reinitialize"])
@pytest.mark.parametrize("kind", BAD_MODELS)
def test_what_is_no_model_is_refused(kind, command, folder, capsys):
    write, message = BAD_MODELS[kind]
    write(folder / "bad.keras")
    words = {"diagnose": "--data x.npy --csv t.csv", "reinitialize": "--out new.keras"}
    assert message in refused(capsys, command, "bad.keras", *words[command].split())


def test_a_model_by_another_name_is_refused(folder, capsys):
    pathlib.Path("model.keras").rename("model.zip")
    assert "a .keras file" in refused(capsys, "reinitialize", "model.zip", "--dry-run")


def test_code_in_a_model_runs_only_when_told(folder, capsys):
    double = layers.Lambda(lambda x: 2 * x)
    keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), double]).save("code.keras")
    words = ["reinitialize", "code.keras", "--out", "new.keras"]
    assert "`--unsafe` runs it" in refused(capsys, *words)
    assert "`--unsafe` runs it" in refused(capsys, "diagnose", "code.keras", "--data", "x.npy")
    assert main([*words, "--unsafe"]) == 0
    assert cli("diagnose code.keras --unsafe --data x.npy") in (0, 1)


MODULE = """
import keras

@keras.saving.register_keras_serializable(package="theirs")
class Twice(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs

@keras.saving.register_keras_serializable(package="theirs")
def loss(y_true, y_pred):
    return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)
"""


@pytest.mark.parametrize("which", ["Twice", "loss"])
def test_a_module_registers_what_the_model_is_made_of(which, folder, capsys, monkeypatch):
    pathlib.Path("their_layers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)  # as `python -m` does it
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    theirs = importlib.import_module("their_layers")
    other = theirs.Twice() if which == "Twice" else layers.ReLU()
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), other])
    model.compile("sgd", theirs.loss if which == "loss" else "mse")
    model.save("custom.keras")

    def forget():
        sys.modules.pop("their_layers", None)
        for name in ("Twice", "loss"):
            keras.saving.get_custom_objects().pop(f"theirs>{name}", None)

    forget()
    pathlib.Path("their_layers.py").rename("elsewhere.py")
    words = ["reinitialize", "custom.keras", "--out", "new.keras"]
    message = refused(capsys, *words)
    assert "`--import` a module" in message
    assert which in message
    pathlib.Path("elsewhere.py").rename("their_layers.py")
    importlib.invalidate_caches()
    assert main([*words, "--import", "math", "--import", "their_layers"]) == 0
    if which == "Twice":
        np.save("six.npy", samples(6))
        assert cli("diagnose new.keras --data six.npy --import their_layers") in (0, 1)
    forget()


# diagnose


def test_the_exit_code_of_a_diagnosis_is_its_verdict(folder, capsys):
    x = np.load("x.npy")
    for name, code in (("model", 1), ("healthy", 0)):  # 12 layers of Glorot's scale vanish
        diagnosis = kf.diagnose(loaded(f"{name}.keras"), x)
        assert diagnosis.healthy == (code == 0)
        assert cli(f"diagnose {name}.keras --data x.npy") == code
        assert capsys.readouterr().out == str(diagnosis)


def test_table_and_picture_are_written(folder, capsys):
    pathlib.Path("t.csv").write_text("old")
    words = ["diagnose", "healthy.keras", "--data", "x.npy", "--csv", "t.csv", "--picture", "p.png"]
    assert "`--csv` must be a new file" in refused(capsys, *words)
    assert main([*words, "--overwrite"]) == 0
    assert capsys.readouterr().out.endswith("Written to t.csv.\nWritten to p.png.\n")
    expected = kf.diagnose(loaded("healthy.keras"), np.load("x.npy")).to_pandas()
    assert pathlib.Path("t.csv").read_text() == expected.to_csv(index=False)
    assert pathlib.Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_a_crash_while_drawing_writes_nothing(folder, capsys, monkeypatch):
    from keras_fracinit import plots

    def crash(diagnosis):
        raise OSError("no space left")

    monkeypatch.setattr(plots, "diagnosis", crash, raising=False)
    pathlib.Path("t.csv").write_text("old")
    words = ["--data", "x.npy", "--csv", "t.csv", "--picture", "p.png", "--overwrite"]
    assert "no space left" in refused(capsys, "diagnose", "model.keras", *words)


@pytest.fixture
def given(monkeypatch):
    """What the command hands to `diagnose`."""
    seen = []
    diagnose = commands.diagnose

    def record(model, x, **options):
        seen.append((model, x, options))
        return diagnose(model, x, **options)

    monkeypatch.setattr(commands, "diagnose", record)
    return seen


def test_options_of_a_diagnosis(folder, given):
    assert cli("diagnose model.keras --data x.npy --limit 5 --training") == 1
    ((model, x, options),) = given
    np.testing.assert_array_equal(x, np.load("x.npy")[:5])
    assert options == {"training": True}
    assert not model.compiled


def test_of_a_huge_file_only_the_first_samples_are_read(folder, given):
    huge = np.lib.format.open_memmap("huge.npy", "w+", "float32", (10**9, INPUTS))  # a sparse file
    huge[:3] = samples(INPUTS)[:3]
    del huge
    assert cli("diagnose model.keras --data huge.npy --limit 3") == 1
    np.testing.assert_array_equal(given[0][1], samples(INPUTS)[:3])
    os.unlink("huge.npy")


def test_archives_of_arrays(folder, given):
    left, right = keras.Input((4,), name="left"), keras.Input((5,), name="right")
    joined = layers.Concatenate()([left, right])
    output = layers.Dense(3)(layers.Dense(8, "relu")(joined))
    keras.Model({"left": left, "right": right}, output).save("named.keras")
    keras.Model([left, right], output).save("numbered.keras")
    np.savez("one.npz", x=samples(INPUTS))
    np.savez_compressed("named.npz", right=samples(5), left=samples(4))
    np.savez("numbered.npz", samples(4), samples(5))
    for name, model in (("one", "healthy"), ("named", "named"), ("numbered", "numbered")):
        assert cli(f"diagnose {model}.keras --data {name}.npz") in (0, 1)
    one, named, numbered = (x for _, x, _ in given)
    np.testing.assert_array_equal(one, samples(INPUTS))
    assert sorted(named) == ["left", "right"]
    np.testing.assert_array_equal(named["right"], samples(5))
    assert [x.shape for x in numbered] == [(SAMPLES, 4), (SAMPLES, 5)]


BAD_DATA = {
    "missing": (lambda path: None, "`--data` must be a file"),
    "folder": (lambda path: path.mkdir(), "which is a folder"),
    "text": (lambda path: path.write_text("1,2,3"), "its content is not that of a NumPy file"),
    "empty": (lambda path: path.touch(), "a .npy or .npz file"),
    "half": (
        lambda path: path.write_bytes(path.with_name("x.npy").read_bytes()[:-9]),
        "a .npy or .npz file",
    ),
    "pickled": (
        lambda path: np.save(path, np.array([{}, 1]), allow_pickle=True),
        "without pickled objects",
    ),
    "scalar": (lambda path: np.save(path, 1.0), "a first axis of samples"),
    "none": (lambda path: np.save(path, np.zeros((0, INPUTS))), "--data="),
    "foreign": (archive(a_txt="hello"), "a .npy or .npz file"),
    "bare": (archive(), "must hold samples"),
    "shape": (
        lambda path: np.save(path, samples(INPUTS + 1)),
        f"Received: --data='bad.npy' of shape (20, {INPUTS + 1})",
    ),
    "rank": (lambda path: np.save(path, samples()), "`--data` must fit the model"),
    "uneven": (
        lambda path: np.savez(path.open("wb"), a=samples(2), b=samples(2)[1:]),
        "of each array the same number",
    ),
    "names": (
        lambda path: np.savez(path.open("wb"), a=samples(2), b=samples(3)),
        "`--data` must fit the model",
    ),
}


TABLES = {  # rows of six numbers, as other programs write them
    "numbers": ("{}\n", ","),
    "a header": ("a,b,c,d,e,f\n{}\n", ","),
    "a quoted header": ('"a, in m",b,c,d,e,f\r\n{}\r\n', ","),
    "a mark of UTF-8": ("\ufeffa,b,c,d,e,f\n{}\n\n", ","),
    "spaces": ("{}\n", ", "),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_of_numbers(kind, folder, given):
    form, comma = TABLES[kind]
    rows = "\n".join(comma.join(map(repr, map(float, row))) for row in samples(INPUTS))
    pathlib.Path("t.CSV").write_bytes(form.format(rows).encode())
    assert cli("diagnose model.keras --data t.CSV --limit 7") == 1
    np.testing.assert_array_equal(given[0][1].astype("float32"), samples(INPUTS)[:7])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("a,b\n", "must hold samples"),
        ("1,2\n3\n", "number of columns changed"),
        ("1;2\n3;4\n", "could not convert string '3;4'"),
        ("a,b\n1,\n", "could not convert string ''"),
        ("1,2\n", "Received: --data='t.csv' of shape (1, 2)"),
    ],
)
def test_what_is_no_table_of_inputs_is_refused(text, message, folder, capsys):
    pathlib.Path("t.csv").write_text(text)
    found = refused(capsys, "diagnose", "model.keras", "--data", "t.csv")
    assert message in found
    assert found.startswith("error: `--data` must ")
    assert "pickle" not in found.replace("without pickled objects", "")


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_are_refused(kind, folder, capsys):
    write, message = BAD_DATA[kind]
    write(folder / "bad.npy")
    words = ["diagnose", "model.keras", "--csv", "t.csv", "--data", "bad.npy"]
    assert message in refused(capsys, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--limit 0", "`limit` must satisfy 1 <= limit <= 256"),
        ("--limit 257", "`limit` must satisfy 1 <= limit <= 256"),
        ("--picture p.xyz", "`--picture` must end in one of ."),
        ("--picture p", "`--picture` must end in one of ."),
        ("--csv t.csv --picture t.csv", "`--picture` must be another file than `--csv`"),
        ("--csv ./x.npy --overwrite", "`--csv` must be another file than `--data`"),
        ("--csv model.keras --overwrite", "`--csv` must be another file than `model`"),
        ("--csv missing/t.csv", "`--csv` must be a file in a folder that can be written"),
        ("--csv model.keras", "`--csv` must be a new file"),
    ],
)
def test_bad_options_of_a_diagnosis_are_refused_before_any_work(
    words, message, folder, capsys, monkeypatch
):
    monkeypatch.setattr(keras.saving, "load_model", None)
    assert message in refused(capsys, "diagnose", "model.keras", "--data", "x.npy", *words.split())


def test_a_picture_needs_matplotlib(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = ["diagnose", "model.keras", "--data", "x.npy", "--picture", "p.png"]
    assert "pip install 'keras-fracinit[plots]'" in refused(capsys, *words)


def test_a_bug_is_no_verdict(folder, capsys, monkeypatch):
    monkeypatch.setattr(commands, "diagnose", lambda model, x, training: {}["missing"])
    assert cli("diagnose model.keras --data x.npy") == 2
    assert "KeyError" in capsys.readouterr().err


# The program


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
