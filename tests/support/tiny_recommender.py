"""A recommender that opens nothing: its items are named after its version. It starts in a moment.

The last ones of a list are as new as somebody asks for.

It does not start where the data folder has a file ``refuse-VERSION``.
"""

import os
import signal
import sys
import time
from pathlib import Path

from crossan.cache_schema.errors import UsageError
from crossan.train.service.recommender.listening import listen

TINY = (sys.executable, "-P", __file__)


def main(path, run, version):
    def answer(request):
        if request.get("about"):
            return {"version": version, "items": 100, "users": 1, "state": "s", "problem": None}
        user = request.get("user")
        if user == "hang":
            time.sleep(3600)
        if user == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if user == "nobody":
            raise UsageError("user nobody: not among the users", remedy="Name another")
        old = request["top"] - request.get("new", 0)
        items = [
            {
                "item_id": f"v{version}-{n}" if n < old else f"v{version}-new-{n}",
                "title": None,
                "score": -float(n),
            }
            for n in range(request["top"])
        ]
        return {"version": version, "items": items, "unknown": [], "state": "s"}

    if (Path(run).parents[2] / f"refuse-{version}").exists():
        print("expected sound weights, found none", file=sys.stderr)
        sys.exit(4)
    listen(Path(path), answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[4]))
