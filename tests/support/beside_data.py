"""Where the conformance vectors and the golden files lie: beside the real data folder."""

import os
from pathlib import Path

import pytest


def folder_beside_data(*parts):
    """Return a folder beside the one that CROSSAN_TEST_DATA names; skip loudly without either."""
    named = os.environ.get("CROSSAN_TEST_DATA")
    if not named:
        pytest.skip("CROSSAN_TEST_DATA is not set: conformance vectors lie beside that folder")
    folder = Path(named).resolve().parent.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"{folder}: not here, so nothing was held to the conformance vectors")
    return folder
