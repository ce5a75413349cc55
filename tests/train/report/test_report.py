"""The report of finished runs: one page, no script, no request, the right numbers."""

import csv
import json
import re

import pytest

from crossan.cache_schema.errors import IncompatibleError, UsageError
from crossan.train.record.run_folder import RunFolder
from crossan.train.report.page import LARGEST_PAGE, write_report
from support.pages import Page, marks
from support.reported import metrics_of, write_run, write_sweep


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A page with everything drawn: a sweep of two models, seeds of another run, one that counts."""
    place = tmp_path_factory.mktemp("drawn")
    tried = [
        ({"model.kind": kind, "optimiser.lr": rate}, kind, valid)
        for kind, rate, valid in (
            ("crossan", 1e-4, 0.25), ("crossan", 1e-3, 0.5), ("crossan", 1e-2, 0.375), ("sasrec", 1e-3, 0.125),
            ("sasrec", 1e-2, 0.2),
        )
    ]  # fmt: skip
    sweep = write_sweep(place / "rates", tried, chosen=1)
    seeds = [
        write_run(
            place / f"<b>twin-seed{seed}", 0.3 + 0.1 * seed, seed=seed, settings={"batch_size": 64}
        )
        for seed in (0, 1)
    ]
    counting = write_run(place / "popularity", 0.05, model="popularity", epochs=1)
    write_report([sweep, *seeds, counting], place / "report.html")
    return Page((place / "report.html").read_text())


def test_the_page_is_well_formed_and_needs_nothing_else(drawn):
    tags = {tag for tag, _ in drawn.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "form", "base"}
    ids = drawn.ids()
    assert len(ids) == len(set(ids))
    # Whatever a browser would load by itself lies in the page.
    for _, attributes in drawn.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in {"src", "href", "xlink:href", "srcset", "data", "poster"}:
                assert value.startswith(("data:", "#")), value[:60]
    assert not re.search(r"url\((?!#)|@import", drawn.content)
    (policy,) = [one for one in drawn.all("meta") if one.get("http-equiv")]
    assert policy["content"].startswith("default-src 'none';")
    anchors = {one["href"][1:] for one in drawn.all("a") if one["href"].startswith("#")}
    assert anchors <= set(ids)


def test_names_are_shown_as_they_are(drawn):
    assert "<b>twin" not in drawn.content
    assert "&lt;b&gt;twin" in drawn.content
    assert drawn.all("title")
    assert "rates" in drawn.words()


def test_no_plot_is_blank_and_each_has_its_files(drawn):
    from crossan.train.report.figures import COLOURS

    plots, files = drawn.plots(), drawn.downloads()
    assert len(plots) >= 12
    assert [svg for svg in plots if marks(svg) == 0] == []
    assert len(files) == 3 * len(plots)
    for name, content in files.items():
        if name.endswith(".png"):
            assert content.startswith(b"\x89PNG")
            assert len(content) > 3_000
        elif name.endswith(".svg"):
            text = content.decode()
            assert Page(text).elements[0][0] == "svg"
            assert any(colour in text for colour in COLOURS)
            assert "var(--" not in text
            assert "currentColor" not in text
        else:
            header, *rows = csv.reader(content.decode().splitlines())
            assert rows
            assert {len(row) for row in rows} == {len(header)}
    for figure in (one for one in drawn.all("div") if (one.get("class") or "").startswith("plot")):
        assert len(figure["aria-label"]) > 20


def test_tables_say_what_their_cells_are(drawn):
    tables, captions = drawn.all("table"), drawn.all("caption")
    assert len(tables) == len(captions) > 5
    assert all(one.get("scope") in {"col", "row"} for one in drawn.all("th"))
    assert all("alt" in one for one in drawn.all("img"))


def test_a_sweep_shows_what_it_tried_and_tests_the_chosen_alone(drawn):
    text = drawn.words()
    assert "model crossan, lr 0.001" in text
    assert "lr 9" in text
    assert "TrainingDivergedError: nan" in text
    files = drawn.downloads()
    header, *rows = csv.reader(files["sweep-optimiser-lr-hr-10.csv"].decode().splitlines())
    assert header[:3] == ["series", "optimiser.lr", "validation HR@10"]
    assert [row[:3] for row in rows] == [
        ["crossan", "0.0001", "0.25"],
        ["crossan", "0.001", "0.5"],
        ["crossan", "0.01", "0.375"],
        ["sasrec", "0.001", "0.125"],
        ["sasrec", "0.01", "0.2"],
    ]
    tested = {row[0] for row in list(csv.reader(files["test-hr-10.csv"].decode().splitlines()))[1:]}
    assert tested == {"rates: model crossan, lr 0.001", "<b>twin", "popularity"}


def test_seeds_are_one_row_with_their_spread(drawn):
    _, *rows = csv.reader(drawn.downloads()["test-hr-10.csv"].decode().splitlines())
    (row,) = [row for row in rows if row[0] == "<b>twin"]
    assert float(row[1]) == pytest.approx(0.35)  # (0.3 + 0.4) / 2
    assert float(row[2]) < 0.35 < float(row[3])
    assert "\u00b1 0.0707" in drawn.words()  # |0.4 - 0.3| / sqrt(2)


def test_cold_validation_targets_stand_below_cold_test_targets(drawn):
    # A half and a quarter of what all targets have: of the best run, and the mean of two seeds.
    assert "0.2500 valid 0.1250" in drawn.words()
    assert "0.1750 valid 0.0875" in drawn.words()
    assert "20 targets; validation 0.1250" in drawn.words()


def test_the_gates_are_shown_by_their_difference_to_the_even_share(drawn):
    header, *rows = csv.reader(drawn.downloads()["gates-1.csv"].decode().splitlines())
    assert header == ["tower", "layer", "input", "weight", "less the even share"]
    by_cell = {tuple(row[:3]): (float(row[3]), float(row[4])) for row in rows}
    assert by_cell["text", "0", "H"] == pytest.approx((1 / 3, 0.0), abs=1e-7)
    # Logits 0, 1, 2 for text, image and the hidden state: e^2 / (1 + e + e^2).
    assert by_cell["text", "1", "H"] == pytest.approx((0.66524096, 0.66524096 - 1 / 3))
    assert by_cell["image", "1", "T"] == pytest.approx((0.09003057, 0.09003057 - 1 / 3))


def test_the_best_is_marked(drawn):
    marked = re.findall(r"<b>([^<]*)</b>", drawn.content)
    assert "0.5000" in marked
    assert "0.0500" not in marked


def test_the_page_is_small_whatever_it_is_made_of(drawn, tmp_path, undrawn, monkeypatch):
    assert len(drawn.content.encode()) < LARGEST_PAGE
    from crossan.train.report import page

    runs = [
        write_run(tmp_path / f"run{n}", 0.5, settings={"batch_size": 32 + n}) for n in range(12)
    ]
    monkeypatch.setattr(page, "LARGEST_PAGE", 10)
    write_report(runs, tmp_path / "r.html", should_compute=False)
    small = Page((tmp_path / "r.html").read_text())
    assert not [name for name in small.downloads() if name.endswith(".png")]
    assert [name for name in small.downloads() if name.endswith(".svg")]
    assert "PNG files are left out" in small.words()


@pytest.mark.slow
def test_ten_runs_of_four_modalities_have_all_their_files_in_three_megabytes(tmp_path):
    modalities = ("text", "image", "video", "audio")
    runs = [
        write_run(
            tmp_path / f"run{n}",
            0.1 + 0.05 * n,
            epochs=60,
            modalities=modalities,
            settings={"batch_size": 32 + n},
        )
        for n in range(10)
    ]
    write_report(runs, tmp_path / "r.html", should_compute=False)
    page = Page((tmp_path / "r.html").read_text())
    # Measured: 1.6 MB, which leaves room for pictures of about 2.5 KB.
    assert len(page.content.encode()) < 2_200_000
    assert [name for name in page.downloads() if name.endswith(".png")]


def test_a_run_that_looked_at_no_test_target_is_shown_by_validation(make_run, tmp_path, undrawn):
    write_report([make_run("ours", 0.375, judged="valid")], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).words()
    assert "0.3750" in text
    assert "test targets not looked at" in text
    assert "--resume" not in text  # nothing suggests a command that looks at them


def test_a_trial_that_was_not_chosen_is_shown_by_validation(make_sweep, tmp_path, undrawn):
    sweep = make_sweep(
        "s", [({"optimiser.lr": 0.1}, "sasrec", 0.5), ({"optimiser.lr": 0.2}, "sasrec", 0.25)], 0
    )
    other = RunFolder(sweep / "runs/00000001-seed0")
    figures = RunFolder(sweep / "runs/00000000-seed0").result()
    other.write_result({**figures, "test": metrics_of(0.9876)})
    write_report([other.path], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).words()
    assert "0.2500" in text
    assert "0.9876" not in text


def test_runs_of_other_protocols_are_refused_by_name(make_run, tmp_path):
    runs = [make_run("ours"), make_run("theirs", mask_history="none")]
    with pytest.raises(IncompatibleError, match=r"(?s)ours and .*theirs.*mask: all and none"):
        write_report(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_an_unfinished_run_is_refused(make_run, tmp_path):
    with pytest.raises(UsageError, match=r"(?s)the run is not finished.*--resume"):
        write_report([make_run("ours", judged=None)], tmp_path / "report.html")


def test_an_old_run_has_no_model_no_ranks_and_no_memory(make_run, tmp_path, undrawn):
    run = make_run("old")
    result = json.loads((run / "result.json").read_text())
    del result["model"], result["seconds_per_epoch"]
    result["seconds_per_epoch"] = 1.0
    (run / "result.json").write_text(json.dumps(result))
    (run / "eval/per_user.parquet").unlink()
    (run / "env.json").unlink()
    write_report([run], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).words()
    assert "crossan" in text
    assert "has recorded no ranks of its users" in text


def test_a_run_without_its_data_says_what_would_show_more(make_run, tmp_path, undrawn):
    write_report([make_run("ours")], tmp_path / "report.html")
    text = Page((tmp_path / "report.html").read_text()).words()
    assert "Counts and licences of the stores are not shown: /C/D/text/made-up-1: expected" in text
    assert "--cache FOLDER" in text or "--dataset FOLDER" in text
    write_report([tmp_path / "ours"], tmp_path / "report.html", should_compute=False)
    text = Page((tmp_path / "report.html").read_text()).words()
    assert f"crossan analyse {tmp_path}/ours" in text


def test_settings_are_shown_as_differences(make_run, tmp_path, undrawn):
    runs = [make_run("ours"), make_run("wide", settings={"batch_size": 77})]
    write_report(runs, tmp_path / "report.html", should_compute=False)
    page = (tmp_path / "report.html").read_text()
    table = page[page.index("<caption>Settings that are not the default") :]
    table = table[: table.index("</table>")]
    assert "batch_size" in table
    assert "<b>77</b>" in table
    assert "max_epochs" not in table


@pytest.mark.parametrize(
    ("stopped", "words"),
    [
        ({"stopped_by": "patience"}, ["nothing improved any more"]),
        ({"stopped_by": "ended"}, ["ended by hand"]),
        ({"stopped_by": "a later reason"}, []),
        ({}, []),  # of an older run
    ],
)
def test_it_says_what_ended_a_training(tmp_path, stopped, words):
    run = write_run(tmp_path / "r", **stopped)
    write_report([run], tmp_path / "report.html")
    said = (tmp_path / "report.html").read_text()
    known = ("nothing improved any more", "ended by hand")
    assert [each for each in known if each in said] == words
