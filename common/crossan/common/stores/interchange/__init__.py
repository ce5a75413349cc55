"""Stores from the feature files of others, and back."""
