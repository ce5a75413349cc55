"""The paper's rows by name: settings, figures, protocol, and what a run of them came to.

What belongs here: the tables of rows (``tables/*.toml``), reading them, what a
row needs that is not here, running one, and holding its result against the
paper's figure. What does not: how a model is built or trained.

`catalogue`, `recipe` and `expected` load neither torch nor numpy, and no pydantic.
"""

from crossan.train.recipes.catalogue import all_recipes, find_recipe
from crossan.train.recipes.recipe import Recipe

__all__ = ["Recipe", "all_recipes", "find_recipe"]
