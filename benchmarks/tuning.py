"""Measures what tuning s gains at equal budgets, and what the wrapper of KerasTuner costs.

    KERAS_BACKEND=jax python benchmarks/tuning.py search
    KERAS_BACKEND=tensorflow python benchmarks/tuning.py overhead
    python benchmarks/tuning.py --report

`search`: He initialization with a tuned learning rate against s tuned with it, on real images; the
winner of each search is trained again from many seeds. About a quarter of an hour on one core with
JAX, twice that with TensorFlow. Every finished piece is saved at once, so a run that was ended goes
on where it stood; delete a file to have it measured again. `overhead`: a trial of the same build
function, wrapped and bare, in turn; measured again every time. Without an argument: both. Nothing
here is asserted, and the result is printed, whichever wins.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from pathlib import Path

# Whatever else runs on the machine, one thread has the steadiest times.
for variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = Path(__file__).parent / "results" / "tuning"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("search", "overhead"), help="default: both")
    parser.add_argument("--report", action="store_true", help="print the saved searches, run none")
    parser.add_argument("--short", action="store_true", help="too short to say who wins; not kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory, created")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        # JAX compiles every model of a search anew, though only a learning rate differs, which is
        # an input of the program: this cache spares three quarters of a second each.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{scratch}/jax")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        import _tuning_overhead as overhead  # only now, for they import the backend
        import _tuning_search as search

        warnings.filterwarnings("ignore", module="sklearn")  # of a Gaussian process at a bound
        results = Path(scratch, "results") if arguments.short else arguments.results
        if arguments.part != "overhead":
            budget = search.SHORT if arguments.short else search.FULL
            if not arguments.report:
                search.run(results, budget)
            search.report(results, budget)
        if arguments.part != "search" and not arguments.report:
            overhead.report(rounds=2 if arguments.short else 16)


if __name__ == "__main__":
    main()
