"""What a network does to a signal, layer by layer, and what is wrong with it, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from keras_fracinit._changes import Kept, check_model, order_kept
from keras_fracinit._observing import Output, observe, path_to_last
from keras_fracinit._printing import number, text_of
from keras_fracinit._probe import probe_arrays, probe_data
from keras_fracinit._validation import check_order, check_several, check_type
from keras_fracinit._values import values_of
from keras_fracinit._verdicts import verdicts_of, width_of
from keras_fracinit._walks import Walk, kernels_in, known_kernels, walks_of
from keras_fracinit.estimators import summarize

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Diagnosis", "LayerDiagnosis", "diagnose"]


@dataclass(frozen=True)
class LayerDiagnosis:
    """One output of a layer.

    Attributes:
        path: Of the layer; "input" for what the model is given.
        depth: The number of layers with a kernel up to here, this one included.
        s_scales: By order, `(mean r^s)^(1/s)` over samples and positions.
        log_norm_mean: Of `log r` over the survivors, in nats.
        log_norm_stddev: Their spread, in nats.
        size: The geometric mean, over the samples that are not zero, of their root mean squares.
        dead_units: The share of units that are zero for all samples.
        dead_inputs: The share of samples that are zero as a whole.
        cosine: The mean cosine between two different samples.
        nonfinite: How many of the norms r are nan or infinite.
        kind: Of its kernel, as in a `Plan`; empty if it has none.
        law: Of what acts on the output of the kernel; empty if theory does not follow.
        effective_order: The order that its weights keep, as far as they are independent and around
            zero: 2 is He's. nan where there is no law, or the scale is above that of order 0.
        order_censored: Whether that is but a lower bound, as in a `Change`.
        tail_index: Hill's estimate, from the weights.
        alpha: The tail index that their initializer draws: 2 but for stable weights, for which the
            table puts it beside the estimate.
        walk: The number of the stretch over which theory follows, from 1; 0 where it does not.
        predicted: The size that theory gives these weights from the start of the walk on; nan from
            the first smooth activation on, behind which it depends on the size before.
        low: The lower end of the band of one draw there.
        high: The upper end.
    """

    path: str
    depth: int
    s_scales: Mapping[float, float]
    log_norm_mean: float
    log_norm_stddev: float
    size: float
    dead_units: float
    dead_inputs: float
    cosine: float
    nonfinite: int
    kind: str = ""
    law: str = ""
    effective_order: float = math.nan
    order_censored: bool = False
    tail_index: float = math.nan
    alpha: float = 2.0
    walk: int = 0
    predicted: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a network. Prints as a table with the verdicts below it.

    Attributes:
        layers: One for each output, in the order of the calls.
        verdicts: In words; the gravest first.
        healthy: Whether none of them speaks against the network.
    """

    layers: tuple[LayerDiagnosis, ...]
    verdicts: tuple[str, ...]
    healthy: bool

    def __iter__(self) -> Iterator[LayerDiagnosis]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, path: str) -> LayerDiagnosis:
        """The last output of the layer of this path."""
        found = [layer for layer in self.layers if layer.path == path]
        if not found:
            raise KeyError(path)
        return found[-1]

    def to_pandas(self) -> pd.DataFrame:
        """A row for each output, a column for each attribute, "s_scale_1" for the order 1."""
        import pandas as pd

        rows = []
        for layer in self.layers:
            row = asdict(layer)
            scales = {f"s_scale_{s:g}": value for s, value in row.pop("s_scales").items()}
            rows.append({**row, **scales})
        names = [field.name for field in fields(LayerDiagnosis) if field.name != "s_scales"]
        orders = [f"s_scale_{s:g}" for s in self.layers[0].s_scales]
        return pd.DataFrame(rows, columns=[*names[:2], *orders, *names[2:]])

    def __rich__(self) -> Any:
        from rich.table import Table

        table = Table(caption="\n".join(self.verdicts), caption_justify="left", caption_style="")
        table.add_column("layer", overflow="fold")
        table.add_column("kind")
        scales = [f"m_{s:g}" for s in self.layers[0].s_scales]
        units, inputs = "dead\nunits", "dead\ninputs"
        for name in ("depth", *scales, "log-norm", units, inputs, "cosine", "order", "tail"):
            table.add_column(name, justify="right")
        for name in ("size", "theory", "band of\none draw"):
            table.add_column(name, justify="right")
        for layer in self.layers:
            table.add_row(*_cells(layer))
        return table

    def __str__(self) -> str:
        return text_of(self)


def diagnose(
    model: keras.Model,
    x: Any,
    *,
    orders: Sequence[float] = (0.5, 1.0, 2.0),
    training: bool = False,
) -> Diagnosis:
    """Says what a network does to a signal, and whether theory finds that healthy.

    The model is called once. Of the output of each layer it tells the s-scales, the mean and the
    spread of the log-norm, the share of dead units and inputs and the mean cosine between inputs;
    of the kernels the order that their scale keeps and the tail index; and how large theory expects
    the output to be, where it follows.

    All inputs see one network, which is one draw of the weights: over depth, the size of a signal
    walks at random even if every layer keeps its moment. So a verdict speaks only if the size
    leaves the band of one draw, `[k mu_2 - 2 nu sqrt(k), 2 nu sqrt(k)]` in nats after k layers,
    where mu_2 and nu^2 are mean and variance of one layer under He's scale. It is wider over the
    positions of an image or a sequence, by what zeros at the edges may take, and where there are
    many walks, of which one leaves it more easily. Pooling is left out.

    Smooth activations (tanh, gelu, ...) are judged against their operating point: pre-activations
    of unit root mean square. The band is one around the size that they have there, with what
    earlier layers strayed carried on by the slope of the length map, but never enlarged: a network
    that runs away from a point that repels is expected to, and leaves its band all the same. What
    theory gives the weights as they are is not told behind them.

    Args:
        model: A built Keras model of any kind, fresh or trained.
        x: Inputs as the model is called with, an array or a structure of arrays, at most 256
            samples of them; a `tf.data.Dataset` or a similar source, of which the first batch is
            taken. Signals are read from these: inputs as in training say most.
        orders: Of the s-scales, each in [0, 2].
        training: Whether the layers act as in training: dropout drops, slopes are random, batches
            are normalized by themselves.

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
    vanishes: x0... per layer over 20 layers, outside the band of one draw (x0.92 to x1.07); ...
    >>> report = reinitialize(model, s=1.0, seed=0)
    >>> diagnose(model, x).healthy
    True

    Source: theory of `keras_fracinit.propagation`.
    """
    several = tuple(check_order(order, "orders") for order in check_several("orders", orders))
    check_type("training", training, bool)
    kernels = check_model(model)
    data = probe_data(probe_arrays(x, name="x"), model).x
    outputs = observe(model, data, training)
    values = [values_of(kernel.site.variable) for kernel in kernels]
    known = known_kernels(kernels, values, training)
    path = path_to_last(outputs)
    walks = walks_of(path, known)
    expected = _expectations(walks)
    layers = tuple(_layer(o, known, several, expected.get(id(o))) for o in outputs)
    against, remarks = verdicts_of(outputs, path, walks, known)
    return Diagnosis(layers, (*against, *remarks), not against)


class _Expected(NamedTuple):
    walk: int = 0
    predicted: float = math.nan
    low: float = math.nan
    high: float = math.nan


def _expectations(walks: Sequence[Walk]) -> dict[int, _Expected]:
    """Theory and band at the start and behind each step, moved by what the pools have done.

    By the ids of outputs, for a layer may be called more than once.
    """
    width, found = width_of(walks), {}
    for place, walk in enumerate(walks, start=1):
        mean = walk.sizes[0]
        found[id(walk.start)] = _Expected(place, *[_exp(mean)] * 3)
        rows = zip(walk.steps, walk.sizes[1:], walk.centres, walk.band(width), strict=True)
        for step, size, centre, (low, high) in rows:
            mean += step.mean
            pooled = step.last.signal.log_size - size
            ends = (mean, centre + low, centre + high)
            found[id(step.last)] = _Expected(place, *(_exp(end + pooled) for end in ends))
    return found


def _layer(
    output: Output, known: Any, orders: tuple[float, ...], expected: _Expected | None
) -> LayerDiagnosis:
    signal = output.signal
    with np.errstate(all="ignore"):
        found = {key: float(value) for key, (value, _) in summarize(signal.norms, orders).items()}
    scales = {s: found["s_scale", s] for s in orders}
    mean, variance = found["log_norm_mean", None], found["log_norm_variance", None]
    facts: dict[str, Any] = {}
    if kernels := kernels_in(output.layer, known):
        item = kernels[-1]  # of a separable convolution the pointwise one
        site = item.kernel.site
        facts = {
            "kind": site.reader.kind,
            "tail_index": item.values.tail_index,
            "alpha": getattr(site.initializer, "alpha", None) or 2.0,
        }
        if item.law is not None:
            order, censored = order_kept(item.scale, site.width, item.gain)
            facts |= {"law": str(item.law), "effective_order": order, "order_censored": censored}
    return LayerDiagnosis(
        path=output.path,
        depth=output.depth,
        s_scales=scales,
        log_norm_mean=mean,
        log_norm_stddev=math.sqrt(variance) if variance >= 0.0 else math.nan,
        size=_exp(signal.log_size),
        dead_units=signal.dead_units,
        dead_inputs=signal.dead_inputs,
        cosine=signal.cosine,
        nonfinite=signal.nonfinite,
        **facts,
        **(expected or _Expected())._asdict(),
    )


def _exp(x: float) -> float:
    """Infinity where a walk has left the floats."""
    return math.exp(x) if x < 709.0 else math.inf if x > 0.0 else math.nan


def _cells(layer: LayerDiagnosis) -> list[str]:
    band = "" if math.isnan(layer.low) else f"{layer.low:.2g} to {layer.high:.2g}"
    order = Kept(layer.effective_order, layer.order_censored).text(3) if layer.law else ""
    return [
        layer.path,
        layer.kind,
        str(layer.depth),
        *(number(value, 3) for value in layer.s_scales.values()),
        f"{layer.log_norm_mean:.2f} ± {layer.log_norm_stddev:.2f}",
        f"{layer.dead_units:.0%}",
        f"{layer.dead_inputs:.0%}",
        "" if math.isnan(layer.cosine) else f"{layer.cosine:.3f}",
        order,
        number(layer.tail_index, 3) + (f" ({layer.alpha:g})" if layer.alpha < 2.0 else ""),
        number(layer.size, 3),
        number(layer.predicted, 3),
        band,
    ]
