"""``crossan recipe``: the paper's rows by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossan.common.console import (
    AsJson,
    Panel,
    add_command,
    app_settings,
    print_json,
    print_text,
)
from crossan.common.stores.options import CacheFolder
from crossan.train.options import DatasetFolder
from crossan.train.recipes.run_command import RecipeName, complete_recipe, run

__all__ = ["app"]

app = typer.Typer(
    help="The paper's rows by name: list, show, copy and run them, and compare with its figures.",
    **app_settings(),
)


@add_command(app, "ls")
def list_recipes(
    part: Annotated[
        str | None,
        typer.Argument(
            metavar="PART",
            help="Only recipes with this in their name, for example table5 or 50k.",
            autocompletion=complete_recipe,
        ),
    ] = None,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    as_markdown: Annotated[
        bool,
        typer.Option("--markdown", help="Print docs/recipes.md.", rich_help_panel=Panel.OTHER),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the recipes with the paper's figure, the split, and whether they can be run here.

    With --dataset and --cache, a recipe is ready where the folders hold its data
    and its features.

    Examples
    --------
    crossan recipe ls table5
    """
    from crossan.cache_schema.errors import UsageError
    from crossan.train.recipes.catalogue import matching
    from crossan.train.recipes.page import recipes_page
    from crossan.train.recipes.printing import as_record, print_list
    from crossan.train.recipes.state import look_here, state_of

    if as_markdown:
        if part is not None or as_json:
            raise UsageError("--markdown: expected no PART and no --json, as the page has all")
        print(recipes_page(), end="")
        return
    recipes = matching(part)
    available = look_here(None if dataset is None else Path(dataset), cache)
    states = {recipe.name: state_of(recipe, available) for recipe in recipes}
    if as_json:
        print_json({"recipes": [as_record(recipe, states[recipe.name]) for recipe in recipes]})
    else:
        print_list(recipes, states)


@add_command(app, "show")
def show(
    name: RecipeName,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Show a recipe: figures, tolerance, what is missing here, and its settings as a config.toml.

    Examples
    --------
    crossan recipe show table3/50k-TIVA
    """
    from crossan.train.recipes.catalogue import find_recipe
    from crossan.train.recipes.printing import as_record, print_recipe
    from crossan.train.recipes.state import is_built, look_here, state_of
    from crossan.train.recipes.writing import config_text

    recipe = find_recipe(name)
    folder = None if dataset is None else Path(dataset)
    state = state_of(recipe, look_here(folder, cache))
    if as_json:
        print_json(as_record(recipe, state))
        return
    print_recipe(recipe, state, folder or Path("DATASET"), cache or Path("CACHE"))
    # A recipe of other runs has no settings that one training could begin with.
    if is_built(recipe) and not recipe.of and recipe.refits is None:
        print_text("")
        for line in config_text(recipe).splitlines():
            print_text(line)


@add_command(app, "cp")
def copy(
    name: RecipeName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="TOML file to write.")],
    is_sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Write the search space of section 5, for crossan sweep --sweep FILE; NAME may be"
            " a curve, for example fig5/50k-width.",
            rich_help_panel=Panel.WHAT,
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a recipe's settings to a file that crossan-train --config reads.

    Examples
    --------
    crossan recipe cp table3/50k-TIVA config.toml
    crossan recipe cp table3/50k-TIVA plan.toml --sweep
    """
    from crossan.common.files import replace_durably
    from crossan.common.outputs import require_replaceable
    from crossan.common.refusals import require_writable
    from crossan.train.recipes.catalogue import all_recipes, find_recipe
    from crossan.train.recipes.writing import (
        config_text,
        curve_text,
        is_written_by_us,
        sweep_text,
    )

    points = [recipe for recipe in all_recipes().values() if recipe.curve == name]
    if is_sweep:
        text = curve_text(points) if points else sweep_text(find_recipe(name))
    else:
        text = config_text(find_recipe(name))
    require_writable(file.absolute().parent, str(file))
    require_replaceable(file, is_written_by_us, str(file))
    replace_durably(file, text.encode())
    if as_json:
        print_json({"recipe": name, "file": str(file)})
    else:
        print_text(str(file))


@add_command(app, "extract")
def extract(
    name: RecipeName,
    more: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- OPTIONS", help="Options for crossan-extract, for example -- --device cuda."
        ),
    ] = None,
    dataset: DatasetFolder = None,
    cache: CacheFolder = None,
    is_dry: Annotated[
        bool,
        typer.Option("--print", help="Print the commands alone.", rich_help_panel=Panel.WHAT),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute the features that a recipe reads, by the paper's backbones.

    The same command goes on with what was interrupted, and computes nothing twice.

    Examples
    --------
    crossan recipe extract table3/50k-TIVA --dataset data --cache cache
    """
    import shlex

    from crossan.cache_schema.errors import UsageError
    from crossan.common.stores.folders import require_cache
    from crossan.train.recipes.catalogue import find_recipe
    from crossan.train.recipes.extraction import extract_commands, run_step

    recipe = find_recipe(name)
    folder = require_cache(cache)
    commands = extract_commands(recipe, Path(dataset or Path.cwd()), folder, more or [])
    if not commands:
        raise UsageError(
            f"{name}: expected a model that reads features, found {recipe.model}, which reads none",
            remedy=f"crossan recipe run {name} --dataset D --out R",
        )
    for command in commands:
        if is_dry and not as_json:
            print_text(shlex.join(command))
        elif not is_dry:
            run_step(command)
    if as_json:
        print_json({"recipe": name, "commands": commands})


add_command(app, "run")(run)
