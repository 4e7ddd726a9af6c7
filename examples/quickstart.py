"""See deep, plain networks fail from He's weights and train from mirrored ones; then turn s.

    python examples/quickstart.py            # three minutes of processor time, on two cores half
    python examples/quickstart.py --short    # too short to say who learns better

All acts use the real 8 x 8 digits of scikit-learn and ReLU layers of 64 units, without
normalization or skip connections, trained by plain SGD.

1. 50 layers from HeNormal, orthogonal and mirrored weights (`_deep.py`): curves of the test
   accuracy, a table, and pictures: cosines and sizes against depth, and the heat map of what
   `MomentLogger` records during training.
2. 20 layers at s = 2, 1 and 0 (`_dial.py`): the size of the signal in fresh networks beside the
   theory, and the accuracies.
3. KerasTuner searches s and the learning rate of these 20 layers (`_tuning.py`). The best
   hyperparameters and those at s = 2 are then trained on all training images, and one of these
   models is saved, and loaded in a fresh process.

All seeds are fixed: a second run draws the same pictures, bit by bit, on the same machine.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import _deep
import _dial
import _quiet  # noqa: F401
import _tuning
import keras
import keras_tuner
import mirrored_picture
from _digits import Run, Setting, collect, digits, start
from _progress import Display, console, seconds, trainers


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default="output", help="directory, created")
    short = "2 seeds, 2 epochs, 2 trials: too short to say who learns better"
    parser.add_argument("--short", action="store_true", help=short)
    return parser.parse_args()


def first_act(pool: ProcessPoolExecutor, chart: _deep.Chart, output: Path, networks: int) -> None:
    """Compares three kinds of weights in 50 layers."""
    names = ("training", "mirrored", "moments")
    curves, mirrored, moments = (output / f"{name}.png" for name in names)

    def draw(display: Display) -> None:
        kinds = len(mirrored_picture.KINDS)
        task = display.add_task("drawing 100 layers", total=kinds * networks)
        mirrored_picture.draw(mirrored, networks, lambda: display.step(task))

    setting = chart.setting
    console.print(
        f"\n[bold]1. Which weights?[/] {setting.title}, {setting.optimizer}, learning rate "
        f"{setting.rate:g}\n"
    )
    runs = _deep.compare(pool, setting, chart, watched=True, meanwhile=draw)
    _deep.print_table(runs, setting)
    _deep.draw(runs, setting, curves)
    _deep.draw_moments(runs, setting, moments)
    console.print(f"\npicture   {curves}: loss and accuracy of every run")
    console.print(f"picture   {mirrored}: cosines and sizes against depth, and in theory")
    console.print(f"picture   {moments}: the signal in every layer during training")
    console.print(f"time      {seconds():.0f} s so far")


def second_act(
    pool: ProcessPoolExecutor,
    setting: Setting,
    budget: _tuning.Budget,
    output: Path,
    networks: int,
) -> tuple[dict[str, list[Run]], keras_tuner.Tuner]:
    """Compares three orders in 20 layers; this process searches in the meantime."""
    sizes = output / "s_scale.png"
    console.print(
        f"\n[bold]2. s is a dial[/] of the scale: {setting.title}, learning rate {setting.rate:g}\n"
    )
    with Display() as display:
        title = f"training {setting.depth} layers"
        futures = start(pool, display, title, setting, _dial.makes(setting))
        measured = _dial.scales_of(networks, display)
        tuner = _tuning.search(output, budget, display)
        runs = collect(futures)
    _dial.print_dial(measured)
    _dial.draw_fresh(measured, sizes)
    console.print(f"\npicture   {sizes}: the size of the signal against depth\n")
    _dial.print_accuracies(runs, f"Test accuracy after {setting.epochs} epochs")
    console.print("One learning rate for all three. The search tunes it together with s.")
    return runs, tuner


def third_act(
    pool: ProcessPoolExecutor,
    setting: Setting,
    output: Path,
    he: list[Run],
    tuner: keras_tuner.Tuner,
) -> bool:
    """Trains what the search found, saves it and loads it again."""
    best = _tuning.best_values(tuner)
    rate = f"lr {best['learning_rate']:.4f}"
    names = f"s = 2, {rate}", f"s = {best['s']:.2f}, {rate}"
    makes: dict[str, Callable[[int], keras.Model]] = {
        names[0]: functools.partial(_tuning.tuned, {**best, "s": 2.0}),
        names[1]: functools.partial(_tuning.tuned, best),
    }
    with Display() as display:
        best_setting = setting._replace(rate=best["learning_rate"])
        runs = collect(start(pool, display, "training the best", best_setting, makes))
    untuned = f"s = 2, lr {setting.rate:g}"
    runs = {untuned: he, **runs}
    _dial.print_accuracies(runs, f"What was found: test accuracy after {setting.epochs} epochs")
    console.print()
    console.print(_dial.verdict(runs, names[1], untuned))
    console.print(_dial.verdict(runs, names[1], names[0]) + "\n")
    run = runs[names[1]][0]
    model = _tuning.tuned(best, run.seed)
    model.set_weights(run.weights)
    console.print(f"model     {run.method}, seed {run.seed}")
    return _tuning.check_reload(model, output)


def main() -> int:
    arguments = parse_arguments()
    output, short = arguments.output, arguments.short
    output.mkdir(parents=True, exist_ok=True)
    deep, dial, budget = _deep.DENSE, _dial.SETTING, _tuning.Budget(6, 2, 8)
    if short:
        deep, dial = deep._replace(epochs=2, seeds=1), dial._replace(epochs=2, seeds=2)
        budget = _tuning.Budget(2, 1, 2)
    train, test = (len(part) for part in digits(deep.shape)[::2])
    console.print(
        f"data      {train:,} real digits of 8 x 8 pixels to train on, {test} to test on\n"
        f"networks  ReLU layers without normalization or skip connections, on "
        f"{keras.backend.backend()}"
    )
    chart = _deep.Chart(deep)
    with trainers(chart.add) as pool:
        first_act(pool, chart, output, 4 if short else 20)
        runs, tuner = second_act(pool, dial, budget, output, 20 if short else 100)
        console.print("\n[bold]3. KerasTuner searches s and the learning rate[/]\n")
        _tuning.print_search(tuner, budget)
        path = output / "score_by_order.png"
        _tuning.draw_search(tuner, path)
        console.print(f"\npicture   {path}: the scores against s\n")
        same = third_act(pool, dial, output, next(iter(runs.values())), tuner)
    console.print(f"time      {seconds():.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
