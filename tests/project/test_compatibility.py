"""What version 0.1 saved is read, used and continued by this one: see `saved_0_1.make`."""

import csv
import io
import json
import pickle
import re
import shutil
import sys
from dataclasses import asdict, is_dataclass

import keras
import numpy as np
import pytest
from saved_0_1 import make

import keras_fracinit as kf
from keras_fracinit.tuner import results

pytestmark = pytest.mark.filterwarnings("ignore:keras_fracinit.* is now:DeprecationWarning")
BACKEND = keras.backend.backend()
# The files were computed on TensorFlow; another processor sums the same products in another order.
RTOL = 1e-6 if BACKEND == "tensorflow" else 1e-5
CONFIGS = json.loads((make.FOLDER / "configs.json").read_text())
with np.load(make.FOLDER / "values.npz") as file:
    VALUES = dict(file)
with np.load(make.FOLDER / f"kernels-{BACKEND}.npz") as file:
    KERNELS = dict(file)


def assert_close(tensor, expected):
    expected = np.asarray(expected, "float64")
    values = np.asarray(keras.ops.convert_to_numpy(tensor), "float64")
    np.testing.assert_allclose(values, expected, RTOL, RTOL * np.abs(expected).max())


# Initializers.


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_give_the_same_initializer(name):
    saved, fresh = CONFIGS[name], make.initializers()[name]
    loaded = keras.initializers.deserialize(saved)
    assert type(loaded) is type(fresh)
    again = json.loads(json.dumps(keras.initializers.serialize(loaded)))
    for key in ("class_name", "registered_name"):
        assert again[key] == saved[key]
    assert again["config"].items() >= saved["config"].items()  # arguments may be added
    if fresh.seed is not None:
        drawn = (keras.ops.convert_to_numpy(one(make.SHAPE)) for one in (loaded, fresh))
        np.testing.assert_array_equal(*drawn)


@pytest.fixture(scope="module")
def drawn():
    kernels = make.kernels()
    keras_own = [name for name in kernels if name.startswith("keras-")]
    if any((kernels[name] != KERNELS[name]).any() for name in keras_own):
        pytest.skip("Keras itself draws other bits here: it is another release or processor.")
    return kernels


@pytest.mark.parametrize("name", [name for name in KERNELS if not name.startswith("keras-")])
def test_integer_seeds_draw_the_same_bits(name, drawn):
    np.testing.assert_array_equal(drawn[name], KERNELS[name])


# Models.


def load_json():
    model = keras.models.model_from_json((make.FOLDER / "attention.json").read_text())
    model.load_weights(make.FOLDER / "attention.weights.h5")
    return model


def loader(name):
    return lambda: keras.saving.load_model(make.FOLDER / name)


@pytest.mark.parametrize(
    ("name", "load"),
    [
        *((name, loader(f"{name}.keras")) for name in ("dense", "attention", "trained")),
        ("trained", loader("trained.h5")),
        ("attention", load_json),
    ],
    ids=["dense.keras", "attention.keras", "trained.keras", "trained.h5", "attention.json"],
)
def test_models_predict_the_same(name, load):
    model = load()
    for i, weight in enumerate(model.get_weights()):
        np.testing.assert_array_equal(weight, VALUES[f"{name}-weight-{i}"])
    x = make.SEQUENCES if name == "attention" else make.X
    assert_close(model(x), VALUES[f"{name}-predictions"])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="The slopes were drawn on TensorFlow.")
def test_random_slopes_of_a_saved_seed_are_the_same():
    model = keras.saving.load_model(make.FOLDER / "dense.keras")
    assert_close(model(make.X, training=True), VALUES["dense-training"])


def test_initializers_of_a_model_are_those_it_was_made_with():
    model = keras.saving.load_model(make.FOLDER / "dense.keras")
    fresh = make.initializers()
    found = {layer.name for layer in model.layers} & set(fresh)
    assert found == set(fresh) - {"axes"}
    for name in found - {"generator"}:
        loaded = model.get_layer(name).kernel_initializer
        assert loaded.get_config() == fresh[name].get_config()
        assert loaded.law == fresh[name].law


# The logger.


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_log_is_continued(tmp_path):
    saved = json.loads((make.FOLDER / "logger.json").read_text())
    logger = keras.saving.deserialize_keras_object(saved["logger"])
    again = json.loads(json.dumps(keras.saving.serialize_keras_object(logger)))
    assert again["config"].items() >= saved["logger"]["config"].items()

    before = (make.FOLDER / "log.csv").read_text()
    path = tmp_path / logger.path
    path.write_text(before)
    logger = kf.MomentLogger.from_config({**logger.get_config(), "path": path})
    history = make.trained().fit(
        make.X, make.Y, epochs=1, batch_size=8, verbose=0, callbacks=[logger]
    )
    assert sorted(history.history) == saved["logs"]
    after = path.read_text()
    assert after.startswith(before)

    old, new = rows(before), rows(after)[len(rows(before)) :]
    assert len(new) == len(logger.history) > 0
    assert all(None not in row and None not in row.values() for row in new)
    columns = ("step", "epoch", "layer", "call", "quantity", "statistic", "order")
    first = [row for row in old if row["step"] == "0"]
    for row, expected in zip(new, first, strict=False):
        assert [row[column] for column in columns] == [expected[column] for column in columns]
        if row["statistic"] != "seconds":
            values = float(row["value"]), float(expected["value"])
            assert values[0] == pytest.approx(values[1], rel=RTOL, nan_ok=True)


# Pickles.


@pytest.fixture(scope="module")
def fresh():
    return make.picklable()


def unpickled(name):
    return pickle.loads((make.FOLDER / "pickles" / f"{name}.pickle").read_bytes())


def test_there_is_a_pickle_of_everything(fresh):
    names = {path.stem for path in (make.FOLDER / "pickles").iterdir()}
    assert names == {*fresh, "records-plan", "records-diagnosis"}


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "generator"])
def test_pickled_initializers_load(name, fresh):
    loaded = unpickled(name)
    assert type(loaded) is type(fresh[name])
    assert loaded.get_config() == fresh[name].get_config()
    assert loaded.law == fresh[name].law
    assert loaded.describe(make.SHAPE) == fresh[name].describe(make.SHAPE)


NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]\d+)?")
LAWS = ("linear", "relu", "leaky", "randomized", "dropout", "smooth", "sampled", "stable")


@pytest.mark.parametrize("name", LAWS)
def test_pickled_laws_load(name, fresh):
    assert unpickled(f"laws-{name}") == fresh[f"laws-{name}"]


@pytest.mark.parametrize("name", ["scale", "smooth-scale", "log-norm", "layer", "propagation"])
def test_pickled_records_load(name, fresh):
    loaded, expected = unpickled(f"records-{name}"), fresh[f"records-{name}"]
    assert type(loaded) is type(expected)
    shown, again = str(loaded), str(expected)
    assert NUMBER.sub("#", shown) == NUMBER.sub("#", again)
    # The last bit of a power is not the same on every processor.
    numbers = [[float(number) for number in NUMBER.findall(text)] for text in (shown, again)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-12)
    if is_dataclass(loaded):
        assert asdict(loaded).keys() == asdict(expected).keys()


@pytest.mark.parametrize("name", ["plan", "diagnosis"])
def test_pickled_reports_load(name):
    text = (make.FOLDER / f"{name}.csv").read_text()
    report = unpickled(f"records-{name}")
    frame = report.to_pandas()[text.splitlines()[0].split(",")]
    assert frame.to_csv(index=False) == text
    assert str(report)
    assert type(report)(**vars(report)) == report


def test_a_pickled_logger_loads(fresh):
    loaded, expected = unpickled("logger").get_config(), fresh["logger"].get_config()
    np.testing.assert_array_equal(loaded.pop("probe"), expected.pop("probe"))
    assert loaded == expected | {"to_logs": True}  # the default that it was made with


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("laws-smooth", "smooth"),
        ("laws-stable", "stable"),
        ("records-log-norm", "moments"),
        ("records-layer", "orders"),
        ("records-smooth-scale", "smooth_initializers"),
        ("records-plan", "_changes"),
    ],
)
def test_old_paths_in_pickles_warn(name, module, monkeypatch):
    monkeypatch.delitem(sys.modules, f"keras_fracinit.{module}", raising=False)
    with pytest.warns(DeprecationWarning, match=f"keras_fracinit.{module} is now"):
        unpickled(name)


# Searches.


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(make.FOLDER / "search", tmp_path / "search")
    return tmp_path


def test_results_of_a_search_are_read(folder):
    tuner = make.search(folder, 2)
    assert results(tuner).to_csv(index=False) == (make.FOLDER / "results.csv").read_text()
    assert_close(tuner.get_best_models(1)[0](make.X), VALUES["search-predictions"])


@pytest.mark.slow
def test_a_search_is_continued(folder):
    tuner = make.search(folder, 3)
    assert set(tuner.oracle.trials) == {"0", "1"}
    tuner.search(make.X, make.Y, epochs=2, verbose=0)
    for path in (make.FOLDER / "search").glob("trial_*/*"):
        assert (folder / path.relative_to(make.FOLDER)).read_bytes() == path.read_bytes()
    frame = results(tuner)
    header, *old = (make.FOLDER / "results.csv").read_text().splitlines()
    assert frame.to_csv(index=False).splitlines()[: 1 + len(old)] == [header, *old]
    new = frame[len(old) :]
    assert new["trial"].tolist() == ["2", "2"]
    assert new["execution"].tolist() == [0, 1]
    assert (new["status"] == "completed").all()
