"""What each step of a run does: our commands, and a promotion that the server itself does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossan.cache_schema import Modality
from crossan.cache_schema.errors import CrossanError, UsageError
from crossan.common.files import replace_durably
from crossan.common.refusals import make_folder
from crossan.train.service.database import Database
from crossan.train.service.executors import Outcome
from crossan.train.service.folder import ServiceFolder
from crossan.train.service.nights import commands
from crossan.train.service.nights.chains import NothingNewError, extras_of, note_input, spec_of
from crossan.train.service.nights.checking import checked_settings
from crossan.train.service.nights.concluding import conclusion_of
from crossan.train.service.nights.datasets import dataset_at
from crossan.train.service.nights.inbox import open_inbox
from crossan.train.service.nights.inputs import input_of, last_inbox, rebase_logs
from crossan.train.service.nights.promoting import Promotion, promote
from crossan.train.service.nights.training_plan import TrainingPlan, kept_plan, settle
from crossan.train.service.queue.rows import RunRow, State, Step, get_run, list_runs
from crossan.train.service.queue.steps import Conclusion, InServer, Program, Skip
from crossan.train.service.registry import Model, Registry
from crossan.train.service.settings import ServiceSettings
from crossan.train.service.specs import PRODUCTION, NightSpec, RunSpec

__all__ = ["ProductSteps"]

COMPARED = "compared.json"
"""In the folder of an evaluation: the version that it is of, and the alias's revision then."""
INBOX = "inbox.json"
"""In the folder of an update: the signature of the inbox that it reads."""

Plan = Program | InServer | Skip


class ProductSteps:
    """The steps of the product, for the scheduler.

    Parameters
    ----------
    folder
        The data folder.
    settings
        The operator's.
    registry
        Versions of models, and which is in production.
    database
        Where the runs of a night find each other.
    """

    def __init__(
        self,
        folder: ServiceFolder,
        settings: ServiceSettings,
        registry: Registry,
        database: Database,
    ) -> None:
        self._folder, self._settings = folder, settings
        self._registry, self._database = registry, database
        self._plans: dict[Step, Callable[[RunRow], Plan]] = {
            Step.UPDATE: self._update,
            Step.EXTRACT: self._extract,
            Step.TRAIN: self._train,
            Step.EVALUATE: self._evaluate,
            Step.GATE: self._gate,
            Step.REFIT: self._refit,
            Step.PROMOTE: self._promote,
        }

    def plan(self, run: RunRow) -> Plan:
        """Return what the next attempt at a run does.

        Raises
        ------
        CrossanError
            It can never be done.
        """
        return self._plans[run.step](run)

    def conclude(self, run: RunRow, outcome: Outcome) -> Conclusion:
        """Return how a run ended, from the files that it left."""
        if run.step is Step.GATE:
            return conclusion_of(run, outcome, self._folder)
        if outcome.exit_code != 0:
            return Conclusion(State.FAILED, outcome.message or f"exit code {outcome.exit_code}")
        try:
            return conclusion_of(run, outcome, self._folder)
        except CrossanError as error:
            return Conclusion(State.FAILED, str(error))

    def _update(self, run: RunRow) -> Plan:
        dataset = dataset_at(run.dataset, self._settings)
        if dataset.inbox is None:
            return Skip(f"there is no inbox for {run.dataset}")
        inbox = open_inbox(dataset.inbox)
        if not inbox.options:
            return Skip("the inbox is empty")
        if inbox.signature == self._database.read(
            lambda connection: last_inbox(connection, run.dataset)
        ):
            return Skip("nothing in the inbox has changed since the last update")
        self._note(run, INBOX, {"inbox": inbox.signature, "log": inbox.log_stamp})
        return Program(commands.update_argv(dataset.path, inbox))

    def _extract(self, run: RunRow) -> Plan:
        dataset = dataset_at(run.dataset, self._settings)
        modality = Modality(extras_of(run)["modality"])
        backbone = self._settings.backbones.get(modality)
        if backbone is None:
            raise UsageError(
                f"extract: expected a backbone for {modality} in service.toml, found none",
                remedy=f"Set backbones.{modality} in service.toml, and start the service again",
            )
        argv = commands.extract_argv(dataset.path, self._settings.cache, modality, backbone)
        return Program(argv)

    def _train(self, run: RunRow) -> Plan:
        dataset = dataset_at(run.dataset, self._settings)
        spec = RunSpec.model_validate(dict(run.spec)) if run.night_id is None else spec_of(run)
        plan = kept_plan(self._folder.run(run.id))
        if plan is None:
            if isinstance(spec, NightSpec) and (skip := self._note_input(run, spec)):
                return skip
            plan = self._settle(run, spec)
        argv = commands.train_argv(
            self._folder.output(run.id),
            dataset.path,
            self._settings.cache,
            plan.config,
            recipe=spec.recipe,
            init=plan.init,
            refit=spec.refit if run.night_id is None else "none",
        )
        return Program(argv)

    def _settle(self, run: RunRow, spec: RunSpec) -> TrainingPlan:
        dataset = dataset_at(run.dataset, self._settings)
        checked = checked_settings(spec, dataset, self._settings)
        alias = spec.alias if isinstance(spec, NightSpec) else PRODUCTION
        production = self._in_place(alias) if spec.init == "production" else None
        folder = self._folder.run(run.id)
        return settle(folder, spec, checked, dataset, self._settings, production)

    def _note_input(self, run: RunRow, spec: NightSpec) -> Skip | None:
        """Record what a night trains on; a night that another one makes needless ends here."""
        seen = input_of(spec, self._settings)
        night_id = run.night_id
        assert night_id is not None

        def note(connection: Any) -> None:  # noqa: ANN401 - of sqlite3
            note_input(connection, night_id, seen.fingerprint)
            rebase_logs(connection, spec.dataset, seen.interactions)

        try:
            self._database.write(note)
        except NothingNewError as error:
            return Skip(error.message)
        return None

    def _evaluate(self, run: RunRow) -> Plan:
        if skip := self._if_untrained(run):
            return skip
        spec = spec_of(run)
        alias = self._registry.alias(spec.alias)
        compared = {"version": 0, "revision": 0}
        if alias is not None:
            compared = {"version": alias.version, "revision": alias.revision}
        self._note(run, COMPARED, compared)
        if alias is None:
            return Skip(f"no model is in {spec.alias} yet")
        model = self._registry.get(alias.version)
        if model.dataset != run.dataset:
            raise UsageError(
                f"alias {spec.alias}: expected a model of the dataset {run.dataset}, found model"
                f" {model.version} of {model.dataset}",
                remedy="Give the night another alias",
            )
        dataset = dataset_at(run.dataset, self._settings).path
        out = self._folder.output(run.id)
        argv = commands.evaluate_argv(model.judged_run, dataset, self._settings.cache, out)
        return Program(argv)

    def _gate(self, run: RunRow) -> Plan:
        if skip := self._if_untrained(run):
            return skip
        evaluation = self._sibling(run, Step.EVALUATE)
        if evaluation.state is State.SKIPPED:
            return Skip(evaluation.reason)
        candidate = self._folder.output(_about(run))
        production = self._folder.output(evaluation.id)
        return Program(commands.gate_argv(candidate, production, spec_of(run).gate))

    def _refit(self, run: RunRow) -> Plan:
        if skip := self._if_untrained(run):
            return skip
        dataset = dataset_at(run.dataset, self._settings).path
        out = self._folder.output(_about(run))
        return Program(commands.refit_argv(out, dataset, self._settings.cache, spec_of(run).refit))

    def _promote(self, run: RunRow) -> Plan:
        if skip := self._if_untrained(run):
            return skip
        spec, training = spec_of(run), _about(run)
        judged = self._folder.output(training)
        evaluation = self._sibling(run, Step.EVALUATE)
        compared = json.loads((self._folder.run(evaluation.id) / COMPARED).read_bytes())
        promotion = Promotion(
            training=self._database.read(lambda connection: get_run(connection, training)),
            judged=judged,
            served=None if spec.refit == "none" else judged / "refit",
            alias=spec.alias,
            actor=run.submitted_by,
            compared=compared["version"],
            revision=compared["revision"],
        )
        return InServer(lambda: promote(self._registry, promotion))

    def _in_place(self, alias: str) -> Model | None:
        """Return the model that an alias stands for, None for none."""
        current = self._registry.alias(alias)
        return None if current is None else self._registry.get(current.version)

    def _if_untrained(self, run: RunRow) -> Skip | None:
        """Return how a step ends whose night has trained nothing."""
        training = self._database.read(lambda connection: get_run(connection, _about(run)))
        return Skip(training.reason) if training.state is State.SKIPPED else None

    def _sibling(self, run: RunRow, step: Step) -> RunRow:
        runs = self._database.read(lambda connection: list_runs(connection, night_id=run.night_id))
        return next(one for one in runs if one.step is step)

    def _note(self, run: RunRow, name: str, value: dict[str, Any]) -> None:
        folder: Path = self._folder.run(run.id)
        make_folder(folder)
        replace_durably(folder / name, json.dumps(value).encode())


def _about(run: RunRow) -> int:
    """Return the training that a step of a night is about."""
    assert run.about is not None
    return run.about
