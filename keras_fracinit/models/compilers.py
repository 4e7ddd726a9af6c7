"""Compiles a measurement for each backend: forward pass, gradients, statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_fracinit.models.probe import Data

if TYPE_CHECKING:
    from keras_fracinit.models.measurement import Measurement


# Each calls `forward`, differentiates the loss and calls `reduce`, all in one compiled function.
def _tensorflow(measurement: Measurement) -> Callable[..., Any]:
    import tensorflow as tf

    def run(data: Data, scale: Any, previous: list[Any]) -> Any:
        trainable = [tf.convert_to_tensor(v.value) for v in measurement.trainable]
        others = [tf.convert_to_tensor(v.value) for v in measurement.others]
        gradients: Any = None
        if measurement.gradients:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trainable)
                loss, norms = measurement.forward(trainable, others, data, scale)
                # Keras divides the loss by the number of replicas, and adds up their gradients.
                loss *= tf.distribute.get_strategy().num_replicas_in_sync
            gradients = tape.gradient(loss, trainable, unconnected_gradients="zero")
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        else:
            _, norms = measurement.forward(trainable, others, data, scale)
        return measurement.reduce(norms, trainable, gradients, previous, scale)

    function: Callable[..., Any] = (
        tf.function(run, autograph=False) if measurement.compiled else run
    )
    return function


def _jax(measurement: Measurement) -> Callable[..., Any]:
    import jax

    def run(
        trainable: list[Any], others: list[Any], data: Data, scale: Any, previous: list[Any]
    ) -> Any:
        def forward(values: list[Any]) -> tuple[Any, list[Any]]:
            return measurement.forward(values, others, data, scale)

        gradients = None
        if measurement.gradients:
            (_, norms), gradients = jax.value_and_grad(forward, has_aux=True)(trainable)
        else:
            _, norms = forward(trainable)
        return measurement.reduce(norms, trainable, gradients, previous, scale)

    function = jax.jit(run) if measurement.compiled else run

    def call(data: Data, scale: Any, previous: list[Any]) -> Any:
        trainable = [v.value for v in measurement.trainable]
        others = [v.value for v in measurement.others]
        return function(trainable, others, data, scale, previous)

    return call


def _torch(measurement: Measurement) -> Callable[..., Any]:
    import torch

    def run(data: Data, scale: Any, previous: list[Any]) -> Any:
        trainable = [v.value for v in measurement.trainable]
        others = [v.value for v in measurement.others]
        # Dropout and random layers draw from torch's global generator.
        with torch.random.fork_rng(), torch.set_grad_enabled(measurement.gradients):
            loss, norms = measurement.forward(trainable, others, data, scale)
            gradients: Any = None
            if measurement.gradients:
                # A loss that depends on no variable is an error to torch, and so is no variable.
                gradients = [torch.zeros_like(value) for value in trainable]
                if trainable and loss.requires_grad:
                    gradients = torch.autograd.grad(
                        loss, trainable, allow_unused=True, materialize_grads=True
                    )
            with torch.no_grad():
                return measurement.reduce(norms, trainable, gradients, previous, scale)

    return run


COMPILERS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
