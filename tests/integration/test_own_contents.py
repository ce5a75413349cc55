"""A run reads hidden states of its own items, or stops: other datasets, edited titles, replaced files."""

import hashlib
import json
import shutil

import pytest

from crossan.cache_schema.errors import DataError
from crossan.cache_schema.modality import Modality
from crossan.train.cli import evaluate, recommend
from crossan.train.runs import contents
from crossan.train.sweep import searching
from support.commands import run, train_quickly
from support.fabricated import make_sequences, write_rows, write_store
from support.sweeps import run_sweep, train_here

ITEMS = [f"i{topic}{item}" for topic in range(4) for item in range(10)]
OPTIONS = "--backbone made-up --layers 0,1 --pooling cls"
RESIDENCES = ("device", "host", "streamed")
SAME = {"compared": 40, "stale": 0, "not_here": 0, "unrecorded": 0}


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def write_titles(place, titles=None):
    """Write the dataset anew, with these titles instead of those that its store knows."""
    if (place / "d").exists():
        (place / "d").rename(place / f"d before {len(list(place.iterdir()))}")
    write_rows(place / "d", make_sequences(), titles=titles)


@pytest.fixture
def titled(tmp_path):
    write_titles(tmp_path)
    write_store(tmp_path / "c", Modality.TEXT)
    return tmp_path


def train(place, *more, epochs=1, out="r"):
    return train_quickly(place, "--set", "model.top_k=1", *more, epochs=epochs, out=out)


def attempt_all(place):
    """Train, evaluate and recommend in every residence; return what each raised."""
    raised = []
    for residence in RESIDENCES:
        where = ("--residence", residence)
        for call in (
            lambda where=where: train(place, *where, out=f"r-{where[1]}"),
            lambda where=where: run(evaluate, place / "r", *where),
            lambda where=where: run(recommend, place / "r", "--user", "u001", *where),
        ):
            with pytest.raises(DataError) as caught:
                call()
            raised.append(caught.value)
    return raised


def test_another_dataset_of_the_same_name_and_ids_is_refused_everywhere(titled):
    assert train(titled)["contents"] == {"text": SAME}
    write_titles(titled, {item: f"of another dataset {item}" for item in ITEMS})
    problem = (
        "dataset small is not what the stores were made from\n"
        "  text: 40 of 40 items have other contents than the store's rows were made from,"
        " first: i00, i01, i02; the store may be that of another dataset"
    )
    errors = attempt_all(titled)  # train, evaluate and recommend, again and again
    for error in errors[::3]:
        assert error.message == problem
        # Extraction into the same cache would take the rows from the other dataset.
        assert error.remedy == (
            f"Run: crossan-extract --modality text --dataset {titled / 'd'}"
            f" --cache {titled / 'c'}-2 {OPTIONS}, then give --cache {titled / 'c'}-2  (or --allow-stale)"
        )
    # For the run a cache made from the other dataset is another store, which it never reads.
    for error in errors[1::3] + errors[2::3]:
        trained_on = f"{titled / 'r'} was trained on the dataset that lay at {titled / 'd'}"
        assert error.message == f"{problem}\n  {trained_on}, with the contents of then"
        assert error.remedy == (
            "Name the dataset that the run was trained on: --dataset FOLDER,"
            " or train a new run on this one  (or --allow-stale)"
        )
    assert not list(titled.glob("r-*"))  # Nothing was begun.


def test_an_edited_title_is_noticed_everywhere(titled):
    train(titled)
    write_titles(titled, {"i07": "edited"})
    for error in attempt_all(titled):
        assert "text: 1 of 40 items have other contents" in error.message
        assert error.message.endswith("first: i07")
        assert error.remedy == (
            f"Run: crossan-extract --modality text --dataset {titled / 'd'}"
            f" --cache {titled / 'c'} {OPTIONS}  (or --allow-stale)"
        )


def test_what_is_allowed_to_be_stale_is_said_in_the_result(titled):
    write_titles(titled, {"i07": "edited", "i03": None})
    expected = {"text": SAME | {"stale": 2}}
    result = train(titled, "--allow-stale")
    assert result["contents"] == expected
    assert json.loads((titled / "r/result.json").read_text())["contents"] == expected
    evaluated = run(evaluate, titled / "r", "--allow-stale")
    assert "items with other contents than their hidden states: text 2 of 40" in evaluated.stdout
    assert "--allow-stale: text: 2 of 40 items have other contents" in evaluated.stderr
    shown = run(recommend, titled / "r", "--user", "u001", "--allow-stale", "--json")
    assert json.loads(shown.stdout)["contents"] == expected
    validated = train(titled, "--allow-stale", "--validation-only", out="v")
    assert validated["contents"] == expected


def test_rows_that_were_extracted_again_serve_an_evaluation_but_no_resumed_training(titled):
    train(titled)
    write_titles(titled, {"i07": "edited"})
    write_store(titled / "c", Modality.TEXT, items=["i07"], digest_of=lambda _: sha256("edited"))
    evaluated = run(evaluate, titled / "r", "--json")
    assert json.loads(evaluated.stdout)["contents"] == {"text": SAME}
    assert (
        "text: reading version 2 of the store; of version 1, which the run was trained on,"
        " 1 items have other contents now, first: i07"
    ) in evaluated.stderr
    with pytest.raises(DataError, match="first: i07") as caught:
        train(titled, "--resume", epochs=2)
    assert caught.value.remedy.endswith(
        f", then begin another run from its weights: --init {titled / 'r'}"
        f" --out {titled / 'r'}-2  (or --allow-stale)"
    )
    assert train(titled, "--init", titled / "r", out="r-2")["contents"] == {"text": SAME}
    assert train(titled, "--resume", "--allow-stale", epochs=2)["contents"]["text"]["stale"] == 1


def test_shuffled_features_and_dropped_items_are_compared_by_item(titled):
    write_titles(titled)
    assert train(titled, "--set", "features.permute_seed=3")["contents"] == {"text": SAME}
    shutil.rmtree(titled / "c")
    write_store(titled / "c", Modality.TEXT, items=ITEMS[:-1])
    write_titles(titled, {"i39": "of the item that is dropped"})
    result = train(titled, "--drop-items", out="dropped")
    assert result["contents"] == {"text": SAME | {"compared": 39}}
    ids_alone = train_quickly(titled, "--model", "popularity", epochs=1, out="p")
    assert ids_alone["contents"] == {}


@pytest.fixture
def filmed(tmp_path, monkeypatch):
    """A dataset with a picture and a video each, and stores of pictures, videos and their sound."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    names = {"image": "{}.jpg", "video": "{}.mp4"}
    media = {column: {item: name.format(item) for item in ITEMS} for column, name in names.items()}
    write_rows(tmp_path / "d", make_sequences(), media=media)
    for paths in media.values():
        for path in paths.values():
            (tmp_path / "d" / path).write_text(path)
    made_from = {
        Modality.IMAGE: "{}.jpg",
        Modality.AUDIO: "{}.mp4",
        Modality.VIDEO: "{}.mp4",
    }
    for modality, name in made_from.items():
        write_store(
            tmp_path / "c",
            modality,
            digest_of=lambda item, name=name: sha256(name.format(item)),
        )
    return tmp_path


def test_a_replaced_picture_and_the_sound_of_a_replaced_video_are_stale(filmed):
    assert train(filmed)["contents"] == dict.fromkeys(("image", "audio", "video"), SAME)
    (filmed / "d/i01.jpg").write_text("another picture")
    for error in attempt_all(filmed):
        (line,) = error.message.splitlines()[1:]
        assert line.startswith("  image: 1 of 40 items have other contents than the store's")
        assert line.endswith("first: i01")
    (filmed / "d/i01.jpg").write_text("i01.jpg")
    (filmed / "d/i02.mp4").write_text("another film")
    for error in attempt_all(filmed):
        assert [line.split(":")[0].strip() for line in error.message.splitlines()[1:]] == [
            "video",
            "audio",
        ]
        for command, modality in zip(error.remedy.split(" && "), ("video", "audio"), strict=True):
            assert f"crossan-extract --modality {modality} " in command
    assert train(filmed, "--modality", "image", out="i")["contents"] == {"image": SAME}


def test_a_trainer_without_the_media_goes_on_and_says_so(filmed):
    for path in (filmed / "d").glob("*.mp4"):
        path.unlink()
    (filmed / "d/i05.jpg").unlink()
    result = train(filmed)
    elsewhere = SAME | {"compared": 0, "not_here": 40}
    assert result["contents"] == {
        "image": SAME | {"compared": 39, "not_here": 1},
        "audio": elsewhere,
        "video": elsewhere,
    }
    evaluated = run(evaluate, filmed / "r")
    assert (
        "items whose contents could not be compared with the stores': image 1 (no file on this"
        " machine), video 40 (no file on this machine), audio 40 (no file on this machine)"
    ) in evaluated.stderr


@pytest.fixture
def compared(monkeypatch):
    """The modalities of all comparisons that were made."""
    modalities = []

    def compare(dataset, item_ids, store):
        modalities.append(store.identity.modality.value)
        return compare_contents(dataset, item_ids, store)

    compare_contents = contents.compare_contents
    monkeypatch.setattr(contents, "compare_contents", compare)
    return modalities


def test_a_sweep_compares_once_for_all_its_trials(titled, compared, monkeypatch):
    monkeypatch.setattr(searching, "run_commands", train_here)
    monkeypatch.setattr("crossan.train.sweep.judging.run_commands", train_here)
    grid = ("--set", "model.top_k=1", "--set", "max_epochs=1", "--seeds", "0,1")
    report = run_sweep(titled, *grid)
    assert report["contents"] == {"text": SAME}
    assert compared == ["text"]
    for trial in report["chosen"]["runs"]:
        result = json.loads((titled / "s" / trial["run"] / "result.json").read_text())
        assert result["contents"] == {"text": SAME}
    write_titles(titled, {"i07": "edited"})
    with pytest.raises(DataError, match="text: 1 of 40 items"):
        run_sweep(titled, *grid, out="s2")
    assert not (titled / "s2").exists()
    report = run_sweep(titled, *grid, "--allow-stale", out="s2")
    assert report["contents"] == {"text": SAME | {"stale": 1}}
    assert json.loads((titled / "s2/selection.json").read_text())["contents"] == report["contents"]


def test_a_trial_compares_what_the_sweep_did_not(titled, compared):
    """A store in another cache, by an axis, or a dataset that has changed in between."""
    (titled / "contents.json").write_text('{"dataset": "another", "items": "x", "stores": {}}')
    result = train(titled, "--compared", titled / "contents.json")
    assert (result["contents"], compared) == ({"text": SAME}, ["text"])
