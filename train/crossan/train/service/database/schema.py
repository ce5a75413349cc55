"""The tables of the service's database."""

from __future__ import annotations

__all__ = ["SCHEMA", "SCHEMA_VERSION"]

SCHEMA_VERSION = 1
"""Stands in ``PRAGMA user_version``; a database with a higher one is refused."""

# Times are seconds since 1970 in UTC. What has a fixed shape and is never searched is JSON.
SCHEMA = """
CREATE TABLE triggers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    created REAL NOT NULL,
    created_by TEXT NOT NULL,
    next_time REAL,
    last_time REAL,
    last_night INTEGER,
    last_reason TEXT,
    state TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE nights (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    trigger_name TEXT,
    dataset TEXT NOT NULL,
    spec TEXT NOT NULL,
    fingerprint TEXT UNIQUE,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    summary TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    created_by TEXT NOT NULL,
    ended REAL,
    told REAL
) STRICT;

CREATE TABLE messages (
    night_id INTEGER NOT NULL REFERENCES nights(id),
    target TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    next_try REAL,
    sent REAL,
    problem TEXT,
    PRIMARY KEY (night_id, target)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    night_id INTEGER REFERENCES nights(id),
    needs INTEGER REFERENCES runs(id),
    about INTEGER REFERENCES runs(id),
    step TEXT NOT NULL,
    dataset TEXT NOT NULL,
    spec TEXT NOT NULL,
    label TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    exit_code INTEGER,
    result TEXT,
    cpus INTEGER NOT NULL,
    memory_gib REAL NOT NULL,
    gpus INTEGER NOT NULL,
    submitted_by TEXT NOT NULL,
    idempotency_key TEXT,
    created REAL NOT NULL,
    started REAL,
    ended REAL
) STRICT;
CREATE UNIQUE INDEX runs_by_key ON runs(submitted_by, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX runs_by_state ON runs(state, id);
CREATE INDEX runs_by_night ON runs(night_id);
CREATE INDEX runs_by_need ON runs(needs) WHERE needs IS NOT NULL;

CREATE TABLE attempts (
    run_id INTEGER NOT NULL REFERENCES runs(id),
    number INTEGER NOT NULL,
    executor TEXT NOT NULL,
    handle TEXT,
    devices TEXT NOT NULL DEFAULT '[]',
    started REAL NOT NULL,
    ended REAL,
    outcome TEXT,
    PRIMARY KEY (run_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE models (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id INTEGER NOT NULL UNIQUE REFERENCES runs(id),
    night_id INTEGER REFERENCES nights(id),
    dataset TEXT NOT NULL,
    card TEXT NOT NULL,
    created REAL NOT NULL,
    created_by TEXT NOT NULL
) STRICT;

CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES models(version),
    revision INTEGER NOT NULL,
    moved REAL NOT NULL,
    moved_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alias_moves (
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    version INTEGER NOT NULL REFERENCES models(version),
    action TEXT NOT NULL,
    moved REAL NOT NULL,
    moved_by TEXT NOT NULL,
    PRIMARY KEY (name, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER models_are_not_changed BEFORE UPDATE ON models
BEGIN SELECT RAISE(ABORT, 'versions of models are immutable'); END;
CREATE TRIGGER models_are_not_dropped BEFORE DELETE ON models
BEGIN SELECT RAISE(ABORT, 'versions of models are immutable'); END;
"""
