"""Tests which `pairs` and `taps` are refused, with what to do instead, and which always fit."""

import numpy as np
import pytest
from cases import exact

import keras_fracinit as kf

relu, gelu = kf.FracReLU, lambda **options: kf.FracActivation("gelu", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu(pairs="all"), "`pairs` must be.*'outputs'.*'both'.*'inputs'.*pairs='all'"),
        (lambda: relu(pairs=True), "`pairs`.*True"),
        (lambda: relu(pairs=("both",)), "`pairs`"),
        (lambda: relu(pairs={"form": "both"}), "keys 'form' and 'runs'"),
        (lambda: relu(pairs={"form": "both", "runs": [[1, 1]], "x": 1}), "keys 'form' and 'runs'"),
        (lambda: relu(pairs={"form": "half", "runs": [[1, 1]]}), r"`pairs\['form'\]`.*'half'"),
        (lambda: relu(pairs={"form": "outputs", "runs": [[1, 1]]}), r"`pairs\['runs'\]`.*inputs"),
        (lambda: relu(pairs={"form": "both", "runs": []}), r"`pairs\['runs'\]` must be"),
        (lambda: relu(pairs={"form": "both", "runs": "2x3"}), r"`pairs\['runs'\]` must be"),
        (lambda: relu(pairs={"form": "both", "runs": [[0, 1]]}), r"`pairs\['runs'\]`.*0"),
        (lambda: relu(pairs={"form": "both", "runs": [[2, -1]]}), r"`pairs\['runs'\]`.*-1"),
        (lambda: relu(taps="middle"), "`taps` must be.*'all'.*'center'.*'middle'"),
        (lambda: relu(taps=-1), "`taps`.*-1"),
        (lambda: relu(taps=())((3, 3, 4, 4)), "`taps`"),
        (lambda: relu(pairs="outputs")((6, 7)), "even number of output units.*7 output.*make it 8"),
        (lambda: relu(pairs="both")((5, 8)), "even number of inputs.*5 inputs; make it 6"),
        (lambda: relu(pairs="both")((6, 7)), "even number of output units.*7 output"),
        (lambda: relu(pairs="inputs")((5, 8)), "even number of inputs.*5 inputs"),
        (lambda: relu(pairs="inputs")((3, 3, 5, 8)), "even number of inputs.*5 inputs"),
        (lambda: relu(pairs="outputs").describe((6, 7)), "even number of output units"),
        (lambda: relu(pairs="outputs")((4,)), "`pairs` needs a kernel of rank 2 or more"),
        (lambda: relu(pairs="outputs")((4, 1)), "even number of output units.*1 output"),
        (lambda: relu(pairs="inputs")((1, 4)), "even number of inputs.*1 inputs"),
        (
            lambda: relu(pairs={"form": "both", "runs": [[2, 2]]})((10, 4)),
            "its runs cover 8 of them.*kernel of 10 inputs",
        ),
        (
            lambda: relu(pairs={"form": "inputs", "runs": [[2, 2], [3, 1]]})((12, 4)),
            "its runs cover 14 of them.*kernel of 12 inputs",
        ),
        (lambda: relu(taps="center")((4, 4)), "`taps` must be 'all' for kernels without a window"),
        (lambda: relu(taps=0)((4,)), "`taps` must be 'all' for kernels without a window"),
        (lambda: relu(taps=3)((3, 3, 4, 4)), r"`taps` must be an index into the window \(3, 3\)"),
        (lambda: relu(taps=(1, 1, 1))((3, 3, 4, 4)), "`taps` must be an index into the window"),
        (lambda: relu(taps=(0, 5))((3, 3, 4, 4)), r"an index into the window.*\(0, 5\)"),
        (lambda: kf.FracLinear(pairs="outputs"), "linear layer must not become pairs.*'inputs'"),
        (lambda: kf.FracLinear(pairs="both", dropout=0.1), "linear layer must not become pairs"),
        (lambda: kf.FracLeakyReLU(1.0, pairs="both"), "linear layer must not become pairs"),
        (lambda: kf.FracLeakyReLU(-1.0, pairs="both"), "no linear odd part"),
        (lambda: kf.FracActivation("tanh", pairs="both"), "no linear odd part.*'tanh'"),
        (lambda: kf.FracActivation("relu6", pairs="outputs"), "no linear odd part.*'relu6'"),
        (lambda: gelu(pairs="both", dropout=0.2), "smooth activation under dropout.*`dropout` out"),
    ],
)
def test_bad_input_is_named_with_what_to_do(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_inputs_of_pairs_go_with_every_activation():
    for initializer in (
        kf.FracLinear(pairs="inputs"),
        kf.FracActivation("tanh", pairs="inputs"),
        gelu(pairs="inputs", dropout=0.2),
    ):
        assert np.isfinite(exact(initializer((6, 3)))).all()
