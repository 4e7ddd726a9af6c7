"""Run a KerasTuner search as one chief and several workers on this machine, and keep it running.

    python supervise.py --workers 2 -- python search.py --directory out

All run the same command, and read their role from the environment: chief, worker0, worker1...
KerasTuner keeps the trial of a dead worker for that worker, and its chief waits for it for ever. So

- a worker that dies is started again under its name, and is given its trial again;
- when the chief dies all are started again and continue from their folder: a new chief does not
  know its workers, and has every unfinished trial run again, whatever they still report;
- a chief that does not end although its workers have is treated like one that died;
- when the chief has ended, so must the workers: one that comes too late waits for it for an hour.

Exit status: 0 if the chief ended well, 1 if the search was given up, 128 + n after signal n.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

HOST = "127.0.0.1"
TICK, PAUSE = 0.1, 1.0  # seconds between two looks at the processes, and before a restart
GRACE = 5.0  # seconds to end in, before SIGKILL
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class GivenUp(Exception):
    """Raised when the search cannot be brought to its end."""


def say(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {message}", flush=True)


def die_with_parent() -> None:
    """Ends a child with its supervisor, even one killed by SIGKILL; on Linux only."""
    if LIBC is not None:
        LIBC.prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


class Member:
    """The chief or a worker: one name, and a succession of processes."""

    def __init__(self, name: str, command: Sequence[str], port: int) -> None:
        self.name, self.command, self.deaths = name, command, 0
        address = {"KERASTUNER_ORACLE_IP": HOST, "KERASTUNER_ORACLE_PORT": str(port)}
        self.environment = {**os.environ, **address, "KERASTUNER_TUNER_ID": name}
        self.process: subprocess.Popen[bytes]
        self.status: int | None = 0  # how it ended, -n if by signal n; None while it runs

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            start_new_session=True,  # with its children it is a group, to which we send signals
            preexec_fn=die_with_parent,
        )
        self.status = None
        say(f"{self.name} started, process {self.process.pid}")

    def ended(self) -> bool:
        if self.status is None and self.process.poll() is not None:
            self.send(signal.SIGKILL)  # to children that it has left behind
            self.status = self.process.returncode
        return self.status is not None

    def send(self, number: int) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def restart(self, limit: int, *others: Member) -> None:
        status, self.deaths = self.status or 0, self.deaths + 1
        killed = status < 0 and f"by signal {-status}, {signal.strsignal(-status)}"
        how = killed or f"with status {status}"
        if self.deaths > limit:
            raise GivenUp(f"{self.name} ended {how} after {limit} restarts")
        say(f"{self.name} ended {how}: restart {self.deaths} of {limit}")
        time.sleep(PAUSE)
        for member in (self, *others):
            member.start()


def have_ended(members: Sequence[Member], seconds: float) -> bool:
    """Waits for all members, for a limited time."""
    deadline = time.monotonic() + seconds
    while not (done := all(m.ended() for m in members)) and time.monotonic() < deadline:
        time.sleep(TICK)
    return done


def stop(members: Sequence[Member]) -> None:
    """Asks all members to end, then kills those that do not."""
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, math.inf)):
        for member in members:
            member.send(number)
        if have_ended(members, seconds):
            return


def search(members: Sequence[Member], options: argparse.Namespace, signals: list[int]) -> None:
    """Keeps chief and workers running until the chief has ended well or a signal arrives."""
    chief, *workers = members
    for member in members:
        member.start()
    deadline, overdue = time.monotonic() + options.timeout, math.inf
    while not (chief.ended() and chief.status == 0):
        if signals:
            raise GivenUp(f"{signal.Signals(signals[0]).name} received")
        if time.monotonic() > deadline:
            raise GivenUp(f"not done after {options.timeout:g} s")
        if chief.ended() and chief.status != 0:
            stop(workers)
            chief.restart(options.restarts, *workers)
        for worker in workers:
            if worker.ended() and worker.status != 0:
                worker.restart(options.restarts)
        if not have_ended(workers, 0):
            overdue = math.inf
        elif overdue == math.inf:
            overdue = time.monotonic() + options.patience
        elif time.monotonic() > overdue:
            say(f"the chief has not ended {options.patience:g} s after its workers: stopped")
            stop([chief])
        time.sleep(TICK)
    have_ended(workers, GRACE)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    number, seconds = {"type": int, "metavar": "N"}, {"type": float, "metavar": "SECONDS"}
    parser.add_argument("--workers", default=2, **number)
    parser.add_argument("--port", default=0, **number, help="of the chief (default: a free one)")
    parser.add_argument("--restarts", default=5, **number, help="of each process (default: 5)")
    parser.add_argument(
        "--patience",
        default=120,
        **seconds,
        help="with a chief whose workers have"
        " ended; KerasTuner's takes up to 20 before it goes on (default: 120)",
    )
    parser.add_argument("--timeout", default=math.inf, **seconds, help="for everything")
    parser.add_argument("command", nargs="+", help="after --")
    options = parser.parse_args()
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if not all(n >= 0 for n in (options.restarts, options.patience, options.timeout)):
        parser.error("--restarts, --patience and --timeout must not be negative")
    if shutil.which(options.command[0]) is None:
        parser.error(f"no such command: {options.command[0]}")
    try:  # gRPC would share a port with another chief, and each get some workers of both
        with socket.create_server((HOST, options.port)) as server:
            options.port = server.getsockname()[1]
    except (OSError, OverflowError) as error:
        parser.error(f"--port {options.port}: {error}")
    return options


def main() -> int:
    options, signals = parse_arguments(), []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, lambda number, _: signals.append(number))
    names = ["chief", *(f"worker{number}" for number in range(options.workers))]
    members = [Member(name, options.command, options.port) for name in names]
    try:
        search(members, options, signals)
    except GivenUp as reason:
        say(f"given up: {reason}. What is done is in the folder: the same command goes on from it")
        return 128 + signals[0] if signals else 1
    finally:
        stop(members)
    say("the search is complete")
    return 0


if __name__ == "__main__":
    sys.exit(main())
