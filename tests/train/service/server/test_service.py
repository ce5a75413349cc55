import subprocess
import sys

import pytest

from crossan.cache_schema.errors import BusyError, UsageError
from crossan.train.service.server import Service
from crossan.train.service.settings import ServiceSettings
from support.service import TinySteps, service_settings, small_service

HEAVY = ("torch", "numpy", "zarr", "pyarrow", "scipy", "transformers", "ray")


def test_a_folder_has_one_service_at_a_time(tmp_path):
    first = small_service(tmp_path)

    with pytest.raises(BusyError, match="another server works in this folder"):
        claim_as_another_process(tmp_path / "service")

    first.stop()
    assert claim_as_another_process(tmp_path / "service") is None


def claim_as_another_process(folder):
    script = (
        "import sys; from pathlib import Path\n"
        "from crossan.cache_schema.errors import BusyError\n"
        "from crossan.train.service.server.claiming import FolderClaim\n"
        "try: FolderClaim(Path(sys.argv[1])).stop()\n"
        "except BusyError as error: print(error.message)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, folder], capture_output=True, text=True, check=True
    ).stdout.strip()
    if said:
        raise BusyError(said)


def test_a_service_that_cannot_be_made_leaves_the_folder_to_others(tmp_path):
    settings = service_settings(tmp_path)

    with pytest.raises(UsageError):
        Service(settings, tmp_path / "service", steps=TinySteps(), restore_from="newest")

    Service(settings, tmp_path / "service", steps=TinySteps()).stop()


def test_a_service_stops_whether_or_not_it_was_started(tmp_path):
    small_service(tmp_path / "one").stop()
    service = small_service(tmp_path / "two")
    service.start()
    service.stop()


def test_a_file_of_rays_token_that_is_missing_is_said(tmp_path):
    settings = ServiceSettings(
        roots=(str(tmp_path),),
        cache=str(tmp_path),
        executor="ray",
        ray={"address": "http://head:8265", "token_file": str(tmp_path / "missing")},
    )

    with pytest.raises(UsageError, match="ray.token_file"):
        Service(settings, tmp_path / "service")


def test_what_the_server_process_imports_loads_nothing_heavy():
    script = (
        "import sys\n"
        "import crossan.train.service.cli, crossan.train.service.web.listening\n"
        "from crossan.train.service.server import Service\n"
        "import crossan.train.service.nights.checking, crossan.train.service.web.openapi\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    assert loaded.strip() == "[]"
