"""Tabulates how a search re-initializes the kernels of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_fracinit.graph.kernels import Kernel
from keras_fracinit.graph.pairing import Form
from keras_fracinit.planning.mirrored import note_of
from keras_fracinit.planning.sampling import initializer_like, stddevs_of
from keras_fracinit.tuner.mirroring import s_is_active

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    *("layer", "activation", "order", "distribution", "stddev", "stddev_at_2", "ratio"),
    *("changed", "note", "pairs"),
)


def kernel_report(
    kernels: Sequence[Kernel], names: Sequence[str | None], forms: Sequence[Form]
) -> pd.DataFrame:
    """The frame of `FracInitHyperModel.report`: a row for each kernel."""
    import pandas as pd

    rows = [_row(*row) for row in zip(kernels, names, forms, strict=True)]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _row(kernel: Kernel, name: str | None, form: Form) -> tuple[Any, ...]:
    drawn = bool(name) or form.pairs is not None
    before, after = stddevs_of(kernel, form) if drawn else (math.nan, math.nan)
    ratio = after / before
    changed = None if math.isnan(ratio) else not math.isclose(ratio, 1.0, rel_tol=1e-6)
    note = kernel.reason or ("" if name else "in no group")
    law = kernel.downstream.law if kernel.law else ""
    distribution, pairs = kernel.distribution, ""
    if form.pairs is not None:
        note, pairs = note_of(form, kernel), "repeated" if form.repeated else form.pairs.form
        distribution = initializer_like(kernel, 2.0, form).distribution
        name = name if s_is_active(kernel, form) else None
    elif form.reason:
        note = "; ".join(filter(None, (note, note_of(form, kernel))))
    return (
        *(kernel.path, str(law), name, distribution, before, after, ratio),
        *(changed if drawn else False, note, pairs),
    )
