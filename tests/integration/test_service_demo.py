"""crossan demo --service: two nights on the sample, and a new item that is recommended."""

import json
import subprocess
import tomllib

import pytest

from crossan.cache_schema.errors import UsageError
from crossan.common import demo, service_demo
from crossan.common.service_demo import ServiceDemoError
from support.started import PROGRAMS


def test_the_settings_that_it_writes_are_those_of_the_service(tmp_path):
    from crossan.train.service.settings import ServiceSettings

    service_demo._write_settings(tmp_path / 'a "quoted" folder')
    (file,) = tmp_path.glob("*/service/service.toml")
    settings = ServiceSettings.model_validate(tomllib.loads(file.read_text()))
    assert settings.roots == (str(tmp_path / 'a "quoted" folder' / "datasets"),)
    assert settings.inbox == str(tmp_path / 'a "quoted" folder' / "inbox")


def test_what_it_appends_is_ten_items_and_500_interactions(tmp_path):
    service_demo._append(tmp_path, seed=0)
    items = (tmp_path / "items.csv").read_text().splitlines()
    clicks = (tmp_path / "interactions.csv").read_text().splitlines()
    assert (len(items), len(clicks)) == (11, 501)
    assert len({line.split(",")[1] for line in clicks[1:]}) == 10


def test_a_step_that_fails_ends_the_demo(capfd):
    with pytest.raises(ServiceDemoError, match="ended with exit code 2: crossan data nothing"):
        service_demo._run(["crossan", "data", "nothing"])
    assert "$ crossan data nothing" in capfd.readouterr().err


def test_a_server_is_kept_only_where_there_is_one(tmp_path):
    with pytest.raises(UsageError, match="--keep: expected --service with it"):
        demo.demo(out=tmp_path / "demo", keep=True)


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.exhaustive
def test_the_tour_keeps_its_promise(tmp_path):
    done = subprocess.run(
        [PROGRAMS / "crossan", "demo", "--service", "--out", "demo", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert [night.partition(":")[0] for night in said["nights"]] == [
        "promoted model 1",
        "promoted model 2",
    ]
    assert any(item["item_id"].startswith("new") for item in said["items"])
    for command in ("crossan serve", "crossan nights begin", "crossan triggers add", "POST "):
        assert command in done.stderr
