"""Measures what a network does to a signal, compares it with theory, and states what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_fracinit.diagnosis.chance import ALLOWED
from keras_fracinit.diagnosis.cure import Cure
from keras_fracinit.diagnosis.gradients import drifts_of_gradients
from keras_fracinit.diagnosis.mirrored import halves_by_layer, mirrored_of
from keras_fracinit.diagnosis.random_walk import Walk, laws_by_layer, walks_of
from keras_fracinit.diagnosis.report import Diagnosis
from keras_fracinit.diagnosis.rows import expectations, rows_of
from keras_fracinit.diagnosis.stations import Tracing
from keras_fracinit.diagnosis.verdicts import Evidence, verdicts_of
from keras_fracinit.graph.kernels import check_model, look_into
from keras_fracinit.models.backward_pass import NotMeasuredError, send_back
from keras_fracinit.models.forward_pass import Output, observe, ways_to_ends
from keras_fracinit.models.probe import probe_arrays, probe_data
from keras_fracinit.models.weight_statistics import values_of
from keras_fracinit.utils.validation import check_order, check_several, check_type


def diagnose(
    model: keras.Model,
    x: Any,
    *,
    orders: Sequence[float] = (0.5, 1.0, 2.0),
    training: bool = False,
    gradients: bool = True,
) -> Diagnosis:
    """Reports what a network does to a signal, and whether theory considers that healthy.

    The model is called once, and once more to send a random gradient back from its outputs, for
    which no targets are needed. For the output of each layer the report has the s-scales, the mean
    and the spread of the log-norm, the share of dead units and inputs, the mean cosine between
    inputs, and the size of the gradient; for each kernel the order that its scale keeps, with a 95
    % interval that equal layers share, and the tail index; and the size that theory expects of the
    output, over each stretch of layers for which theory holds.

    All inputs pass one network, which is one draw of the weights. Over depth, the logarithm of the
    size of a signal is therefore a random walk, even if every layer keeps its moment. A verdict is
    given only if the size leaves the band of one draw, `[k mu_2 - c nu sqrt(k), c nu sqrt(k)]` in
    nats after k layers, where mu_2 and nu^2 are mean and variance of one layer under He's scale.
    With c, 2.3 for one layer and 3.0 for twenty, 98 in 100 draws stay inside behind every layer;
    the verdict names the layers where the evidence is strongest. All kinds of verdict together
    accuse at most 5 % of healthy networks.
    The band is wider over the positions of an image or a sequence, for zeros that pad the edges,
    and in models with several such walks, one of which leaves its band more easily. The effect of
    pooling is left out.

    Smooth activations (tanh, gelu, ...) are judged against the length map (the q map of mean-field
    theory), which carries the centre of the band on: a tanh network grows from small inputs to its
    operating point, pre-activations of unit root mean square, and is healthy. Distances from that
    point are never enlarged: a network that runs away from a point that repels does what theory
    expects, and still leaves its band. No size is predicted behind a smooth activation.

    A walk ends where theory does not follow: at a normalization, at an activation without a law,
    where several signals come together, and at operations that are not known to pass a signal on.

    A mirrored model (`reinitialize(model, mirrored=True)`) is known by the values of its kernels.
    It is judged by the differences of its pairs of units, in which it is linear: their size has the
    law of a linear layer of half the width, and no spread where the block is orthogonal and does
    not contract; inputs collapse if the differences become parallel. The table is that of the
    outputs themselves.

    In narrow networks a size strays far by chance, while the weights tell their own scale; they are
    accused where they are off by a factor of two in all, if the signal does what they say. Cosines
    and zeros of narrow outputs (a single unit) say nothing, and the layers before them are judged.
    Every output of a model is judged, on its own way.

    A gradient keeps its norm where the signal keeps its size, and strays as far. A verdict says
    that gradients explode or vanish if they leave that band, by a factor of ten at least: those of
    tanh, which keeps the signal, grow by 1.09 per layer.

    Where inputs collapse, the verdict after it names the cures for this model: mirrored weights, or
    what ends their pairs; and a slope of the leaky ReLU for its depth, or a normalization. Where a
    sigmoid or softplus of a small signal is next to a constant, it is a larger signal.

    Args:
        model: A built Keras model of any kind, fresh or trained.
        x: Inputs as the model is called with, an array or a structure of arrays, at most 256
            samples of them; a `tf.data.Dataset` or a similar source, of which the first batch is
            taken. Signals are measured on these, so they should resemble the training data.
        orders: The orders of the s-scales, each in [0, 2]. Defaults to (0.5, 1, 2).
        training: Whether the layers act as in training: dropout drops, slopes are random, batches
            are normalized by themselves. False by default.
        gradients: Whether gradients are measured too. True by default.

    Returns:
        A `Diagnosis`, which prints as a table. `keras_fracinit.plots.diagnosis` draws it.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If the model is not built, quantized or without kernels, does not fit `x`, or an
            order is out of range.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> from keras_fracinit import diagnose, reinitialize
    >>> keras.utils.set_random_seed(1)
    >>> hidden = [keras.layers.Dense(64, "relu") for _ in range(20)]
    >>> model = keras.Sequential([keras.Input((32,)), *hidden])  # Glorot's scale
    >>> x = np.random.default_rng(0).normal(size=(64, 32))
    >>> print(diagnose(model, x).verdicts[0])  # doctest: +ELLIPSIS
    vanishes: x0... per layer over 20 layers, outside the band of one draw (x0.89 to x1.10); ...
    >>> report = reinitialize(model, s=1.0, seed=0)
    >>> diagnose(model, x).healthy
    True

    Source: theory of `keras_fracinit.propagation`.
    """
    several = tuple(check_order(order, "orders") for order in check_several("orders", orders))
    check_type("training", training, bool)
    check_type("gradients", gradients, bool)
    check_model(model)
    data = probe_data(probe_arrays(x, name="x"), model).x
    graph, kernels = look_into(model, data)
    values = [values_of(kernel.site.variable) for kernel in kernels]
    mirrored = mirrored_of(graph, kernels, training)
    known = laws_by_layer(kernels, values, mirrored, training)
    outputs, failure = observe(model, data, training, halves_by_layer(kernels, mirrored)), ""
    if gradients:
        outputs, failure = _with_gradients(model, data, training, outputs)
    tracing = Tracing(graph, outputs)
    outputs, ways = tracing.outputs, ways_to_ends(tracing.outputs)
    walks = _distinct([w for way in ways for w in walks_of(tracing.stations(way), known)])
    sizes = [walk.drifts(ALLOWED["sizes"] / len(walks)) for walk in walks]
    back = [
        drifts_of_gradients(walk, outputs, known, ALLOWED["gradients"] / len(walks))
        for walk in walks
        if gradients and not failure
    ]
    layers = rows_of(outputs, known, several, expectations(walks, sizes, back))
    cure = Cure(graph, kernels, known)
    against, remarks = verdicts_of(
        Evidence(outputs, ways, walks, sizes, back, known, cure, training)
    )
    return Diagnosis(layers, (*against, *remarks, *filter(None, [failure])), not against)


def _distinct(walks: Sequence[Walk]) -> list[Walk]:
    """Drops the walks that several ways have in common."""
    found = {(id(walk.start), *(id(step.last) for step in walk.steps)): walk for walk in walks}
    return list(found.values())


def _with_gradients(
    model: Any, x: Any, training: bool, outputs: Sequence[Output]
) -> tuple[list[Output], str]:
    """Adds the sizes of a gradient to the outputs; or says why there is none."""
    try:
        found = send_back(model, x, training)
    except NotMeasuredError as error:
        return list(outputs), f"gradients not measured: {error}"
    found = found if outputs[0].layer is None else found[1:]
    if len(found) != len(outputs):
        return list(outputs), "gradients not measured: two calls of the model differ"
    return [o._replace(gradient=g) for o, g in zip(outputs, found, strict=True)], ""
