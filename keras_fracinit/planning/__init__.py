"""Plans and carries out the re-initialization of a whole model."""

from keras_fracinit.planning.execute import plan, reinitialize
from keras_fracinit.planning.report import Change, Plan

__all__ = [
    "Change",
    "Plan",
    "plan",
    "reinitialize",
]
