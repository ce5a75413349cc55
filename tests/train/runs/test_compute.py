"""Which compute type `auto` comes to, and that a run keeps it."""

import pytest
import torch

from crossan.train.record.run_folder import RunFolder
from crossan.train.runs import compute
from crossan.train.runs.compute import fastest_compute, settle_compute
from crossan.train.runs.launch import Launch
from crossan.train.settings import (
    CrossanSettings,
    DataSettings,
    FrozenSettings,
    PopularitySettings,
    RunSettings,
    SasrecSettings,
)

CPU = torch.device("cpu")


def make_settings(compute: str) -> RunSettings:
    model = CrossanSettings(compute=compute, bottleneck_dim=8)
    return RunSettings(data=DataSettings(dataset="d", cache="c"), model=model)


@pytest.mark.parametrize(
    ("bfloat16_seconds", "expected"), [(0.79, "bfloat16"), (0.81, "float32"), (5.0, "float32")]
)
def test_bfloat16_must_save_a_fifth(monkeypatch, bfloat16_seconds, expected):
    seconds = {torch.float32: 1.0, torch.bfloat16: bfloat16_seconds}
    monkeypatch.setattr(
        compute, "_seconds_of_layer", lambda gates, adapters, presence, dtype: seconds[dtype]
    )
    assert fastest_compute(CPU, 8) == expected


def test_the_probe_times_both_types(monkeypatch):
    asked = []
    layer = compute.mix_and_adapt
    monkeypatch.setattr(
        compute,
        "mix_and_adapt",
        lambda *arguments: asked.append(arguments[-1]) or layer(*arguments),
    )
    assert fastest_compute(CPU, 8) in ("float32", "bfloat16")
    assert (
        asked == [torch.float32] * 4 + [torch.bfloat16] * 4
    )  # one round to warm up, three that count


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_what_is_asked_for_needs_no_probe(tmp_path, monkeypatch, kind):
    monkeypatch.delattr(compute, "fastest_compute")
    settings = make_settings(kind)
    assert settle_compute(settings, RunFolder(tmp_path), CPU, Launch()) == settings


@pytest.mark.parametrize("model", [FrozenSettings(), SasrecSettings(), PopularitySettings()])
def test_without_side_adapters_nothing_is_probed(tmp_path, monkeypatch, model):
    monkeypatch.delattr(compute, "fastest_compute")
    settings = RunSettings(data=DataSettings(dataset="d"), model=model)
    assert settle_compute(settings, RunFolder(tmp_path), CPU, Launch()) == settings


def test_a_run_that_goes_on_keeps_what_it_began_with(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "r")
    monkeypatch.setattr(compute, "fastest_compute", lambda device, bottleneck_dim: "bfloat16")
    begun = settle_compute(make_settings("auto"), folder, CPU, Launch(may_resume=True))
    assert begun == make_settings("bfloat16")
    folder.begin(begun, {}, may_resume=True)
    folder.release()
    monkeypatch.setattr(compute, "fastest_compute", lambda device, bottleneck_dim: "float32")
    assert settle_compute(make_settings("auto"), folder, CPU, Launch(may_resume=True)) == begun
    assert settle_compute(make_settings("auto"), folder, CPU, Launch()) == make_settings("float32")
