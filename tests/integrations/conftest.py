"""What several tests of the integrations begin with."""

import logging

import pytest
from proteinflex_optimization import DataHandler


@pytest.fixture
def handler(tmp_path):
    return DataHandler(tmp_path / "cache", durable=False)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "proteinflex_optimization")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


@pytest.fixture
def trajectory(handler):
    """A trajectory with all fields that other formats know, and some that they do not."""
    from trajectory_data import data

    metadata = {"solvent": "water", "key": b"0"}
    return handler.open(handler.store_trajectory(data(), "md", metadata))
