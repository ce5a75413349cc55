"""What the model's settings refuse, in the words the user sees."""

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import FlagValue, load_settings
from crossan.train.settings import CrossanSettings, RunSettings


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["width=10", "heads=4"], "width to be divisible by heads, got width 10 and 4 heads"),
        (["layers=[4, 2]"], r"distinct numbers from 0, lowest first, got \[4, 2\]"),
        (["layers=[2, 2]"], r"lowest first, got \[2, 2\]"),
        (["layers=[-1, 2]"], r"lowest first, got \[-1, 2\]"),
        (["layers=[]"], r"lowest first, got \[\]"),
        (["top_k=0"], "top_k: Input should be greater than or equal to 1, got 0"),
        (["combine=product"], "'sum' or 'concat'"),
        (["compute=float64"], "'float32', 'bfloat16' or 'auto'"),
        (["botleneck_dim=8"], "did you mean 'bottleneck_dim'"),
    ],
)
def test_what_does_not_fit_is_refused(assignments, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(CrossanSettings, assignments=assignments, environment={})


def test_layers_may_be_chosen():
    assert load_settings(
        CrossanSettings, assignments=["layers=[0, 6, 12]"], environment={}
    ).layers == (0, 6, 12)


OLD_FLAGS = {
    "sasrec": ("model.content=false", "model.id_embedding=true"),
    "frozen": ("model.adapters=false",),
    "crossan": ("model.content=true", "model.adapters=true"),
}


@pytest.mark.parametrize("old", OLD_FLAGS)
@pytest.mark.parametrize("kind", ["crossan", "frozen", "sasrec", "popularity"])
def test_a_kind_beside_the_flags_of_before_must_be_theirs(old, kind):
    dataset = FlagValue("--dataset", "data.dataset", "d")
    flags = [dataset, FlagValue("--model", "model.kind", kind)]
    if old == kind:
        run = load_settings(RunSettings, flags=flags, assignments=OLD_FLAGS[old], environment={})
        assert run.model.kind == kind
        return
    with pytest.raises(
        ConfigError, match=f"^--model {kind}.*: expected model.kind={old}, .*got {kind}$"
    ):
        load_settings(RunSettings, flags=flags, assignments=OLD_FLAGS[old], environment={})


def test_a_kind_on_the_command_line_wins_over_a_file_of_before(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[data]\ndataset = "d"\n[model]\ncontent = false\nid_embedding = true\n')
    flags = [FlagValue("--model", "model.kind", "frozen")]
    assert load_settings(RunSettings, files=[config], environment={}).model.kind == "sasrec"
    run = load_settings(RunSettings, files=[config], flags=flags, environment={})
    assert run.model.kind == "frozen"
