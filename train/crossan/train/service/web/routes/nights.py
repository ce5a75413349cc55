"""``/v1/nights``, ``/v1/triggers``, ``/v1/datasets`` and ``/v1/stores``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from crossan.cache_schema.errors import ConfigError, UsageError
from crossan.train.service.nights.datasets import places
from crossan.train.service.nights.rows import NightRow, TriggerRow, get_trigger
from crossan.train.service.nights.stores import stores_of
from crossan.train.service.server import Service
from crossan.train.service.specs import NightSpec, TriggerSpec
from crossan.train.service.web.callers import Caller
from crossan.train.service.web.night_views import (
    DatasetView,
    NightPage,
    NightView,
    StoreView,
    TriggerView,
    WholeNightView,
)
from crossan.train.service.web.roles import Role, requires
from crossan.train.service.web.views import ERRORS

__all__ = ["add_trigger", "begin_night", "cancel_night", "list_stores", "router"]

_Number = Annotated[int, Path(ge=1, lt=2**63)]
_TriggerName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


def begin_night(service: Service, spec: NightSpec, caller: str) -> NightRow:
    """Begin a night that a caller asks for, whatever was trained on before.

    Raises
    ------
    ConfigError
        The spec names something that does not exist, or a setting that it may not give.
    """
    with _of_the_body():
        return service.nights.begin(spec, caller, f"begun by {caller}")


def add_trigger(service: Service, spec: TriggerSpec, caller: str) -> TriggerRow:
    """Keep a trigger, and return it.

    Raises
    ------
    ConfigError
        As `begin_night`, for its night; or its expression or its time zone is none.
    BusyError
        There is one of this name.
    """
    with _of_the_body():
        service.nights.add_trigger(spec, caller)
    return _trigger(service, spec.name)


def cancel_night(service: Service, night_id: int, caller: str) -> NightRow:
    """Cancel what of a night has not ended, and return the night.

    Raises
    ------
    UsageError
        There is no such night.
    """
    return service.nights.cancel(
        night_id, lambda run_id: service.scheduler.cancel(run_id, caller), caller
    )


def list_stores(service: Service) -> list[StoreView]:
    """Return the stores of every dataset, each with what is known of its health."""
    return [
        StoreView.of(name, store, service.nights.health.of(store))
        for name, dataset in places(service.settings).items()
        for store in stores_of(service.settings, dataset.description.name)
    ]


def router(service: Service) -> APIRouter:
    """Return the routes of nightly work."""
    routes = APIRouter(prefix="/v1", responses=ERRORS)
    _add_nights(routes, service)
    _add_triggers(routes, service)

    @routes.get("/datasets", tags=["datasets"])
    @requires(Role.READ)
    def list_datasets() -> list[DatasetView]:
        """Return the datasets that specs may name."""
        return [DatasetView.of(one) for one in places(service.settings).values()]

    @routes.get("/stores", tags=["datasets"])
    @requires(Role.READ)
    def list_all_stores() -> list[StoreView]:
        """Return the stores of every dataset.

        The health of a new version is looked up in the background: until then it is null.
        """
        return list_stores(service)

    return routes


def _add_nights(routes: APIRouter, service: Service) -> None:
    @routes.post("/nights", status_code=201, tags=["nights"])
    @requires(Role.SUBMIT)
    def begin_a_night(spec: NightSpec, caller: Caller, response: Response) -> WholeNightView:
        """Begin a night now, whatever was trained on before."""
        night = begin_night(service, spec, caller.name)
        response.headers["location"] = f"/v1/nights/{night.id}"
        return _whole(service, night)

    @routes.get("/nights", tags=["nights"])
    @requires(Role.READ)
    def list_all_nights(
        before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> NightPage:
        """Return nights, the newest first."""
        rows = service.nights.all(before=before, limit=limit)
        return NightPage(
            nights=[NightView.of(row) for row in rows],
            before=rows[-1].id if len(rows) == limit else None,
        )

    @routes.get("/nights/{night_id}", tags=["nights"])
    @requires(Role.READ)
    def show_night(night_id: _Number) -> WholeNightView:
        """Return one night with its runs."""
        return _whole(service, service.nights.get(night_id))

    @routes.post("/nights/{night_id}/cancel", tags=["nights"])
    @requires(Role.SUBMIT)
    def cancel_a_night(night_id: _Number, caller: Caller) -> WholeNightView:
        """Cancel the runs of a night that have not ended."""
        return _whole(service, cancel_night(service, night_id, caller.name))


def _add_triggers(routes: APIRouter, service: Service) -> None:
    @routes.get("/triggers", tags=["triggers"])
    @requires(Role.READ)
    def list_all_triggers() -> list[TriggerView]:
        """Return all triggers, by name."""
        return [TriggerView.of(row) for row in service.nights.triggers.all()]

    @routes.post("/triggers", status_code=201, tags=["triggers"])
    @requires(Role.ADMIN)
    def add_a_trigger(spec: TriggerSpec, caller: Caller) -> TriggerView:
        """Keep a trigger, for which nothing has moved yet."""
        return TriggerView.of(add_trigger(service, spec, caller.name))

    @routes.delete("/triggers/{name}", tags=["triggers"])
    @requires(Role.ADMIN)
    def remove_a_trigger(name: _TriggerName, caller: Caller) -> TriggerView:
        """Forget a trigger, and return it as it was. Its nights stay."""
        trigger = _trigger(service, name)
        service.nights.remove_trigger(name, caller.name)
        return TriggerView.of(trigger)

    @routes.post("/triggers/{name}/run", status_code=201, tags=["triggers"])
    @requires(Role.SUBMIT)
    def run_a_trigger(name: _TriggerName, caller: Caller) -> WholeNightView:
        """Begin a trigger's night now, whatever was trained on before."""
        return _whole(service, service.nights.run_trigger(name, caller.name))


def _whole(service: Service, night: NightRow) -> WholeNightView:
    return WholeNightView.with_runs(night, service.nights.runs_of(night.id))


def _trigger(service: Service, name: str) -> TriggerRow:
    return service.database.read(lambda connection: get_trigger(connection, name))


@contextmanager
def _of_the_body() -> Iterator[None]:
    """Answer 422, not 404, where the body names what does not exist."""
    try:
        yield
    except ConfigError:
        raise
    except UsageError as error:
        raise ConfigError(error.message, remedy=error.remedy) from error
