"""Moving stores between folders and remotes, and taking rows from a teammate's."""
