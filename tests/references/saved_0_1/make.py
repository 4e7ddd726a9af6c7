"""Writes what version 0.1 saves, for the test that every later version still reads it.

The files beside this script were written by the package as it was at commit 79b0a8c, before it
became sub-packages. With an environment of that commit:

    KERAS_BACKEND=tensorflow python tests/references/saved_0_1/make.py  # first: every other file
    KERAS_BACKEND=jax python tests/references/saved_0_1/make.py         # kernels-jax.npz alone
    KERAS_BACKEND=torch python tests/references/saved_0_1/make.py       # kernels-torch.npz alone

A later version must not write them again, or the test would compare it with itself. The test
imports this script for the objects that the files hold, which it makes once more.

    configs.json            initializers, serialized by Keras
    kernels-BACKEND.npz     what those with an integer seed, a re-initialization and FracMLP draw
    NAME.keras, attention.json, attention.weights.h5, trained.h5    the models below
    values.npz              inputs of the models, their weights and predictions
    logger.json, log.csv    a MomentLogger: its configuration, its keys in the logs, its records
    pickles/NAME.pickle     the objects of `picklable`, by protocol 4
    search/                 two trials of a search over FracMLP
    results.csv, plan.csv, diagnosis.csv    the frames that `results`, a Plan and a Diagnosis give
"""

import importlib.util
import json
import os
import pathlib
import pickle
import shutil

# As in the tests, so that JAX compiles its samplers into the same operations.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import keras
import numpy as np

import keras_fracinit as kf

FOLDER = pathlib.Path(__file__).parent
SHAPE = (6, 8)
SEED = 11
# Distributions that Keras draws by itself, which shows whether bits can be compared at all.
SAMPLERS = ("untruncated_normal", "truncated_normal", "uniform", "orthogonal")
_generator = np.random.default_rng(1)
X = _generator.standard_normal((16, 6)).astype("float32")
Y = _generator.standard_normal((16, 1)).astype("float32")
SEQUENCES = _generator.standard_normal((4, 5, 6)).astype("float32")


@keras.saving.register_keras_serializable(package="saved_0_1")
def bent(x):
    return x / (1.0 + keras.ops.abs(x))


BENT = "saved_0_1>bent"


def initializers():
    """By name: every class with every distribution, and every other option once."""
    made = {}
    for distribution in (*SAMPLERS, "stable"):
        options = {"distribution": distribution, "s": 0.8, "seed": SEED}
        if distribution == "stable":
            options["alpha"] = 1.5
        made |= {
            f"linear-{distribution}": kf.FracLinear(**options),
            f"relu-{distribution}": kf.FracReLU(**options),
            f"leaky-{distribution}": kf.FracLeakyReLU(0.1, **options),
            f"randomized-{distribution}": kf.FracRandomizedLeakyReLU(0.1, 0.4, **options),
            f"tanh-{distribution}": kf.FracActivation("tanh", **options),
        }
        if distribution != "stable":  # which a function that is only sampled cannot have
            made[f"bent-{distribution}"] = kf.FracActivation(BENT, **options)
    return {
        **made,
        "dropout": kf.FracReLU(dropout=0.2, seed=SEED),
        "asymptotic": kf.FracReLU(method="asymptotic", seed=SEED),
        "fan_out": kf.FracLeakyReLU(0.3, s=1.5, mode="fan_out", seed=SEED),
        "axes": kf.FracReLU(s=0.0, input_axes=[1], output_axes=[0], seed=SEED),
        "unseeded": kf.FracReLU(s=2.0),
        "generator": kf.FracLinear(seed=keras.random.SeedGenerator(SEED)),
    }


def picklable():
    """By name: initializers, laws and records, by the paths that they had."""
    from keras_fracinit import callbacks, moments, orders, propagation, smooth, stable

    laws = kf.laws
    scaled = kf.FracReLU(s=1.0)
    seeded = {name: one for name, one in initializers().items() if name != "generator"}
    return seeded | {
        "laws-linear": laws.Linear(),
        "laws-relu": laws.ReLU(),
        "laws-leaky": laws.LeakyReLU(0.2),
        "laws-randomized": laws.RandomizedLeakyReLU(0.1, 0.4),
        "laws-dropout": laws.Dropout(laws.ReLU(), 0.25),
        "laws-smooth": smooth.Smooth("gelu"),
        "laws-sampled": laws.law_of(BENT),
        "laws-stable": stable.Stable(laws.ReLU(), 1.5),
        "records-scale": scaled.describe((6, 8)),
        "records-smooth-scale": kf.FracActivation("gelu").describe((6, 8)),
        "records-log-norm": moments.log_norm(laws.ReLU(), 1.0, 8),
        "records-layer": orders.Layer(laws.ReLU(), 8, 2.0),
        "records-propagation": propagation.propagate([8, 8], "relu", s=1.0),
        "logger": callbacks.MomentLogger(X, orders=(0.5, 1.0), kind="unit"),
    }


def models():
    """By name: every initializer before its activation, those with axes, and one that trains."""
    x = keras.Input((6,))
    activations = {
        "linear": lambda: keras.layers.Activation("linear"),
        "relu": keras.layers.ReLU,
        "leaky": lambda: keras.layers.LeakyReLU(negative_slope=0.1),
        "randomized": lambda: kf.RandomizedLeakyReLU(0.1, 0.4, seed=SEED),
        "tanh": lambda: keras.layers.Activation("tanh"),
        "bent": lambda: keras.layers.Activation(bent),
    }
    branches = []
    for name, initializer in initializers().items():
        if name != "axes":  # of the transposed kernel of another layer
            dense = keras.layers.Dense(4, None, False, initializer, name=name)
            activation = activations.get(name.partition("-")[0], keras.layers.ReLU)()
            branches.append(activation(dense(x)))
    dense = keras.Model(x, keras.layers.Concatenate()(branches), name="dense")

    x = keras.Input((5, 6))
    linear = kf.FracLinear(s=0.5, seed=SEED)
    attended = keras.layers.MultiHeadAttention(2, 3, kernel_initializer=linear)(x, x)
    relu = kf.FracReLU(distribution="orthogonal")
    y = keras.layers.EinsumDense("abc,cd->abd", (None, 4), kernel_initializer=relu)(attended)
    y = keras.layers.ReLU()(y)
    leaky = kf.FracLeakyReLU(0.3, mode="fan_out")
    y = keras.layers.Conv1D(3, 2, kernel_initializer=leaky)(y)
    attention = keras.Model(x, keras.layers.LeakyReLU()(y), name="attention")

    trained = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, kernel_initializer=kf.FracLinear(), name="first"),
            kf.RandomizedLeakyReLU(name="slopes"),
            keras.layers.Dense(8, "relu", kernel_initializer=kf.FracReLU(s=0.5), name="second"),
            keras.layers.Dense(1, name="head"),
        ],
        name="trained",
    )
    trained.compile(keras.optimizers.SGD(0.01), keras.losses.MeanSquaredError())
    return {"dense": dense, "attention": attention, "trained": trained}


def trained():
    return keras.saving.load_model(FOLDER / "trained.keras")


def kernels():
    """By name: all that an integer seed determines, and what Keras draws from it by itself."""
    from keras_tuner import HyperParameters

    drawn = {name: one(SHAPE) for name, one in initializers().items() if one.seed == SEED}
    drawn["convolution"] = kf.FracReLU(distribution="stable", alpha=1.2, seed=SEED)((3, 3, 2, 4))
    drawn["half"] = keras.ops.cast(kf.FracReLU(seed=SEED)(SHAPE, "bfloat16"), "float32")
    for name in SAMPLERS[:-1]:
        sampler = keras.initializers.VarianceScaling(2.0, "fan_in", name, seed=SEED)
        drawn[f"keras-{name}"] = sampler(SHAPE)
    drawn["keras-orthogonal"] = keras.initializers.Orthogonal(seed=SEED)(SHAPE)
    model = trained()
    kf.reinitialize(model, s=1.2, seed=SEED)
    searched = search_space().build(HyperParameters())
    searched.build((None, 6))
    for name, one in {"reinitialized": model, "searched": searched}.items():
        drawn |= {f"{name}-{i}": weight for i, weight in enumerate(one.get_weights())}
    return {name: keras.ops.convert_to_numpy(one) for name, one in drawn.items()}


def search_space():
    from keras_fracinit.tuner import FracMLP

    options = {"learning_rate": (1e-3, 1e-2), "optimizer": "sgd", "low": 0.5, "seed": SEED}
    return FracMLP(1, "mse", depth=(1, 2), width=(4, 8), **options)


def search(folder, trials):
    """A search in `folder/search`, with the loss on the training data as its objective."""
    from keras_tuner import RandomSearch

    from keras_fracinit.tuner import resumable

    options = {"objective": "loss", "max_trials": trials, "executions_per_trial": 2, "seed": SEED}
    tuner = RandomSearch(search_space(), directory=folder, project_name="search", **options)
    return resumable(tuner)


def write_models():
    values = {}
    for name, model in models().items():
        x = SEQUENCES if name == "attention" else X
        model.save(FOLDER / f"{name}.keras")
        values[f"{name}-predictions"] = model(x)
        if name == "dense":  # whose slopes are drawn from a seed
            values["dense-training"] = model(x, training=True)
        values |= {f"{name}-weight-{i}": weight for i, weight in enumerate(model.get_weights())}
        if name == "attention":
            (FOLDER / "attention.json").write_text(model.to_json())
            model.save_weights(FOLDER / "attention.weights.h5")
        if name == "trained":
            model.save(FOLDER / "trained.h5")
    return values


def write_records():
    """A log, a plan and a diagnosis of the model that trains."""
    model = trained()
    logger = kf.MomentLogger(X, (0.5, 1.0), ("activations", "weights"), path="log.csv")
    config = keras.saving.serialize_keras_object(logger)
    (FOLDER / "log.csv").unlink(missing_ok=True)
    history = model.fit(X, Y, epochs=2, batch_size=8, verbose=0, callbacks=[logger])
    saved = {"logger": config, "logs": sorted(history.history)}
    (FOLDER / "logger.json").write_text(json.dumps(saved))

    model = trained()
    plan = kf.reinitialize(model, s=1.2, seed=SEED)
    diagnosis = kf.diagnose(model, X)
    for name, record in {"plan": plan, "diagnosis": diagnosis}.items():
        record.to_pandas().to_csv(FOLDER / f"{name}.csv", index=False)
    return {"records-plan": plan, "records-diagnosis": diagnosis}


def write_search():
    from keras_fracinit.tuner import results

    shutil.rmtree(FOLDER / "search", ignore_errors=True)
    keras.utils.set_random_seed(SEED)
    tuner = search(FOLDER, 2)
    tuner.search(X, Y, epochs=2, verbose=0)
    results(tuner).to_csv(FOLDER / "results.csv", index=False)
    return tuner.get_best_models(1)[0](X)


def write_files():
    configs = {name: keras.initializers.serialize(one) for name, one in initializers().items()}
    pathlib.Path("configs.json").write_text(json.dumps(configs))
    values = write_models()
    records = write_records()
    values["search-predictions"] = write_search()
    np.savez_compressed("values.npz", **{n: np.asarray(value) for n, value in values.items()})
    folder = pathlib.Path("pickles")
    folder.mkdir(exist_ok=True)
    for name, one in {**picklable(), **records}.items():
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(one, protocol=4))


def main():
    if importlib.util.find_spec("keras_fracinit._stacks") is None:
        raise SystemExit("To be run with the package as it was at commit 79b0a8c.")
    os.chdir(FOLDER)
    if keras.backend.backend() == "tensorflow":
        write_files()
    np.savez_compressed(f"kernels-{keras.backend.backend()}.npz", **kernels())


if __name__ == "__main__":
    main()
