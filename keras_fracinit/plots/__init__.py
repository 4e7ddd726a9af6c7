"""Pictures of a history (heat maps of layers x steps, profiles against depth), of a search, and of
a diagnosis.

A history is the frame `MomentLogger.history`, or what `pandas.read_csv` makes of its file. Of rows
that give the same number twice the last counts; rows without a layer are left out. Nothing here is
global: no pyplot, no rcParams. The figure of the axes that are returned is `ax.figure`.
"""

from keras_fracinit.plots.diagnosis_figure import diagnosis
from keras_fracinit.plots.history import compare, heatmap, profile
from keras_fracinit.plots.search import score_by_order

__all__ = [
    "compare",
    "diagnosis",
    "heatmap",
    "profile",
    "score_by_order",
]
