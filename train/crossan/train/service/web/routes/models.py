"""``/v1/models``, ``/v1/aliases`` and ``/v1/audit``: the registry."""

from __future__ import annotations

from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from crossan.cache_schema.errors import ConfigError, IncompatibleError, UsageError
from crossan.common.config import Settings
from crossan.train.service.queue.rows import State, Step, get_run
from crossan.train.service.registry import REFIT_FOLDER, Alias, AuditEntry, Model, Move
from crossan.train.service.server import Service
from crossan.train.service.specs import Name
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.roles import Role, at_once, requires
from crossan.train.service.web.views import ERRORS, Time, time_of

__all__ = ["AliasView", "ModelView", "register_run", "router"]

_Version = Annotated[int, Path(ge=1, lt=2**63, description="Number of a version.")]
_Alias = Annotated[Name, Path(description="Name of an alias, for example `production`.")]
_Limit = Annotated[int, Query(ge=1, le=500)]
_Before = Annotated[int | None, Query(ge=1, lt=2**63)]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ModelView(_View):
    """A version of a model, which never changes."""

    version: int
    run: int
    """The training whose figures are the version's."""
    night: int | None
    dataset: str
    model: str | None
    """Its kind."""
    aliases: list[str]
    """Names that stand for it now."""
    card: dict[str, Any]
    """What it was made from. Its figures are those of the judged weights, never of a refit."""
    created: Time
    created_by: str

    @classmethod
    def of(cls, model: Model, aliases: list[Alias], *, is_whole: bool = True) -> Self:
        """Return the view of a version.

        Parameters
        ----------
        model
            The version.
        aliases
            All that there are.
        is_whole
            Whether the card lists the files.
        """
        left_out = set() if is_whole else {"sha256"}
        return cls(
            version=model.version,
            run=model.run_id,
            night=model.night_id,
            dataset=model.dataset,
            model=model.card["figures"].get("model"),
            aliases=[alias.name for alias in aliases if alias.version == model.version],
            card={name: value for name, value in model.card.items() if name not in left_out},
            created=time_of(model.created) or "",
            created_by=model.created_by,
        )


class ModelPage(_View):
    """Some versions, the newest first."""

    models: list[ModelView]
    before: int | None
    """What to ask for the next page with; None on the last one."""


class AliasView(_View):
    """An alias, or one move of it."""

    name: str
    version: int
    revision: int
    """Counts the moves; whoever moves it names the one that was seen."""
    moved: Time
    moved_by: str

    @classmethod
    def of(cls, alias: Alias | Move) -> Self:
        """Return the view of an alias."""
        return cls(
            name=alias.name,
            version=alias.version,
            revision=alias.revision,
            moved=time_of(alias.moved) or "",
            moved_by=alias.moved_by,
        )


class AuditView(_View):
    """Who did what."""

    id: int
    at: Time
    actor: str
    action: str
    subject: str
    details: dict[str, Any]

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Return the view of an entry."""
        return cls(
            id=entry.id,
            at=time_of(entry.at) or "",
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            details=dict(entry.details),
        )


class AuditPage(_View):
    """Some entries, the newest first."""

    entries: list[AuditView]
    before: int | None


class Registration(Settings):
    """A finished run to register."""

    run: int = Field(ge=1, lt=2**63)
    """Number of a training that succeeded."""


class Promotion(Settings):
    """Where an alias is to move."""

    version: int = Field(ge=1, lt=2**63)

    expected_revision: int = Field(ge=0, lt=2**63)
    """Revision of the alias that was seen, 0 for one that was never moved."""


class Rollback(Settings):
    """That an alias is to move back."""

    expected_revision: int = Field(ge=0, lt=2**63)
    """Revision of the alias that was seen."""


def register_run(service: Service, run_id: int, actor: str) -> tuple[Model, bool]:
    """Return the version of a training, and whether it is new.

    Raises
    ------
    ConfigError
        There is no such run.
    IncompatibleError
        It is no training, or has not succeeded.
    """
    try:
        run = service.database.read(lambda connection: get_run(connection, run_id))
    except UsageError as error:
        raise ConfigError(error.message, remedy=error.remedy) from error
    if run.step is not Step.TRAIN or run.state is not State.SUCCEEDED:
        raise IncompatibleError(
            f"run {run_id}: expected a training that succeeded, found a step {run.step} that is"
            f" {run.state}",
            remedy="crossan runs ls",
        )
    judged = service.folder.output(run_id)
    refit = judged / REFIT_FOLDER
    is_new = service.registry.of_run(run_id) is None
    served = refit if refit.is_dir() else None
    return service.registry.register(judged, served, run, actor), is_new


def router(service: Service) -> APIRouter:
    """Return the routes of the registry."""
    routes = APIRouter(prefix="/v1", tags=["models"], responses=ERRORS)
    registry = service.registry

    @routes.get("/models")
    @requires(Role.READ)
    def list_models(before: _Before = None, limit: _Limit = 100) -> ModelPage:
        """Return versions, the newest first, without the list of their files."""
        models = registry.versions(before=before, limit=limit + 1)
        aliases = registry.aliases()
        return ModelPage(
            models=[ModelView.of(model, aliases, is_whole=False) for model in models[:limit]],
            before=models[limit - 1].version if len(models) > limit else None,
        )

    @routes.get("/models/{version}")
    @requires(Role.READ)
    def show_model(version: _Version) -> ModelView:
        """Return a version."""
        return ModelView.of(registry.get(version), registry.aliases())

    @routes.post("/models", status_code=201, responses={200: {"model": ModelView}})
    @requires(Role.ADMIN)
    @at_once(8)  # as it copies files
    def register_model(body: Registration, caller: Caller, response: Response) -> ModelView:
        """Make a version of a training that succeeded, unless there is one."""
        model, is_new = register_run(service, body.run, caller.name)
        response.status_code = 201 if is_new else 200
        response.headers["location"] = f"/v1/models/{model.version}"
        return ModelView.of(model, registry.aliases())

    @routes.get("/aliases")
    @requires(Role.READ)
    def list_aliases() -> list[AliasView]:
        """Return all aliases by name."""
        return [AliasView.of(alias) for alias in registry.aliases()]

    @routes.get("/aliases/{name}/moves")
    @requires(Role.READ)
    def list_moves(name: _Alias, limit: _Limit = 100) -> list[AliasView]:
        """Return what an alias stood for, the latest first."""
        return [AliasView.of(move) for move in registry.moves(name, limit=limit)]

    @routes.post("/aliases/{name}/promote")
    @requires(Role.ADMIN)
    def promote(name: _Alias, body: Promotion, caller: Caller) -> AliasView:
        """Move an alias to a version, if nobody has moved it since it was looked at."""
        try:
            alias = registry.promote(name, body.version, body.expected_revision, caller.name)
        except UsageError as error:
            # What is missing is named by the body, not by the address.
            raise ConfigError(error.message, remedy=error.remedy) from error
        return AliasView.of(alias)

    @routes.post("/aliases/{name}/rollback")
    @requires(Role.ADMIN)
    def rollback(name: _Alias, body: Rollback, caller: Caller) -> AliasView:
        """Move an alias back to the version before."""
        return AliasView.of(registry.rollback(name, body.expected_revision, caller.name))

    @routes.get("/audit")
    @requires(Role.READ)
    def list_audit(before: _Before = None, limit: _Limit = 100) -> AuditPage:
        """Return the audit log, the newest entry first."""
        entries = registry.audit(before=before, limit=limit + 1)
        return AuditPage(
            entries=[AuditView.of(entry) for entry in entries[:limit]],
            before=entries[limit - 1].id if len(entries) > limit else None,
        )

    return routes
