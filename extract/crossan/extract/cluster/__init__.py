"""Cut a job into tasks for the workers of a Ray cluster, for ``--engine ray``.

No number is computed here and no row is stored: a task is a shard of the batch
plan, done by the same `extract_modality` as without a cluster. The way in is
`crossan.extract.cluster.driver.extract_on_cluster`.
"""
