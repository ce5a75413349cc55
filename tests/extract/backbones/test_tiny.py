"""Tiny checkpoints as files: their bytes are looked at where checkpoints are read."""

import os
import stat

from crossan.extract.backbones import write_tiny


def test_every_file_is_as_readable_as_the_umask_lets_new_files_be(tmp_path):
    before = os.umask(0o027)
    try:
        write_tiny(tmp_path / "tiny")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "tiny").rglob("*") if path.is_file()]
    assert any(path.suffix == ".safetensors" for path in files)
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: "0o640" for path in files
    }
