"""Draws a history (heat maps of layers x steps, profiles against depth), a search or a diagnosis.

A history is the frame `MomentLogger.history`, or the frame that `pandas.read_csv` makes of its
file. If a row occurs twice, the last one is used; rows without a layer are left out. No global
state is used: no pyplot, no rcParams. The figure of returned axes is `ax.figure`.
"""

try:
    import matplotlib  # noqa: F401  # before the files that take it for granted
except ImportError as error:
    raise ImportError(
        "`keras_fracinit.plots` needs matplotlib: pip install 'keras-fracinit[plots]'"
    ) from error

from keras_fracinit.plots.diagnosis_figure import diagnosis
from keras_fracinit.plots.history import heatmap, profile
from keras_fracinit.plots.runs import compare
from keras_fracinit.plots.search import score_by_order

__all__ = [
    "compare",
    "diagnosis",
    "heatmap",
    "profile",
    "score_by_order",
]
