"""Makes the order s a hyperparameter of KerasTuner, in your own build function or in any model.

By itself KerasTuner takes an infinite loss for a perfect one, ends a search after three diverged
trials in a row, keeps only the mean over the executions of a trial and never runs the default.
`FracInitHyperModel` and `reference` make up for that.
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
