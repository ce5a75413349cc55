"""Rows as the pages of the service show them: every state, empty, and hostile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crossan.cache_schema.errors import ConfigError
from crossan.cache_schema.modality import Modality
from crossan.train.service.nights.rows import NightRow, NightState, TriggerRow
from crossan.train.service.queue.rows import RunRow, State, Step
from crossan.train.service.queue.slots import Usage
from crossan.train.service.registry import Alias, AuditEntry, Model, Move
from crossan.train.service.specs import Limits, NightSpec, RunSpec, TriggerSpec
from crossan.train.service.web.callers import Identity
from crossan.train.service.web.night_views import StoreView
from crossan.train.service.web.pages import forms
from crossan.train.service.web.pages.answers import error_page
from crossan.train.service.web.pages.attempt_rows import AttemptRow
from crossan.train.service.web.pages.audit_page import audit_page
from crossan.train.service.web.pages.compare_pages import compare_page
from crossan.train.service.web.pages.model_pages import (
    model_page,
    models_page,
    promote_page,
    rollback_page,
)
from crossan.train.service.web.pages.night_pages import night_page, nights_page
from crossan.train.service.web.pages.overview import (
    Overview,
    Production,
    RunningRun,
    overview_page,
    slots_of,
)
from crossan.train.service.web.pages.recommend_page import NEWS, TOPS
from crossan.train.service.web.pages.rendering import View
from crossan.train.service.web.pages.run_pages import RunDetails, run_page, runs_page
from crossan.train.service.web.pages.store_pages import stores_page
from crossan.train.service.web.pages.traces import Epoch, Progress
from crossan.train.service.web.pages.trigger_pages import remove_page, triggers_page
from crossan.train.service.web.roles import Role

NOW = 1_795_000_000.0
"""2026-11-18 11:06:40 UTC."""
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "' onfocus=alert(3) autofocus='",
    "{{ 7*7 }}{% raw %}",
    "]]>--><!--</textarea></title><svg onload=alert(4)>",
    "\u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "w" * 200,
    "javascript:alert(5)",
    "a\u0000b\u2028c\u0007",
)


def view(role="admin", here="/", name="ada", notice=""):
    return View(Identity(name, Role(role)), NOW, here, notice)


def run_row(run_id=1, state="succeeded", step="train", text="", **more):
    started = None if state in {"waiting", "queued"} else NOW - 4000
    ended = NOW - 3000 if state in {"succeeded", "failed", "cancelled", "skipped"} else None
    spec = RunSpec(
        dataset="sample",
        recipe="table3/50k-TIVA" if not text else text[:100],
        settings={
            "max_epochs": 50,
            "optimiser": {"lr": 0.001},
            text or "model.kind": text or "crossan",
        },
        label=text[:200],
    )
    row = RunRow(
        id=run_id,
        step=Step(step),
        dataset="sample",
        spec=spec.model_dump(mode="json"),
        label=text[:200],
        state=State(state),
        attempt=1,
        reason=text or ("exit code 6: CUDA out of memory" if state == "failed" else ""),
        exit_code=6 if state == "failed" else None,
        result=RESULT if state == "succeeded" and step == "train" else None,
        limits=Limits(cpus=2, memory_gib=4),
        submitted_by=text or "ada",
        created=NOW - 5000 - 60 * run_id,
        started=started,
        ended=ended,
    )
    return replace(row, **more)


RESULT = {
    "run": "runs/1/run",
    "model": "crossan",
    "valid": {
        "hr@10": 0.1234,
        "ndcg@10": 0.0678,
        "mrr@10": 0.0512,
        "hr@20": 0.19,
        "ndcg@20": 0.084,
    },
    "test": {
        "hr@10": 0.1178,
        "ndcg@10": 0.0641,
        "mrr@10": 0.0489,
        "hr@20": 0.181,
        "ndcg@20": 0.0802,
    },
    "cold_test": {"targets": 212, "hr@10": 0.0471, "ndcg@10": 0.0233},
    "cold_valid": {"targets": 198, "hr@10": 0.0512, "ndcg@10": 0.0251},
    "epochs": 14,
    "best_epoch": 9,
    "stopped_by": "patience",
    "drops": [{"after": 7, "from": 6}],
    "users": 5000,
    "items": 1400,
    "seconds_per_epoch": 3.8125,
}
CARD = {
    "figures": {
        "of": "judged",
        **{name: RESULT[name] for name in ("test", "cold_test", "valid", "cold_valid")},
    },
    "served": {"is_refitted": True, "trained_on": "everything"},
    "dataset": {"name": "sample", "sequences": "9f2c41d0a1b2"},
    "stores": {"text": {"store": "bert-tiny", "version": 4, "fingerprint": "0d" * 32}},
    "crossan": "0.1.0",
    "sha256": {"judged/checkpoints/best/model.safetensors": "ab" * 32},
}


def curve(count=14, best=9):
    return [
        Epoch(
            number,
            8.2 * 0.86**number + 0.9,
            {
                "ndcg@10": 0.068 * (1 - 0.72**number) - (0.0007 * max(number - best, 0)),
                "hr@10": 0.12 * (1 - 0.7**number),
                "mrr@10": 0.05 * (1 - 0.7**number),
            },
            is_best=number <= best,
        )
        for number in range(1, count + 1)
    ]


def night_steps(state="succeeded", failed_at=None, text=""):
    """Return the runs of a night, the step ``failed_at`` and all after it not done."""
    names = ["update", "extract", "train", "evaluate", "gate", "refit", "promote"]
    rows, is_over = [], False
    for position, step in enumerate(names):
        here = "skipped" if is_over else state
        if step == failed_at:
            here, is_over = "failed", True
        row = run_row(
            20 + position, here, step, text, night_id=3, needs=19 + position if position else None
        )
        if step == "gate" and here == "succeeded":
            row = replace(row, result=VERDICT)
        rows.append(row)
    return rows


VERDICT = {
    "holds": True, "reasons": [], "candidate": "runs/22/run", "production": "runs/26/evaluated", "metric": "ndcg@10",
    "margin": 0.002, "confidence": 0.95, "cold_margin": 0.005,
    "all": {"users": 5000, "candidate": 0.0641, "production": 0.0629, "difference": 0.0012, "interval": [-0.0008, 0.0031], "is_shown": True},
    "cold": {"users": 212, "candidate": 0.0233, "production": 0.0241, "difference": -0.0008, "interval": [-0.0089, 0.0073], "is_shown": False},
    "left_out": {"candidate": 3, "production": 0},
}  # fmt: skip


def night_row(night_id=3, state="promoted", text="", **more):
    row = NightRow(
        id=night_id,
        trigger_name="nightly",
        dataset="sample",
        spec=NightSpec(dataset="sample", label=text[:200], extract=("text", "image")).model_dump(
            mode="json"
        ),
        reason=text or "the time 02:30 of nightly",
        state=NightState(state),
        fingerprint=None,
        told=None,
        summary=text
        or "10 new items, 500 interactions; NDCG@10 0.0641 (+0.0012); model 4 promoted",
        created=NOW - 30_000 - 86_400 * (4 - night_id),
        created_by=text or "trigger nightly",
        ended=None if state == "running" else NOW - 28_000 - 86_400 * (4 - night_id),
    )
    return replace(row, **more)


def model_row(version=4, text=""):
    card = CARD | ({text: text, "served": {"trained_on": text}} if text else {})
    return Model(version, 22, 3, "sample", card, NOW - 28_500, text or "night 3", Path("models/4"))


def alias_row(text=""):
    return Alias("production", 4, 3, NOW - 28_000, text or "night 3")


def moves(text=""):
    by = text or "night 3"
    return [
        Move("production", 3, 4, "promote", NOW - 28_000, by),
        Move("production", 2, 2, "rollback", NOW - 90_000, "ada"),
        Move("production", 1, 3, "promote", NOW - 99_000, by),
    ]


def trigger_rows(text=""):
    night = {"dataset": "sample", "label": text[:200]}
    specs = [
        TriggerSpec(
            name="nightly", kind="cron", cron="30 2 * * *", timezone="Europe/Berlin", night=night
        ),
        TriggerSpec(name="new-items", kind="store", modality="text", night=night),
        TriggerSpec(name="log", kind="log", grown_by=5000, night=night),
    ]
    times = [(NOW + 51_000, NOW - 35_000, 3), (None, NOW - 200_000, None), (None, None, None)]
    return [
        TriggerRow(
            spec.name, spec, NOW - 900_000, text or "ada", upcoming, last, night_id,
            text or ("these inputs were trained already" if last and not night_id else ""), {},
        )
        for spec, (upcoming, last, night_id) in zip(specs, times, strict=True)
    ]  # fmt: skip


def stores(text=""):
    """Return stores in every condition."""
    health = {
        "items": 1410,
        "ok": 1410,
        "licences": {"backbone": text or "Apache-2.0", "dataset": None},
    }
    named = {"dataset": "sample", "name": "x", "layers": [0, 1, 2], "dim": 128}
    conditions = [
        ("text", 4, health),
        ("image", 3, health | {"ok": 1385, "absent": 4, "missing": 10, "quarantined": 11}),
        ("audio", 0, None),
        ("video", 2, None),
        ("text", 1, {"problem": text or "store.json: expected JSON, found nothing"}),
    ]
    return [
        StoreView(
            **named, modality=modality, version=version, health=known, backbone=text or "google/bert_uncased_L-2_H-128_A-2",
            fingerprint=f"{number}d" * 32,
        )
        for number, (modality, version, known) in enumerate(conditions)
    ]  # fmt: skip


COMPARISON = {
    "compared_on": "test",
    "protocol": {"users": 5000, "items": 1400},
    "baseline": "1",
    "notes": ["runs of one seed each: no spread between seeds"],
    "rows": [
        {"name": "1", "model": "crossan", "metrics": {"hr@10": {"mean": 0.1178, "is_best": False, "difference": None}, "ndcg@10": {"mean": 0.0641, "is_best": False, "difference": None}}, "cold": {"hr@10": {"mean": 0.0471, "sd": None}, "ndcg@10": {"mean": 0.0233, "sd": None}}},
        {"name": "2", "model": "sasrec", "metrics": {"hr@10": {"mean": 0.1211, "is_best": True, "is_significant": True, "difference": {"mean": 0.0033}}, "ndcg@10": {"mean": 0.0655, "is_best": True, "is_significant": False, "difference": {"mean": 0.0014}}}, "cold": None},
    ],
}  # fmt: skip


def audit_rows(text=""):
    return [
        AuditEntry(9, NOW - 28_000, text or "night 3", "promote", text or "production", {"version": 4, "revision": 3, text or "reason": text or {"holds": True}}),
        AuditEntry(8, NOW - 28_500, "night 3", "register", "model 4", {"run": 22}),
        AuditEntry(7, NOW - 90_000, "ada", "rollback", "production", {}),
    ]  # fmt: skip


def all_pages(text="", role="admin"):
    """Return every page that shows rows, by a name, with ``text`` wherever a user's text stands."""
    waiting = [
        run_row(8, "queued", text=text),
        run_row(9, "waiting", "evaluate", text, needs=8, night_id=3),
    ]
    ended = [
        run_row(10 + number, state, text=text)
        for number, state in enumerate(("succeeded", "failed", "cancelled", "skipped"))
    ]
    running = run_row(6, "running", text=text, night_id=3, result=None)
    stopping = run_row(7, "stopping", "extract", text)
    production = Production(model_row(text=text), alias_row(text), 3, text or None)
    nights = [
        night_row(3, "promoted", text),
        night_row(2, "held back", text),
        night_row(1, "failed", text),
        night_row(4, "running", text, summary=""),
    ]
    slots = slots_of(Usage(4, 8.0, 0), Usage(8, 25.6, 1))
    attempts = [
        AttemptRow(
            1,
            "local",
            (0,),
            NOW - 4000,
            NOW - 3500,
            {"reason": "lost", "exit_code": None, "message": text},
        ),
        AttemptRow(2, "local", (), NOW - 3400, None, None),
    ]
    details = RunDetails(
        attempts,
        curve(),
        [text or f"epoch {number}: loss 1.2, NDCG@10 0.06" for number in range(30)],
        NOW - 3,
        None,
    )
    runs = [running, stopping, *waiting, *ended]
    models = [model_row(4, text), model_row(3, text), model_row(2, text)]
    aliases = {"production": alias_row(text)}
    return {
        "overview": overview_page(
            view(role, "/"),
            Overview(slots, [RunningRun(running, Progress(7, 50, 5, 0.0612), text or "epoch 7: loss 1.41, NDCG@10 0.0607"),
                             RunningRun(stopping, None, "")],
                     waiting, ended, nights, trigger_rows(text), production),
        ),
        "runs": runs_page(view(role, "/runs"), runs, None, 6),
        "run-running": run_page(view(role, "/runs", notice="queued"), running, details),
        "run-succeeded": run_page(view(role, "/runs"), run_row(10, text=text), replace(details, version=4, attempts=attempts[1:])),
        "run-failed": run_page(view(role, "/runs"), run_row(11, "failed", text=text), replace(details, curve=())),
        "run-queued": run_page(view(role, "/runs"), waiting[0], RunDetails()),
        "nights": nights_page(view(role, "/nights"), nights, 1),
        "night-promoted": night_page(view(role, "/nights"), nights[0], night_steps(text=text)),
        "night-failed": night_page(view(role, "/nights"), nights[2], night_steps(failed_at="train", text=text)),
        "night-running": night_page(view(role, "/nights"), nights[3], [*night_steps(text=text)[:2], replace(running, id=22), *(run_row(23 + at, "waiting", step, text) for at, step in enumerate(("evaluate", "gate", "refit", "promote")))], [RunningRun(running, Progress(7, 50, 5, 0.0612), text or "epoch 7")]),
        "models": models_page(view(role, "/models"), models, aliases, moves(text), 2),
        "model": model_page(view(role, "/models"), models[0], aliases, moves(text)[:1]),
        "promote": promote_page(view(role, "/models"), models[1], aliases["production"], models[0]),
        "rollback": rollback_page(view(role, "/models"), aliases["production"], models[0], models[2]),
        "triggers": triggers_page(view(role, "/triggers"), trigger_rows(text), {3: nights[0]}),
        "remove": remove_page(view(role, "/triggers"), trigger_rows(text)[0]),
        "stores": stores_page(view(role, "/stores"), stores(text)),
        "compare": compare_page(view(role, "/compare"), [run_row(1, text=text), run_row(2, text=text)], [1, 2], COMPARISON),
        "recommend": view(role, "/models").render("recommend", values=asked(text), tops=TOPS, news=NEWS, answer=ANSWER | {"unknown": [text] if text else []}, error=None),
        "audit": audit_page(view(role, "/audit"), audit_rows(text), 7),
    }  # fmt: skip


def asked(user=""):
    """Return what the form that tries recommendations holds."""
    return {"user": user or "u1", "history": "", "top": "10", "new": "0", "mask_history": "all"}


ANSWER = {
    "version": 4,
    "unknown": [],
    "items": [
        {"item_id": "i9", "title": "Tide & anchor", "score": 4.91},
        {"item_id": "i7", "title": None, "score": 4.2},
    ],
}


def empty_pages(role="admin"):
    """Return every list with nothing in it, by a name."""
    return {
        "overview": overview_page(
            view(role), Overview(slots_of(Usage(0, 0.0, 0), Usage(8, 25.6, 0)))
        ),
        "runs": runs_page(view(role, "/runs"), [], None, None),
        "runs-failed": runs_page(view(role, "/runs"), [], State.FAILED, None),
        "nights": nights_page(view(role, "/nights"), [], None),
        "night": night_page(view(role, "/nights"), night_row(state="running", summary=""), []),
        "models": models_page(view(role, "/models"), [], {}, [], None),
        "promote": promote_page(view(role, "/models"), model_row(1), None, None),
        "recommend": view(role, "/models").render(
            "recommend", values=asked(), tops=TOPS, news=NEWS, answer=None, error=None
        ),
        "triggers": triggers_page(view(role, "/triggers"), [], {}),
        "stores": stores_page(view(role, "/stores"), []),
        "compare": compare_page(view(role, "/compare"), [], []),
        "audit": audit_page(view(role, "/audit"), [], None),
    }


def form_pages(text="", role="admin"):
    """Return the forms, fresh and with what was wrong, by a name."""
    datasets = [("sample", "sample"), ("shop", "shop")]
    error = ConfigError(text or "limits.cpus: expected 1 or more", remedy=text or None)
    sent = {"label": [text], "settings": [text], "name": [text], "cpus": [text or "0"]}
    modalities = [(modality.value, modality.value) for modality in Modality]
    offered = {"datasets": datasets, "stores": [("text", [("0d" * 32, text or "sample: tiny")])]}
    run_form = {**offered, "key": "k" * 22, "error": None}
    night_form = {**offered, "modalities": modalities, "error": None}
    runs, triggers = view(role, "/runs"), view(role, "/triggers")
    nights = view(role, "/nights")
    return {
        "new-run": runs.render("new_run", **run_form, values=forms.run_values()),
        "new-run-wrong": runs.render("new_run", **run_form | {"error": error, "datasets": []}, values=forms.run_values(sent)),
        "new-night": nights.render("new_night", **night_form, values=forms.night_values()),
        "new-night-wrong": nights.render("new_night", **night_form | {"error": error}, values=forms.night_values(sent)),
        "new-trigger": triggers.render("new_trigger", **night_form, values=forms.trigger_values()),
        "new-trigger-wrong": triggers.render("new_trigger", **night_form | {"error": error}, values=forms.trigger_values(sent)),
        "error": error_page(view(role, "/models"), error, 409),
    }  # fmt: skip
