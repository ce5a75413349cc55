"""docs/howto/share-a-store.md works as written, with a folder and with a bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from crossan.common.stores import fsck, logical_digest, open_store

PAGE = Path(__file__).parents[4] / "docs" / "howto" / "share-a-store.md"


class Walk:
    """Runs the page's blocks, each in the folder of the person it begins with."""

    def __init__(self, folder, remote, programs):
        self.folder, self.printed, self.written = folder, [], {}
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "REMOTE": remote,
            "CUDA_VISIBLE_DEVICES": "",
        }
        for person in ("ada", "ben"):
            (folder / person).mkdir()

    def take(self, block):
        person = re.match(r"# (Ada|Ben)\n", block)[1].lower()
        if block in self.written:
            (self.folder / person / "backbones").symlink_to(self.written[block])
            self.printed.append("")
            return
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder / person, env=self.environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        self.printed.append(done.stdout)
        if "NAME" not in self.environment and (self.folder / "ada/cache").is_dir():
            self.environment["NAME"] = next((self.folder / "ada/cache/shop/text").iterdir()).name

    def store(self, person):
        return self.folder / person / "cache/shop/text" / self.environment["NAME"]


TO_WRITE_BACKBONES = "# Ada\ncrossan backbones init-tiny backbones\n"


@pytest.fixture
def walk_to_a_folder(tmp_path, forked_programs):
    return Walk(tmp_path, str(tmp_path / "team"), forked_programs)


@pytest.fixture
def walk_to_a_bucket(tmp_path, bucket, tiny_backbones, forked_programs):
    walk = Walk(tmp_path, f"{bucket}/stores", forked_programs)
    walk.written[TO_WRITE_BACKBONES] = tiny_backbones  # the walk to a folder runs this block
    return walk


@pytest.fixture(params=["folder", "bucket"])
def walk(request):
    return request.getfixturevalue(f"walk_to_a_{request.param}")


@pytest.mark.slow
def test_the_walk_through_works_as_written(walk, monkeypatch, capsys):
    page = PAGE.read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    assert [block.split("\n", 1)[0] for block in blocks] == [
        "# Ada",
        "# Ada",
        "# Ada",
        "# Ben",
        "# Ben",
        "# Ada",
    ]
    assert TO_WRITE_BACKBONES in blocks
    for block in blocks:
        walk.take(block)
    assert "forwarded 10 in" in walk.printed[4]
    assert json.loads(walk.printed[5].splitlines()[0])["segments"] == 1
    ours, theirs = open_store(walk.store("ada")), open_store(walk.store("ben"))
    assert len(ours.item_ids) == 60
    assert ours.manifest_digest == theirs.manifest_digest
    assert logical_digest(ours) == logical_digest(theirs)
    assert fsck(walk.store("ben")).ok
    assert (walk.folder / "ben/run/result.json").is_file()

    monkeypatch.chdir(walk.folder / "ada")
    scope = {"name": walk.environment["NAME"]}
    exec(re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)[1], scope)
    assert capsys.readouterr().out.startswith("2 (0, 2, 4, 6, 8, 10, 12) 32 60")
    assert scope["states"].shape == (4, 2, 32)
    assert scope["everything"].shape == (60, 7, 32)
