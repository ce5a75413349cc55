"""docs/notebook/quickstart.ipynb runs from its first cell to its last and gives what it shows."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook" / "quickstart.ipynb"
LARGEST = 200_000
"""Bytes, so that the repository stays small."""
LEARNED = re.compile(r"\.(recommend|similar)\(")
"""In the source of cells whose lists follow from weights, with no number in them."""

EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=1_200, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""


def code_cells(path):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def shown(cell):
    """Return the kinds of what a cell shows, but for lines on stderr, and its text."""
    outputs = [one for one in cell["outputs"] if one.get("name") != "stderr"]
    kinds = [(one["output_type"], *sorted(one.get("data", {}))) for one in outputs]
    texts = ["".join(one.get("text", one.get("data", {}).get("text/plain", ""))) for one in outputs]
    return kinds, "".join(texts)


def test_the_committed_outputs_are_whole_small_and_of_no_machine():
    text = NOTEBOOK.read_text()
    assert len(text) < LARGEST
    assert not re.search(r"/(tmp|root|home|work|Users)/", text)
    cells = code_cells(NOTEBOOK)
    kinds = [kind for cell in cells for kind in shown(cell)[0]]
    assert all(cell["execution_count"] == n for n, cell in enumerate(cells, 1))
    assert not [kind for kind in kinds if kind[0] == "error"]
    assert any("image/png" in kind for kind in kinds)
    assert len(kinds) > 10


def test_no_cell_uses_a_name_that_is_not_promised():
    source = "\n".join("".join(cell["source"]) for cell in code_cells(NOTEBOOK))
    assert not re.search(r"crossan\.(?!api\b)|from crossan(?! import api\b)|\._[a-z]", source)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))),
    reason="nbclient or ipykernel is not installed (crossan[dev]): the notebook was not run",
)
def test_the_notebook_runs_and_shows_what_it_did(sampled, tmp_path):
    (tmp_path / "demo").symlink_to(sampled)
    # Nothing of the user's: kernels, histories and settings are in the test's folder.
    own = {name: str(tmp_path / name) for name in ("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, str(NOTEBOOK), "executed.ipynb"],
        cwd=tmp_path, env={**os.environ, **own, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    pairs = zip(code_cells(NOTEBOOK), code_cells(tmp_path / "executed.ipynb"), strict=True)
    compared = 0
    for committed, executed in pairs:
        (kinds, text), (kinds_now, text_now) = shown(committed), shown(executed)
        assert kinds_now == kinds, "".join(committed["source"])
        # What was learned depends on the machine; what the data and the shapes are does not.
        is_learned = LEARNED.search("".join(committed["source"]))
        if text and not is_learned and not re.search(r"\d\.\d|title|Figure", text):
            assert text_now == text
            compared += 1
    assert compared > 4
