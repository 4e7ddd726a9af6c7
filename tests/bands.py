"""The band of one draw, for tests of diagnoses."""

import numpy as np

from keras_fracinit.diagnosis.chance import reach_of, third_cumulant


def reaches(variances):
    """How far the band extends beyond the means, below and above, behind each step."""
    c = reach_of(variances, [1.0] * len(variances), 0.02)
    total = np.cumsum(variances)
    third = np.cumsum([third_cumulant(variance) for variance in variances])
    return c * np.sqrt(total) - (c * c - 1.0) / 6.0 * third / total, c * np.sqrt(total)
