"""Features of others become stores, and stores become their files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from crossan.cache_schema.errors import DataError, UsageError
from crossan.common.stores import fsck, open_store
from crossan.common.stores.cli import app
from support.refusals import refusal


def run(*arguments):
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=True
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def imported(source, source_format, tmp_path, *more):
    result = run(
        "import", source, "--format", source_format, "--modality", "image", "--dataset", "toys", "--cache", tmp_path / "c",
        "--json", *more,
    )  # fmt: skip
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("form", ["tensor", "with a one", "list", "dict"])
def test_iisans_tensors_become_a_store(tmp_path, form):
    rows = {
        f"item{n}": torch.arange(6, dtype=torch.float32).reshape(3, 2) + 10 * n for n in range(5)
    }
    (tmp_path / "pt").mkdir()
    for item_id, tensor in rows.items():
        value = {
            "tensor": tensor,
            "with a one": tensor[:, None],
            "list": [layer[None] for layer in tensor],
            "dict": {str(n): layer for n, layer in enumerate(tensor)},
        }[form]
        torch.save(value, tmp_path / "pt" / f"{item_id}.pt")
    made = imported(tmp_path / "pt", "iisan", tmp_path, "--layers", "0,6,12")
    opened = open_store(made["store"])
    assert opened.item_ids.tolist() == sorted(rows)
    assert opened.layers == (0, 6, 12)
    np.testing.assert_array_equal(
        opened.load(), np.stack([rows[item].numpy() for item in sorted(rows)])
    )
    assert fsck(made["store"]).ok


def test_an_array_and_its_ids_become_a_store_once(tmp_path):
    array = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    np.save(tmp_path / "f.npy", array)
    (tmp_path / "ids.txt").write_text("d\nb\na\nc\n")
    made = imported(tmp_path / "f.npy", "npy", tmp_path, "--ids", tmp_path / "ids.txt")
    opened = open_store(made["store"])
    assert opened.item_ids.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(opened.load()[:, 0], array[[2, 1, 3, 0]])
    assert imported(tmp_path / "f.npy", "npy", tmp_path, "--ids", tmp_path / "ids.txt") == made


def test_values_that_no_store_holds_are_quarantined(tmp_path):
    np.save(tmp_path / "f.npy", np.array([[1.0, 2.0], [np.nan, 1.0], [1e6, 0.0]], np.float32))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    given = ("npy", tmp_path, "--ids", tmp_path / "ids.txt", "--stored-dtype", "float16")
    opened = open_store(imported(tmp_path / "f.npy", *given)["store"])
    assert opened.status.tolist() == ["ok", "quarantined", "quarantined"]
    assert opened.reasons == [
        None,
        "not-finite: NaN in layer 0",
        "not-finite: overflow in layer 0: 1,000,000 > 65,504",
    ]


def test_mmrecs_files_become_a_store_and_come_back(tmp_path):
    source = tmp_path / "mmrec"
    source.mkdir()
    array = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.save(source / "image_feat.npy", array)
    (source / "i_id_mapping.csv").write_text("asin\titemID\nx\t1\nw\t0\nz\t3\ny\t2\n")
    made = imported(source, "mmrec", tmp_path)
    opened = open_store(made["store"])
    assert opened.item_ids.tolist() == ["w", "x", "y", "z"]
    np.testing.assert_array_equal(opened.load()[:, 0], array)
    run("export", "mmrec", made["store"], "--out", tmp_path / "out")
    np.testing.assert_array_equal(np.load(tmp_path / "out/image_feat.npy"), array)
    again = imported(tmp_path / "out", "mmrec", tmp_path)
    assert again["store"] == made["store"]


def test_items_without_states_are_zeros_that_are_named(store, tmp_path):
    run("export", "mmrec", store, "--out", tmp_path / "out", "--layer", 2)
    features = np.load(tmp_path / "out/text_feat.npy")
    assert (features.shape, features.dtype) == ((7, 8), np.float32)
    assert features[1].tolist() == [1.25] * 8  # item 1 at the second kept layer: 1 + 1/4
    assert (tmp_path / "out/text_absent.txt").read_text() == "v00007\nv00009\n"
    assert features[5].tolist() == [0.0] * 8
    (tmp_path / "out/i_id_mapping.csv").write_text("item_id\titemID\nother\t0\n")
    with pytest.raises(UsageError, match=r"i_id_mapping.csv: expected the 7 items"):
        run("export", "mmrec", store, "--out", tmp_path / "out")


def test_an_export_replaces_only_an_earlier_export(store, tmp_path):
    out = tmp_path / "baby"
    run("export", "mmrec", store, "--out", out)
    run("export", "mmrec", store, "--out", out, "--layer", 2)
    (out / "text_absent.txt").unlink()  # features that MMRec's own datasets come with
    features = (out / "text_feat.npy").read_bytes()
    with pytest.raises(UsageError, match=r"text_feat.npy, .*a file that this command did not"):
        run("export", "mmrec", store, "--out", out)
    assert (out / "text_feat.npy").read_bytes() == features
    assert not (out / "text_absent.txt").exists()
    for name in ("config.toml", "env.json"):
        (out / name).touch()
    with pytest.raises(UsageError, match=r"expected a folder of your own, found the run .*baby"):
        run("export", "mmrec", store, "--out", out / "new")


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ("a\nb\n", r"f\.npy: expected a row for each item, found 3 rows for the 2 ids of .*ids"),
        ("a\nb\nc\nd", r"found 3 rows for the 4 ids of .*ids\.txt: item 4, 'd', has no features"),
        ("a\nb\nb\n", r"ids\.txt: expected each item id once"),
        ("a\nb\n\n", r"ids\.txt: expected each item id once, found one repeated or empty"),
        ("a\u2028b\nc\nd" + "x" * 1024, r"ids\.txt, item 3: .*at most 1,024 bytes, found 1,025"),
    ],
)
def test_ids_that_do_not_fit_are_named(tmp_path, ids, message):
    np.save(tmp_path / "f.npy", np.ones((3, 2), np.float32))
    (tmp_path / "ids.txt").write_text(ids)
    with pytest.raises(DataError, match=message):
        imported(tmp_path / "f.npy", "npy", tmp_path, "--ids", tmp_path / "ids.txt")


def test_bad_sources_are_named(tmp_path):
    (tmp_path / "pt").mkdir()
    with pytest.raises(DataError, match="expected features of items, found none"):
        imported(tmp_path / "pt", "iisan", tmp_path)
    torch.save(torch.ones(2, 3), tmp_path / "pt/a.pt")
    torch.save(torch.ones(2, 4), tmp_path / "pt/b.pt")
    with pytest.raises(DataError, match=r"item b: expected hidden states \(2, 3\), found \(2, 4\)"):
        imported(tmp_path / "pt", "iisan", tmp_path)
    (tmp_path / "i_id_mapping.csv").write_text("asin,itemID\nx,0\ny,2\n")
    with pytest.raises(DataError, match="expected itemID from 0 to 1 once each"):
        imported(tmp_path, "mmrec", tmp_path)
    pickled = refusal(app, "import", tmp_path, "--format", "pickle")
    assert pickled.startswith("--format pickle: expected one of iisan, npy, mmrec\n")
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY")
    (tmp_path / "ids.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"p\.npy: expected a NumPy array"):
        imported(tmp_path / "p.npy", "npy", tmp_path, "--ids", tmp_path / "ids.txt")
