"""Every awkward real file is extracted, absent or quarantined with a typed reason; none stops the batch."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from crossan.common.stores import fsck, open_store
from crossan.extract.media import MediaFault
from support.extraction import places, write_items

pytestmark = pytest.mark.data


def _edge_dataset(folder, out):
    """One item per file, under its own kind; videos are also listened to. Titles are items of their own."""
    rows = []
    for modality in ("image", "audio", "video"):
        files = sorted((folder / modality).iterdir())
        rows += [{"item_id": f"{modality}/{file.name}", modality: str(file)} for file in files]
    with (folder / "text" / "hard_titles.csv").open(encoding="utf-8", newline="") as titles:
        rows += [
            {"item_id": f"title/{row['item']}", "title": row["title"]}
            for row in csv.DictReader(titles)
        ]
    write_items(out, rows)
    return {
        "text": sum(bool((row.get("title") or "").strip()) for row in rows),
        "image": sum("image" in row for row in rows),
        "video": sum("video" in row for row in rows),
        "audio": sum("audio" in row or "video" in row for row in rows),
    }


def test_no_file_stops_the_batch(test_data, commands, tiny_backbones, tmp_path):
    named = _edge_dataset(test_data / "edge_media", tmp_path / "d")
    arguments = places(tmp_path / "d", tmp_path / "c", tiny_backbones)
    reported = commands.finish(
        "crossan-extract", "--modality", "all", *arguments, "--max-bad", "100%", "--json"
    )
    stores = {store["modality"]: store for store in reported["stores"]}
    for modality, count in named.items():
        reported = stores[modality]
        store = open_store(reported["store"])
        assert fsck(reported["store"]).ok
        assert reported["missing"] == 0
        assert reported["ok"] + reported["absent"] + reported["quarantined"] == len(store.item_ids)
        assert reported["forwarded"] >= reported["ok"] > count / 2
        lines = [
            json.loads(line)
            for line in (Path(reported["store"]) / "quarantine.jsonl").read_text().splitlines()
        ]
        assert len(lines) == reported["quarantined"]
        assert {line["reason"] for line in lines} <= set(MediaFault)
    quarantined = {
        json.loads(line)["item_id"]
        for modality in ("image", "video", "audio")
        for line in (Path(stores[modality]["store"]) / "quarantine.jsonl").read_text().splitlines()
    }
    zero = {"image/made_zero.jpg", "video/zero_bytes.mp4", "audio/zero_bytes.wav"}
    assert zero | {"image/made_truncated.jpg"} <= quarantined
    assert stores["text"]["quarantined"] == 0


def test_the_three_real_videos_give_frames_and_sound(test_data, commands, tiny_backbones, tmp_path):
    videos = sorted((test_data / "microlens50k" / "videos").glob("*.mp4"))
    assert len(videos) == 3
    dataset = write_items(
        tmp_path / "d", [{"item_id": video.stem, "video": str(video)} for video in videos]
    )
    arguments = places(dataset, tmp_path / "c", tiny_backbones)
    done = commands.finish("crossan-extract", "--modality", "video,audio", *arguments, "--json")
    for reported in done["stores"]:
        assert (reported["ok"], reported["forwarded"]) == (3, 3)
        rows = open_store(reported["store"]).load()
        assert len({row.tobytes() for row in rows}) == 3
