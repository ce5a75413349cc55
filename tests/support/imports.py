"""Small sources, imported by ``crossan data`` in this process."""

import json

from typer.testing import CliRunner

from crossan.common.datasets import open_dataset
from crossan.common.datasets.cli import app


def run(*arguments):
    """Run ``crossan data``; return what it prints."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def make(folder, **files):
    """Write files, ``items_csv`` as ``items.csv``; return the folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        stem, _, suffix = name.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(text)
    return folder


def imported(source, out, *options):
    """Import; return the report and the rows of both tables."""
    said = json.loads(run("import", source, "--out", out, "--json", *options).splitlines()[-1])
    rows = rows_of(out)
    assert json.loads((out / "import.json").read_bytes())["imported"] == said["report"]
    return said["report"], *rows


LOG = "user_id,item_id,timestamp\nu,1,1700000003\nu,2,1700000001\nv,1,1700000002\nv,3,1700000004\n"
ITEMS = "item_id,title\n1,one\n2,two\n9,nine\n"


def rows_of(folder):
    """Return the rows of the interactions and of the items of a dataset folder."""
    dataset = open_dataset(folder)
    return [
        [tuple(row.values()) for row in table.to_pylist()]
        for table in (dataset.interactions(), dataset.items())
    ]
