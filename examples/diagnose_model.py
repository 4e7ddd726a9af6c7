"""Diagnose a model from a file, re-initialize it, and diagnose it again.

    python examples/diagnose_model.py     # some seconds

A model of 20 ReLU layers of 64 units with Keras' defaults is saved, then loaded, diagnosed on real
digits, re-initialized and diagnosed again. The two pictures show at a glance which is healthy.
`python -m keras_fracinit diagnose` and `... reinitialize` do the same with files.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import _quiet  # noqa: F401
import keras
import numpy as np
from rich.console import Console
from sklearn.datasets import load_digits

from keras_fracinit import diagnose, plots, reinitialize

console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def save_somebodys_model(path: Path) -> None:
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, "relu", name=f"hidden_{i}") for i in range(20)]
    head = keras.layers.Dense(10, "softmax", name="head")
    keras.Sequential([keras.Input((64,)), *hidden, head], name="net").save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("output"), help="directory, created")
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    save_somebodys_model(folder / "model.keras")
    images = (load_digits().data[:256] / 8.0 - 1.0).astype(np.float32)

    model = keras.saving.load_model(folder / "model.keras")
    before = diagnose(model, images)
    report = reinitialize(model, s=1.0, seed=0)
    after = diagnose(model, images)  # and now it may be trained

    console.print(report)
    for name, diagnosis in (("before", before), ("after", after)):
        path = folder / f"diagnosis_{name}.png"
        plots.diagnosis(diagnosis).savefig(path, dpi=120)
        console.print(f"[bold]{name}[/]: {diagnosis.verdicts[0]}  ->  {path}")


if __name__ == "__main__":
    main()
