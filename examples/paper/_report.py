"""Makes the tables of `training.py` from the saved runs alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from _networks import CLASSES, METHODS, NETWORKS, Network
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student

FIRST = next(iter(METHODS))  # the method that the others are compared with
Saved = dict[tuple[str, str], dict[str, Any]]
Runs = list[dict[str, Any]]  # the records of the networks of one method


def _title(name: str, network: Network) -> str:
    return (
        f"{name}, {network.depth} hidden layers, s = {network.s:g}, learning rate {network.rate:g}"
    )


def _difference(key: str, runs: Runs, others: Runs | None) -> str:
    """Computes the mean paired difference and its 95% interval (Student)."""
    if others is None or others is runs or len(others) != len(runs):
        return ""
    values = [a[key] - b[key] for a, b in zip(runs, others, strict=True)]
    margin = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):+.3f} ± {margin:.3f}"


def _row(method: str, runs: Runs, first: Runs | None) -> dict[str, str]:
    accuracy = [run["accuracy"] for run in runs]
    steps = [math.inf if run["steps_to_half"] is None else run["steps_to_half"] for run in runs]
    middle = float(np.quantile(steps, 0.5, method="higher"))
    return {
        "method": method,
        "networks": f"{len(runs)}",
        "mean": f"{np.mean(accuracy):.3f}",
        f"minus {FIRST}": _difference("accuracy", runs, first),
        "worst": f"{min(accuracy):.3f}",
        "best": f"{max(accuracy):.3f}",
        "never left chance": f"{np.mean([not run['left_chance'] for run in runs]):.0%}",
        "diverged": f"{np.mean([run['diverged'] for run in runs]):.0%}",
        "steps to 50 %": "never" if math.isinf(middle) else f"{middle:.0f}",
    }


def _row_of_losses(method: str, runs: Runs, first: Runs | None) -> dict[str, str]:
    loss = [run["loss"] for run in runs]
    return {
        "method": method,
        "mean": f"{np.mean(loss):.3f}",
        f"minus {FIRST}": _difference("loss", runs, first),
        "median": f"{np.median(loss):.3f}",
        "worst": f"{max(loss):.3f}",
        "best": f"{min(loss):.3f}",
    }


def _tables(saved: Saved) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for name, network in NETWORKS.items():
        runs = {method: saved[name, method]["networks"] for n, method in saved if n == name}
        if not runs:
            continue
        title, first = _title(name, network), runs.get(FIRST)
        tables[title] = [_row(method, of, first) for method, of in runs.items()]
        # Older records hold no loss.
        if all("loss" in run for of in runs.values() for run in of):
            losses = [_row_of_losses(method, of, first) for method, of in runs.items()]
            tables[f"{name}: loss of the last minibatch"] = losses
    return tables


def _about(saved: Saved) -> str:
    settings = next(iter(saved.values()))["settings"]
    return (
        f"{settings['steps']:,} steps of batches of 128. Accuracy on 1,000 test images at the end; "
        "loss of the last minibatch before the step on it, as the paper has it. A network that "
        f"diverged counts as chance: accuracy 0.1, loss log {CLASSES} = {math.log(CLASSES):.3f}. "
        "In ± the 95% interval of the mean difference seed by seed (Student). Never left chance: "
        "at no look, every 70 steps, more than 0.2. Steps to 50 %: median. A layer of 10 units "
        "follows the hidden ones. Biases start from 0, but of `relu with biases` as torch draws "
        "them, as in the authors' script, which also has one hidden layer less."
    )


def _time(timing: dict[str, Any]) -> str:
    ratios = np.array(timing["ratios"])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    error = ratios.std(ddof=1) / math.sqrt(ratios.size)
    epoch, build = timing["epoch_seconds"], timing["build_seconds"]
    return (
        f"Time per epoch of Keras' fit, ours over He's: median {middle:.3f}, half of {ratios.size} "
        f"alternating pairs within {low:.3f} to {high:.3f}, mean {ratios.mean():.3f} ± {error:.3f} "
        f"(one standard error). Medians {1e3 * epoch['ours']:.0f} ms and {1e3 * epoch['He']:.0f} "
        f"ms; to build the model {1e3 * build['ours']:.0f} ms and {1e3 * build['He']:.0f} ms "
        f"({timing['backend']})."
    )


def print_tables(console: Console, saved: Saved, timing: dict[str, Any] | None) -> None:
    for title, rows in _tables(saved).items():
        table = Table(title=title)
        for column in rows[0]:
            table.add_column(column, justify="left" if column == "method" else "right")
        for row in rows:
            table.add_row(*row.values())
        console.print(table)
    for text in ([_about(saved)] if saved else []) + ([_time(timing)] if timing else []):
        console.print(text)


def write_tables(path: Path, saved: Saved, timing: dict[str, Any] | None) -> None:
    parts = ["# Training, as in the paper", "Written by `examples/paper/training.py`."]
    if saved:
        parts.append(_about(saved))
    for title, rows in _tables(saved).items():
        lines = [[*rows[0]], ["---"] * len(rows[0]), *([*row.values()] for row in rows)]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    if timing:
        parts += ["## Time", _time(timing)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(parts) + "\n")
