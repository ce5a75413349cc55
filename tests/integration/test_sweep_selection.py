"""What a sweep selects by: other test items change no byte of it, and variables reach its base alone."""

import json

import pytest

from crossan.train.sweep import judging, searching
from support.fabricated import make_sequences, write_rows
from support.outcomes import unmeasured_bytes
from support.sweeps import (
    WEIGHTS,
    linked,
    run_sweep,
    train_here,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def in_this_process(monkeypatch):
    for module in (searching, judging):
        monkeypatch.setattr(module, "run_commands", train_here)


def with_other_test_items(rows):
    """Give every user the last item of the next one: the catalogue stays."""
    last = {user: (item, time) for user, item, time in rows}
    users = sorted(last)
    following = dict(zip(users, users[1:] + users[:1], strict=True))
    return [
        (u, last[following[u]][0] if time == last[u][1] else item, time) for u, item, time in rows
    ]


def test_other_test_items_change_no_byte_of_the_selection(tmp_path, place, in_this_process):
    found = {}
    for name, rows in (("one", make_sequences()), ("two", with_other_test_items(make_sequences()))):
        write_rows(tmp_path / name / "d", rows)
        (tmp_path / name / "c").symlink_to(place / "c")
        report = run_sweep(tmp_path / name, "--grid", "optimiser.lr=1e-3,1e-2", "--seeds", "0,1")
        runs = sorted((tmp_path / name / "s/runs").iterdir())
        files = [run / file for run in runs for file in WEIGHTS]
        found[name] = {
            str(path.relative_to(tmp_path / name)): unmeasured_bytes(path) for path in files
        }
        found[name]["selection"] = (tmp_path / name / "s/selection.json").read_bytes()
        found[name]["test"] = json.dumps(report["test"])
    assert found["one"].pop("test") != found["two"].pop("test")  # so the items are others indeed
    assert found["one"] == found["two"]
    assert len(json.loads(found["one"]["selection"])["settings"]) == 2


def test_variables_for_settings_reach_the_base_and_not_behind_a_trials_back(
    tmp_path, place, monkeypatch
):
    monkeypatch.setenv("CROSSAN_OPTIMISER__LR", "0.5")
    monkeypatch.setenv("CROSSAN_MODEL__DROPOUT", "0.25")
    linked(tmp_path, place)
    run_sweep(tmp_path, "--grid", "optimiser.lr=0.01", "--no-test", "--threads", "1")
    (run,) = (tmp_path / "s/runs").iterdir()
    config = (run / "config.toml").read_text()
    assert "\nlr = 0.01\n" in config
    assert "dropout = 0.25" in config
