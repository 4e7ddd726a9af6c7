"""The methods of the learning benchmark are the package's, Keras', or those of a publication."""

import functools
import math
import pathlib
import sys

import keras
import numpy as np
import pytest
import scipy.linalg

if keras.backend.backend() != "jax":
    pytest.skip("it trains on JAX alone", allow_module_level=True)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from _learning import cells, check, methods, networks, smooth, structures, tasks
from _learning.cells import Cell
from _learning.methods import METHODS, Draw
from _learning.networks import ACTIVATIONS

import keras_fracinit as kf
from keras_fracinit import laws
from keras_fracinit.propagation import correlation_map, slope_for

# One network of each family, small; the convolutional one starts from one channel.
DENSE = networks.plain("dense", 64, 10, 2, 16, "relu")
CONV = networks.plain("conv", 64, 10, 3, 16, "relu")
CODER = networks.autoencoder(64, 64, 4, 16, "relu", bottleneck=3)


def normals_of_keras(shape, seed=7):
    return np.asarray(keras.random.normal(shape, seed=seed))


def block_of(site, one_tap=False):
    """The shape of the free block of a kernel."""
    n, d = site.shape[-2] // (1 + site.paired), site.shape[-1] // (1 + site.active)
    return (n, d) if one_tap else (*site.shape[:-2], n, d)


def kernels_of(method, network, orthogonal=False):
    """The kernels that a method makes where the normals of Keras are those of its blocks."""
    mirrored, zs = METHODS[method].mirrored, []
    for site in network.sites[:-1]:
        z = np.zeros((1, *site.shape), "float32")
        one_tap = "center" in method and site.stage > 0
        shape = block_of(site, one_tap) if mirrored else site.shape
        rows = math.prod(shape[:-1])
        wide = orthogonal and rows < shape[-1]  # Keras decomposes the transpose of these
        block = normals_of_keras((shape[-1], rows)).T if wide else normals_of_keras(shape)
        at = z[0, 1, 1] if one_tap else z[0]
        at[..., : shape[-2], : shape[-1]] = block.reshape(shape)
        zs.append(z)
    law = METHODS[method].law(network)
    return [k[0] for k in METHODS[method].kernels(Draw(zs, network, law, np.ones((1, 64)), (0,)))]


UNMIRRORED = {
    "He (Keras)": lambda: keras.initializers.HeNormal(7),
    "He": lambda: keras.initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", 7),
    "Xavier": lambda: keras.initializers.GlorotUniform(7),
    "LeCun": lambda: keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal", 7),
    "orthogonal": lambda: keras.initializers.Orthogonal(math.sqrt(2.0), 7),
    "orthogonal 1": lambda: keras.initializers.Orthogonal(1.0, 7),
    "ours s=0": lambda: kf.FracReLU(0.0, seed=7),
    "ours s=1": lambda: kf.FracReLU(1.0, seed=7),
}


@pytest.mark.parametrize("network", [DENSE, CONV], ids=["dense", "conv"])
@pytest.mark.parametrize("method", list(UNMIRRORED))
def test_kernels_are_those_of_the_initializer(method, network):
    # The same normals where Keras makes the kernel of normals; else the same law.
    initializer = UNMIRRORED[method]()
    if method in ("He (Keras)", "Xavier"):
        big = networks.plain("dense", 300, 2, 1, 300, "relu")
        ours, theirs = kernels_of(method, big)[0], np.asarray(initializer((300, 300)))
        levels = np.linspace(0.0, 1.0, 21)
        quantiles = [np.quantile(values, levels) for values in (ours, theirs)]
        np.testing.assert_allclose(*quantiles, atol=0.03 * theirs.std())
        return
    for kernel in kernels_of(method, network, orthogonal="orthogonal" in method):
        real = np.asarray(initializer(kernel.shape))
        np.testing.assert_allclose(kernel, real, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("s", [0, 1, 2])
def test_smooth_kernels_are_those_of_the_initializers(s):
    # The first kernel meets data, the others the activation.
    network = networks.plain("dense", 64, 10, 2, 16, "gelu")
    reals = [kf.FracLinear(s, seed=7), kf.FracActivation("gelu", s, seed=7)]
    for real, kernel in zip(reals, kernels_of(f"smooth s={s}", network), strict=True):
        np.testing.assert_allclose(kernel, np.asarray(real(kernel.shape)), rtol=2e-5, atol=1e-6)
    he = kernels_of("He sqrt2", network)[1]
    np.testing.assert_allclose(he, normals_of_keras((16, 16)) * math.sqrt(2 / 16), rtol=1e-6)


MIRRORED = {
    "mirrored": {"s": 2.0, "distribution": "orthogonal"},
    "mirrored s=2": {"s": 2.0},
    "mirrored s=1": {"s": 1.0},
    "mirrored s=0": {"s": 0.0},
    "mirrored center": {"s": 2.0, "distribution": "orthogonal"},
    "mirrored center s=2": {"s": 2.0},
}
FRAC = {
    "relu": kf.FracReLU,
    "leaky": lambda **options: kf.FracLeakyReLU(networks.SLOPE, **options),
    "gelu": lambda **options: kf.FracActivation("gelu", **options),
    "silu": lambda **options: kf.FracActivation("silu", **options),
}


MIRRORED_CASES = [
    (method, activation, family)
    for method in MIRRORED
    for activation in (*FRAC, *(["slope"] if method == "mirrored" else []))
    for family in (("conv",) if "center" in method else ("dense", "conv", "autoencoder"))
]


@pytest.mark.parametrize(("method", "activation", "family"), MIRRORED_CASES)
def test_mirrored_kernels_are_those_of_the_initializers(method, activation, family):
    options = MIRRORED[method]
    bottleneck = {"bottleneck": 3} if family == "autoencoder" else {}
    name, frac = activation, FRAC.get(activation)
    if activation == "slope":  # deep, so that it is not 0
        name, method, slope = "relu", "mirrored slope 0.9", slope_for(40)
        frac = functools.partial(kf.FracLeakyReLU, slope)
    depth = 40 if activation == "slope" else 4
    network = networks.FAMILIES[family](64, 10, depth, 16, name, **bottleneck)
    ours = kernels_of(method, network, "distribution" in options)
    assert len(ours) == len(network.sites) - 1 >= 4
    for site, kernel in zip(network.sites, ours, strict=False):
        form = "inputs" if not site.active else "both" if site.paired else "outputs"
        own = frac if site.active else kf.FracLinear
        taps = "center" if "center" in method and site.stage > 0 else "all"
        real = own(pairs=form, seed=7, taps=taps, **options)(site.shape)
        np.testing.assert_allclose(kernel, np.asarray(real), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "method", "taps"),
    [
        (Cell("digits", "relu", 5, 16, "sgd"), "mirrored", "all"),
        (Cell("digits", "gelu", 5, 16, "sgd"), "mirrored", "all"),
        (Cell("digits", "relu", 4, 16, "sgd", "conv"), "mirrored", "all"),
        (Cell("digits", "relu", 4, 16, "sgd", "conv"), "mirrored center", "center"),
        (Cell("images", "relu", 6, 16, "sgd", "autoencoder", 3), "mirrored", "all"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_mirrored_networks_are_those_of_reinitialize(cell, method, taps):
    # Orthogonal blocks differ by their rotations alone: sizes, halves and taps are the same.
    model = check.keras_model(cell, 0.1)
    kf.reinitialize(model, 2.0, seed=0, mirrored=True, taps=taps)
    *theirs, _ = [w for w in model.get_weights() if w.ndim > 1]
    *ours, last = methods.initial_kernels(method, cell.network, (0,), np.ones((1, 64)))
    for own, their in zip(ours, theirs, strict=True):
        assert np.linalg.norm(own[0]) == pytest.approx(np.linalg.norm(their), rel=1e-5)
        for axis in (-1, -2):
            pairs = [np.array_equal(*_halves(k, axis)) for k in (own[0], their)]
            assert pairs[0] == pairs[1]
        if their.ndim == 4:
            taps_of = [np.abs(k).sum(axis=(-1, -2)) > 0 for k in (own[0], their)]
            np.testing.assert_array_equal(*taps_of)
    assert np.array_equal(*_halves(last[0], -2))


def _halves(kernel, axis):
    if kernel.shape[axis] % 2:
        return kernel, None
    first, second = np.split(kernel, 2, axis=axis)
    return first, -second


def outputs(cell, method, x):
    """The outputs of a network as it starts; in the end a float64 would change little."""
    kernels = methods.initial_kernels(method, cell.network, (0, 1), x)
    slope = METHODS[method].slope_in(cell.network)
    parameters = networks.stacked(cell.network, kernels)
    return np.asarray(networks.forward(cell.network, parameters, x, np.full(2, slope)))


@pytest.mark.parametrize(
    ("family", "activation", "method", "linear"),
    [
        ("dense", "relu", "mirrored", True),
        ("dense", "relu", "mirrored s=0", True),
        ("dense", "relu", "mirrored slope 0.9", True),
        ("dense", "gelu", "mirrored", True),
        ("dense", "relu", "orthogonal", False),
        ("dense", "relu", "slope 0.9", False),
        ("conv", "relu", "mirrored", True),
        ("conv", "gelu", "mirrored s=2", True),
        ("conv", "relu", "mirrored center", True),
        ("conv", "relu", "delta-orthogonal", False),
    ],
)
def test_mirrored_networks_start_linear_and_no_others(family, activation, method, linear):
    cell = Cell("digits", activation, 20, 16, "sgd", family)
    x, y = np.random.default_rng(0).normal(size=(2, 8, 64)).astype("float32")
    sums = outputs(cell, method, 2.0 * x - 3.0 * y)
    parts = 2.0 * outputs(cell, method, x) - 3.0 * outputs(cell, method, y)
    largest = np.abs(sums - parts).max() / np.abs(sums).max()
    odd = np.abs(outputs(cell, method, -x) + outputs(cell, method, x)).max() / np.abs(sums).max()
    assert max(largest, odd) < 1e-4 if linear else min(largest, odd) > 1e-2


@pytest.mark.parametrize("family", ["residual", "convresidual"])
def test_isometric_blocks_are_orthogonal_matrices(family):
    network = networks.FAMILIES[family](64, 10, 2, 8, "relu")
    seeds = (0,)
    kernels = methods.initial_kernels("isometry", network, seeds, np.ones((1, 64)))
    z, _ = methods._normals(network, seeds)
    (_, first, second, *_), normals = kernels, z[2]
    if family == "convresidual":
        for kernel in (first, second):
            assert np.count_nonzero(np.abs(kernel[0]).sum(axis=(2, 3))) == 1
        first, second, normals = first[:, 1, 1], second[:, 1, 1], normals[:, 1, 1]
    x = np.random.default_rng(1).normal(size=(50, 8))
    after = x + np.maximum(x @ first[0], 0.0) @ second[0]
    matrix = structures.orthonormal(normals[..., :8, :8])[0]
    np.testing.assert_allclose(after, x @ matrix, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


@pytest.mark.parametrize("branches", ["isometry", "zero"])
def test_residual_blocks_are_those_of_reinitialize(branches):
    cell = Cell("digits", "relu", 3, 8, "sgd", "residual")
    model = check.keras_model(cell, 0.1)
    kf.reinitialize(model, 2.0, seed=0, mirrored=branches == "isometry", branches=branches)
    _, *theirs, _ = [w for w in model.get_weights() if w.ndim > 1]
    kernels = methods.initial_kernels(branches, cell.network, (0,), np.ones((1, 64)))
    _, *ours, _ = [kernel[0] for kernel in kernels]
    x = np.random.default_rng(1).normal(size=(50, 8))
    for blocks in (theirs, ours):
        signal = x
        for first, second in zip(blocks[::2], blocks[1::2], strict=True):
            signal = signal + np.maximum(signal @ first, 0.0) @ second
        lengths = [np.linalg.norm(v, axis=1) for v in (signal, x)]
        np.testing.assert_allclose(*lengths, rtol=1e-5)
        assert np.allclose(signal, x) == (branches == "zero")
    for own, their in zip(ours[::2], theirs[::2], strict=True):
        assert own.std() == pytest.approx(their.std(), rel=0.25)  # draws, of 128 numbers
        if branches == "isometry":
            np.testing.assert_allclose(own @ own.T, their @ their.T, atol=1e-5)


def test_delta_orthogonal_kernels_have_one_tap_of_equal_singular_values():
    first, *others = kernels_of("delta-orthogonal", CONV)
    singular = np.linalg.svd(first.reshape(-1, 16), compute_uv=False)
    np.testing.assert_allclose(singular, math.sqrt(2.0), rtol=1e-5)
    assert others
    for kernel in others:
        taps = kernel.reshape(9, 16, 16)
        assert not np.delete(taps, 4, axis=0).any()
        singular = np.linalg.svd(taps[4], compute_uv=False)
        np.testing.assert_allclose(singular, math.sqrt(2.0), rtol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(16, 16), (64, 16), (3, 16), (5, 12)])
def test_zero_one_kernels_are_identities_or_hadamard_matrices(n, d):
    network = networks.plain("dense", n, 10, 1, d, "relu")
    (kernel,) = kernels_of("ZerO", network)
    if n >= d:
        np.testing.assert_array_equal(kernel, np.eye(n, d))
    else:  # I H I / 2^(m/2) of the next power of two, as in the authors' code
        np.testing.assert_allclose(kernel, scipy.linalg.hadamard(16)[:n, :d] / 4.0)


@pytest.mark.parametrize(("method", "cosine"), [("slope 0.9", 0.9), ("slope 0.7 s=2", 0.7)])
def test_slopes_take_orthogonal_inputs_to_the_cosine(method, cosine):
    network = networks.plain("dense", 64, 10, 40, 32, "relu")
    law = METHODS[method].law(network)
    assert law.negative_slope == METHODS[method].slope_in(network) == slope_for(40, cosine)
    reached = 0.0
    for _ in range(network.depth):
        reached = float(correlation_map(law, reached))
    assert reached == pytest.approx(cosine, rel=1e-6)
    kernel = kernels_of(method, network, orthogonal=True)[1]
    gain = 2.0 / (1.0 + law.negative_slope**2)
    assert np.sqrt(np.mean(kernel**2)) == pytest.approx(math.sqrt(gain / 32), rel=0.05)


@pytest.mark.parametrize(
    "activation", [a for a, e in ACTIVATIONS.items() if networks.is_smooth(e.law)]
)
def test_gradient_gains_are_those_of_the_squared_slope(activation):
    # At s = 2 a gain is the inverse of a mean square, whatever the width.
    law = ACTIVATIONS[activation].law
    slope = smooth.slope_law(law)
    assert slope.mean == pytest.approx(law.gradient_factor * law.mean, rel=1e-6)
    assert kf.gain(slope, 2.0, 8) * law.gradient_factor == pytest.approx(kf.gain(law, 2.0, 8))
    network = networks.plain("dense", 64, 10, 2, 64, activation)
    (_, signal), (_, gradient), (_, both) = (
        kernels_of(f"{name} s=1", network) for name in ("smooth", "gradient", "geometric")
    )
    sizes = [kf.gain(law, 1.0, 64), kf.gain(slope, 1.0, 64)]
    assert np.mean(gradient**2) / np.mean(signal**2) == pytest.approx(sizes[1] / sizes[0], rel=1e-4)
    np.testing.assert_allclose(both**2, np.abs(signal * gradient), rtol=1e-4)


@pytest.mark.parametrize("alpha", [1.2, 1.8])
def test_stable_numbers_have_their_characteristic_function(alpha):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal(200_000, dtype="float32")
    numbers = smooth.stable_numbers(normals, rng.standard_exponential(len(normals)), alpha)
    assert np.isfinite(numbers).all()
    for t in (0.3, 1.0, 2.0):
        assert np.cos(t * numbers).mean() == pytest.approx(math.exp(-(t**alpha)), abs=0.01)
    np.testing.assert_array_equal(np.sign(numbers), np.sign(normals))


def test_stable_kernels_have_the_scale_of_their_gain():
    # A sum of n numbers of scale sigma has the scale sigma n^(1/alpha), the root of the gain.
    alpha, width, seeds = 1.5, 16, tuple(range(500))
    network = networks.plain("dense", 64, 10, 2, width, "tanh")
    kernels = methods.initial_kernels("stable 1.5", network, seeds, np.ones((1, 64)))
    # Of the first one, which meets data, 1/sqrt(2): where a smooth activation is exact.
    later = kf.gain(laws.Stable(network.law, alpha), 1.0, width) ** (1 / alpha)
    for scale, kernel in zip((math.sqrt(0.5), later), kernels[:-1], strict=True):
        sums = kernel.sum(axis=1, dtype="float64") / scale
        assert np.cos(sums).mean() == pytest.approx(math.exp(-1.0), abs=0.03)


def test_the_authors_formulas():
    # Their ReLU formula is their leaky one at slope 0; 2/64 + 3/64^2 at their s = 0.8.
    relu = methods.authors(laws.ReLU(), 64, 10) ** 2
    assert relu == pytest.approx(methods._leaky_variance(64, 0.8, 0.0), rel=1e-12)
    assert relu == pytest.approx(0.031982421875, rel=1e-12)
    assert methods.authors(laws.Linear(), 8, 10) ** 2 == pytest.approx(0.1328125, rel=1e-12)


def test_lsuv_gives_every_layer_unit_variance_on_its_batch():
    images = tasks.task("digits").train[0]
    network = networks.plain("dense", 64, 10, 6, 16, "relu")
    kernels = methods.initial_kernels("LSUV", network, (0, 1), images)
    signal = images[None, :256]
    for kernel in kernels[:-1]:
        output = signal @ kernel
        np.testing.assert_allclose(output.std(axis=(1, 2)), 1.0, rtol=1e-4)
        signal = np.maximum(output, 0.0)


@pytest.mark.parametrize("block", cells.BLOCKS, ids=lambda block: block.name)
def test_all_methods_draw_finite_kernels_in_every_cell(block):
    small = {
        Cell(c.dataset, c.activation, 2, 16, "sgd", c.family, c.bottleneck) for c in block.cells
    }
    for cell in small:
        names = block.methods_of(cell)
        assert {methods.reference(cell.activation), "He (Keras)"} & set(names)
        x = tasks.task(cell.dataset).train[0]
        for method in names:
            kernels = methods.initial_kernels(method, cell.network, (0, 1), x)
            for site, kernel in zip(cell.network.sites, kernels, strict=True):
                assert kernel.shape == (2, *site.shape)
                assert kernel.dtype == np.float32
                assert np.isfinite(kernel).all()
