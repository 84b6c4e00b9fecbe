"""The reconstruction, made once: it takes some seconds."""

import pytest

from model.reconstruction.recipe import Reconstruction, reconstruct


@pytest.fixture(scope="session")
def made() -> Reconstruction:
    return reconstruct()
