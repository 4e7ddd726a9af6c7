"""Plans the re-initialization of a whole model, and carries it out."""

from __future__ import annotations

import contextlib
import math
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Unpack

import keras
import numpy as np

from keras_fracinit.models.weight_statistics import pieces, root_mean_square
from keras_fracinit.planning.optimizer import reset_slots
from keras_fracinit.planning.options import Orders, PlanOptions, check_options
from keras_fracinit.planning.report import Plan
from keras_fracinit.planning.steps import steps_of
from keras_fracinit.utils.validation import check_integer, check_type

_IN_MEMORY = 2**20  # bytes


def check_unchanged_finite(model: Any, changed: Sequence[Any]) -> None:
    """Refuses nan and inf in the variables that stay: no new kernel makes up for them."""
    new = {id(variable) for variable in changed}
    for variable in model.weights:
        floating = keras.backend.is_float_dtype(variable.dtype)
        if id(variable) not in new and floating and not math.isfinite(root_mean_square(variable)):
            raise ValueError(
                "`model` must have finite values in the variables that stay as they are. "
                f"Received: nan or infinite values in {variable.path!r}; build the model anew, or "
                "load its weights from a file"
            )


@contextlib.contextmanager
def backup() -> Iterator[Callable[[Any], None]]:
    """Gives a function that saves the values of a variable, and restores all if the block fails.

    The values go to a temporary file. The alternative is to draw every kernel twice, first to see
    whether it can be drawn: that takes twice as long, minutes for orthogonal kernels, and an
    interrupt in the second round leaves the model half done.
    """
    saved: list[Any] = []
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:

        def save(variable: Any) -> None:
            for piece in pieces(variable):
                file.write(piece.view(np.uint8).data)  # bfloat16 has no buffer of its own
            saved.append(variable)

        try:
            yield save
        except BaseException:
            file.seek(0)
            for variable in saved:
                dtype, size = np.dtype(variable.dtype), math.prod(variable.shape)
                values = np.frombuffer(file.read(size * dtype.itemsize), dtype)
                variable.assign(values.reshape(variable.shape))
            raise


def plan(model: keras.Model, s: Orders = 1.0, **options: Unpack[PlanOptions]) -> Plan:
    """Says what `reinitialize` would do to each kernel of a model, and why.

    The model is run once on KerasTensors, without any data, to find the activation that acts on the
    output of each kernel: its own, or the next one after layers that pass a signal on (dropout,
    pooling, reshaping, sums). Fan-in and width are those of the layer; for depthwise, transposed,
    grouped and attention kernels the shape alone does not tell them.

    Smooth activations (tanh, gelu, sigmoid, ...) have a law at one size of the signal only, at
    pre-activations of unit root mean square. A kernel before one gets the scale of `FracActivation`
    for the smooth activation that its input passed, or that of `FracLinear` if its input is data or
    comes from other layers. The note says which, and how long that holds.

    A kernel stays as it is, and the plan says why, if a normalization follows (its scale does not
    matter), an activation without a law follows (softmax, ...), it is frozen, recurrent or an
    embedding, its own initializer has no scale (zeros), or its layer computes the output otherwise
    than the layer of Keras that it derives from. The slopes of a PReLU count as they are; where
    they differ, their root mean square does, which is exact at s = 2.

    Args:
        model: A built Keras model of any kind.
        s: The order of the moment to keep, in [0, 2]; or a mapping from patterns of names or paths
            to orders, of which the first that matches counts, and kernels that match none stay as
            they are; or a function of the relative depth of a kernel, 0 for the first and 1 for the
            last, that returns an order.
        only: Patterns of names or paths of the variables to draw, such as "block1*"; all if None.
            Paths may begin with the names of the models around a layer or without them.
        skip: Patterns of those to leave as they are; none if None.
        include_frozen: Whether kernels of layers that are not trainable are drawn too.
        distribution: As for `FracReLU`. None (default) takes that of each kernel's own initializer.
        alpha: The tail index of "stable" weights, between 1 and 2; for them, and only for them.
        biases: "zero" sets the biases of the kernels that are drawn to zero, "keep" leaves them as
            they are. None (default) sets those of mirrored kernels to zero and keeps the others.
        dropout: Whether dropout after the activation enters the law. The moment is then kept in
            training mode, and shrinks at inference. False (default) keeps it at inference.
        mirrored: Whether kernels are mirrored, as far as the model allows: units in pairs, so that
            every moment and every angle is kept at once (see `pairs` of `FracReLU`). The plan says
            for each kernel which form it takes, or why none. `distribution=None` then means
            orthogonal blocks for them; blocks of 2^19 values or more keep their own distribution.
            Parameters of normalizations and slopes that would tell the halves apart are reset.
            False (default) draws independent weights.
        taps: "all" (default), or "center" for mirrored convolutions that move no position into
            another, where the layer has a tap at the place of its output.
        branches: What becomes of the branches of residual sums. "keep" (default): each keeps the
            moment of its own output. "zero": the last kernel of each branch, or the gamma of a
            normalization that is last there, starts at 0, and the block as its skip path.
            "isometry": mirrored blocks that keep the norm exactly, where their conditions hold.

    Returns:
        A `Plan`, which prints as a table.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the model is not built, quantized or without kernels, a pattern matches no
            kernel, or an argument is out of range.

    Example:

    >>> import keras
    >>> from keras_fracinit.planning import plan
    >>> hidden = [keras.layers.Dense(64, "relu", name=f"hidden_{i}") for i in range(2)]
    >>> stack = [keras.Input((16,)), *hidden, keras.layers.Dense(1, name="last")]
    >>> model = keras.Sequential(stack, name="mlp")
    >>> for change in plan(model, s=1.0):
    ...     print(change.path, change.fan_in, change.width, change.law, round(change.gain, 5))
    mlp/hidden_0/kernel 16.0 64 ReLU() 2.03982
    mlp/hidden_1/kernel 64.0 64 ReLU() 2.03982
    mlp/last/kernel 64.0 1 Linear() 1.5708

    Source: theory of `keras_fracinit.gain`; fans: derived at the head of `graph/kernel_table.py`.
    """
    steps = steps_of(model, check_options(s, options))
    return Plan(tuple(step.change for step in steps))


def reinitialize(
    model: keras.Model,
    s: Orders = 1.0,
    seed: int | None = None,
    *,
    dry_run: bool = False,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Re-initializes the kernels of a model in place, so that each layer keeps the s-th moment.

    Each kernel has a seed of its own, derived from `seed` and its place in the order of the model,
    so that neither automatic names nor `only` and `skip` change its values. An error, or an
    interrupt, leaves the kernels as they were: the old values stay in a temporary file until all is
    done, and no more than one new kernel is in memory at a time. The optimizer's state of the
    kernels (momenta) is reset; state that cannot be is named in the `Plan`.

    Args:
        model: As for `plan`.
        s: As for `plan`.
        seed: An integer in [0, 2^32) for draws that repeat. None (default) draws afresh, as
            `keras.utils.set_random_seed` governs.
        dry_run: Whether to return the plan and change nothing.
        **options: The other arguments of `plan`. With a `distribution`, the layers keep their
            initializers, and `diagnose` takes from these which weights are stable.

    Returns:
        The `Plan` that was carried out. Its table also names the kernels that stay as they are.

    Raises:
        TypeError: As `plan` does.
        ValueError: As `plan` does, or if variables that would stay as they are hold nan or infinite
            values, which no new kernel makes up for.

    Example:

    >>> import keras
    >>> from keras_fracinit.planning import reinitialize
    >>> hidden = [keras.layers.Dense(64, "relu") for _ in range(20)]
    >>> model = keras.Sequential([keras.Input((16,)), *hidden, keras.layers.Dense(1)])
    >>> report = reinitialize(model, s=1.0, seed=0)
    >>> report.changes[5].order_before > 50.0, report.changes[5].s  # Glorot's, then ours
    (True, 1.0)

    Source: theory of `keras_fracinit.gain`.
    """
    checked = check_options(s, options, others=("seed", "dry_run"))
    check_type("dry_run", dry_run, bool)
    if seed is not None:
        seed = check_integer("seed", seed, 0, 2**32 - 1)
    steps = steps_of(model, checked)
    changes = tuple(step.change for step in steps)
    if dry_run:
        return Plan(changes)
    changed = [step for step in steps if not step.change.skipped]
    check_unchanged_finite(model, [step.variable for step in changed])
    if seed is None:
        # From Python's generator, like Keras' own, so that keras.utils.set_random_seed governs it.
        seed = random.randrange(2**32)
    seeds = np.random.SeedSequence(seed).generate_state(len(steps))
    with backup() as save:
        for step in changed:
            save(step.variable)
            step.variable.assign(step.values(int(seeds[step.position])))
        optimizer = reset_slots(model, [step.variable for step in changed])
    return Plan(changes, seed, optimizer)
