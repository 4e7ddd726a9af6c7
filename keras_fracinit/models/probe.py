"""Turns a probe, a batch in any form that Keras trains on, into NumPy arrays."""

from __future__ import annotations

import sys
import warnings
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_fracinit.utils.choices import LIMIT
from keras_fracinit.utils.layer_calls import inputs_of_call


class Data(NamedTuple):
    """A batch as a model is trained on it; each part an array or a structure of arrays."""

    x: Any
    y: Any = None
    sample_weight: Any = None


def probe_arrays(probe: Any, limit: int | None = None, name: str = "probe") -> Any:
    """The probe, or its first batch, with NumPy arrays of at most `limit` samples as its leaves.

    The default of `limit` is `LIMIT`, with a warning if that cuts samples off. `name` is the name
    of the argument in messages.

    Raises:
        TypeError: If a leaf is no array.
        ValueError: If the probe is empty, or its parts differ in the number of samples.
    """
    arrays = keras.tree.map_structure(lambda leaf: _array(leaf, name), _first_batch(probe))
    leaves = [leaf for leaf in keras.tree.flatten(arrays) if leaf is not None]
    sizes = sorted({len(leaf) for leaf in leaves})
    if not sizes or sizes[0] == 0:
        raise ValueError(f"`{name}` must hold samples. Received: {name}={probe!r}")
    if len(sizes) > 1:
        shapes = keras.tree.map_structure(np.shape, arrays)
        raise ValueError(
            f"The parts of `{name}` must have the same number of samples. "
            f"Received: {name} of shapes {shapes}"
        )
    if limit is None and sizes[0] > LIMIT:
        warnings.warn(
            f"`{name}` holds {sizes[0]} samples; the first {LIMIT} are used, which is enough.",
            stacklevel=3,
        )
    return keras.tree.map_structure(
        lambda leaf: None if leaf is None else leaf[: limit or LIMIT].copy(), arrays
    )


def probe_data(arrays: Any, model: Any) -> Data:
    """Splits the probe into inputs, targets and sample weights, for this model.

    A tuple or list is `(x, y)` or `(x, y, sample_weight)` as everywhere in Keras, unless the model
    has as many inputs as it has items. Where the number of its inputs is not known, a list holds
    the inputs, and a tuple is `(x, y)`.
    """
    if not isinstance(arrays, tuple | list):
        return Data(arrays)
    inputs = _count_of_inputs(model)
    if inputs is None and isinstance(arrays, list):
        return Data(arrays)
    if len(keras.tree.flatten(arrays[0])) != inputs == len(arrays):
        return Data(arrays)
    if len(arrays) > 3:
        raise ValueError(
            "`probe` must be the inputs, (x, y) or (x, y, sample_weight). "
            f"Received: {len(arrays)} items, for a model of {inputs or 'unknown'} inputs"
        )
    return Data(*arrays)


def _count_of_inputs(model: Any) -> int | None:
    """How many arrays a model takes; None if it does not tell."""
    if inputs := getattr(model, "inputs", None):
        return len(inputs)
    if len(names := inputs_of_call(model)) > 1:
        return len(names)
    # A subclassed model remembers the shapes it was built for.
    shapes = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if shapes is None:
        return None
    return len(keras.tree.flatten(keras.tree.map_shape_structure(lambda shape: 0, shapes)))


def _first_batch(probe: Any) -> Any:
    if isinstance(probe, keras.utils.PyDataset):
        return probe[0]
    # An object of such a package exists only if the package has been imported.
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch and isinstance(probe, torch.utils.data.DataLoader):
        with torch.random.fork_rng():  # the order of its samples comes from the global generator
            batch = next(iter(probe), ())
            return tuple(batch) if isinstance(batch, list) else batch  # it collates pairs to lists
    if tensorflow and isinstance(probe, tensorflow.data.Dataset):
        return next(iter(probe), ())
    return probe


def _array(leaf: Any, name: str) -> Any:
    if leaf is None:
        return None
    array = np.asarray(keras.ops.convert_to_numpy(leaf) if keras.ops.is_tensor(leaf) else leaf)
    # TensorFlow's strings are bytes in NumPy.
    if array.ndim == 0 or (
        array.dtype.kind == "O" and not all(isinstance(item, str | bytes) for item in array.flat)
    ):
        raise TypeError(
            f"`{name}` must be an array, a tuple, list or dict of arrays, a (x, y) pair, a "
            "tf.data.Dataset, a PyDataset or a torch DataLoader, with a first axis of samples. "
            f"Received: {leaf!r} (of type {type(leaf)})"
        )
    return array.astype(keras.config.floatx()) if array.dtype == np.float64 else array
