"""Fans of a kernel: the inputs, output units and width of its layer, read from its shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_fracinit.utils.validation import check_integer


class Fans(NamedTuple):
    """How a kernel connects.

    Attributes:
        fan_in: Inputs that one output unit sums over.
        fan_out: Outputs that one input unit reaches, as Keras counts them.
        width: The output units at one position: the filters of a convolution.
    """

    fan_in: int
    fan_out: int
    width: int

    @property
    def longer(self) -> int:
        """The longer side of the matrix that a kernel applies to one patch."""
        return max(self.fan_in, self.width)


def fans_of(
    shape: tuple[int, ...],
    input_axes: Sequence[int] | None = None,
    output_axes: Sequence[int] | None = None,
) -> Fans:
    """Computes the fans of a dense or convolutional kernel, or of one whose axes are given."""
    if input_axes is None:
        width = shape[-1]
        fan_in = math.prod(shape[:-1]) if len(shape) > 1 else width  # as Keras has it
        return Fans(fan_in, math.prod(shape[:-2]) * width, width)
    inputs, outputs = split_axes(len(shape), input_axes, output_axes)
    width = math.prod(shape[axis] for axis in outputs)
    return Fans(math.prod(shape[axis] for axis in inputs), width, width)


def split_axes(
    rank: int, input_axes: Sequence[int] | None, output_axes: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Finds the input and output axes, counted from the front; the last is the default output."""
    if input_axes is None or output_axes is None:
        return tuple(range(rank - 1)), (rank - 1,)
    for name, axes in (("input_axes", input_axes), ("output_axes", output_axes)):
        if not all(-rank <= axis < rank for axis in axes):
            raise ValueError(
                f"`{name}` is out of range for rank {rank}. Received: {name}={list(axes)}"
            )
    inputs = tuple(axis % rank for axis in input_axes)
    outputs = tuple(axis % rank for axis in output_axes)
    _check_distinct(inputs, outputs)
    return inputs, outputs


def check_shape(shape: Iterable[int]) -> tuple[int, ...]:
    """Checks a shape, and gives it as a tuple of Python ints."""
    try:
        sizes = tuple(shape)
    except TypeError:
        raise TypeError(f"`shape` must be a sequence of integers. Received: {shape=}") from None
    if not sizes:
        raise ValueError("`shape` must have at least one dimension. Received: shape=()")
    # The exact type is asked first, because a draw of a small kernel takes only 40 us.
    plain = True
    for size in sizes:
        if type(size) is not int:
            plain = False
            if isinstance(size, bool) or not isinstance(size, int | np.integer):
                raise ValueError(_unusable(sizes))
        if size < 1:
            raise ValueError(_unusable(sizes))
    return sizes if plain else tuple(map(int, sizes))


def _unusable(sizes: tuple[Any, ...]) -> str:
    return f"`shape` must have positive integer dimensions, all known. Received: shape={sizes}"


def check_axes(
    input_axes: Sequence[int] | None, output_axes: Sequence[int] | None
) -> tuple[list[int] | None, list[int] | None]:
    """Checks the axes as far as possible without a shape: both lists of ints, or both None."""
    if input_axes is None and output_axes is None:
        return None, None
    if input_axes is None or output_axes is None:
        raise ValueError(
            "`input_axes` and `output_axes` must be given together. "
            f"Received: input_axes={input_axes}, output_axes={output_axes}"
        )
    inputs = [check_integer("input_axes", axis, -32, 31) for axis in input_axes]
    outputs = [check_integer("output_axes", axis, -32, 31) for axis in output_axes]
    _check_distinct(inputs, outputs)
    return inputs, outputs


def _check_distinct(input_axes: Sequence[int], output_axes: Sequence[int]) -> None:
    axes = [*input_axes, *output_axes]
    if len(set(axes)) < len(axes):
        raise ValueError(
            "`input_axes` and `output_axes` must be distinct and not overlap. "
            f"Received: input_axes={input_axes}, output_axes={output_axes}"
        )
