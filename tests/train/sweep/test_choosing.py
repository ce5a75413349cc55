"""The choice, by numbers that can be checked by hand."""

import dataclasses
import typing
from dataclasses import replace

import pytest

from crossan.cache_schema.errors import DataError, IncompatibleError
from crossan.common.datasets import KeptSequences
from crossan.common.split import LEAVE_LAST_OUT
from crossan.train.sequences.splits import TestSplit
from crossan.train.sweep.choosing import SettingResult, TrialResult, choose, group, spread
from crossan.train.sweep.reporting import print_report, selection_report
from crossan.train.sweep.settings import SweepSettings
from crossan.train.sweep.trials import Trial


def result(point, seed, hit_ratio, ndcg=0.5, parameters=10, sequences="s", version=1):
    figures = {"hr@10": hit_ratio, "ndcg@10": ndcg, "hr@20": hit_ratio, "ndcg@20": ndcg}
    stores = {
        "text": {
            "store": "/c/text",
            "fingerprint": "f",
            "version": version,
            "manifest": f"m{version}",
        }
    }
    cold = {"targets": 4, "hr@10": hit_ratio / 2, "ndcg@10": 0.125}
    return TrialResult(
        Trial(point, seed), "crossan", figures, 3, parameters, sequences, stores, cold
    )


def setting(name, *hit_ratios, **more):
    return SettingResult(
        {"a": name}, tuple(result({"a": name}, n, hr, **more) for n, hr in enumerate(hit_ratios))
    )


def test_the_highest_mean_over_seeds_wins_not_the_highest_seed():
    steady, lucky = setting("steady", 0.5, 0.5), setting("lucky", 0.9, 0.0)  # means 0.5 and 0.45
    assert choose([lucky, steady]) is steady


def test_equals_are_settled_by_ndcg_then_parameters_then_order():
    first, second = setting("x", 0.5, parameters=20), setting("y", 0.5, parameters=20)
    small, ranked = setting("z", 0.5, parameters=10), setting("w", 0.5, ndcg=0.6, parameters=99)
    assert choose([first, second]) is first
    assert choose([second, first]) is second
    assert choose([first, second, small]) is small
    assert choose([first, small, ranked]) is ranked


def test_figures_about_other_sequences_are_not_compared():
    with pytest.raises(DataError, match='cannot be compared: a="x" and a="y"'):
        choose([setting("x", 0.5), setting("y", 0.6, sequences="other")])


def test_figures_of_other_stores_are_not_compared():
    with pytest.raises(
        IncompatibleError,
        match=r"text: version 1 .* in runs/\w+-seed0; version 2 .* in runs/\w+-seed0\n",
    ):
        choose([setting("x", 0.5), setting("y", 0.6, version=2)])


def test_a_setting_counts_only_with_all_its_seeds_and_once():
    points = [{"a": 1}, {"a": 2}, {"a": 1}]
    found = [result({"a": 1}, 0, 0.1), result({"a": 1}, 1, 0.3), result({"a": 2}, 0, 0.9)]
    grouped = group(found, points, [0, 1])
    assert [one.point for one in grouped] == [{"a": 1}]
    assert grouped[0].mean("hr@10") == pytest.approx(0.2)  # (0.1 + 0.3) / 2


def test_spread_is_mean_and_the_samples_deviation():
    found = spread([{"m": 1.0}, {"m": 2.0}, {"m": 3.0}])["m"]
    assert found == {"mean": 2.0, "sd": 1.0}  # sqrt((1 + 0 + 1) / 2)
    assert spread([{"m": 4.0}])["m"] == {"mean": 4.0, "sd": None}


def test_by_type_no_test_figure_can_be_handed_to_the_choice():
    assert {field.name for field in dataclasses.fields(TrialResult)} == {
        "trial", "model", "valid", "cold_valid", "best_epoch", "trainable_parameters", "sequences",
        "stores",
    }  # fmt: skip
    handed = typing.get_type_hints(choose)["settings"]
    assert typing.get_args(handed) == (SettingResult,)
    fields = [
        hint
        for kind in (SettingResult, TrialResult)
        for hint in typing.get_type_hints(kind).values()
    ]
    assert not {TestSplit, KeptSequences} & {
        part for hint in fields for part in (hint, *typing.get_args(hint))
    }


def test_test_figures_in_a_file_are_not_read():
    figures = {
        "model": "crossan",
        "valid": {"hr@10": 0.1},
        "test": {"hr@10": 0.9},
        "best_epoch": 1,
        "trainable_parameters": 2,
    }
    read = TrialResult.read(Trial({}, 0), {**figures, "sequences": "s"}, {})
    assert "0.9" not in repr(read)


def test_the_table_shows_settings_best_first_and_the_choice(capsys):
    settings = [setting("x", 0.25, 0.75), setting("y", 0.5, 1.0)]
    failed = {
        "run": "runs/q",
        "point": {"a": "q"},
        "seed": 4,
        "exit_code": 1,
        "reason": "it diverged",
    }
    report = selection_report(
        SweepSettings(seeds=(0, 1)),
        settings,
        choose(settings),
        [failed],
        {"text": {"compared": 40, "stale": 2, "not_here": 0, "unrecorded": 0}},
    )
    assert report["chosen"]["point"] == {"a": "y"}
    cold_test = {"hr@10": {"mean": 0.0625, "sd": None}, "ndcg@10": {"mean": 0.0, "sd": None}}
    judged = {"test": settings[0].figures(), "cold_test": cold_test}
    print_report(report | LEAVE_LAST_OUT.facts() | judged)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:6] == [
        'a="y"',
        "crossan",
        "2",
        "0.7500",
        "±",
        "0.3536",
    ]  # sqrt(2 * 0.25 ** 2)
    # The mean of 0.25 and 0.5, with half the deviation of all targets.
    assert lines[1].split()[-5:] == ["0.3750", "±", "0.1768", "<-", "chosen"]
    assert lines[2].startswith('a="x"')
    assert "chosen" not in lines[2]
    assert lines[3] == 'failed: a="q", seed 4: it diverged'
    assert lines[4:7] == [
        "items with other contents than their hidden states: text 2 of 40",
        'chosen by mean validation HR@10 alone: a="y" (crossan)',
        "its test figures, looked at after the choice:",
    ]
    assert lines[8].split()[0] == "0.5000"
    assert lines[7].endswith("cold test HR@10")
    assert lines[8].split()[-1] == "0.0625"


def test_without_cold_targets_there_is_no_column_of_them(capsys):
    none = {"targets": 0, "hr@10": 0.0, "ndcg@10": 0.0}
    one = setting("x", 0.25)
    one = SettingResult(one.point, (replace(one.results[0], cold_valid=none),))
    report = selection_report(SweepSettings(), [one], one, [], {})
    judged = {"test": one.figures(), "cold_test": None}
    print_report(report | LEAVE_LAST_OUT.facts() | judged)
    assert "cold" not in capsys.readouterr().out


def test_a_trial_of_before_has_no_cold_figures(capsys):
    known, unknown = setting("x", 0.25, 0.75), setting("y", 0.5)
    older = SettingResult(
        {"a": "x"}, (known.results[0], replace(known.results[1], cold_valid=None))
    )
    report = selection_report(SweepSettings(), [older, unknown], older, [], {})
    assert [one["cold_valid"] is None for one in report["settings"]] == [True, False]
    print_report(report | LEAVE_LAST_OUT.facts() | {"test": None, "cold_test": None})
    of_older = next(line for line in capsys.readouterr().out.splitlines() if 'a="x"' in line)
    assert of_older.split()[-3:] == ["-", "<-", "chosen"]


def test_nothing_chosen_is_said(capsys):
    report = selection_report(SweepSettings(), [], None, [], {})
    print_report(report | LEAVE_LAST_OUT.facts() | {"test": None, "cold_test": None})
    assert "none is chosen" in capsys.readouterr().out
