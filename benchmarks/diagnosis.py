"""Measures how often `diagnose` accuses healthy networks, and how often it finds sick ones.

    python benchmarks/diagnosis.py --models 1000 --keep diagnosis.jsonl    # some hours; 200: one

Every network is fixed by its number. The healthy ones are fresh from `reinitialize` or
`FracActivation`'s scale: MLPs, convolutional, residual and normalized networks, with dropout,
smooth activations, one output or several, of width 8 to 128, s from 0 to 2. They are no deeper than
12 layers, and than half their width: beyond, theory itself says that inputs become parallel. All
kinds of verdict together are to accuse at most 5 % of them, that is 67 of 1,000 at two standard
errors.

The sick ones have all layers too small or too large by 20 %, one bad layer in the middle, inputs
that collapse, a dead layer, or gradients that explode; the table has how many are found at each
width. At small widths the signal strays as far by chance, and the weights have to tell.
`results/diagnosis.txt` keeps the tables of one run.

`--keep` appends each result to a file and goes on from there, also after an interruption, which
prints the tables of what there is. `--models` is the number of healthy ones, and a fifth of it the
number of sick ones per kind and width.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from keras_fracinit import diagnose, reinitialize

layers = keras.layers
SAMPLES = 32
KINDS = {
    "size": ("vanishes", "explodes"),
    "weights": ("weights",),
    "gradients": ("gradients",),
    "angles": ("inputs",),
    "zeros": ("dead", "dying"),
    "not finite": ("not finite",),
}
WIDTHS = (8, 16, 32, 64, 128)


class Case(NamedTuple):
    """A network with its inputs, and the options of `diagnose`."""

    model: keras.Model
    x: Any
    options: dict[str, Any] | None = None


def inputs(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(size=(SAMPLES, *shape)).astype("float32")


# Healthy networks.


def mlp(rng: np.random.Generator, **options: Any) -> Case:
    width = int(rng.choice(WIDTHS))
    depth = options.get("depth") or int(rng.integers(1, min(12, width // 2) + 1))
    activation = options.get("activation") or str(rng.choice(["relu", "leaky_relu", "linear"]))
    stack = []
    for _ in range(depth):
        stack.append(layers.Dense(width, activation))
        stack += options.get("behind", list)()
    head = layers.Dense(options.get("head", 10), options.get("output"))
    model = keras.Sequential([keras.Input((32,)), *stack, head])
    training = "behind" in options
    return Case(drawn(model, rng, dropout=training), inputs(rng, 32), {"training": training})


def drawn(
    model: keras.Model, rng: np.random.Generator, s: float | None = None, dropout: bool = False
) -> keras.Model:
    order = float(rng.choice([0.0, 0.5, 1.0, 2.0])) if s is None else s
    reinitialize(model, s=order, seed=int(rng.integers(2**31)), dropout=dropout)
    return model


def cnn(rng: np.random.Generator) -> Case:
    width, depth = int(rng.choice([8, 16, 32])), int(rng.integers(2, 5))
    stack: list[Any] = []
    pools = (layers.MaxPooling2D, layers.AveragePooling2D)
    for place in range(depth):
        stack.append(layers.Conv2D(width, 3, padding="same", activation="relu"))
        if place == 1:
            stack.append(pools[int(rng.integers(2))](2))
    pool = layers.GlobalAveragePooling2D() if rng.random() < 0.5 else layers.Flatten()
    model = keras.Sequential([keras.Input((8, 8, 3)), *stack, pool, layers.Dense(10)])
    return Case(drawn(model, rng), inputs(rng, 8, 8, 3))


def residual(rng: np.random.Generator) -> Case:
    width, start = int(rng.choice(WIDTHS[1:])), keras.Input((32,))
    x = layers.Dense(width, "relu")(start)
    for _ in range(int(rng.integers(1, 5))):
        branch = layers.LayerNormalization()(x) if rng.random() < 0.5 else x
        branch = layers.Dense(width, "relu")(branch)
        x = layers.Add()([x, layers.Dense(width)(branch)])
    model = keras.Model(start, layers.Dense(10, "softmax")(x))
    return Case(drawn(model, rng), inputs(rng, 32))


def normalized(rng: np.random.Generator) -> Case:
    width, stack = int(rng.choice(WIDTHS[1:])), []
    kind = layers.BatchNormalization if rng.random() < 0.5 else layers.LayerNormalization
    for _ in range(int(rng.integers(1, 9))):
        stack += [layers.Dense(width), kind(), layers.ReLU()]
    model = keras.Sequential([keras.Input((32,)), *stack, layers.Dense(10)])
    return Case(drawn(model, rng), inputs(rng, 32), {"training": True})


def several_outputs(rng: np.random.Generator) -> Case:
    width, start = int(rng.choice(WIDTHS[1:])), keras.Input((32,))
    x = start
    for _ in range(int(rng.integers(1, 5))):
        x = layers.Dense(width, "relu")(x)
    heads = [layers.Dense(units)(layers.Dense(width, "relu")(x)) for units in (1, 3, 10)]
    return Case(drawn(keras.Model(start, heads), rng), inputs(rng, 32))


def one_output(rng: np.random.Generator) -> Case:
    return mlp(rng, head=1, output=str(rng.choice(["linear", "sigmoid"])), activation="relu")


def with_dropout(rng: np.random.Generator) -> Case:
    return mlp(rng, behind=lambda: [layers.Dropout(0.2)], activation="relu")


def smooth(rng: np.random.Generator) -> Case:
    name = str(rng.choice(["tanh", "gelu", "silu", "elu", "selu", "mish"]))
    return mlp(rng, activation=name, head=int(rng.choice([1, 10])))


HEALTHY: tuple[Callable[[np.random.Generator], Case], ...] = (
    mlp,
    cnn,
    residual,
    normalized,
    one_output,
    several_outputs,
    with_dropout,
    smooth,
)


def healthy(number: int) -> Case:
    """A healthy network, the same one for the same number."""
    return HEALTHY[number % len(HEALTHY)](np.random.default_rng([1, number]))


# Sick networks: each made of a healthy one of ten layers.


def stack_of(rng: np.random.Generator, width: int, depth: int = 10, name: str = "relu") -> Case:
    hidden = [layers.Dense(width, name) for _ in range(depth)]
    model = keras.Sequential([keras.Input((32,)), *hidden, layers.Dense(10)])
    return Case(drawn(model, rng, s=1.0), inputs(rng, 32))


def scaled(rng: np.random.Generator, width: int, factor: float, places: slice) -> Case:
    case = stack_of(rng, width)
    for layer in case.model.layers[:10][places]:
        layer.kernel.assign(factor * layer.kernel)
    return case


def dead(rng: np.random.Generator, width: int) -> Case:
    case = stack_of(rng, width)
    layer = case.model.layers[int(rng.integers(1, 9))]
    layer.bias.assign(layer.bias - 100.0)
    return case


class Sick(NamedTuple):
    """A kind of sick networks: the verdicts that find it, its widths, and how it is made."""

    verdicts: frozenset[str]
    widths: tuple[int, ...]
    make: Callable[[np.random.Generator, int], Case]


def of_scale(factor: float, places: slice) -> Sick:
    kinds = frozenset({"size", "weights"})
    return Sick(kinds, WIDTHS, lambda rng, width: scaled(rng, width, factor, places))


def of_depth(kind: str, depth: int, activation: str) -> Sick:
    widths = (32, 64, 128)
    return Sick(
        frozenset({kind}), widths, lambda rng, width: stack_of(rng, width, depth, activation)
    )


SICK = {
    "all x0.8": of_scale(0.8, slice(10)),
    "all x1.25": of_scale(1.25, slice(10)),
    "one x0.1": of_scale(0.1, slice(5, 6)),
    "one x10": of_scale(10.0, slice(5, 6)),
    "collapsed": of_depth("angles", 150, "relu"),
    "dead": Sick(frozenset({"zeros"}), WIDTHS, dead),
    "gradients": of_depth("gradients", 50, "tanh"),
}


def sick(kind: str, width: int, number: int) -> Case:
    """A sick network of this kind and width, the same one for the same number."""
    place = list(SICK).index(kind)
    return SICK[kind].make(np.random.default_rng([2, place, width, number]), width)


# Judging them.


def kinds_of(case: Case) -> list[str]:
    """The kinds of the verdicts against a network."""
    found = diagnose(case.model, case.x, **(case.options or {}))
    if found.healthy:
        return []
    return [
        kind
        for kind, starts in KINDS.items()
        if any(verdict.startswith(starts) for verdict in found.verdicts)
    ]


def tasks(models: int) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Names each network, and tells how to make it."""
    for number in range(models):
        yield f"healthy/{number}", lambda number=number: healthy(number)  # type: ignore[misc]
    for number in range(models // 5):
        for kind, sick_ones in SICK.items():
            for width in sick_ones.widths:
                name = f"{kind}/{width}/{number}"
                yield name, lambda k=kind, w=width, n=number: sick(k, w, n)  # type: ignore[misc]


def measured(models: int, keep: Path | None) -> dict[str, list[str]]:
    """Diagnoses all networks that the file does not have yet."""
    known: dict[str, list[str]] = {}
    if keep is not None and keep.exists():
        rows = [json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines()]
        known = {row["name"]: row["kinds"] for row in rows}
    wanted = dict(tasks(models))
    with suppress(KeyboardInterrupt):
        for place, (name, make) in enumerate(wanted.items(), start=1):
            if name not in known:
                keras.utils.clear_session(free_memory=False)
                keras.utils.set_random_seed(place)
                known[name] = kinds_of(make())
                if keep is not None:
                    with keep.open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"name": name, "kinds": known[name]}) + "\n")
                if place % 25 == 0:
                    print(f"{place} of {len(wanted)}", file=sys.stderr, flush=True)
    return {name: known[name] for name in wanted if name in known}


def show(results: dict[str, list[str]]) -> None:
    """Prints the two tables."""
    rows = [kinds for name, kinds in results.items() if name.startswith("healthy/")]
    alarms = Counter(kind for kinds in rows for kind in kinds)
    table = Table(title=f"{len(rows)} healthy networks: accused by")
    for column in ("any", *KINDS):
        table.add_column(column, justify="right")
    counts = [sum(map(bool, rows)), *(alarms[kind] for kind in KINDS)]
    table.add_row(*(f"{count} ({count / max(len(rows), 1):.1%})" for count in counts))
    Console().print(table)
    groups = Table(title="by architecture")
    for column in ("architecture", "networks", "accused"):
        groups.add_column(column, justify="right")
    for place, make in enumerate(HEALTHY):
        part = rows[place :: len(HEALTHY)]
        groups.add_row(make.__name__, str(len(part)), str(sum(map(bool, part))))
    Console().print(groups)
    found = Table(title="sick networks that are found, by width")
    for column in ("sick", *map(str, WIDTHS)):
        found.add_column(column, justify="right")
    for kind, sick_ones in SICK.items():
        cells = []
        for width in WIDTHS:
            part = [k for name, k in results.items() if name.startswith(f"{kind}/{width}/")]
            hits = sum(not sick_ones.verdicts.isdisjoint(kinds) for kinds in part)
            cells.append(f"{hits}/{len(part)} ({hits / len(part):.0%})" if part else "")
        found.add_row(kind, *cells)
    Console().print(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=int, default=1000, help="healthy networks")
    parser.add_argument("--keep", type=Path, help="a file of results, which is continued")
    arguments = parser.parse_args()
    show(measured(arguments.models, arguments.keep))


if __name__ == "__main__":
    main()
