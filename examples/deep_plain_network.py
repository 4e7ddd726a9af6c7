"""Train 50 plain ReLU layers on real digits from He, orthogonal and mirrored weights.

    python examples/deep_plain_network.py           # half a minute on two cores
    python examples/deep_plain_network.py --conv    # 30 convolutional layers, half a minute too

No normalization, no skip connections. The networks and their training are in `_deep.py`.

The rate of SGD, 0.003, is the one that suits the other two: of 0.001, 0.003, 0.01, 0.03 and 0.1,
each tried with two other seeds, it is the best for orthogonal weights and among the two best for
HeNormal. Mirrored weights train at the first three, best at 0.01, and are unstable at 0.03; none
trains at 0.1. For convolutions it is 0.0003 with Adam: of 0.0003, 0.001 and 0.003 the only one at
which the others leave chance.

The digits are nearly linearly separable, and a linear model is printed beside the networks: the
example shows which of these networks can be trained at all, and no more than that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _quiet  # noqa: F401
import keras
from _deep import CONV, DENSE, Chart, compare, draw, print_table
from _digits import BATCH, digits
from _progress import console, seconds, trainers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    conv = "30 convolutional layers of 16 channels"
    parser.add_argument("--conv", action="store_true", help=conv)
    parser.add_argument("--short", action="store_true", help="one seed, two epochs")
    parser.add_argument("--seeds", type=int, help="runs from each kind of weights")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rate", type=float, help="the rate of the optimizer")
    parser.add_argument("--optimizer", choices=("SGD", "Adam"))
    parser.add_argument("--output", type=Path, default=Path("output"), help="directory, created")
    arguments = parser.parse_args()
    setting = CONV if arguments.conv else DENSE
    if arguments.short:
        setting = setting._replace(seeds=1, epochs=2)
    asked = ("seeds", "epochs", "rate", "optimizer")
    setting = setting._replace(**{k: v for k in asked if (v := getattr(arguments, k)) is not None})
    steps = -(-len(digits(setting.shape)[0]) // BATCH)
    console.print(
        f"network   {setting.title}, no normalization, no skip connections\n"
        f"training  {setting.optimizer}, rate {setting.rate:g}, {setting.epochs} epochs of "
        f"{steps} batches of {BATCH}, {keras.backend.backend()}"
    )
    chart = Chart(setting)
    with trainers(chart.add) as pool:
        runs = compare(pool, setting, chart, arguments.first_seed)
    print_table(runs, setting)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"deep_plain_network{'_conv' if arguments.conv else ''}.png"
    draw(runs, setting, path)
    console.print(f"picture   {path}\ntime      {seconds():.0f} s")


if __name__ == "__main__":
    main()
