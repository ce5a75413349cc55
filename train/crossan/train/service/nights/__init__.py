"""Nightly work: what a spec may name, triggers, chains of runs, and messages out."""
