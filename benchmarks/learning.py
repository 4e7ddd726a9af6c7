"""Compares initializations by learning: dense nets, real digits, 20 seeds a method and cell.

    python benchmarks/learning.py                       # hours; a run that was stopped goes on
    python benchmarks/learning.py --only "mnist-relu-d20-*"
    python benchmarks/learning.py --report              # tables and picture from what is there
    python benchmarks/learning.py --estimate            # how long all of it takes on this machine
    python benchmarks/learning.py --check               # the arithmetic against Keras' own fit

A cell is a data set, an activation, a depth, a width and an optimizer. Every method gets the same
random numbers and the same batches from the same seed, and its own learning rate, chosen on other
seeds by validation accuracy. A run is dead if its training accuracy never exceeded 0.2 or it
diverged; one that diverged counts as chance. Each result is saved as soon as it is complete.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import shlex
import signal
import sys
import threading
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# Processes fill the cores: two threads of XLA are no faster than one on matrices of 64 x 64.
os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _learning import report
from _learning.methods import methods_for
from _learning.networks import ACTIVATIONS, Cell, cells
from _learning.training import Settings, check, milliseconds, run_method
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TimeElapsedColumn,
)
from rich.table import Table

FOLDER = Path(__file__).parent / "results" / "learning"
PACKAGES = ("keras-fracinit", "keras", "jax", "jaxlib", "numpy", "mlxtend", "scikit-learn")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def cost(cell: Cell) -> float:
    """Estimates milliseconds per net and step, for the time left on the progress bar."""
    weights = sum(n * d for n, d in cell.network.shapes)
    noise = 2.0 if ACTIVATIONS[cell.activation].training else 1.0
    return noise * (0.05 + 2.6e-6 * weights)


def save(folder: Path, cell: Cell, settings: Settings, methods: dict[str, Any]) -> None:
    """Replaces the file in one step, so that a killed process leaves a whole one."""
    head = {
        "cell": asdict(cell),
        "settings": asdict(settings),
        "command": shlex.join(["python", *sys.argv]),
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "cpus": os.cpu_count(),
    }
    lines = [f'"{key}": {json.dumps(value)}' for key, value in head.items()]
    inner = [f"{json.dumps(name)}: {json.dumps(runs)}" for name, runs in methods.items()]
    lines.append('"methods": {\n' + ",\n".join(inner) + "\n}")  # a line each, for the eye
    path = folder / f"{cell.name}.json"
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    os.replace(unfinished, path)


def finished(folder: Path, grid: list[Cell], settings: Settings) -> dict[Cell, dict[str, Any]]:
    done: dict[Cell, dict[str, Any]] = {}
    for cell in grid:
        path = folder / f"{cell.name}.json"
        saved = json.loads(path.read_text()) if path.exists() else {"methods": {}}
        if saved.get("settings", asdict(settings)) != asdict(settings):
            raise SystemExit(
                f"{path} holds runs of other settings, with which these cannot be compared: "
                f"{saved['settings']}. Move it away, or name another --output."
            )
        done[cell] = saved["methods"]
    return done


def end_with_parent() -> None:
    """Ends a worker with its parent, for which it would wait forever. Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_all(folder: Path, grid: list[Cell], settings: Settings, threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = finished(folder, grid, settings)
    jobs = [(c, m) for c in grid for m in methods_for(c) if m not in done[c]]
    skipped = sum(len(methods) for methods in done.values())
    console.print(f"{len(jobs)} jobs (a method in a cell), {skipped} are there already")
    if not jobs:
        return
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    context = multiprocessing.get_context("spawn")  # no backend survives a fork
    with (
        ProcessPoolExecutor(min(threads, len(jobs)), context, end_with_parent) as pool,
        Progress(
            "{task.description}", *columns, console=console, speed_estimate_period=1800
        ) as progress,
    ):
        # In units of cost, so that the time left is right: the grid begins with the small nets.
        total = sum(cost(cell) for cell, _ in jobs)
        task = progress.add_task("starting", total=total)
        futures: dict[Future[dict[str, Any]], tuple[Cell, str]] = {
            pool.submit(run_method, *job, settings): job for job in jobs
        }
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                cell, method = futures[future]
                done[cell][method] = future.result()
                save(folder, cell, settings, done[cell])
                progress.update(task, description=f"{count}/{len(jobs)} {cell.name}, {method}")
                progress.advance(task, cost(cell))
        except KeyboardInterrupt:
            progress.stop()
            console.print("Stopped. The same command goes on from here.")
            os._exit(130)  # without waiting for the workers, which end with this process
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def estimate(grid: list[Cell], settings: Settings, threads: int) -> None:
    table = Table(title=f"{settings.stack} nets at once, batches of {settings.batch}, one thread")
    for column in ("cell", "ms per net and step", "methods", "minutes"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    runs = 3 * settings.selection_seeds + settings.seeds
    total = 0.0
    for cell in grid:
        each, methods = milliseconds(cell, settings), len(methods_for(cell))
        minutes = each * methods * runs * settings.steps / 60e3
        total += minutes
        table.add_row(cell.name, f"{each:.3f}", str(methods), f"{minutes:.1f}")
    console.print(table)
    more = settings.selection_seeds / runs
    console.print(
        f"Total {total / 60:.2f} hours on one thread, {total / 60 / threads:.2f} on {threads}; "
        f"{more:.0%} more for every further learning rate that the methods need on average."
    )


def check_all() -> bool:
    """Checks small nets without noise, since Keras draws noise in another way."""
    table = Table(title="Against Keras' fit: largest relative difference", caption="bound: 1e-4")
    largest = 0.0
    for activation in (name for name, a in ACTIVATIONS.items() if a.training is None):
        for optimizer in ("sgd", "adam"):
            cell = Cell("digits", activation, 5, 16, optimizer)
            differences = check(cell, "ours s=1")
            if not table.columns:
                for column in ("cell", *differences):
                    table.add_column(column)
            table.add_row(cell.name, *(f"{value:.1e}" for value in differences.values()))
            largest = max(largest, *differences.values())
    console.print(table)
    return largest < 1e-4


def show(folder: Path, only: str, full: bool) -> None:
    saved = report.load(folder)
    if not saved:
        raise SystemExit(f"There are no results in {folder}.")
    figures = report.frame(saved)
    report.write_tables(figures, saved, folder)
    pictures = report.draw(figures, folder)
    names = {cell.name for cell in cells(only)}
    report.print_tables(console, figures[figures.name.isin(names)], full)
    console.print(f"Written: {', '.join(['learning.csv', 'learning.md', *pictures])} in {folder}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", help="cells whose name fits this pattern")
    parser.add_argument("--threads", type=int, help="processes of one thread (default: CPUs)")
    parser.add_argument("--seeds", type=int, default=Settings.seeds)
    parser.add_argument("--selection-seeds", type=int, default=Settings.selection_seeds)
    parser.add_argument("--steps", type=int, default=Settings.steps, help="multiple of 50")
    parser.add_argument("--output", type=Path, default=FOLDER, help="directory, created")
    parser.add_argument("--full", action="store_true", help="print the figures of every cell")
    for action in ("report", "estimate", "check"):
        parser.add_argument(f"--{action}", action="store_true", help=f"only the {action}")
    arguments = parser.parse_args()
    if not cells(arguments.only):
        parser.error(f"no cell fits {arguments.only}; one is {cells()[0].name}")
    seeds = (arguments.seeds, arguments.selection_seeds)
    if arguments.steps < Settings.every or arguments.steps % Settings.every or min(seeds) < 2:
        parser.error(f"--steps must be a multiple of {Settings.every}, seeds at least 2")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    grid, threads = cells(arguments.only), arguments.threads or os.cpu_count() or 1
    settings = Settings(
        steps=arguments.steps,
        seeds=arguments.seeds,
        selection_seeds=arguments.selection_seeds,
    )
    if arguments.check:
        return 0 if check_all() else 1
    if arguments.estimate:
        estimate(grid, settings, threads)
        return 0
    if not arguments.report:
        run_all(arguments.output, grid, settings, threads)
    show(arguments.output, arguments.only, arguments.full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
