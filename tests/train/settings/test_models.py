"""What the model's settings refuse, in the words the user sees."""

import pytest

from crossan.cache_schema.errors import ConfigError
from crossan.common.config import load_settings
from crossan.train.settings import CrossanSettings


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["width=10", "heads=4"], "width to be divisible by heads, got width 10 and 4 heads"),
        (["layers=[4, 2]"], r"distinct numbers from 0, lowest first, got \[4, 2\]"),
        (["layers=[2, 2]"], r"lowest first, got \[2, 2\]"),
        (["layers=[-1, 2]"], r"lowest first, got \[-1, 2\]"),
        (["layers=[]"], r"lowest first, got \[\]"),
        (["top_k=5"], "top_k"),
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
