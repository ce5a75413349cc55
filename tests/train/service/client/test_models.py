"""``crossan models`` against a server with two versions."""

import pytest

from crossan.train.service.client.models import app


def test_versions_are_listed_and_shown_with_the_figures_of_their_judged_weights(call):
    page = call(app, "ls", "--json").json
    assert [model["version"] for model in page["models"]] == [2, 1]
    listed = call(app, "ls").out.splitlines()
    assert "Test NDCG@10" in listed[0]
    assert len(listed) == 3
    assert [one["version"] for one in call(app, "ls", "--limit", "1", "--json").json["models"]] == [
        2
    ]
    assert call(app, "ls", "--before", "1").said == "no models\n"
    shown = call(app, "show", "1")
    assert "figures of the judged weights" in shown.out
    assert "trained on training" in shown.out
    assert call(app, "show", "1", "--json").json["card"]["figures"]["of"] == "judged"


def test_a_model_is_promoted_and_rolled_back_and_whoever_is_late_is_told_with_7(call):
    assert call(app, "promote", "1").out == "production is model 1 (revision 1)\n"
    assert call(app, "promote", "2", "--json").json["revision"] == 2
    late = call(app, "promote", "1", "--expect", "1")
    assert late.code == 7
    assert "revision" in late.said
    assert call(app, "rollback").out == "production is model 1 (revision 3)\n"
    assert call(app, "rollback", "--expect", "1").code == 7
    assert call(app, "rollback", "--alias", "never").code == 7
    assert call(app, "promote", "2", "--alias", "canary").out == "canary is model 2 (revision 1)\n"
    aliases = {one["version"]: one["aliases"] for one in call(app, "ls", "--json").json["models"]}
    assert aliases == {1: ["production"], 2: ["canary"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "99"), "no such version"),
        (("promote", "99", "--alias", "other"), "no such version"),
        (("promote", "1", "--alias", "../x"), ""),
    ],
)
def test_what_does_not_exist_is_exit_code_2(call, words, said):
    refused = call(app, *words)
    assert refused.code == 2
    assert said in refused.said
