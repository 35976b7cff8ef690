"""Benchmarks whose labelled tables are tests too."""

import importlib
import pathlib
import sys
import types

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"


def load(name: str) -> types.ModuleType:
    """The module benchmarks/NAME.py."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="session")
def secrets_table():
    return load("secrets_table")


@pytest.fixture(scope="session")
def licenses_table():
    return load("licenses_table")
