"""The console of the examples, how far they are, and the processes that train networks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TimeElapsedColumn

BEGIN = time.perf_counter()
EVERY = 10.0  # seconds between two lines in a file

console = Console(highlight=False, soft_wrap=True)
# In a process that trains: takes what is to be reported of an epoch to the process that shows it.
report: Callable[[Any], None] = lambda _: None  # noqa: E731


def seconds() -> float:
    """Returns the time since the start of the program."""
    return time.perf_counter() - BEGIN


class Display(Progress):
    """Shows bars on a terminal, with `above` over them; elsewhere prints a line now and then.

    Rich by itself prints nothing before the end where there is no terminal.
    """

    def __init__(self, above: Any = None) -> None:
        columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.above = above
        super().__init__(*columns, console=console, disable=not console.is_interactive)
        self._due = seconds() + EVERY

    def get_renderables(self) -> Iterator[Any]:
        if self.above is not None:
            yield self.above
        yield self.make_tasks_table(self.tasks)

    def step(self, task: TaskID, note: str = "") -> None:
        """Advances a task by one; the note, about the step, goes into the line."""
        self.advance(task)
        if not self.disable:
            return
        with self._lock:
            (state,) = [each for each in self.tasks if each.id == task]
            if state.finished or seconds() >= self._due:
                self._due = seconds() + EVERY
                done = f"{state.completed:.0f} of {state.total:.0f}"
                text = f"{seconds():5.0f} s   {state.description}: {done}"
                console.print(f"{text}, {note}" if note else text, markup=False)


def _report_to(queue: Any) -> None:
    global report
    report = queue.put


@contextmanager
def trainers(on_report: Callable[[Any], None]) -> Iterator[ProcessPoolExecutor]:
    """Starts a process for each core, up to four, and calls back with each of their reports."""
    context = get_context("spawn")  # no backend survives a fork
    queue = context.SimpleQueue()

    def listen() -> None:
        while (message := queue.get()) is not None:
            on_report(message)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    workers = min(os.cpu_count() or 1, 4)
    try:
        with ProcessPoolExecutor(workers, context, _report_to, (queue,)) as pool:
            yield pool
    finally:
        queue.put(None)
        listener.join()
