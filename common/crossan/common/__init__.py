"""What extraction and training share: stores, datasets, settings, console, the ``crossan`` command.

Nothing here decodes media or runs a backbone. `open_store` is the way in for
other programs: see ``docs/store-format.md``.
"""
