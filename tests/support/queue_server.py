"""A server that is a queue alone: orders come as lines of JSON, and each is answered once it is on the disk."""

from __future__ import annotations

import json

from crossan.cache_schema.errors import CrossanError
from support.queued import Queue, add


def publish(connection, run):
    """Note each end of a run in the transaction that records it, as a night's summary would be."""
    connection.execute(
        "INSERT INTO audit (at, actor, action, subject, details) VALUES (0, 'queue', 'ended', ?, ?)",
        (str(run.id), json.dumps([run.state, run.attempt])),
    )


def serve(folder, cpus, orders, answers):
    """Do what the orders say, until there are no more."""
    queue = Queue(folder, cpus=cpus, listeners=[publish]).start()
    print(json.dumps("ready"), file=answers, flush=True)
    for line in orders:
        order = json.loads(line)
        try:
            answer = _do(queue, order)
        except CrossanError as error:
            answer = {"error": type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)
    queue.close()


def _do(queue, order):
    if "cancel" in order:
        return queue.scheduler.cancel(order["cancel"], "tester").state
    run_id = queue.database.write(lambda connection: add(connection, **order))
    queue.scheduler.wake()
    return run_id
