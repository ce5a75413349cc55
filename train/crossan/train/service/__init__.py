"""The training service: one process and one data folder that retrain every night.

Nothing that the server process imports loads torch, numpy or zarr: what computes runs as
``crossan-*`` processes. The rooms, highest first:

- ``cli``: ``crossan serve``. ``client``: ``crossan runs``, ``models``, ``triggers`` and ``nights``.
- ``web``: routes, pages, and the guard in front of all of them.
- ``server``: the service with all its parts, and the threads that drive them.
- ``nights``: triggers, chains of runs, messages out.
- ``serving``: which model answers, through processes of ``recommender``, which alone opens runs.
- ``registry``: versions of models, aliases, the audit log.
- ``queue``: runs, slots, attempts. ``executors``: where an attempt runs.
- ``database``, ``folder``, ``specs``, ``settings``: what all of them stand on.
"""
