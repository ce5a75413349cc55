"""The built-in sample: the same bytes from a seed, topics one can tell apart, targets nobody trained on."""

import collections
import dataclasses
import hashlib

import numpy as np
import pytest

from crossan.cache_schema.errors import UsageError
from crossan.common.datasets import keep_sequences, open_dataset
from crossan.common.datasets.protocol import cold_test_targets, unwinnable_test_targets
from crossan.extract.media import AbsentMedium, MediaError, decode_audio, decode_image, decode_video
from crossan.extract.sample.build import write_sample
from crossan.extract.sample.media import write_image, write_sound, write_video
from crossan.extract.sample.topics import TOPIC_COUNT, make_items
from crossan.extract.sample.users import make_interactions


def test_interactions_meet_the_promise():
    items = make_items(0)
    kept = keep_sequences(make_interactions(items, 0))
    targets = len(kept.user_ids)
    assert len(items) == 300
    assert targets > 1_000
    assert cold_test_targets(kept) / targets >= 0.25
    assert unwinnable_test_targets(kept) == 0
    cold = {item.item_id for item in items if item.is_cold}
    assert not cold & {str(kept.item_ids[row]) for row in kept.training_items}
    lengths = np.diff(kept.offsets)
    assert lengths.min() == 5
    assert lengths.max() == 13


def test_the_next_item_depends_on_the_topic():
    topics = {item.item_id: item.topic for item in make_items(0)}
    kept = keep_sequences(make_interactions(make_items(0), 0))
    pairs = [
        (topics[str(kept.item_ids[before])], topics[str(kept.item_ids[after])])
        for user in range(len(kept.user_ids))
        for before, after in zip(kept.sequence(user)[:-1], kept.sequence(user)[1:], strict=True)
    ]
    stay = sum(before == after for before, after in pairs) / len(pairs)
    assert 0.7 < stay < 0.9  # 1 in 12 by chance


def test_popularity_is_no_answer():
    kept = keep_sequences(make_interactions(make_items(0), 0))
    best = {row for row, _ in collections.Counter(kept.training_items.tolist()).most_common(10)}
    assert sum(int(target) in best for target in kept.test_targets) / len(kept.test_targets) < 0.1


@pytest.mark.parametrize("write", [write_image, write_sound, write_video])
def test_a_file_is_the_same_bytes_again(tmp_path, write):
    for number in (2, 3, 4):  # jpeg, png, webp; flac and opus
        item = dataclasses.replace(make_items(0)[number], has_sound_track=True)
        digests = set()
        for attempt in range(3):
            folder = tmp_path / f"{number}-{attempt}"
            folder.mkdir()
            name = write(folder, item, np.random.default_rng([0, number]))
            digests.add(hashlib.sha256((folder / name).read_bytes()).hexdigest())
        assert len(digests) == 1


def test_each_modality_tells_topics_apart(tmp_path):
    """Nearest mean of plain summaries (words, colours, spectrum) finds the topic of items left out."""
    items = [item for item in make_items(0) if item.number < 8 * TOPIC_COUNT and item.title]
    random = np.random.default_rng(0)
    images = {
        i.number: np.asarray(
            decode_image(tmp_path / write_image(tmp_path, i, random)).resize((8, 8))
        ).ravel()
        / 255
        for i in items
    }
    sounds = {}
    for item in items:
        heard = decode_audio(tmp_path / write_sound(tmp_path, item, random), sampling_rate=16_000)[
            4_000:36_000
        ]
        sounds[item.number] = (
            np.log1p(np.abs(np.fft.rfft(heard))).reshape(-1)[:8_000].reshape(100, 80).mean(1)
        )
    words = sorted({word for item in items for word in item.title.lower().split()})
    titles = {i.number: np.isin(words, i.title.lower().split()).astype(float) for i in items}
    for features, floor in ((images, 0.6), (sounds, 0.6), (titles, 0.9)):
        train, test = (
            [i for i in items if i.number < 6 * TOPIC_COUNT],
            [i for i in items if i.number >= 6 * TOPIC_COUNT],
        )
        means = np.stack(
            [
                np.mean([features[i.number] for i in train if i.topic == t], axis=0)
                for t in range(TOPIC_COUNT)
            ]
        )
        found = [int(np.abs(means - features[i.number]).sum(1).argmin()) == i.topic for i in test]
        assert np.mean(found) >= floor


def test_a_clip_changes_over_time(tmp_path):
    item = make_items(0)[2]
    frames = decode_video(
        tmp_path / write_video(tmp_path, item, np.random.default_rng(0)), frame_count=8
    )
    brightness = frames.reshape(8, -1).mean(1)
    assert brightness.max() - brightness.min() > 10


@pytest.mark.slow
def test_the_whole_sample(toured):
    folder = toured / "demo" / "dataset"
    dataset = open_dataset(folder)
    assert (dataset.counts["items"], dataset.counts["users"]) == (300, 1_500)
    suffixes, bad, absent = collections.Counter(), collections.Counter(), 0
    decoders = {
        "image": decode_image,
        "video": lambda p: decode_video(p, frame_count=2),
        "audio": lambda p: decode_audio(p, sampling_rate=16_000),
    }
    for row in dataset.items().to_pylist():
        for kind, decode in decoders.items():
            path = row[kind] or (row["video"] if kind == "audio" else None)
            if path is None:
                absent += 1
                continue
            suffixes[path[-4:]] += 1
            try:
                decode(dataset.media_path(path))
            except MediaError:
                bad[kind] += 1
            except AbsentMedium:
                absent += 1
    assert set(suffixes) == {".jpg", ".png", "webp", ".mp4", ".wav", "flac", ".ogg"}
    assert bad == {"image": 2, "video": 2, "audio": 2}  # under the default --max-bad of 1 %
    assert absent > 16
    with pytest.raises(UsageError, match="a dataset is in this folder already"):
        write_sample(folder, seed=0)


@pytest.mark.parametrize("folder", ["images", "videos", "sounds"])
def test_media_of_the_user_are_not_written_over(folder, tmp_path):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "0.png").write_text("mine")
    with pytest.raises(UsageError, match=f"expected no media there, found files in .*{folder}"):
        write_sample(tmp_path, 0)
    assert [path.name for path in tmp_path.rglob("*")] == [folder, "0.png"]
