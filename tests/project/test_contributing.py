"""The worked example of CONTRIBUTING.md, carried out on a copy of the package.

The page says that an activation with an initializer of its own takes three edits. They are read
from the page, applied, and the result is used in a fresh process.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DIFF = re.compile(r"^ *```diff\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)

USE = """
import doctest, math, pathlib, sys
import keras, numpy as np
import keras_fracinit as kf
from keras_fracinit import initializers, laws
from keras_fracinit.laws.curves import CURVES

folder = pathlib.Path(sys.argv[1])
assert pathlib.Path(kf.__file__).is_relative_to(folder), kf.__file__
FracSquareplus = kf.FracSquareplus
assert FracSquareplus is initializers.FracSquareplus
assert "FracSquareplus" in kf.__all__ and "FracSquareplus" in initializers.__all__
assert doctest.testmod(initializers.smooth).failed == 0

# The curve and its slope are those of Keras' function.
z, h = np.linspace(-8.0, 8.0, 101), 1e-5
curve = CURVES["squareplus"]
keras_values = keras.ops.convert_to_numpy(keras.activations.squareplus(z.astype("float32")))
np.testing.assert_allclose(curve.value(z), keras_values, rtol=1e-5, atol=1e-6)
differences = (curve.value(z + h) - curve.value(z - h)) / (2.0 * h)
np.testing.assert_allclose(curve.slope(z), differences, rtol=1e-6, atol=1e-9)

# A kernel that it draws keeps the moment, by simulation, to four standard errors: inputs of root
# mean square 1/sqrt(g), where the pre-activations have root mean square 1.
fan_in, width, layers = 6, 8, 4000
scale = FracSquareplus(s=1.0).describe((fan_in, width))
assert isinstance(scale, initializers.SmoothScale) and "attracts" in str(scale)
assert math.isclose(scale.stddev, math.sqrt(scale.gain / fan_in), rel_tol=1e-12)
wide = FracSquareplus(s=1.0, seed=1, input_axes=[1], output_axes=[2])((layers, fan_in, width))
x = np.random.default_rng(0).normal(size=fan_in)
x *= math.sqrt(fan_in / scale.gain) / np.linalg.norm(x)
outputs = keras.activations.squareplus(np.einsum("i,lij->lj", x, np.asarray(wide, "float64")))
sizes = np.linalg.norm(outputs, axis=1) / math.sqrt(width)
error = sizes.std() / math.sqrt(layers)
assert abs(sizes.mean() - np.linalg.norm(x) / math.sqrt(fan_in)) < 4.0 * error

# Whatever names the activation leads to it.
for activation in (
    "squareplus",
    keras.activations.squareplus,
    keras.layers.Activation("squareplus"),
    laws.Smooth("squareplus"),
):
    found = kf.initializer_for(activation, 0.5, dropout=0.1)
    assert type(found) is FracSquareplus, activation
    assert (found.s, found.dropout) == (0.5, 0.1) and "activation" not in found.get_config()
assert type(kf.initializer_for("gelu")) is kf.FracActivation

# A model that uses it is saved and read back, and draws the same.
model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(8, "squareplus", kernel_initializer=FracSquareplus(s=0.7, seed=3)),
        keras.layers.Dense(8, "squareplus", kernel_initializer="glorot_uniform"),
        keras.layers.Dense(1),
    ]
)
model.save(folder / "model.keras")
twin = keras.saving.load_model(folder / "model.keras")
before, after = (m.layers[0].kernel_initializer for m in (model, twin))
assert type(after) is FracSquareplus and after.get_config() == before.get_config()
np.testing.assert_array_equal(*(np.asarray(i((5, 6))) for i in (before, after)))

# A plan scales the kernel behind it for it; so it does where only its operation is in the graph.
inputs = keras.Input((4,))
hidden = keras.ops.squareplus(keras.layers.Dense(8)(inputs))
functional = keras.Model(inputs, keras.layers.Dense(8, "squareplus")(hidden))
law = laws.Smooth("squareplus")
for network in (model, functional):
    planned = [change for change in kf.plan(network, s=1.0) if change.kind == "dense"]
    assert planned[1].law == str(law) and not planned[1].skipped, planned[1]
    distribution = planned[1].distribution
    expected = FracSquareplus(s=1.0, distribution=distribution).describe((8, 8))
    assert math.isclose(planned[1].stddev, expected.stddev, rel_tol=1e-12)
assert kf.diagnose(kf.reinitialize(model, s=1.0, seed=0) and model, np.ones((8, 4)) * z[:8, None])
print("used")
"""


def edits_of(page):
    """The edits of a page: file, old text, new text."""
    for block in DIFF.findall(page):
        first, *hunks = re.split(r"^@@\n", textwrap.dedent(block), flags=re.MULTILINE)
        for hunk in hunks:
            lines = hunk.splitlines()
            assert {line[:1] for line in lines} <= {"", " ", "+", "-"}
            old, new = (
                "".join(f"{line[1:]}\n" for line in lines if line[:1] != other) for other in "+-"
            )
            yield first.removeprefix("--- ").strip(), old, new


@pytest.mark.slow
def test_an_activation_with_its_own_initializer_takes_the_three_edits_of_the_page(tmp_path):
    edits = list(edits_of((ROOT / "CONTRIBUTING.md").read_text()))
    assert len({name for name, _, _ in edits}) == 3
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "keras_fracinit", tmp_path / "keras_fracinit", ignore=ignored)
    for name, old, new in edits:
        text = (tmp_path / name).read_text()
        assert text.count(old) == 1, (name, old)
        (tmp_path / name).write_text(text.replace(old, new))
    script = tmp_path / "use.py"
    script.write_text(USE)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.endswith("used\n"), done.stdout + done.stderr
