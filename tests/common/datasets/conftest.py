"""What every test of datasets may ask for."""

import os

import pytest


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    """Wait for no disk: what is on it after a power cut is not tried here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
