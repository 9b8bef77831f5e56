import pytest

from jurist.engines import endpoint


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Tries that follow on each other at once: what is tested is whether they come."""
    monkeypatch.setattr(endpoint, "FIRST_WAIT", 0.01)
