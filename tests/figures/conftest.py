"""The trees of closed forms, for every test of the figures."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def trees():
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("trees.py"))))
