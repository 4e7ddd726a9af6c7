"""Turns the numbers of a diagnosis into verdicts, only where they leave no doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from keras_fracinit.diagnosis.cure import Cure
from keras_fracinit.diagnosis.random_walk import KernelLaws, Walk, kernels_in
from keras_fracinit.graph.downstream import NORMALIZED
from keras_fracinit.graph.operations import Effect, effect_of
from keras_fracinit.models.forward_pass import Output

COLLAPSED = 0.99  # the mean cosine from which on inputs count as parallel


_NO_CURE = "which no scale cures"


_DYING = 0.05  # the share of zero inputs above which a network counts as dying


_OUTSIDE = NormalDist().cdf(-2.0)  # the probability that one walk ends above its band


_Kernels = Mapping[int, Sequence[KernelLaws]]


def sigmas_for(walks: Sequence[Walk]) -> float:
    """Computes the half-width of the band in standard deviations.

    It is 2 for one walk. For several it is larger, so that any of them leaves its band as rarely.
    """
    return NormalDist().inv_cdf(1.0 - _OUTSIDE / max(len(walks), 1))


def verdicts_of(
    outputs: Sequence[Output],
    path: Sequence[Output],
    walks: Sequence[Walk],
    known: Any,
    cure: Cure,
) -> tuple[list[str], list[str]]:
    """Collects the verdicts against the network, the gravest first, and other remarks."""
    signals = _signals(path, known)
    against = [
        *_not_finite(outputs, known),
        *_dead(signals),
        *_strays(walks),
        *_parallel(signals, cure),
    ]
    remarks = [*_averaged(signals), *_resets(outputs), *_unjudged(outputs, known)]
    if not against:
        remarks.insert(0, f"healthy: {_best(walks)}")
    return against, remarks


def _signals(path: Sequence[Output], known: Any) -> Sequence[Output]:
    """Drops the outputs from the last kernel on if no law follows it.

    A softmax is the usual case; its outputs are nearly parallel.
    """
    places = [i for i, output in enumerate(path) if kernels_in(output.layer, known)]
    lost = places and any(item.law is None for item in kernels_in(path[places[-1]].layer, known))
    return path[: places[-1]] if lost else path


def _not_finite(outputs: Sequence[Output], known: _Kernels) -> Iterator[str]:
    for item in (item for items in known.values() for item in items):
        if not math.isfinite(item.values.rms):
            yield f"not finite: nan or infinite weights in {item.kernel.site.path}"
            return
    broken = next((output for output in outputs if output.signal.nonfinite), None)
    if broken:
        yield f"not finite: nan or infinite outputs from {_at(broken)} on"


def _dead(signals: Sequence[Output]) -> Iterator[str]:
    # A zero branch of a sum, as some networks start with, is not the end of the signal.
    last = max((i for i, output in enumerate(signals) if _tells_apart(output)), default=-1)
    behind = signals[last + 1 :]
    dead = next((output for output in behind if output.signal.dead_inputs == 1.0), None)
    if dead:
        yield f"dead: every output is zero from {_at(dead)} on"
    elif signals:
        share = signals[-1].signal.dead_inputs
        if share > max(_DYING, signals[0].signal.dead_inputs):
            yield f"dying: {_at(signals[-1])} is zero for {share:.0%} of the inputs"


def _tells_apart(output: Output) -> bool:
    """Whether an output depends on the input; behind zeros all that is left is the biases."""
    return output.signal.dead_inputs < 1.0 and output.signal.cosine < 1.0 - 1e-6


def _strays(walks: Sequence[Walk]) -> Iterator[str]:
    """Reports the walk that is farthest outside its band."""
    sigmas = sigmas_for(walks)
    found = [(walk.excess(sigmas), walk) for walk in walks]
    found = [(excess, walk) for excess, walk in found if math.isfinite(excess) and excess]
    if found:
        excess, walk = max(found, key=lambda pair: abs(pair[0]))
        others = f"; {len(found) - 1} other walk(s) stray too" if len(found) > 1 else ""
        word = "vanishes" if excess < 0.0 else "explodes"
        yield f"{word}: {_pace(walk, sigmas, 'outside')}{others}"


def _best(walks: Sequence[Walk]) -> str:
    """Describes the walk with the largest drift per layer, when all are inside their bands."""
    if not walks:
        return "nothing is left to the scale of the weights"
    walk = max(walks, key=lambda walk: abs(walk.drift) / len(walk.steps))
    return _pace(walk, sigmas_for(walks), "inside")


def _pace(walk: Walk, sigmas: float, where: str) -> str:
    count = len(walk.steps)
    pace, low, high = (math.exp(x / count) for x in (walk.drift, *walk.band(sigmas)[-1]))
    first, last = walk.steps[0].first.path, walk.steps[-1].first.path
    layers = f"over {count} layers" if count > 1 else "in one layer"
    return (
        f"x{pace:.2f} per layer {layers}, {where} the band of one draw "
        f"(x{low:.2f} to x{high:.2f}); {f'{first} to {last}' if count > 1 else first}"
    )


def _parallel(signals: Sequence[Output], cure: Cure) -> Iterator[str]:
    start = _start_of_collapse(signals)
    if start == len(signals) or effect_of(signals[start].layer) is Effect.AVERAGES:
        return
    if signals[start].depth == 0:
        yield f"inputs are parallel: cosine {signals[start].kept.cosine:.3g} before any kernel"
    else:
        cosine = signals[-1].kept.cosine
        yield f"inputs collapse: cosine {cosine:.3g} from {_at(signals[start])} on, {_NO_CURE}"
        yield cure.text(signals)


def _averaged(signals: Sequence[Output]) -> Iterator[str]:
    start = _start_of_collapse(signals)
    if start < len(signals) and effect_of(signals[start].layer) is Effect.AVERAGES:
        cosine = signals[start].kept.cosine
        yield f"{_at(signals[start])} averages, and makes the inputs alike: cosine {cosine:.3g}"


def _start_of_collapse(signals: Sequence[Output]) -> int:
    """Finds the first place from which on all are parallel; the length if the last is not."""
    start = len(signals)
    while start and signals[start - 1].kept.cosine >= COLLAPSED:
        start -= 1
    return start


def _at(output: Output) -> str:
    return f"layer {output.depth} ({output.path})"


def _resets(outputs: Sequence[Output]) -> Iterator[str]:
    count = sum(effect_of(output.layer) is Effect.NORMALIZES for output in outputs)
    if count:
        yield f"norm layer resets the scale: {count} {'time' if count == 1 else 'times'}"


def _unjudged(outputs: Sequence[Output], known: Any) -> Iterator[str]:
    """Lists kernels that theory does not follow, except the last and those that need no scale."""
    last = next((o.layer for o in reversed(outputs) if kernels_in(o.layer, known)), None)
    reasons = [
        item.kernel.not_scalable or item.kernel.downstream.reason
        for identity, items in known.items()
        for item in items
        if item.law is None and identity != id(last) and item.kernel.site.spec.kind != "embedding"
    ]
    others = [reason for reason in reasons if reason != NORMALIZED]
    if others:
        listed = "; ".join(dict.fromkeys(others))
        yield f"not judged: {len(others)} kernel(s) that theory does not follow ({listed})"
