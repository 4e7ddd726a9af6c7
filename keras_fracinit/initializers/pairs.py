"""Mirrored kernels: a free block, doubled along the paired axes with the sign turned.

The units of a mirrored network come in pairs: the first half `p` of the channels and the second
half `q`. With the difference `delta = p - q` and a free block V of m inputs, the kernels are

    pairs="outputs"  (data into pairs):     [V, -V],              V in R^(n x d/2),    m = n
    pairs="both"     (pairs into pairs):    [[V, -V], [-V, V]],   V in R^(n/2 x d/2),  m = n/2
    pairs="inputs"   (pairs to the end):    [[V], [-V]],          V in R^(n/2 x d),    m = n/2

so that the pre-activation is (h, -h) with `h = V^T delta`. Where `phi(u) - phi(-u) = c u`, the
difference of the outputs is `c h`: the network is linear in the differences.

Source: D. Balduzzi et al., "The shattered gradients problem", ICML 2017 (arXiv 1702.08591); R.
Burkholz and A. Dubatovka, "Initialization of ReLUs for dynamical isometry", NeurIPS 2019 (arXiv
1806.06362).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras import backend, ops

from keras_fracinit.initializers.fans import Fans, fans_of, split_axes
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import Dropout
from keras_fracinit.utils.choices import TAPS
from keras_fracinit.utils.validation import check_choice, check_integer

FORMS = ("outputs", "both", "inputs")
Runs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Pairs:
    """Which axes of a kernel are paired, and where the pairs of the input axis lie.

    Attributes:
        form: "outputs", "both" or "inputs".
        runs: `(size, count)` along the input axis: `count` times `size` first units followed by
            their `size` partners. None: one run over the whole axis, its first and second half.
    """

    form: str
    runs: Runs | None = None

    @property
    def on_inputs(self) -> bool:
        return self.form != "outputs"

    @property
    def on_outputs(self) -> bool:
        return self.form != "inputs"

    @property
    def config(self) -> str | dict[str, Any]:
        """The argument that makes this, as plain Python."""
        if self.runs is None:
            return self.form
        return {"form": self.form, "runs": [list(run) for run in self.runs]}

    def runs_along(self, size: int) -> Runs:
        """The runs along an input axis of this size."""
        if self.runs is None:
            if size % 2:
                raise ValueError(_odd(self.form, "inputs", size))
            return ((size // 2, 1),)
        covered = sum(2 * half * count for half, count in self.runs)
        if covered != size:
            raise ValueError(
                f"`pairs` must describe all inputs: its runs cover {covered} of them. "
                f"Received: pairs={self.config}, for a kernel of {size} inputs"
            )
        return self.runs

    def block_of(
        self, shape: tuple[int, ...], input_axis: int, output_axis: int
    ) -> tuple[int, ...]:
        """The shape of the free block of a kernel."""
        block = list(shape)
        if self.on_inputs:
            self.runs_along(shape[input_axis])
            block[input_axis] //= 2
        if self.on_outputs:
            if shape[output_axis] % 2:
                raise ValueError(_odd(self.form, "output units", shape[output_axis]))
            block[output_axis] //= 2
        return tuple(block)

    def mirror(self, block: Any, input_axis: int, output_axis: int) -> Any:
        """The kernel that a block makes: doubled along the paired axes, with the sign turned."""
        if self.on_outputs:
            block = _joiner()([block, -block], output_axis)
        if self.on_inputs:
            block = self.repeat(block, input_axis, -1.0)
        return block

    def repeat(self, block: Any, axis: int, sign: float) -> Any:
        """Doubles an axis: each run of the block, followed by itself times the sign, 1 or -1."""
        if self.runs is None:
            return _joiner()([block, block if sign == 1.0 else -block], axis)
        shape, parts, start = tuple(block.shape), [], 0
        for half, count in self.runs_along(2 * shape[axis]):
            begin, size = [0] * len(shape), list(shape)
            begin[axis], size[axis] = start, half * count
            start += half * count
            part = block if size == list(shape) else ops.slice(block, begin, size)
            if count > 1:
                part = ops.reshape(part, (*shape[:axis], count, half, *shape[axis + 1 :]))
            partner = part if sign == 1.0 else -part
            part = _joiner()([part, partner], axis if count == 1 else axis + 1)
            if count > 1:
                whole = 2 * half * count
                part = ops.reshape(part, (*shape[:axis], whole, *shape[axis + 1 :]))
            parts.append(part)
        return parts[0] if len(parts) == 1 else _joiner()(parts, axis)


def check_pairs(pairs: Any) -> Pairs | None:
    """The argument `pairs` as a record: None, a form, or a mapping with "form" and "runs"."""
    if pairs is None:
        return None
    if not isinstance(pairs, Mapping):
        return Pairs(check_choice("pairs", pairs, FORMS))
    if set(pairs) != {"form", "runs"}:
        raise ValueError(
            "`pairs` as a mapping must have the keys 'form' and 'runs'. "
            f"Received: pairs={dict(pairs)}"
        )
    form = check_choice("pairs['form']", pairs["form"], FORMS)
    runs = pairs["runs"]
    if form == "outputs" or isinstance(runs, str) or not isinstance(runs, Sequence) or not runs:
        raise ValueError(
            "`pairs['runs']` must be a sequence of (size, count) along the inputs, for the form "
            f"'inputs' or 'both'. Received: pairs={dict(pairs)}"
        )
    return Pairs(form, tuple(_check_run(run) for run in runs))


def _check_run(run: Any) -> tuple[int, int]:
    size, count = run if isinstance(run, Sequence) and len(run) == 2 else (run, 1)
    return (
        check_integer("pairs['runs']", size, 1, 2**31 - 1),
        check_integer("pairs['runs']", count, 1, 2**31 - 1),
    )


def check_taps(taps: Any) -> str | tuple[int, ...]:
    """The argument `taps`: "all", "center", or the index of one tap along the kernel's window."""
    if isinstance(taps, str):
        return check_choice("taps", taps, TAPS)
    several = [taps] if not isinstance(taps, Sequence) else list(taps)
    return tuple(check_integer("taps", tap, 0, 2**31 - 1) for tap in several)


def tap_of(taps: str | tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...] | None:
    """The index of the one tap of a window that is not zero; None if all are drawn."""
    if taps == "all":
        return None
    if not window:
        raise ValueError(
            "`taps` must be 'all' for kernels without a window, such as dense ones. "
            f"Received: taps={taps!r}"
        )
    if isinstance(taps, str):
        return tuple((size - 1) // 2 for size in window)
    tap = taps * len(window) if len(taps) == 1 else taps
    if len(tap) != len(window) or any(t >= size for t, size in zip(tap, window, strict=True)):
        raise ValueError(
            f"`taps` must be an index into the window {window} of the kernel. Received: taps={taps}"
        )
    return tap


class Block(NamedTuple):
    """The block of a kernel that is drawn, and how it fills the kernel.

    Attributes:
        shape: The shape of the block.
        input_axes: Its input axes; None where the last axis is the only output.
        output_axes: Its output axes; None likewise.
        pairs: Which of its axes are doubled.
        window: The window of the kernel, which the block lacks if one tap alone is not zero.
        tap: The index of that tap; None if the whole window is drawn.
    """

    shape: tuple[int, ...]
    input_axes: tuple[int, ...] | None
    output_axes: tuple[int, ...] | None
    pairs: Pairs | None = None
    window: tuple[int, ...] = ()
    tap: tuple[int, ...] | None = None

    @property
    def fans(self) -> Fans:
        return fans_of(self.shape, self.input_axes, self.output_axes)

    @property
    def is_kernel(self) -> bool:
        """Whether the block is the whole kernel."""
        return self.pairs is None and self.tap is None

    def fill(self, values: Any) -> Any:
        """The kernel that the values of the block make."""
        return filler_of(self)(values)


@functools.cache
def _joiner() -> Callable[[list[Any], int], Any]:
    """Concatenates tensors, without the checks of Keras, which take as long as that."""
    if backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.concat  # type: ignore[no-any-return]
    if backend.backend() == "torch":
        import torch

        return torch.cat  # type: ignore[no-any-return]
    return ops.concatenate  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=1024)
def filler_of(block: Block) -> Callable[[Any], Any]:
    """The function that fills a kernel from the values of its block.

    On JAX it is compiled, because each of its operations would take as long as all together.
    """
    pairs, tap = block.pairs, block.tap
    axes = (0, 0)
    if pairs is not None:
        axes = _paired_axes(block.shape, block.input_axes, block.output_axes)

    def fill(values: Any) -> Any:
        if pairs is not None:
            values = pairs.mirror(values, *axes)
        return values if tap is None else place_tap(values, tap, block.window)

    if backend.backend() != "jax":
        return fill
    import jax

    compiled: Callable[[Any], Any] = jax.jit(fill)
    return compiled


def block_of(
    shape: tuple[int, ...],
    input_axes: Sequence[int] | None,
    output_axes: Sequence[int] | None,
    pairs: Pairs | None,
    taps: str | tuple[int, ...],
) -> Block:
    """The block of a kernel: all of it, where there are neither pairs nor one tap alone.

    Raises:
        ValueError: If an axis of pairs is odd, or a tap does not exist.
    """
    input_axes = None if input_axes is None else tuple(input_axes)
    output_axes = None if output_axes is None else tuple(output_axes)
    if pairs is None and taps == "all":
        return Block(shape, input_axes, output_axes)
    inputs, outputs = split_axes(len(shape), input_axes, output_axes)
    # The window is summed over besides the channels, and stands in front.
    window = shape[: len(inputs) - 1] if inputs[:-1] == tuple(range(len(inputs) - 1)) else ()
    tap = tap_of(taps, window)
    if tap is None:
        window = ()
    shape = shape[len(window) :]
    if input_axes is not None and window:
        input_axes = (inputs[-1] - len(window),)
        output_axes = tuple(axis - len(window) for axis in outputs)
    if pairs is not None:
        shape = pairs.block_of(shape, *_paired_axes(shape, input_axes, output_axes))
    return Block(shape, input_axes, output_axes, pairs, window, tap)


def _paired_axes(
    shape: tuple[int, ...], input_axes: Sequence[int] | None, output_axes: Sequence[int] | None
) -> tuple[int, int]:
    """The axes along which pairs lie: the last of the inputs, and the last of the outputs."""
    inputs, outputs = split_axes(len(shape), input_axes, output_axes)
    if not inputs or not outputs:
        raise ValueError(
            "`pairs` needs a kernel of rank 2 or more, with inputs and outputs. "
            f"Received: shape={shape}"
        )
    return inputs[-1], outputs[-1]


def pair_law_of(law: Law, form: str) -> Law:
    """The law of the difference of a pair behind an activation of this law.

    Raises:
        ValueError: If there is none; the message says how to go on.
    """
    if law.pair is not None:
        return law.pair
    inner = law
    while isinstance(inner, Dropout):
        inner = inner.law
    if inner.pair is not None:
        why = "a smooth activation under dropout has no linear odd part in training mode"
        do = "leave `dropout` out, which keeps the moment at inference"
    elif inner.sides is not None and inner.sides[0] == inner.sides[1]:
        why = "a linear layer must not become pairs, which would halve its rank"
        do = "use `pairs='inputs'`, or leave `pairs` out"
    else:
        why = "the activation has no linear odd part, phi(u) - phi(-u) = c u"
        do = "ReLU, leaky ReLU, GELU, SiLU and softplus have one"
    raise ValueError(f"`pairs={form!r}` does not go with this law: {why}; {do}. Received: {law}")


def place_tap(values: Any, tap: tuple[int, ...], window: tuple[int, ...]) -> Any:
    """A kernel that has these values at one tap of its window, and zeros at all others.

    The window is in front: `(*window, *values.shape)` is the shape of the result.
    """
    if math.prod(window) == 1:
        return ops.reshape(values, (*window, *values.shape))
    values = ops.reshape(values, (*(1 for _ in window), *values.shape))
    around = [(t, size - 1 - t) for t, size in zip(tap, window, strict=True)]
    return ops.pad(values, [*around, *((0, 0) for _ in range(len(values.shape) - len(window)))])


def _odd(form: str, what: str, size: int) -> str:
    return (
        f"`pairs={form!r}` needs an even number of {what}: a pair takes two. "
        f"Received: a kernel of {size} {what}; make it {size + 1}, or leave `pairs` out"
    )
