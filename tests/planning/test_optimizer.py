"""The optimizer's state of kernels that are drawn anew: found under any name, reset, or named."""

import inspect

import keras
import numpy as np
import pytest
from architectures import array, equal, mlp, normal, weights

from keras_fracinit.planning import reinitialize

layers, optimizers = keras.layers, keras.optimizers
KERNEL = "hidden_1"


class Own(optimizers.Optimizer):
    """Keeps its state in a dictionary, under names that say nothing."""

    def __init__(self):
        super().__init__(learning_rate=0.01)
        self.state = {}

    def build(self, variables):
        super().build(variables)
        for variable in variables:
            sizes = self.add_variable(variable.shape[-1:], "ones", name="a")
            self.state[self._var_key(variable)] = (self.add_variable(variable.shape), sizes)

    def update_step(self, gradient, variable, learning_rate):
        first, second = self.state[self._var_key(variable)]
        self.assign_add(first, gradient)
        self.assign_add(second, keras.ops.sum(keras.ops.reshape(gradient, (-1, *second.shape)), 0))
        self.assign_sub(variable, learning_rate * gradient)


class Scaled(optimizers.SGD):
    """Has an argument that `get_config` leaves out."""

    def __init__(self, scale, **options):
        super().__init__(**options)


class Fixed(optimizers.schedules.LearningRateSchedule):
    """Cannot be saved."""

    def __call__(self, step):
        return 0.01


def several():
    others = {f".*{KERNEL}/.*": optimizers.Adafactor(0.01)}
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.Adam(0.01), others))


# Wrappers stand below; the base class and the map of a MultiOptimizer are none.
PLAIN = {
    name: kind
    for name, kind in vars(optimizers).items()
    if inspect.isclass(kind)
    and name not in ("Optimizer", "OptimizerMap", "LossScaleOptimizer", "MultiOptimizer")
}
OPTIMIZERS = {
    **PLAIN,
    "SGD with momentum": lambda: optimizers.SGD(0.01, momentum=0.9),
    "Adam with all": lambda: optimizers.Adam(0.01, amsgrad=True, gradient_accumulation_steps=2),
    "RMSprop with all": lambda: optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "LossScaleOptimizer": lambda: optimizers.LossScaleOptimizer(optimizers.Adagrad(0.01)),
    "MultiOptimizer": several,
    "a dictionary": Own,
    "no config": lambda: Scaled(2.0, momentum=0.9),
    "no config of the schedule": lambda: optimizers.Adagrad(Fixed(), 0.5),
}


def model():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(4, name="first"), layers.Dense(2, name=KERNEL)]
    )


def state(optimizer):
    return [array(variable) for variable in optimizer.variables]


def used(optimizer, variables, sizes):
    """An optimizer after three steps, with gradients of these sizes."""
    optimizer.build(variables)
    for seed in range(3):
        gradients = [
            keras.ops.convert_to_tensor(size * normal(*variable.shape, seed=seed))
            for size, variable in zip(sizes, variables, strict=True)
        ]
        # On JAX a LossScaleOptimizer works in compiled functions only.
        getattr(optimizer, "inner_optimizer", optimizer).apply(gradients, variables)
    return optimizer


def compiled(optimizer):
    """A model, and its optimizer after some steps."""
    built = model()
    built.compile(optimizer, "mse")
    used(built.optimizer, built.trainable_variables, [1.0] * 4)
    return built


QUICK = ("Adafactor", "Adagrad", "a dictionary", "no config of the schedule")


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OPTIMIZERS],
)
def test_the_state_of_a_kernel_is_what_its_gradient_moves_and_starts_anew(name):
    """Which variables these are is seen from one run with and one without that gradient."""
    make, built = OPTIMIZERS[name], model()
    variables, runs = built.trainable_variables, []
    first = weights(built)
    for size in (0.0, 1.0):
        built.set_weights(first)
        sizes = [size * (variable is built.layers[-1].kernel) for variable in variables]
        runs.append(state(used(make(), variables, sizes)))
    owned = [not np.array_equal(*pair) for pair in zip(*runs, strict=True)]
    built.compile(make(), "mse")
    before = state(used(built.optimizer, variables, [1.0] * 4))
    report = reinitialize(built, seed=0, only=KERNEL)
    assert report.optimizer == f"{sum(owned)} variables of the optimizer start anew"
    fresh = make()
    fresh.build(variables)
    rows = zip(owned, state(fresh), before, strict=True)
    assert equal(state(built.optimizer), [new if own else old for own, new, old in rows])
    assert any(owned) == (name != "SGD")


def test_a_moving_average_starts_from_the_new_weights():
    built = compiled(optimizers.SGD(0.01, use_ema=True))
    reinitialize(built, seed=0, only=KERNEL)
    (average,) = [v for v in built.optimizer.variables if f"{KERNEL}_kernel_average" in v.name]
    assert np.array_equal(array(average), array(built.layers[-1].kernel))


class Twins(keras.Model):
    """Two layers of one name: their slots have one name too."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(6, name="twin"), layers.Dense(2, name="twin")

    def call(self, inputs):
        return self.second(self.first(inputs))


def test_layers_of_one_name_and_optimizers_of_any_attribute_are_told_apart():
    """Two optimizers, as a GAN has them: neither is `model.optimizer`."""
    model = Twins()
    model(normal(2, 6))
    model.first_optimizer = optimizers.SGD(0.01, momentum=0.9)
    model.others = optimizers.Adagrad(0.01)
    for optimizer, layer in ((model.first_optimizer, model.first), (model.others, model.second)):
        optimizer.build(layer.trainable_variables)
        optimizer.apply([keras.ops.ones(v.shape) for v in layer.trainable_variables])
    assert model.first.kernel.path == model.second.kernel.path
    report = reinitialize(model, seed=0)
    assert report.optimizer == "2 variables of the optimizer start anew"
    for optimizer, start in ((model.first_optimizer, 0.0), (model.others, np.float32(0.1))):
        for slot in optimizer.variables[2:]:
            assert (array(slot) == start).all() == (len(slot.shape) == 2)


class Secretive(optimizers.SGD):
    """Takes arguments that nothing tells, and adds a slot that no base class has."""

    def __init__(self, scale):
        super().__init__(0.01, momentum=0.9)

    def build(self, variables):
        super().build(variables)
        self.more = self.add_optimizer_variables(variables, "more")


class Strange(optimizers.SGD):
    """Holds an array that belongs to no variable."""

    def build(self, variables):
        super().build(variables)
        self.table = self.add_variable((3, 3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Secretive(1.0), "Secretive keeps its state: no new one can be made of it"),
        (lambda: Strange(0.01, 0.9), "arrays of Strange that belong to no known variable stay: 1"),
    ],
)
def test_state_that_stays_is_named(make, words):
    built = compiled(make())
    before = state(built.optimizer)
    report = reinitialize(built, seed=0)
    assert words in report.optimizer
    assert words in " ".join(str(report).split())
    kept = [np.array_equal(*pair) for pair in zip(state(built.optimizer), before, strict=True)]
    assert all(kept) == ("keeps" in words)


def test_where_there_is_nothing_to_reset_it_says_so():
    model = mlp()
    assert reinitialize(model).optimizer.startswith("the model is not compiled")
    model.compile("adam", "mse")
    assert reinitialize(model).optimizer.startswith("the optimizer has not begun")
    assert "the optimizer has not begun" in str(reinitialize(model))
