"""Matches the patterns by which users choose layers and variables of a model."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class Names:
    """All paths by which patterns may name the layers and variables of a model.

    They have the names of all models and layers around, or lack the outer ones: Keras drops those
    of outer models when a model is loaded.
    """

    def __init__(self, model: Any) -> None:
        self._around: dict[int, tuple[str, ...]] = {id(model): (model.name,)}
        self._owners: dict[int, Any] = {}
        waiting = [model]
        for layer in waiting:
            # A layer lists the variables of the layers in it too, which come later.
            self._owners.update((id(variable), layer) for variable in layer.variables)
            for child in layer._flatten_layers(include_self=False, recursive=False):
                if id(child) not in self._around:
                    self._around[id(child)] = (*self._around[id(layer)], child.name)
                    waiting.append(child)

    def of_layer(self, layer: Any, path: str) -> tuple[str, ...]:
        """The path of a layer, and its others."""
        return _unique(path, self._around.get(id(layer), ()))

    def of_variable(self, variable: Any) -> tuple[str, ...]:
        """The path of a variable, and its others."""
        return self.of_part(self._owners.get(id(variable)), variable.path)

    def of_part(self, layer: Any, path: str) -> tuple[str, ...]:
        """The path of a part of a layer, such as a kernel that is not built yet, and its others."""
        return _unique(path, self._around.get(id(layer), ()), f"/{path.rpartition('/')[-1]}")


def _unique(path: str, names: tuple[str, ...], part: str = "") -> tuple[str, ...]:
    others = ("/".join(names[start:]) + part for start in range(len(names)))
    return tuple(dict.fromkeys([path, *others]))


def matches(patterns: Iterable[str], *paths: str) -> bool:
    """Whether a name, path or pattern matches one of these paths, or one that contains it.

    A name matches itself, whatever brackets it has.
    """
    names = _names(paths)
    return any(pattern in names or fnmatch.filter(names, pattern) for pattern in patterns)


def _names(paths: Iterable[str]) -> set[str]:
    """The parts of paths, and the paths that contain them."""
    names = set[str]()
    for path in paths:
        parts = path.split("/")
        names.update(parts, ("/".join(parts[: end + 1]) for end in range(len(parts))))
    return names


def check_patterns(
    argument: str, patterns: Iterable[str], things: Sequence[str | Sequence[str]], kind: str
) -> None:
    """Refuses a pattern that matches nothing, and suggests the closest names.

    Args:
        argument: The name of the argument that holds the patterns.
        patterns: The patterns.
        things: What they may match: the path of each thing, or all paths that it has.
        kind: What the things are, in words.
    """
    several = [(thing,) if isinstance(thing, str) else thing for thing in things]
    for pattern in patterns:
        if not any(matches((pattern,), *paths) for paths in several):
            raise ValueError(
                f"`{argument}` must hold names or paths of {kind}, or patterns of them. "
                f"Received: {pattern!r}, which matches none. "
                + did_you_mean(pattern, [paths[0] for paths in several])
            )


def did_you_mean(name: str, paths: Sequence[str], whole: bool = False) -> str:
    """The question after an unknown name: the closest paths or, unless `whole`, parts of them."""
    close = [path for path in paths if name in _names([path])] if whole else []
    if not close:
        names = {part: path for path in paths for part in [path, *path.split("/")]}
        similar = get_close_matches(name, names, n=3, cutoff=0.3)
        close = list(dict.fromkeys(names[part] if whole else part for part in similar))
    close = close[:3] or list(paths[:5])
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
