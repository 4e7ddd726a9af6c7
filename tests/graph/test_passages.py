"""Which operations stand between the calls of layers, for every way to write a model."""

import keras
import pytest
from architectures import normal

from keras_fracinit.graph.call_graph import Graph
from keras_fracinit.graph.passages import Passages

layers, ops = keras.layers, keras.ops


class Block(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def build(self, shape):
        self.dense.build(shape)
        self.built = True

    def call(self, x):
        return x * ops.sigmoid(self.dense(x))


class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.block, self.last = layers.Dense(4), Block(), layers.Dense(2)

    def call(self, x):
        return self.last(ops.relu(self.block(self.first(x / 255.0))))


class Foreign(Model):
    """Its call does not run on symbols."""

    def call(self, x):
        x = self.first(x)
        if isinstance(x, keras.KerasTensor):
            raise TypeError
        return self.last(self.block(x) * 2.0)


def names(passage):
    found = sorted(type(call.op).__name__ for call in passage.operations)
    return [name for name in found if name != "ConvertToTensor"]  # of the inputs of a model


def test_operations_lie_between_the_layers_whose_outputs_they_take():
    model = Model()
    model(normal(2, 4))
    passages = Passages(Graph(model))
    first, block, last = model.first, model.block, model.last
    before = passages.before(first, 0, 1)
    assert names(before) == ["TrueDivide"]
    assert before.sources == [None]  # the input of the model
    inside = passages.before(block.dense, 0, 1)
    assert (names(inside), inside.sources) == ([], [(id(first), 0)])
    gate = passages.before(block, 0, 1)  # of a container: what its own output came through
    assert names(gate) == ["Multiply", "Sigmoid"]
    assert set(gate.sources) == {(id(first), 0), (id(block.dense), 0)}
    behind = passages.before(last, 0, 1)
    assert (names(behind), behind.sources) == (["Relu"], [(id(block), 0)])
    assert passages.before(last, 0, 2) is None  # the network called it more often


def test_calls_of_a_shared_layer_are_counted():
    shared, inputs = layers.Dense(4), keras.Input((4,))
    model = keras.Model(inputs, shared(8.0 * shared(inputs)))
    passages = Passages(Graph(model))
    assert names(passages.before(shared, 0, 2)) == []
    again = passages.before(shared, 1, 2)
    assert (names(again), again.sources) == (["Multiply"], [(id(shared), 0)])


def test_what_a_wrapper_calls_at_each_step_is_one_call_of_it():
    wrapped, inputs = layers.TimeDistributed(layers.Dense(4)), keras.Input((3, 4))
    model = keras.Model(inputs, layers.Dense(2, name="last")(ops.relu(wrapped(2.0 * inputs))))
    passages = Passages(Graph(model))
    assert names(passages.before(wrapped, 0, 1)) == ["Multiply"]
    behind = passages.before(model.get_layer("last"), 0, 1)
    assert (names(behind), behind.sources) == (["Relu"], [(id(wrapped), 0)])


@pytest.mark.parametrize("part", ["block", "last"])
def test_what_a_backend_traces_is_not_known(part):
    model = Foreign()
    model(normal(2, 4))
    assert Passages(Graph(model)).before(getattr(model, part), 0, 1) is None
