"""Measures small models, and computes by hand what a measurement must be."""

import keras
import numpy as np

from keras_fracinit.models import Data, Measurement, Request

ORDERS = (0.0, 0.5, 0.8, 1.0, 2.0)


def by_hand(array, s):
    """Value and error of the s-scale, sample by sample, straight from the definition."""
    array = np.asarray(array, "float64")
    array = array.reshape(len(array), -1, array.shape[-1])
    norms = np.sqrt(np.mean(array**2, axis=-1))
    if s == 0:
        alive = norms > 0
        logs = np.log(norms, where=alive, out=np.zeros_like(norms))
        mean = logs.sum() / alive.sum()
        deviations = (alive * (logs - mean)).sum(axis=1)
        error = np.sqrt(len(array) / (len(array) - 1) * (deviations**2).sum()) / alive.sum()
        return np.exp(mean), np.exp(mean) * error
    moments = np.mean(norms**s, axis=1)
    value = np.mean(moments) ** (1 / s)
    error = np.std(moments, ddof=1) / np.sqrt(len(moments))
    return value, value * error / (s * np.mean(moments))


def measure(model, x, y=None, **options):
    model.compile("sgd", "mse")
    request = Request(**{"orders": ORDERS, **options})
    measurement = Measurement(model, Data(x, y), request)
    return measurement, measurement()


def cells(measurement, table):
    """`{(quantity, layer, call): {(statistic, order): (value, stderr)}}`."""
    columns = measurement.request.columns
    return {
        row[:3]: dict(zip(columns, map(tuple, values), strict=True))
        for row, values in zip(measurement.rows, table, strict=True)
    }


def tensors(x):
    return keras.tree.map_structure(keras.ops.convert_to_tensor, x)
