"""Saying what a store holds, for people, for cards, and against another store."""
