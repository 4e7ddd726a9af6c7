"""Make the order s of the initialization tunable in a hypermodel that does not mention it.

    python examples/tune_existing_model.py            # half a minute on one core
    KERAS_BACKEND=jax python examples/tune_existing_model.py

`MyHyperModel` follows KerasTuner's guide, and learns scikit-learn's 8 x 8 digits. It is wrapped
where the tuner takes it: only that line changes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import _quiet  # noqa: F401
import keras
import keras_tuner as kt
from keras import layers
from sklearn.datasets import load_digits

from keras_fracinit.tuner import FracInitHyperModel, results


class MyHyperModel(kt.HyperModel):
    def build(self, hp: Any) -> keras.Model:
        model = keras.Sequential([keras.Input((8, 8, 1))])
        filters = hp.Choice("filters", [8, 16])
        for _ in range(hp.Int("conv_layers", 1, 3)):
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.Flatten())
        head = hp.Choice("head", ["dense", "plain"])
        with hp.conditional_scope("head", ["dense"]):
            if head == "dense":
                units = hp.Int("units", 16, 64, step=16)
                model.add(layers.Dense(units, activation="relu"))
                if hp.Boolean("dropout"):
                    model.add(layers.Dropout(0.25))
        model.add(layers.Dense(10, activation="softmax"))
        model.compile(
            keras.optimizers.Adam(hp.Float("lr", 1e-3, 1e-1, sampling="log")),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def fit(self, hp: Any, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        return model.fit(*args, batch_size=hp.Choice("batch_size", [32, 64, 128]), **kwargs)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=Path, default="output/existing", help="begun afresh")
    parser.add_argument("--trials", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    keras.utils.set_random_seed(0)  # which governs the draws of the kernels, too
    images, labels = load_digits(return_X_y=True)
    images = (images / 8.0 - 1.0).astype("float32").reshape(-1, 8, 8, 1)

    hypermodel = FracInitHyperModel(MyHyperModel())  # the one line; it was MyHyperModel()
    print("What becomes of each kernel (ratio: of the standard deviation at s = 2 to the present):")
    report = hypermodel.report()
    columns = ["layer", "activation", "order", "ratio", "note"]
    print(report[columns].round(3).to_string(index=False, na_rep=""))

    tuner = kt.RandomSearch(
        hypermodel,
        objective="val_accuracy",
        max_trials=arguments.trials,
        seed=1,
        directory=arguments.directory,
        project_name="digits",
        overwrite=True,
    )
    data = {"validation_data": (images[1400:], labels[1400:])}
    tuner.search(images[:1400], labels[:1400], epochs=5, verbose=0, **data)

    found = results(tuner).sort_values("score", ascending=False)
    print(f"\n{len(found)} executions, the best first; the rest is in {tuner.project_dir}:")
    columns = ["trial", "s", "lr", "batch_size", "conv_layers", "head", "score", "status"]
    print(found[columns].round(4).to_string(index=False))


if __name__ == "__main__":
    main()
