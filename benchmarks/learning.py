"""Compares initializations by learning, over a grid of tasks, networks and optimizers.

    python benchmarks/learning.py                       # hours; a run that was stopped goes on
    python benchmarks/learning.py --only "mnist-relu-d20-*"      # cells, or a block such as "conv"
    python benchmarks/learning.py --report              # tables and picture from what is there
    python benchmarks/learning.py --estimate            # how long all of it takes on this machine
    python benchmarks/learning.py --check               # the arithmetic against Keras' own fit

A cell is a task, a network and an optimizer; `_learning/cells.py` lists them. Every method gets the
same random numbers and the same batches from the same seed, and its own learning rate, chosen on
other seeds by the mean less one standard deviation of the validation score. A run is dead if its
training score never left chance or if it diverged; one that diverged counts as chance. Each result
is saved as soon as it is complete. It runs on a GPU where JAX has one, all methods of a cell at
once.
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
from typing import Any, NamedTuple

# Processes fill the cores: two threads of XLA are no faster than one on matrices of 64 x 64. These
# are also too small for a GPU to choose kernels by trying, which takes longer than the training.
os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false --xla_gpu_autotune_level=0")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # processes share a GPU
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")  # float32, not TensorFloat-32
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _learning.cells import Block, Cell, Settings, blocks
from _learning.check import check
from _learning.networks import ACTIVATIONS, FAMILIES
from _learning.training import milliseconds, on_processor, run_methods
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TimeElapsedColumn,
)
from rich.table import Table

FOLDER = Path(__file__).parent / "results" / "learning"
RATES = 4  # that a method tries on average
PACKAGES = ("keras-fracinit", "keras", "jax", "jaxlib", "numpy", "mlxtend", "scikit-learn")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


class Job(NamedTuple):
    """Methods to run in a cell: one on a processor, all that are missing on a GPU."""

    cell: Cell
    methods: list[str]
    settings: Settings

    @property
    def cost(self) -> float:
        """Estimates seconds on a processor, for the progress bar."""
        network, settings = self.cell.network, self.settings
        # Milliseconds per net and step.
        each = 0.05 + 3e-6 * network.weights * network.positions
        runs = settings.seeds + 4 * settings.selection_seeds * (not self.cell.rate)
        return each * runs * settings.steps * len(self.methods) / 1e3


def run(job: Job) -> dict[str, Any]:
    return run_methods(*job)


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


def finished(folder: Path, grid: list[tuple[Cell, Settings]]) -> dict[Cell, dict[str, Any]]:
    done: dict[Cell, dict[str, Any]] = {}
    for cell, settings in grid:
        path = folder / f"{cell.name}.json"
        saved = json.loads(path.read_text()) if path.exists() else {"methods": {}}
        if saved.get("settings", asdict(settings)) != asdict(settings):
            raise SystemExit(
                f"{path} holds runs of other settings, with which these cannot be compared: "
                f"{saved['settings']}. Move it away, or name another --output."
            )
        done[cell] = saved["methods"]
    return done


def start_worker(cores: Any) -> None:
    """Ends a worker with its parent, for which it would wait forever. Ctrl-C is for the parent.

    It keeps to one core of those in the queue `cores`, if there are any, because XLA starts as many
    threads as it sees cores.
    """
    if not cores.empty() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cores.get()})
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def available_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run_all(folder: Path, grid: list[Block], threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = finished(folder, [(cell, block.settings) for block in grid for cell in block.cells])
    jobs = []
    for block in grid:
        for cell in block.cells:
            missing = [name for name in block.methods_of(cell) if name not in done[cell]]
            parts = [[name] for name in missing] if on_processor() else [missing]
            jobs += [Job(cell, names, block.settings) for names in parts if names]
    if on_processor():
        jobs.sort(key=lambda job: -job.cost)  # so that no long one is left at the end
    skipped = sum(len(methods) for methods in done.values())
    console.print(f"{sum(len(j.methods) for j in jobs)} to run, {skipped} are there already")
    if not jobs:
        return
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    context = multiprocessing.get_context("spawn")  # no backend survives a fork
    cores = context.SimpleQueue()
    for core in available_cores() if on_processor() else []:
        cores.put(core)
    with (
        ProcessPoolExecutor(min(threads, len(jobs)), context, start_worker, (cores,)) as pool,
        Progress(*columns, console=console, speed_estimate_period=1800) as progress,
    ):
        task = progress.add_task("starting", total=sum(job.cost for job in jobs))
        futures: dict[Future[dict[str, Any]], Job] = {pool.submit(run, job): job for job in jobs}
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                job = futures[future]
                done[job.cell] |= future.result()
                save(folder, job.cell, job.settings, done[job.cell])
                text = f"{count}/{len(jobs)} {job.cell.name}, {', '.join(job.methods)}"
                progress.update(task, advance=job.cost, description=text[:70])
                if not console.is_terminal:
                    console.print(f"{progress.tasks[0].percentage:3.0f}% {text}")
        except KeyboardInterrupt:
            progress.stop()
            console.print("Stopped. The same command goes on from here.")
            os._exit(130)  # without waiting for the workers, which end with this process
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def estimate(grid: list[Block], threads: int) -> None:
    table = Table(title="As many nets at once as there are selection seeds, one thread")
    for column in ("cell", "ms per net and step", "methods", "minutes"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    total = 0.0
    for block in grid:
        settings = block.settings
        runs = settings.seeds + RATES * settings.selection_seeds
        for cell in block.cells:
            each, methods = milliseconds(cell, settings), len(block.methods_of(cell))
            minutes = each * methods * runs * settings.steps / 60e3
            total += minutes
            table.add_row(cell.name, f"{each:.3f}", str(methods), f"{minutes:.1f}")
    console.print(table)
    console.print(
        f"With {RATES} learning rates for each method, total {total / 60:.2f} hours on one thread, "
        f"{total / 60 / threads:.2f} on {threads}."
    )


def check_all() -> bool:
    """Checks small nets without noise, since Keras draws noise in another way."""
    table = Table(title="Against Keras' fit: largest relative difference", caption="bound: 1e-4")
    largest = 0.0
    plain = [name for name, a in ACTIVATIONS.items() if a.training is None]
    kinds = [(name, "dense") for name in plain] + [("relu", f) for f in FAMILIES if f != "dense"]
    for activation, family in kinds:
        for optimizer in ("sgd", "adam"):
            data = "images" if family == "autoencoder" else "digits"
            bottleneck = 3 if family == "autoencoder" else 0
            cell = Cell(data, activation, 4, 16, optimizer, family, bottleneck)
            differences = check(cell, "ours s=1")
            if not table.columns:
                for column in ("cell", *differences):
                    table.add_column(column)
            table.add_row(cell.name, *(f"{value:.1e}" for value in differences.values()))
            largest = max(largest, *differences.values())
    console.print(table)
    return largest < 1e-4


def show(folder: Path, only: list[str], full: bool) -> None:
    from _learning import guide, report  # draws, which no run needs

    saved = report.load(folder)
    if not saved:
        raise SystemExit(f"There are no results in {folder}.")
    figures = report.frame(saved)
    report.write_tables(figures, saved, folder)
    pictures = report.draw(figures, folder)
    names = {cell.name for block in blocks(*only) for cell in block.cells}
    some = figures[figures.name.isin(names)]
    report.print_tables(console, some, full, report.orders(saved))
    written = ", ".join(["learning.csv", "orders.csv", "learning.md", *pictures])
    console.print(f"Written: {written} in {folder}")
    if folder.resolve() == FOLDER:  # what was tried elsewhere must not overwrite the documented
        guide.update(folder)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="cells or blocks that fit a pattern")
    parser.add_argument("--threads", type=int, help="processes of one thread (default: CPUs)")
    parser.add_argument("--output", type=Path, default=FOLDER, help="directory, created")
    parser.add_argument("--full", action="store_true", help="print the figures of every cell")
    for action in ("report", "estimate", "check"):
        parser.add_argument(f"--{action}", action="store_true", help=f"only the {action}")
    arguments = parser.parse_args()
    if not blocks(*arguments.only):
        names = ", ".join(block.name for block in blocks())
        parser.error(f"no cell fits {' '.join(arguments.only)}; the blocks are {names}")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    grid, threads = blocks(*arguments.only), arguments.threads or len(available_cores())
    if arguments.check:
        return 0 if check_all() else 1
    if arguments.estimate:
        estimate(grid, threads)
        return 0
    if not arguments.report:
        run_all(arguments.output, grid, threads)
    show(arguments.output, arguments.only, arguments.full)
    return 0


if __name__ == "__main__":
    sys.exit(main())
