"""Residual blocks of two mirrored kernels that keep the norm of a signal, and all angles, exactly.

Signals are rows, as in Keras: a kernel W makes `x W` of x. A mirrored kernel has a block, and
behind it the activation makes `c h` of the difference h of a pair (see `initializers.pairs`). M is
a random orthogonal matrix, and U has orthonormal rows, so that `|x U| = |x|` and `U U^T = I`.

- `x + phi(x W1) W2`, for any x of d units and at least 2 d hidden ones: with `W1 = [U, -U]` and
  `W2 = [V; -V]` it is `x + c x U V`, which is `x M` for `V = U^T (M - I)/c`.
- `x + phi(phi0(x) W1) W2`, for an antisymmetric `x = (p, -p)`, whose difference behind phi0 is
  `c0 p`, and at least d hidden units: both kernels are mirrored on both sides, with the blocks U
  and `V = U^T (M - I)/(c c0)`, and p becomes `p M`.
- `relu(x + relu(x W1) W2)`, for `x = relu(p, -p)` and d hidden units: with
  `mir(A) = [[A, -A], [-A, A]]` and `W1 = mir(I)` the hidden units are x again, so that with
  `W2 = mir(M) - I` the sum is `(p M, -p M)`.

Source: derived here; the last one is A. Gadhikar and R. Burkholz, "Dynamical isometry for residual
networks", arXiv 2210.02411.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_fracinit.graph.branches import Branch, is_linear
from keras_fracinit.graph.call_graph import Call, Graph
from keras_fracinit.graph.kernel_table import KernelSite, has_kernel, sites_of
from keras_fracinit.graph.operations import Effect, action_of, effect_of
from keras_fracinit.graph.pairing import Form
from keras_fracinit.initializers.pairs import Pairs, block_of
from keras_fracinit.laws.base import Law
from keras_fracinit.laws.homogeneous import ReLU
from keras_fracinit.planning.mirrored import own_tap
from keras_fracinit.planning.options import Options


class Unmet(Exception):
    """Says why a branch is no isometric block."""


@dataclass(frozen=True, eq=False)
class Block:
    """The two kernels of a block.

    Attributes:
        first: The kernel that reads the signal.
        last: The kernel whose output is added to it.
        slope: The product of the slopes of the differences of pairs behind the activations.
        outer: Whether an activation stands before the first kernel.
        closes: Whether the block is of the last kind, with a ReLU behind the sum.
        taps: The one tap of each kernel that is not zero; "all" for kernels without a window.
    """

    first: KernelSite
    last: KernelSite
    slope: float
    outer: bool
    closes: bool
    taps: tuple[Any, Any]

    @property
    def _pairs(self) -> tuple[Pairs, Pairs]:
        if self.outer or self.closes:
            return Pairs("both"), Pairs("both")
        return Pairs("outputs"), Pairs("inputs")

    @property
    def _size(self) -> tuple[int, int]:
        """Inputs and units of the block of the first kernel."""
        inputs, units = self.first.shape[-2:]
        return (inputs // 2 if self._pairs[0].on_inputs else inputs), units // 2

    def check(self, forms: tuple[Form, Form]) -> None:
        """Refuses a block whose kernels have other forms, or too few units."""
        for form, pairs in zip(forms, self._pairs, strict=True):
            if form.pairs != pairs:
                raise Unmet(form.reason or "its pairs lie otherwise")
        inputs, units = self._size
        hidden = 2 * units
        if self.closes and units != inputs:
            raise Unmet(f"{hidden} hidden units, where it takes {2 * inputs}")
        if units < inputs:
            raise Unmet(f"{hidden} hidden units, where it takes at least {2 * inputs}")

    @property
    def scales(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Inputs and root mean square of each block that is drawn, the last in the mean over M.

        With a ReLU behind the sum, the last kernel is no mirrored block, and its numbers are those
        of the whole kernel.
        """
        inputs, units = self._size
        if self.closes:
            return (inputs, inputs**-0.5), (2 * inputs, math.sqrt(1.5 / inputs))
        return (inputs, units**-0.5), (units, math.sqrt(2.0 / units) / abs(self.slope))

    def first_values(self, seed: int) -> Any:
        """The values of the first kernel."""
        inputs, units = self._size
        rows = np.eye(inputs) if self.closes else _orthonormal(inputs, units, seed)
        return _filled(self.first, self._pairs[0], self.taps[0], rows)

    def last_values(self, seed: int) -> Any:
        """The values of the last kernel, for the present ones of the first."""
        inputs, units = self._size
        matrix, (_, pairs), tap = _orthonormal(inputs, inputs, seed), self._pairs, self.taps[1]
        if self.closes:
            identity = _filled(self.last, None, tap, np.eye(2 * inputs))
            return _filled(self.last, pairs, tap, matrix) - identity
        window = self.first.shape[:-2]
        at = (0,) * len(window) if self.taps[0] == "all" else self.taps[0]
        rows = _array(self.first.variable)[at][:inputs, :units]
        inverse = np.linalg.solve(rows @ rows.T, rows).T  # U^T, up to the rounding of U
        return _filled(self.last, pairs, tap, inverse @ (matrix - np.eye(inputs)) / self.slope)


def _orthonormal(rows: int, columns: int, seed: int) -> Any:
    """Random orthonormal rows, uniform over all such matrices."""
    normal = np.random.default_rng(seed).normal(size=(columns, rows))
    q, r = np.linalg.qr(normal)
    return (q * np.sign(np.diag(r))).T


def _array(variable: Any) -> Any:
    known = variable.dtype in ("float32", "float64")  # NumPy does not know bfloat16
    values = variable.value if known else ops.cast(variable.value, "float32")
    return ops.convert_to_numpy(values).astype("float64")


def _filled(site: KernelSite, pairs: Pairs | None, tap: Any, values: Any) -> Any:
    """The values of a kernel whose block has these."""
    block = block_of(site.shape, None, None, pairs, tap)
    return block.fill(ops.convert_to_tensor(values.reshape(block.shape), site.variable.dtype))


# Where a model has such blocks.

_PROJECTED = "its skip path is not what the branch starts from"


def block_in(graph: Graph, branch: Branch, options: Options) -> Block:
    """The block that a branch and its skip path are.

    Raises:
        Unmet: If they are none, with the reason.
    """
    if branch.reason or branch.end is None or not has_kernel(branch.end.op):
        name = type(branch.end.op).__name__ if branch.end is not None else ""
        raise Unmet(branch.reason or f"{name} stands in the branch")
    summands = {id(tensor) for tensor in branch.sum.inputs}
    if type(branch.sum.op).__name__ != "Add" or summands != {id(branch.skip), id(branch.tensor)}:
        raise Unmet("it takes a sum of two")
    if options.distribution not in (None, "orthogonal"):
        raise Unmet("it takes orthogonal weights")
    walk = _Walk(graph, options.dropout)
    skip = walk.back(branch.skip)
    last = walk.kernel(branch.tensor)
    inner, tensor = walk.activation(last.inputs[0], "no activation stands between its kernels")
    first = walk.kernel(tensor)
    tensor = walk.back(first.inputs[0])
    outer: Law | None = None
    if tensor is not skip:
        outer, tensor = walk.activation(tensor, _PROJECTED)
        if walk.back(tensor) is not skip:
            raise Unmet(_PROJECTED)
    closes = outer is None and walk.is_closed(skip, branch.sum, inner)
    slope = _slope(inner) * (1.0 if outer is None else _slope(outer))
    one, two = _site(first), _site(last)
    taps = _tap(one, options), _tap(two, options)
    return Block(one, two, slope, outer is not None, closes, taps)


class _Walk:
    """Follows a branch upstream, through what hands a signal on unchanged."""

    def __init__(self, graph: Graph, training: bool) -> None:
        self.graph, self.training = graph, training

    def back(self, tensor: Any) -> Any:
        """The tensor that a tensor is a copy of."""
        while (call := self.graph.producer(tensor)) is not None and self._hands_on(call):
            tensor = call.inputs[0]
        return tensor

    def _hands_on(self, call: Call) -> bool:
        effect, name = effect_of(call.op), type(call.op).__name__
        same = name in ("Identity", "ActivityRegularization")
        linear = effect is Effect.ACTS and is_linear(call.op)
        drops = effect is Effect.DROPS and not self.training
        return (same or linear or drops) and len(call.inputs) == len(call.outputs) == 1

    def kernel(self, tensor: Any) -> Call:
        """The call of the kernel that a tensor comes from."""
        call = self.graph.producer(self.back(tensor))
        if call is None or not has_kernel(call.op):
            raise Unmet(f"{type(call.op if call else None).__name__} stands in the branch")
        return call

    def activation(self, tensor: Any, missing: str) -> tuple[Law, Any]:
        """The law of the activation that a tensor comes from, and the tensor that it acts on.

        Where a kernel has the activation, that is the output of the kernel.
        """
        tensor = self.back(tensor)
        call = self.graph.producer(tensor)
        if call is None or (has_kernel(call.op) and is_linear(call.op)):
            raise Unmet(missing)
        own = has_kernel(call.op)
        action = action_of(call.op.activation if own else call.op)
        if not own and effect_of(call.op) not in (Effect.ACTS, Effect.ENDS):
            raise Unmet(f"{type(call.op).__name__} stands in the branch")
        if action.law is None or action.law.pair is None:
            raise Unmet(f"{action.name} has no linear odd part")
        return action.law, tensor if own else call.inputs[0]

    def is_closed(self, skip: Any, total: Call, inner: Law) -> bool:
        """Whether activations stand before the block and behind its sum, where nothing branches."""
        before, after = self.graph.producer(skip), self.graph.consumers(total.outputs[0])
        acts = [call for call in (before, *after) if call is not None and _acts(call.op)]
        if len(after) != 1 or len(acts) != 2:
            return False
        own = getattr(acts[0].op, "activation", None) if has_kernel(acts[0].op) else acts[0].op
        actions = action_of(own), action_of(acts[1].op)
        if {inner, *(action.law for action in actions)} != {ReLU()}:
            raise Unmet(f"{actions[1].name} acts on the sum; ReLU in all three places would do")
        return True


def _acts(op: Any) -> bool:
    return (effect_of(op) is Effect.ACTS or has_kernel(op)) and not is_linear(op)


def _slope(law: Law) -> float:
    """c of `phi(u) - phi(-u) = c u`."""
    if law.pair is None or not law.pair.is_certain or law.pair.sides is None:
        raise Unmet("the slopes of its activation are random")
    return law.pair.sides[0][0][1]


def _site(call: Call) -> KernelSite:
    site = sites_of(call.op)[-1]
    if site.spec.kind not in ("dense", "convolution"):
        raise Unmet(f"its kernels must be dense or convolutions, not {site.spec.kind}")
    return site


def _tap(site: KernelSite, options: Options) -> Any:
    if math.prod(site.shape[:-2]) == 1:
        return "all"
    if options.taps == "all":
        raise Unmet('full taps mix the positions; `taps="center"` would not')
    tap = own_tap(site)
    if tap is None:
        raise Unmet("no tap of its kernels has the place of their output")
    return tap
