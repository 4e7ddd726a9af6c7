"""Tests which forms of a probe a `MomentLogger` takes, and what it reads of them."""

import keras
import numpy as np
import pandas as pd
import pytest
from networks import NETWORK_IDS, NETWORKS
from trainings import X, Y, compiled, fit

from keras_fracinit import MomentLogger

BACKEND = keras.backend.backend()


def probes():
    yield "array", X
    yield "tensor", keras.ops.convert_to_tensor(X)
    yield "frame", pd.DataFrame(X)
    yield "pair", (X, Y)
    yield "weighted", (X, Y, np.ones(len(X)))
    yield "list", [X, Y]

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return X, Y

    yield "PyDataset", Batches()
    if BACKEND == "tensorflow":
        import tensorflow as tf

        yield "tf.data", tf.data.Dataset.from_tensor_slices((X, Y)).batch(len(X))
    if BACKEND == "torch":
        import torch

        dataset = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
        yield "DataLoader", torch.utils.data.DataLoader(dataset, batch_size=len(X))


@pytest.mark.slow
def test_every_form_of_probe_gives_the_same_numbers():
    model = compiled()
    tables = {}
    for name, probe in probes():
        logger = MomentLogger(probe)
        fit(model, logger, epochs=0)
        logger.set_model(model)
        logger.on_train_begin()
        logger.on_epoch_begin(0)
        tables[name] = logger.records[-1].values[:-1]
    for table in tables.values():
        np.testing.assert_array_equal(table, tables["array"])
    assert len(tables) >= 7


@pytest.mark.skipif(BACKEND != "torch", reason="The loader is torch's.")
def test_a_shuffling_loader_does_not_touch_the_global_generator():
    import torch

    loader = torch.utils.data.DataLoader(torch.tensor(X), batch_size=8, shuffle=True)
    state = torch.random.get_rng_state()
    MomentLogger(loader)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.slow
def test_inputs_and_targets_are_told_apart_by_the_model():
    pair = NETWORKS[NETWORK_IDS.index("pair")]
    for probe in (pair.x, tuple(pair.x), (pair.x, pair.y), (tuple(pair.x), pair.y)):
        logger = MomentLogger(probe)
        fit(compiled(pair.build), logger, x=pair.x, y=pair.y)
        assert len(logger.records) == 2
    dictionary = NETWORKS[NETWORK_IDS.index("dictionary")]
    logger = MomentLogger((dictionary.x, dictionary.y), quantities=("gradients",))
    fit(compiled(dictionary.build), logger, x=dictionary.x, y=dictionary.y)
    assert len(logger.records) == 2


def test_large_probes_are_capped_with_a_note():
    with pytest.warns(UserWarning, match="`probe` holds 300 samples; the first 256 are used"):
        logger = MomentLogger((np.zeros((300, 8)), np.zeros(300)))
    assert [array.shape for array in logger.probe] == [(256, 8), (256,)]
    assert logger.probe[0].dtype == np.float32  # as fit converts it
