"""Tests that `reinitialize` writes the model that the library makes, and never half of a file."""

import io
import math
import os
import pathlib
import re
import sys

import keras
import numpy as np
import pytest
from architectures import array
from command_line import (
    HIDDEN,
    INPUTS,
    SAMPLES,
    WIDTH,
    cli,
    contents,
    loaded,
    mlp,
    refused,
    same,
    samples,
    weights,
)

import keras_fracinit as kf
from keras_fracinit.cli.main import main

layers = keras.layers


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
