"""The order s as a hyperparameter of KerasTuner: in a build function of your own, or in any other.

A search is only as good as its worst habit, and KerasTuner has some: it takes an infinite loss for
a perfect one, ends after three diverged trials in a row, forgets all but the mean of the executions
of a trial and never runs the default. `FracInitHyperModel` and `reference` see to that.
"""

from keras_fracinit.tuner.analysis import reference, results
from keras_fracinit.tuner.hypermodel import FracInitHyperModel
from keras_fracinit.tuner.mlp import FracMLP
from keras_fracinit.tuner.resuming import resumable
from keras_fracinit.tuner.search_space import frac_initializer, order

__all__ = [
    "FracInitHyperModel",
    "FracMLP",
    "frac_initializer",
    "order",
    "reference",
    "results",
    "resumable",
]
