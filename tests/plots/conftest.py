"""Gives the tests of pictures a history of three layers and three steps."""

import pytest
from pictures import VALUES, frame


@pytest.fixture
def history():
    return frame(VALUES)
