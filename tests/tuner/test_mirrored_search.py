"""Mirrored kernels in a search: always, never, or as a hyperparameter, and s where it acts."""

import keras
import keras_tuner as kt
import numpy as np
import pytest
from architectures import array
from hypermodels import FAST, hyperparameters

import keras_fracinit as kf
from keras_fracinit.tuner import FracInitHyperModel, FracMLP, frac_initializer, reference, results

layers = keras.layers
X = np.random.default_rng(0).normal(size=(8, 2, 3)).astype("float32")


def stack(built=True, widths=(8, 8), units=4, activation="relu", head=()):
    first = [keras.Input((2, 3))] if built else []
    hidden = [layers.Dense(w, activation, name=f"h{i}") for i, w in enumerate(widths)]
    last = layers.Dense(units, name="last")
    return keras.Sequential([*first, layers.Flatten(), *hidden, last, *head], name="net")


def is_odd(model):
    """Whether f(-x) = -f(x), to rounding."""
    plus, minus = array(model(X)), array(model(-X))
    return np.abs(plus + minus).max() < 1e-5 * np.abs(plus).max()


def conditions(hp):
    return {p.name: [(c.name, c.values) for c in p.conditions] for p in hp.space}


@pytest.mark.parametrize("built", [True, False])
def test_each_mode_builds_what_it_says(built):
    def build(hp):
        return stack(built)

    for mirrored, values, odd in (
        *((False, {}, False), (True, {}, True)),
        *(("tune", {}, False), ("tune", {"mirrored": True}, True)),
    ):
        hp = hyperparameters(**values)
        model = FracInitHyperModel(build, seed=0, mirrored=mirrored).build(hp)
        assert is_odd(model) == odd
        assert ("mirrored" in hp.values) == (mirrored == "tune")
        made = [layer.kernel_initializer for layer in model.layers if hasattr(layer, "kernel")]
        assert [m.pairs is not None for m in made] == [odd] * 3
        assert {m.distribution for m in made} == {"orthogonal" if odd else "uniform"}


def test_the_draws_are_those_of_their_initializers():
    model = FracInitHyperModel(lambda hp: stack(), seed=0, mirrored=True).build(hyperparameters())
    for layer in model.layers[1:]:
        made = layer.kernel_initializer
        np.testing.assert_array_equal(array(layer.kernel), array(made(layer.kernel.shape)))
    again = FracInitHyperModel(lambda hp: stack(), seed=0, mirrored=True).build(hyperparameters())
    np.testing.assert_array_equal(array(model.layers[1].kernel), array(again.layers[1].kernel))


def test_the_order_acts_only_where_it_changes_something():
    """The block of the first kernel is 6 to 4 and contracts, or 6 to 8 and does not."""
    for width, where in ((8, []), (16, [("mirrored", [False])])):
        for mirrored in (False, True):
            hp = hyperparameters(mirrored=mirrored, s=0.5)
            FracInitHyperModel(
                lambda hp, width=width: stack(widths=[width] * 2, units=8), mirrored="tune"
            ).build(hp)
            assert conditions(hp) == {"mirrored": [], "s": where}
    hp = hyperparameters()
    FracInitHyperModel(lambda hp: stack(widths=[16, 16], units=8), mirrored=True).build(hp)
    assert hp.values == {}


def test_the_name_of_the_order_is_in_that_of_the_hyperparameter():
    hp = hyperparameters(mirrored_order=True)
    hypermodel = FracInitHyperModel(
        lambda hp: stack(widths=[16, 16]), "order", groups="layer", mirrored="tune"
    )
    hypermodel.build(hp)
    inactive = [("mirrored_order", [False])]
    expected = {"mirrored_order": [], "order_1": inactive, "order_2": inactive, "order_3": []}
    assert conditions(hp) == expected
    assert hypermodel.orders(hp) == ["order_3"]


def test_the_report_names_the_pairs():
    def build(hp=None):
        softmax = [layers.BatchNormalization(), layers.ReLU(), layers.Dense(3, "softmax")]
        return stack(widths=[8, 16, 7], units=6, head=softmax)

    plain = FracInitHyperModel(build).report()
    assert plain.columns[-1] == "pairs"
    assert set(plain.pairs) == {""}
    hypermodel = FracInitHyperModel(build, mirrored=True, seed=1)
    report = hypermodel.report()
    assert report.pairs.tolist() == ["outputs", "both", "inputs", "outputs", "inputs"]
    assert report.order.fillna("").tolist() == ["s", "", "s", "", ""]
    assert report.note[2] == "makes no pairs: 7 units: an odd width has no pairs"
    # Before a normalization and a softmax no scale matters, but a structure does.
    assert report.changed.all()
    model = hypermodel.build(hyperparameters(s=0.5))
    made = [layer.kernel_initializer for layer in model.layers if hasattr(layer, "kernel")]
    assert [m.s for m in made] == [0.5, 0.5, 0.5, 2.0, 2.0]
    before = keras.Sequential(model.layers[:3])
    assert is_odd(lambda x: array(before(x)) @ array(model.layers[3].kernel))


@pytest.mark.parametrize("mirrored", [True, "tune"])
def test_a_search_may_have_models_that_cannot_be_mirrored(mirrored):
    def build(hp):
        return stack(widths=[hp.Choice("width", [7, 8])])

    hypermodel = FracInitHyperModel(build, seed=0, mirrored=mirrored)
    for width, odd in ((7, False), (8, True)):
        hp = hyperparameters(width=width, mirrored=True)
        assert is_odd(hypermodel.build(hp)) == odd
        assert set(hypermodel.report(hp).pairs) == ({"outputs", "inputs"} if odd else {""})
    with pytest.raises(kt.errors.FatalValueError, match="`mirrored=True` needs a model with"):
        FracInitHyperModel(lambda hp: stack(widths=[7]), mirrored=True).build(hyperparameters())


def test_a_group_decides_which_kernels_are_mirrored():
    hypermodel = FracInitHyperModel(
        lambda hp: stack(widths=[8, 8, 8]), groups={"late": ["h1", "h2", "last"]}, mirrored=True
    )
    report = hypermodel.report()
    assert report.pairs.tolist() == ["", "outputs", "both", "inputs"]
    assert report.note[0] == "in no group; no pairs: in no group"


def test_the_own_distribution_stays_where_it_has_pairs():
    def build(hp=None):
        model = stack()
        own = kf.FracReLU(s=1.0, pairs="both", distribution="uniform")
        model.layers[2].kernel_initializer = own
        return model

    report = FracInitHyperModel(build, mirrored=True).report()
    assert report.distribution.tolist() == ["orthogonal", "uniform", "orthogonal"]
    assert report.order.tolist()[1] == "s"


def test_one_line_gives_a_mirrored_initializer():
    hp = hyperparameters(s=0.5)
    made = frac_initializer(hp, "relu", pairs="outputs", taps="center", seed=1)
    expected = kf.FracReLU(0.5, pairs="outputs", taps="center", seed=1)
    assert made.get_config() == expected.get_config()


@pytest.mark.parametrize("mirrored", [True, "tune"])
def test_multilayer_perceptrons_of_any_width_are_mirrored(mirrored):
    hypermodel = FracMLP(2, "mse", depth=3, width=(4, 9), activation="gelu", mirrored=mirrored)
    model = hypermodel.build(hyperparameters(width=7, mirrored=True))
    assert is_odd(model)
    assert [layer.units for layer in model.layers if hasattr(layer, "units")] == [8, 8, 8, 2]


def test_what_cannot_be_mirrored_is_refused_or_left():
    def build(hp):
        return stack(activation="tanh")

    with pytest.raises(kt.errors.FatalValueError, match="tanh has no linear odd part"):
        FracInitHyperModel(build, mirrored=True).build(hyperparameters())
    hp = hyperparameters()
    FracInitHyperModel(build, mirrored="tune").build(hp)
    assert hp.values == {"s": 2.0}
    with pytest.raises(ValueError, match="`mirrored` must be False, True or 'tune'"):
        FracInitHyperModel(build, mirrored="always")

    def clash(hp):
        hp.Boolean("mirrored")
        return stack()

    with pytest.raises(kt.errors.FatalValueError, match="`name` must be none of"):
        FracInitHyperModel(clash, mirrored="tune").build(hyperparameters())


def search(build, folder, trials=6):
    def compiled(hp):
        model = build(hp)
        model.compile("sgd", "mse", **FAST)
        return model

    tuner = kt.RandomSearch(
        FracInitHyperModel(compiled, mirrored="tune", seed=0),
        objective="loss",
        max_trials=trials,
        seed=0,
        directory=folder,
    )
    tuner.search(X, X.sum(axis=(1, 2), keepdims=True)[:, 0], epochs=1, verbose=0)
    return tuner


@pytest.mark.slow
def test_a_search_tries_both_and_compares_the_best_with_neither(tmp_path):
    tuner = search(lambda hp: stack(widths=[16, 16], units=8), tmp_path)
    frame = results(tuner)
    assert set(frame.mirrored) == {True, False}
    assert set(frame.status) == {"completed"}
    assert (frame.s.isna() == frame.mirrored.astype(bool)).all()  # no block contracts
    best = reference(tuner, X, X.sum(axis=(1, 2), keepdims=True)[:, 0], verbose=0)
    assert best[["mirrored", "s"]].values.tolist() == [[False, 2.0]]


@pytest.mark.slow
def test_a_search_in_which_nothing_is_ever_mirrored_is_refused(tmp_path):
    with pytest.raises(kt.errors.FatalValueError, match="`mirrored='tune'` needs a model"):
        search(lambda hp: stack(activation="tanh"), tmp_path, trials=1)
