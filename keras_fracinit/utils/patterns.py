"""Matches the patterns by which users choose layers and variables of a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def matches(patterns: Iterable[str], path: str) -> bool:
    """Whether a name, path or pattern matches this path or one that contains it."""
    parts = path.split("/")
    names = {*parts, *("/".join(parts[: end + 1]) for end in range(len(parts)))}
    return any(fnmatch.filter(names, pattern) for pattern in patterns)


def check_patterns(
    argument: str, patterns: Iterable[str], paths: Sequence[str], things: str
) -> None:
    """Refuses a pattern that matches none of the paths, and suggests the closest ones."""
    names = {name: None for path in paths for name in [path, *path.split("/")]}
    for pattern in patterns:
        if not any(matches((pattern,), path) for path in paths):
            close = get_close_matches(pattern, names, n=3, cutoff=0.3) or paths[:5]
            raise ValueError(
                f"`{argument}` must hold names or paths of {things}, or patterns of them. "
                f"Received: {pattern!r}, which matches none. Did you mean "
                f"{' or '.join(map(repr, close))}?"
            )
