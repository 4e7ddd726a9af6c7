"""Says what ails a model."""

from keras_fracinit.diagnosis.pipeline import diagnose
from keras_fracinit.diagnosis.report import Diagnosis, LayerDiagnosis

__all__ = [
    "Diagnosis",
    "LayerDiagnosis",
    "diagnose",
]
