"""Makes the order s of any hypermodel tunable, and its search robust to divergence."""

from __future__ import annotations

import hashlib
import json
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import keras_tuner
import numpy as np

from keras_fracinit.graph.pairing import PLAIN
from keras_fracinit.models.probe import probe_arrays
from keras_fracinit.planning.sampling import initialize
from keras_fracinit.tuner.execution import Execution, LogNormProbe, probe_from
from keras_fracinit.tuner.kernel_report import kernel_report
from keras_fracinit.tuner.mirroring import Mirroring
from keras_fracinit.tuner.scores import (
    COLLAPSED,
    COMPLETED,
    DIVERGED,
    FAILED,
    Guard,
    check_logged,
    epochs_of,
    evaluate,
    is_finite,
    penalties,
    score_of,
    with_values,
)
from keras_fracinit.tuner.search_space import Groups, order
from keras_fracinit.tuner.tunable import Found, Tunable
from keras_fracinit.utils.validation import check_integer, check_type

if TYPE_CHECKING:
    import pandas as pd


_PROBE = 64  # samples
_NOT_DRAWN = (
    "The model of a trial has no kernel that can be tuned. It is trained as it is, and its order "
    "in `results` is empty; `report` says why."
)


class Drawn(NamedTuple):
    """What was drawn in a model: from which seed, and the hyperparameters that had an effect."""

    seed: int
    names: set[str]


class FracInitHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """Makes the order s of the initialization of any hypermodel tunable.

    It re-initializes the kernels of the dense, attention and convolution layers (depthwise and
    transposed ones too) of the model that `inner` builds, with the scale that keeps the s-th moment
    through the activation that follows each of them. Before a smooth activation such as tanh the
    scale is set by the activation that the kernel's input passed, as in `keras_fracinit.plan`. The
    distribution is that of the kernel's own initializer, so s = 2 gives He's variance (LeCun's
    where no activation follows), truncated where the user's was. Dropout does not enter the scale.
    Kernels that have no such scale (before a softmax or a normalization, in a frozen or recurrent
    layer, of an embedding) stay as they are. `report` names them, and also the kernels whose scale
    changes at s = 2, because Keras' default is Glorot's. Everything else that `inner` does stays,
    its hyperparameters and its `fit` included.

    Every kernel has its own seed, and a new one in every execution, so that `executions_per_trial`
    averages over draws.

    The search survives divergence. An execution whose loss or objective is nan or infinite is
    stopped at the end of that epoch, and completes with a penalty: a finite score that is worse
    than any other (by one range of the known scores). Gaussian processes learn to avoid such
    values, three of them in a row do not end the search, and `results` reports them as diverged.
    Each execution is recorded in the folder of its trial with seed, score, status, and slope over
    depth and spread of the log-norm before and after training; the slopes and spreads are also
    metrics of the trial, `fracinit/slope_initial` and so on.

    A trial whose model has no kernel to tune is trained as it is, with a warning. `results` has no
    value for an order that no kernel of a model has.

    Args:
        inner: A `keras_tuner.HyperModel` or a function `build(hp)`. Layers that are already built
            are re-initialized too, so a pretrained part must be frozen or left out by `groups`.
        name: The name of the hyperparameter.
        low: As for `order`.
        high: As for `order`.
        step: As for `order`.
        groups: None (default) for one order for all kernels. A mapping from names to patterns (or
            lists of them) of names or paths of layers, such as `{"early": ["conv*"], "late":
            "dense*"}`, for one order each, named `s_early` and `s_late`; a kernel belongs to the
            first group that matches, and stays as it is if none does, so an empty mapping leaves
            all kernels as they are and only makes the search robust. "layer" for one order for each
            kernel, `s_1`, `s_2` and so on in the order of the model.
        seed: An integer in [0, 2^32), for draws that depend only on it, the hyperparameters and the
            number of the execution. None (default) draws afresh, under
            `keras.utils.set_random_seed`.
        collapsed: Whether a trained model with the same output for all samples of the probe (a dead
            one) counts as diverged. False by default.
        probe: The samples on which the log-norm is measured, as for `MomentLogger`. By default the
            first 64 of the validation data, or of the training data if there are none.
        mirrored: Whether the kernels are mirrored as far as the model allows, as by
            `reinitialize(model, mirrored=True)`: False (default), True, or "tune" for a boolean
            hyperparameter "mirrored" ("mirrored_" and the name of the order, unless that is "s").
            Mirrored kernels are orthogonal, unless their own initializer has `pairs`. Those before
            a normalization or an activation without a law are mirrored too, at s = 2. An order
            that changes the scale of no mirrored kernel is no hyperparameter of a mirrored model.

    Raises:
        TypeError: If an argument is of the wrong kind; in a search, if `inner` builds no model.
        ValueError: If an argument is out of range; in a search, if no model has a kernel to tune, a
            group matches no layer, a name is taken by a hyperparameter of `inner`, or the objective
            is not logged.

    Example:

    >>> import keras, keras_tuner
    >>> from keras_fracinit.tuner import FracInitHyperModel
    >>> def build(hp):
    ...     width = hp.Int("width", 8, 64)
    ...     hidden = [keras.layers.Dense(width, "relu") for _ in range(3)]
    ...     model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(1)])
    ...     model.compile("sgd", "mse")
    ...     return model
    >>> hypermodel = FracInitHyperModel(build)
    >>> hp = keras_tuner.HyperParameters()
    >>> model = hypermodel.build(hp)
    >>> hp.values
    {'width': 8, 's': 2.0}
    >>> hypermodel.report().ratio.round(3).tolist()  # He or LeCun over Keras' default
    [1.732, 1.414, 1.414, 0.75]
    """

    def __init__(
        self,
        inner: Any,
        name: str = "s",
        low: float | None = None,
        high: float = 2.0,
        step: float | None = None,
        groups: Mapping[str, str | Sequence[str]] | str | None = None,
        *,
        seed: int | None = None,
        collapsed: bool = False,
        probe: Any = None,
        mirrored: bool | str = False,
    ) -> None:
        super().__init__(getattr(inner, "name", None), getattr(inner, "tunable", True))
        if not (isinstance(inner, keras_tuner.HyperModel) or callable(inner)):
            raise TypeError(
                "`inner` must be a keras_tuner.HyperModel or a function of hyperparameters. "
                f"Received: inner={inner!r} (of type {type(inner)})"
            )
        self.inner = inner
        self.order_name: str = check_type("name", name, str)
        self._range = (low, high, step)
        order(keras_tuner.HyperParameters(), name, *self._range)  # checks the range
        self.groups = Groups(self.order_name, groups)
        self.mirroring = Mirroring(mirrored, self.order_name)
        self._draws = self.groups.groups != {}
        self._tunable = Tunable(self.groups, self.mirroring, self._inner_model)
        self.seed = None if seed is None else check_integer("seed", seed, 0, 2**32 - 1)
        self.collapsed = check_type("collapsed", collapsed, bool)
        self._probe = None if probe is None else probe_arrays(probe)
        self._given = probe is not None
        self._source: Any = None  # the data from which the probe was taken
        # Those of the last build, by which executions are counted: KerasTuner makes one object for
        # each trial.
        self._hp: Any = None
        self._execution, self._drawn = 0, Drawn(0, set())

    def declare_hyperparameters(self, hp: Any) -> None:
        if isinstance(self.inner, keras_tuner.HyperModel):
            self.inner.declare_hyperparameters(hp)

    def build(self, hp: Any) -> Any:
        self._execution = self._execution + 1 if hp is self._hp else 0
        self._hp = None
        model, self._drawn = self._build_from(hp)
        self._hp = hp
        return model

    def fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        callbacks = list(kwargs.pop("callbacks", None) or [])
        search = next((c for c in callbacks if hasattr(c, "tuner") and hasattr(c, "trial")), None)
        if search is None:  # trained by hand
            return self._fit(hp, model, *args, callbacks=callbacks, **kwargs)
        self._tunable.check_all(hp)
        tuner, trial_id = search.tuner, search.trial.trial_id
        objective, folder = tuner.oracle.objective, tuner.get_trial_dir(trial_id)
        execution = Execution(trial_id, self._execution, hp.values, self._drawn.seed)
        if not self._drawn.names:
            execution.seed = None
            if self._draws:
                warnings.warn(_NOT_DRAWN, stacklevel=2)
        callbacks.append(Guard(objective, must_log=self._plain()))
        try:
            signal = self._signal(model, args, kwargs)
            execution.slope_initial, execution.spread_initial = signal.initial
            result = self._fit(hp, model, *args, callbacks=callbacks, **kwargs)
            execution.slope_final, execution.spread_final = signal.measure()
            epochs = epochs_of(result, objective)
            if not epochs:
                return result
            for logs in epochs:
                check_logged(objective, logs)
            changes = {}
            execution.status = self._status(epochs, objective, signal, model)
            if execution.status != COMPLETED:
                untrained = self._untrained(hp, args, kwargs, objective)
                changes = penalties(objective, epochs, tuner.oracle, untrained)
                # Hyperband loads the checkpoint of a trial, and KerasTuner saves none while the
                # objective is nan.
                if not os.path.exists(checkpoint := tuner._get_checkpoint_fname(trial_id)):
                    model.save_weights(checkpoint)
            result = with_values(result, {**changes, **execution.metrics()}, objective)
            execution.score = score_of(result, objective)
            return result
        except Exception as error:
            execution.status, execution.message = FAILED, f"{type(error).__name__}: {error}"
            self._hp = None  # KerasTuner retries a trial from its first execution on
            raise
        finally:
            # With those that `fit` declared, and without those that had no effect on this model.
            names = [n for n in hp.values if n in self._drawn.names or not self._tunable.is_own(n)]
            execution.values = {name: hp.values[name] for name in names}
            execution.save(folder)

    def orders(self, hp: Any) -> list[str]:
        """Lists the names of the hyperparameters that are orders."""
        return [name for name in hp.values if self.groups.is_order(name)]

    def set_default(self, hp: Any) -> list[str]:
        """Sets all that is tuned here to its default, and lists the names of the orders."""
        if self.mirroring.tuned and self.mirroring.name in hp.values:
            hp.values[self.mirroring.name] = False
        # Also those that had no effect on a mirrored model, and no value.
        names = [p.name for p in hp.space if self.groups.is_order(p.name) and hp.is_active(p)]
        hp.values.update(dict.fromkeys(names, 2.0))
        return list(dict.fromkeys(names))

    def report(self, hp: Any = None) -> pd.DataFrame:
        """Tabulates which kernels of the model are re-initialized, and how much that changes them.

        Args:
            hp: Hyperparameters to build the model with; the default ones if None.

        Returns:
            A frame with a row for each layer with a kernel: layer (its path), activation (the law
            of the activation that follows), order (the name of its hyperparameter), distribution,
            stddev (of a weight under its own initializer), stddev_at_2 (at s = 2), ratio
            (stddev_at_2 over stddev), changed (whether they differ; None in a layer that is not
            built yet), note (the reason why a kernel stays as it is, or is not mirrored), and pairs
            ("outputs", "both", "inputs" or "repeated" for a mirrored kernel, else empty). Where
            `mirrored` is tuned, hp decides whether the model is.
        """
        hp = keras_tuner.HyperParameters() if hp is None else hp.copy()
        found = self._tunable.look(self._inner_model(hp))
        if not (self._draws and self._is_mirrored(hp, found)):
            found = found._replace(forms=[PLAIN] * len(found.kernels))
        return kernel_report(*found)

    # Building.

    def _build_from(self, hp: Any, seed: int | None = None) -> tuple[Any, Drawn]:
        taken = {parameter.name for parameter in hp.space}
        model = self._inner_model(hp)
        clash = {p.name for p in hp.space if self._tunable.is_own(p.name)} - taken
        if clash:
            raise keras_tuner.errors.FatalValueError(
                f"`name` must be none of the hyperparameters of `inner`. Received: "
                f"name={self.order_name!r}, and `inner` has {', '.join(sorted(clash))}"
            )
        found, mirrored = Found([], [], []), False
        if self._draws:
            found = self._tunable.look(model)
            # A model without any has those of the others too: the space of a search is one.
            for other in () if found.tunable else self._tunable.others(hp, found):
                hp.Boolean(other) if other == self.mirroring.name else self._order(hp, other)
            mirrored = self._is_mirrored(hp, found)
        orders = self.mirroring.orders(hp, *found, self._order)
        if seed is None:  # drawn after `inner`, so that its own draws stay what they were
            seed = self._new_seed(hp)
        used = {self.mirroring.name} if found.mirrorable else set()
        seeds = np.random.SeedSequence(seed).generate_state(len(orders))
        for kernel, name, form, s, kernel_seed in zip(*found, orders, seeds, strict=True):
            if mirrored and form.pairs is not None:
                initialize(kernel, 2.0 if s is None else s, int(kernel_seed), form)
            elif s is not None:
                initialize(kernel, s, int(kernel_seed))
            if name is not None and s is not None:
                used.add(name)
        return model, Drawn(seed, used)

    def _order(self, hp: Any, name: str) -> float | None:
        return order(hp, name, *self._range)

    def _is_mirrored(self, hp: Any, found: Found) -> bool:
        if not found.mirrorable:
            self._tunable.check_mirrored(hp, found)
        return self.mirroring.declare(hp, found.mirrorable)

    def _inner_model(self, hp: Any) -> Any:
        hypermodel = isinstance(self.inner, keras_tuner.HyperModel)
        model = self.inner.build(hp) if hypermodel else self.inner(hp)
        if not isinstance(model, keras.Model):
            raise keras_tuner.errors.FatalTypeError(
                "`inner` must build a keras.Model. "
                f"Received: {model!r} (of type {type(model)}) from {self.inner!r}"
            )
        if self._draws and not model.built and not isinstance(model, keras.Sequential):
            raise keras_tuner.errors.FatalValueError(
                "`inner` must build a model that shows its layers. Received: the subclassed model "
                f"{model.name!r}, which is not built yet; call it once in the build function, on "
                "an array of zeros of the shape of one batch, or call its `build(input_shape)`"
            )
        return model

    def _new_seed(self, hp: Any) -> int:
        if self.seed is None:
            # Keras draws seeds from Python's generator, which keras.utils.set_random_seed sets.
            return random.randrange(2**32)
        key = json.dumps([self.seed, self._execution, hp.values], sort_keys=True)
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")

    # Training.

    def _plain(self) -> bool:
        """Whether `fit` is KerasTuner's own, which logs every metric in every epoch."""
        fit = getattr(type(self.inner), "fit", keras_tuner.HyperModel.fit)
        return fit is keras_tuner.HyperModel.fit

    def _fit(self, hp: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(self.inner, keras_tuner.HyperModel):
            return self.inner.fit(hp, model, *args, **kwargs)
        return model.fit(*args, **kwargs)

    def _signal(self, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> LogNormProbe:
        if self._given:
            return LogNormProbe(model, self._probe)
        validation, training = _data(args, kwargs)
        source = training if validation is None else validation
        if source is not self._source:  # once for each source, since taking samples advances it
            self._source, self._probe = source, probe_from(source, _PROBE)
        try:
            return LogNormProbe(model, self._probe)
        except ValueError as error:
            warnings.warn(f"The log-norm is not recorded: {error}", stacklevel=2)
            return LogNormProbe(model, None)

    def _status(self, epochs: Any, objective: Any, signal: LogNormProbe, model: Any) -> str:
        if not all(is_finite(logs, objective) for logs in epochs):
            return DIVERGED
        if self.collapsed and signal.is_constant(model):
            return COLLAPSED
        return COMPLETED

    def _untrained(
        self, hp: Any, args: Sequence[Any], kwargs: Mapping[str, Any], objective: Any
    ) -> dict[str, float]:
        model, _ = self._build_from(hp, self._drawn.seed)
        validation, training = _data(args, kwargs)
        return evaluate(model, training, validation, objective)


def _data(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Picks validation and training data from the arguments of `fit`; None if they are absent."""
    named = dict(zip(("x", "y"), args, strict=False))
    x, y = (named.get(name, kwargs.get(name)) for name in ("x", "y"))
    return kwargs.get("validation_data"), x if y is None else (x, y)
