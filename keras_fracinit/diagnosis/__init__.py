"""Diagnoses a model: what it does to the size and the angles of signals, and what is wrong."""

from keras_fracinit.diagnosis.pipeline import diagnose
from keras_fracinit.diagnosis.report import Diagnosis, LayerDiagnosis

__all__ = [
    "Diagnosis",
    "LayerDiagnosis",
    "diagnose",
]
