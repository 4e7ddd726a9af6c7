"""Memory: large kernels are drawn with few copies, and one at a time."""

import weakref

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp

import keras_fracinit as kf
from keras_fracinit.graph.kernel_table import sites_of
from keras_fracinit.initializers import DISTRIBUTIONS
from keras_fracinit.planning import reinitialize, steps
from keras_fracinit.planning.sampling import sample_kernel


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("strides", [1, 2])
def test_the_largest_kernels_are_those_of_the_initializer(distribution, strides):
    """Although they are drawn another way, in less memory."""
    alpha = {"alpha": 1.5} if distribution == "stable" else {}
    initializer = kf.FracLinear(s=1.0, distribution=distribution, seed=11, **alpha)
    layer = keras.layers.Conv2DTranspose(1024, 1, strides, kernel_initializer=initializer)
    layer.build((None, 4, 4, 1024))
    (site,) = sites_of(layer)
    expected = initializer(site.shape) * site.strides ** (1.0 / initializer.law.exponent)
    values, again = sample_kernel(site, initializer), sample_kernel(site, initializer)
    assert equal([array(values)], [array(again)])
    np.testing.assert_allclose(array(values), array(expected), rtol=2e-7, atol=1e-8)
    if strides == 1 or keras.backend.backend() != "tensorflow":  # whose graph merges two factors
        assert equal([array(values)], [array(expected)])


def test_no_more_than_one_new_kernel_is_in_memory(monkeypatch):
    model, draw, references = mlp(), steps.sample_kernel, []

    def waiting():
        held = [variable.value for variable in model.weights]  # JAX makes a draw the value itself
        alive = [reference() for reference in references]
        return [x for x in alive if x is not None and all(x is not value for value in held)]

    def watched(site, initializer, form):
        assert not waiting()
        values = draw(site, initializer, form)
        references.append(weakref.ref(values))
        return values

    monkeypatch.setattr(steps, "sample_kernel", watched)
    reinitialize(model, biases="zero")
    assert len(references) == 4
    assert not waiting()
