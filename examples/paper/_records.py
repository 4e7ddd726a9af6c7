"""Saves the runs of `training.py` and says what is still to be trained."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _networks import NETWORKS, PAIRS

STACK = 5  # networks trained at once: more fall out of the cache


@dataclass(frozen=True)
class Settings:
    """The settings that all compared runs of a network share."""

    steps: int
    networks: int


Pair = tuple[str, str]  # names of a network and of a method
Job = tuple[Pair, list[int], int]  # with seeds and the number of steps


def save(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file in one step, so that a killed process leaves a whole one."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(unfinished, path)


def path_of(folder: Path, pair: Pair) -> Path:
    return folder / f"{'-'.join(pair).replace(' ', '-')}.json"


def load(folder: Path) -> dict[Pair, dict[str, Any]]:
    """Loads the saved runs."""
    paths = {pair: path_of(folder, pair) for pair in PAIRS}
    return {pair: json.loads(path.read_text()) for pair, path in paths.items() if path.exists()}


def begun(folder: Path, pair: Pair, settings: Settings) -> dict[str, Any]:
    """Loads the saved runs of a pair, which must have these settings; an empty list at first."""
    path = path_of(folder, pair)
    if not path.exists():
        return {"settings": asdict(settings), "processor_seconds": 0, "networks": []}
    content: dict[str, Any] = json.loads(path.read_text())
    if content["settings"] != asdict(settings):
        raise SystemExit(
            f"{path} holds runs of other settings, with which these cannot be compared: "
            f"{content['settings']}. Move it away, or name another --output."
        )
    return content


def remaining(runs: dict[Pair, dict[str, Any]]) -> list[Job]:
    """Lists what is to be trained, the methods of a network in turn.

    So at any time about the same seeds of each method are saved.
    """
    stacks = []
    for pair, content in runs.items():
        done, wanted = len(content["networks"]), content["settings"]["networks"]
        stacks += [
            (pair, list(range(first, min(first + STACK, wanted))))
            for first in range(done, wanted, STACK)
        ]
    stacks.sort(key=lambda stack: (list(NETWORKS).index(stack[0][0]), stack[1]))
    return [(pair, seeds, runs[pair]["settings"]["steps"]) for pair, seeds in stacks]
