"""Turns the numbers of a diagnosis into verdicts, only where they leave no doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_fracinit.diagnosis.chance import ALLOWED, PARALLEL, Angles, angles_at
from keras_fracinit.diagnosis.cure import Cure
from keras_fracinit.diagnosis.drifts import Drifts
from keras_fracinit.diagnosis.random_walk import KernelLaws, Walk, kernels_in
from keras_fracinit.diagnosis.weights import agree, drifts_of_weights
from keras_fracinit.graph.downstream import NORMALIZED
from keras_fracinit.graph.operations import (
    Effect,
    action_of,
    effect_of,
    is_normalization,
    resets_scale,
)
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.smooth import point_mass_of
from keras_fracinit.models.forward_pass import Output, OutputStats

COLLAPSED = PARALLEL  # its name up to 0.2


_DYING = 0.05  # the share of zero inputs above which a network counts as dying


_WIDE = 0.9  # a cosine below which wide outputs show that inputs are apart


_Kernels = Mapping[int, Sequence[KernelLaws]]


@dataclass(frozen=True)
class Evidence:
    """All that verdicts depend on.

    Attributes:
        outputs: The outputs of all layers, in the order of the calls.
        ways: For each output of the model, the outputs that lead to it.
        walks: The stretches of all ways for which theory holds.
        sizes: The drift of the size of the signal over each walk.
        gradients: The drift of a gradient over each walk, from its end; empty if none was sent.
        known: The kernels of each layer, by its id.
        cure: What would keep inputs apart.
        training: Whether the layers acted as in training.
    """

    outputs: Sequence[Output]
    ways: Sequence[Sequence[Output]]
    walks: Sequence[Walk]
    sizes: Sequence[Drifts]
    gradients: Sequence[Drifts]
    known: Any
    cure: Cure
    training: bool = False


def verdicts_of(evidence: Evidence) -> tuple[list[str], list[str]]:
    """Collects the verdicts against the network, the gravest first, and other remarks."""
    outputs, known = evidence.outputs, evidence.known
    ways = [_signals(way, known) for way in evidence.ways]
    against = [
        *_not_finite(outputs, known),
        *(verdict for way in ways for verdict in _dead(way, known)),
        *_strays(evidence),
        *_weights(evidence),
        *_gradients(evidence),
        *(verdict for way in ways for verdict in _parallel(way, known, evidence.cure)),
    ]
    remarks = [
        *(remark for way in ways for remark in _pooled(way)),
        *_resets(outputs, evidence.training),
        *_unjudged(outputs, known),
    ]
    if not against:
        remarks.insert(0, f"healthy: {_best(evidence)}")
    return list(dict.fromkeys(against)), list(dict.fromkeys(remarks))


def _signals(path: Sequence[Output], known: Any) -> Sequence[Output]:
    """Drops the outputs from the last kernel on if they are nearly parallel by their nature.

    Those of a softmax are, which no law follows, and those of a sigmoid, which is 0.5 at 0.
    """
    places = [i for i, output in enumerate(path) if kernels_in(output.layer, known)]
    laws = [item.law for item in kernels_in(path[places[-1]].layer, known)] if places else []
    return path[: places[-1]] if any(law is None or _offset_of(law) for law in laws) else path


def _offset_of(law: Law | None) -> str:
    """The value at 0 of an activation that makes outputs for small inputs alike, else nothing."""
    smooth = point_mass_of(law)
    value = 0.0 if smooth is None else float(smooth.value(np.zeros(1))[0])
    return f"{smooth.activation}(0) = {value:.3g}" if smooth and abs(value) > 1e-3 else ""


def _not_finite(outputs: Sequence[Output], known: _Kernels) -> Iterator[str]:
    for item in (item for items in known.values() for item in items):
        if not math.isfinite(item.values.rms):
            yield f"not finite: nan or infinite weights in {item.kernel.site.path}"
            return
    broken = next((output for output in outputs if output.signal.nonfinite), None)
    if broken:
        yield f"not finite: nan or infinite outputs from {_at(broken)} on"


def _dead(signals: Sequence[Output], known: Any) -> Iterator[str]:
    # A zero branch of a sum, as some networks start with, is not the end of the signal.
    last = max((i for i, output in enumerate(signals) if _tells_apart(output)), default=-1)
    behind = signals[last + 1 :]
    dead = next((output for output in behind if output.signal.dead_inputs == 1.0), None)
    if dead:
        yield f"dead: every output is zero from {_at(dead)} on"
    elif signals:
        share = signals[-1].signal.dead_inputs
        if share > max(_DYING, _usual_zeros(signals, known), signals[0].signal.dead_inputs):
            yield f"dying: {_at(signals[-1])} is zero for {share:.0%} of the inputs"


def _usual_zeros(signals: Sequence[Output], known: Any) -> float:
    """The share of zero inputs that healthy layers of these widths exceed as often as allowed."""
    items = [item for output in signals for item in kernels_in(output.layer, known)]
    laws = [(item.activation, item.kernel.site.width) for item in items]
    zero = sum((1.0 - law.alive) ** width for law, width in laws if law is not None)
    return zero / ALLOWED["zeros"]


def _tells_apart(output: Output) -> bool:
    """Whether an output depends on the input; behind zeros all that is left is the biases."""
    signal = output.signal
    scalars = output.signal.shape[-1] == 1  # whose cosine says nothing
    return signal.dead_inputs < 1.0 and (scalars or signal.cosine < 1.0 - 1e-6)


def _strays(evidence: Evidence) -> Iterator[str]:
    """Reports the walk that is farthest outside its band."""
    found = [
        (drifts.excess, walk, drifts)
        for walk, drifts in zip(evidence.walks, evidence.sizes, strict=True)
        if abs(drifts.excess) > 1.0
    ]
    if found:
        excess, walk, drifts = max(found, key=lambda item: abs(item[0]))
        others = f"; {len(found) - 1} other walk(s) stray too" if len(found) > 1 else ""
        word = "vanishes" if excess < 0.0 else "explodes"
        yield f"{word}: {_pace(walk, drifts, drifts.strongest, 'outside')}{others}"


def _weights(evidence: Evidence) -> Iterator[str]:
    """Reports weights of a wrong scale where the signal itself is inside its band."""
    found = []
    for walk, sizes in zip(evidence.walks, evidence.sizes, strict=True):
        chance = ALLOWED["weights"] / len(evidence.walks)
        weights = drifts_of_weights(walk, evidence.known, chance)
        if abs(weights.excess) > 1.0 >= abs(sizes.excess) and agree(walk, sizes, weights):
            found.append((abs(weights.excess), walk, weights))
    if found:
        _, walk, weights = max(found, key=lambda item: item[0])
        place = weights.strongest
        word = "small" if weights.excess < 0.0 else "large"
        pace = math.exp(weights.values[place] / (place + 1))
        yield (
            f"weights too {word}: x{pace:.2f} per layer {_over(place)}, against the scale of "
            f"order 2, though the signal is inside its band; {_layers(walk, place)}"
        )


def _gradients(evidence: Evidence) -> Iterator[str]:
    """Reports the walk on which the gradient changes most, from its end to its start."""
    found = [
        (drifts.excess, walk, drifts)
        for walk, drifts in zip(evidence.walks, evidence.gradients, strict=False)
        # Where others come in, as behind a gate, a gradient that vanishes has other ways.
        if drifts.excess > 1.0 or (drifts.excess < -1.0 and not walk.joined)
    ]
    if found:
        excess, walk, drifts = max(found, key=lambda item: abs(item[0]))
        place = drifts.strongest
        pace = math.exp(drifts.values[place] / (place + 1))
        last, first = walk.steps[-1].first.path, walk.steps[-1 - place].first.path
        word = "vanish" if excess < 0.0 else "explode"
        layers = f"{last} back to {first}" if place else last
        yield (
            f"gradients {word}: x{pace:.2f} per layer (squared x{pace**2:.2f}) {_over(place)}, "
            f"{layers}"
        )


def _best(evidence: Evidence) -> str:
    """Describes the walk with the largest drift per layer, when all are inside their bands."""
    if not evidence.walks:
        if _wait_for_training(evidence.outputs, evidence.training):
            return "no kernel is judged, for normalizations set the scale in training"
        return "nothing is left to the scale of the weights"
    pairs = zip(evidence.walks, evidence.sizes, strict=True)
    walk, drifts = max(pairs, key=lambda pair: abs(pair[0].drift) / len(pair[0].steps))
    return _pace(walk, drifts, len(walk.steps) - 1, "inside")


def _pace(walk: Walk, drifts: Drifts, place: int, where: str) -> str:
    ends = (drifts.values[place], *drifts.band[place])
    pace, low, high = (math.exp(end / (place + 1)) for end in ends)
    return (
        f"x{pace:.2f} per layer {_over(place)}, {where} the band of one draw "
        f"(x{low:.2f} to x{high:.2f}); {_layers(walk, place)}"
    )


def _over(place: int) -> str:
    return f"over {place + 1} layers" if place else "in one layer"


def _layers(walk: Walk, place: int) -> str:
    first, last = walk.steps[0].first.path, walk.steps[place].first.path
    return f"{first} to {last}" if place else first


def _parallel(signals: Sequence[Output], known: Any, cure: Cure) -> Iterator[str]:
    start = _start_of_collapse(signals)
    if start == len(signals) or _pools(signals, start):
        return
    first = signals[start]
    if before := _before_kernels(signals, start, known):
        yield f"inputs are parallel: cosine {before.cosine:.3g} before any kernel"
        return
    cosine = next(o.kept.cosine for o in reversed(signals) if _speaks_against(o))
    collapse = f"inputs collapse: cosine {cosine:.3g} from {_at(first)} on"
    if outweighed := _outweighed(signals[: start + 1]):
        offset, path = outweighed
        yield f"{collapse}, where {offset} outweighs the signal"
        yield (
            f"what would keep them apart: a larger signal into {path}, or an activation that is 0 "
            "at 0"
        )
    else:
        yield f"{collapse}, which no scale cures" if _is_followed(first.layer) else collapse
        yield cure.text(signals)


def _is_followed(layer: Any) -> bool:
    """Whether theory follows what a layer does, also by the activation that it holds."""
    activation = getattr(layer, "activation", None)
    is_known = activation is None or action_of(activation).law is not None
    return is_known and effect_of(layer) is not Effect.ENDS


def _outweighed(signals: Sequence[Output]) -> tuple[str, str] | None:
    """The last activation that is not 0 at 0 behind which inputs are hardly apart, and its path."""
    for output in reversed(signals):
        if output.kept.cosine < _WIDE or output.difference is not None:  # where offsets cancel
            return None
        if offset := _offset_of(action_of(getattr(output.layer, "activation", output.layer)).law):
            return offset, output.path
    return None


def _before_kernels(signals: Sequence[Output], start: int, known: Any) -> OutputStats | None:
    """The signal that is parallel from `start` on, if no kernel has touched it."""
    first = signals[start]
    if any(kernels_in(output.layer, known) for output in signals[:start]):
        return None
    if not kernels_in(first.layer, known):
        return first.kept
    is_parallel = start == 0 and first.entry is not None and first.entry.cosine >= PARALLEL
    return first.entry if is_parallel else None


def _pooled(signals: Sequence[Output]) -> Iterator[str]:
    start = _start_of_collapse(signals)
    if start < len(signals) and _pools(signals, start):
        cosine = signals[start].kept.cosine
        word = "averages" if effect_of(signals[start].layer) is Effect.AVERAGES else "pools"
        yield f"{_at(signals[start])} {word}, and makes the inputs alike: cosine {cosine:.3g}"


def _pools(signals: Sequence[Output], start: int) -> bool:
    """Whether a pooling over positions makes inputs parallel that were well apart before it."""
    pools = effect_of(signals[start].layer) in (Effect.AVERAGES, Effect.PICKS)
    return pools and start > 0 and signals[start - 1].kept.cosine < _WIDE


def _start_of_collapse(signals: Sequence[Output]) -> int:
    """Finds the first place from which on all are parallel; the length if the last is not.

    Outputs too narrow to tell are passed over; at least one must tell.
    """
    start, told, place = len(signals), False, len(signals)
    while place and not _speaks_for(signals[place - 1]):
        place -= 1
        told = told or _speaks_against(signals[place])
        if signals[place].kept.cosine >= PARALLEL:
            start = place
        elif told and _angles(signals[place]).apart > _WIDE:
            break
    return start if told else len(signals)


def _speaks_against(output: Output) -> bool:
    return output.kept.cosine >= _angles(output).parallel


def _speaks_for(output: Output) -> bool:
    """Whether the cosine shows that inputs are apart; nan, of a single input, does so too."""
    return not output.kept.cosine >= _angles(output).apart


def _angles(output: Output) -> Angles:
    kept = output.kept
    alive = round(kept.shape[-1] * (1.0 - kept.dead_units))
    return angles_at(alive, kept.shape[0])


def _at(output: Output) -> str:
    return f"layer {output.depth} ({output.path})"


def _resets(outputs: Sequence[Output], training: bool) -> Iterator[str]:
    norms = [o.layer for o in outputs if is_normalization(o.layer)]
    resets = sum(resets_scale(layer, training) for layer in norms)
    if resets:
        yield f"norm layer resets the scale: {_times(resets)}"
    if learned := len(norms) - resets:
        hint = (
            "; `training=True` shows what training sees"
            if _wait_for_training(outputs, training)
            else ""
        )
        yield (
            "norm layer divides by its moving averages in this mode, and does not reset the scale: "
            f"{_times(learned)}{hint}"
        )


def _wait_for_training(outputs: Sequence[Output], training: bool) -> bool:
    """Whether normalizations that set the scale in training do not do so in this mode."""
    return any(
        resets_scale(o.layer, training=True) and not resets_scale(o.layer, training)
        for o in outputs
        if is_normalization(o.layer)
    )


def _times(count: int) -> str:
    return f"{count} {'time' if count == 1 else 'times'}"


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
