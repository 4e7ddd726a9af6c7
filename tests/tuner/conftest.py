"""Keeps the searches of a long session as fast as those of a short one."""

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def _no_old_garbage():
    """Exempts what earlier tests have left: KerasTuner collects garbage in every trial."""
    gc.collect()
    gc.freeze()
