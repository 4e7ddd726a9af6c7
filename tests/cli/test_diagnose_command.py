"""Tests what `diagnose` reads, writes and refuses, and that its exit code is the verdict."""

import os
import pathlib
import sys

import keras
import numpy as np
import pytest
from command_line import INPUTS, SAMPLES, archive, cli, loaded, refused, samples

import keras_fracinit as kf
from keras_fracinit.cli import commands
from keras_fracinit.cli.main import main

layers = keras.layers


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
