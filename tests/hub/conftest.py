"""The embedded Hub of the tests' home."""

import pytest

from moxin_recipes.hub import session


@pytest.fixture(scope="module")
def hub() -> None:
    """It answers."""
    session.start()
