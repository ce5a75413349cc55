"""Small settings classes: plain groups, and a group whose class is chosen by kind in two ways."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from hypothesis import strategies as st
from pydantic import Field, model_validator

from crossan.common.config import Kinds, Settings


class Inner(Settings):
    bottleneck_dim: int = Field(default=512, ge=1)
    combine: Literal["sum", "concat"] = "sum"
    layers: tuple[int, ...] | None = None


class Outer(Settings):
    model: Inner = Inner()
    seed: int = 0
    rate: float = 0.5
    name: str = ""
    is_fast: bool = False


class Router(Settings):
    temperature: float = Field(default=1.0, gt=0)
    hidden: tuple[int, ...] = (8,)


class Vectors(Settings):
    """What two of the kinds share; its fields come before theirs."""

    width: int = Field(default=64, ge=1)
    heads: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"expected width to be divisible by heads, got {self.width}")
        return self


class Towers(Vectors):
    kind: Literal["towers"] = "towers"
    top_k: int = Field(default=2, ge=1, le=4)
    layers: tuple[int, ...] | None = None
    router: Router = Router()


class Ids(Vectors):
    kind: Literal["ids"] = "ids"
    has_bias: bool = False


class Counts(Settings):
    kind: Literal["counts"] = "counts"


def toy_kinds() -> Mapping[str, type[Settings]]:
    return {"towers": Towers, "ids": Ids, "counts": Counts}


class UnionRun(Settings):
    """The kinds as a union that pydantic knows."""

    model: Annotated[Towers | Ids | Counts, Field(discriminator="kind")] = Towers()
    other: Annotated[Towers | Ids, Field(discriminator="kind")] | None = None
    seed: int = 0


class TableRun(Settings):
    """The same kinds, looked up in a table."""

    model: Annotated[Settings, Kinds(toy_kinds)] = Towers()
    other: Annotated[Settings, Kinds(toy_kinds)] | None = None
    seed: int = 0


_LAYERS = st.none() | st.lists(st.integers(0, 12), max_size=4).map(tuple)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))

INNERS = st.builds(
    Inner,
    bottleneck_dim=st.integers(1, 10**6),
    combine=st.sampled_from(["sum", "concat"]),
    layers=_LAYERS,
)
OUTERS = st.builds(
    Outer,
    model=INNERS,
    seed=st.integers(-(2**40), 2**40),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    name=_TEXTS,
    is_fast=st.booleans(),
)
TOWERS = st.builds(
    Towers,
    width=st.integers(1, 64).map(lambda half: 2 * half),
    top_k=st.integers(1, 4),
    layers=_LAYERS,
    router=st.builds(
        Router,
        temperature=st.floats(min_value=1e-9, max_value=1e9),
        hidden=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    ),
)
IDS = st.builds(Ids, width=st.integers(1, 64).map(lambda half: 2 * half), has_bias=st.booleans())
RUNS = st.sampled_from([UnionRun, TableRun]).flatmap(
    lambda kind: st.builds(
        kind,
        model=TOWERS | IDS | st.builds(Counts),
        other=st.none() | TOWERS | IDS,
        seed=st.integers(0, 9),
    )
)
"""Runs of both classes, over every kind."""
