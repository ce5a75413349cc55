"""Two teammates and a remote do anything in any order, with kills and damage; a dict knows what must come out.

Each place may be compacted, also while it knows less than the others.

``CROSSAN_FAULTS=full`` runs 2,000 sequences of 50 steps, ``make test-all`` 28;
each rule must come up. An ordinary session runs 8. They run in a process of their own, this file's program: it
forks a child for each kill, and to fork a small process takes a hundredth of
the time that it takes to fork a session of tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RULE_MARKER,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from crossan.cache_schema.identity import StoreIdentity
from crossan.cache_schema.modality import ItemStatus
from crossan.common.stores import ItemRow, Journal, create_store, fsck, open_store
from crossan.common.stores.growing.collect import collect
from crossan.common.stores.growing.compact import compact
from crossan.common.stores.growing.repair import repair
from crossan.common.stores.sharing.locations import FolderLocation
from crossan.common.stores.sharing.transfer import transfer
from crossan.common.stores.versions import list_versions

IS_FULL = os.environ.get("CROSSAN_FAULTS") == "full"
EXAMPLES = 2_000 if IS_FULL else 28 if os.environ.get("CROSSAN_TESTS") == "all" else 8
MEMORY = Path("/dev/shm")
IDENTITY = StoreIdentity(
    modality="text", backbone={"id": "x"}, inputs={}, capture={"layers": [0, 1]}, dim=8
)
CANARY = np.zeros((4, 2, 8), np.float32)
MATES = st.sampled_from("ab")
NUMBERS = st.lists(st.integers(0, 5), min_size=1, max_size=4, unique=True)
POINTS = st.integers(0, 40)
TOMBSTONE = None
TAKEN = Counter()
"""How often each rule did its work."""


class Teammates(RuleBasedStateMachine):
    """Mate a writes the items a0 to a5, mate b those of b: so of each item one knows the newest state."""

    @initialize()
    def begin(self):
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.paths = {place: self.folder / place for place in "abr"}
        self.known = {place: {} for place in "abr"}
        self.staged = {"a": {}, "b": {}}
        self.clock = 0
        for mate in "ab":
            create_store(self.paths[mate], IDENTITY, CANARY)

    def teardown(self):
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule(mate=MATES, numbers=NUMBERS, point=POINTS)
    def extract(self, mate, numbers, point):
        TAKEN["extract"] += 1
        batch = self._stage(mate, numbers)
        self._survive(point, lambda: self._publish(mate, batch))
        self._commit_staged(mate)

    @rule(mate=MATES, numbers=NUMBERS)
    def stage(self, mate, numbers):
        TAKEN["stage"] += 1
        batch = self._stage(mate, numbers)
        journal = Journal.open(self.paths[mate], "shard 1/1")
        journal.append(batch)
        journal.close()

    @rule(mate=MATES, number=st.integers(0, 5))
    def delete(self, mate, number):
        TAKEN["delete"] += 1
        self.staged[mate][f"{mate}{number}"] = (self._tick(), TOMBSTONE)
        self._publish(mate, [ItemRow(f"{mate}{number}", None, ItemStatus.DELETED)])
        self._commit_staged(mate)

    @rule(mate=MATES, point=POINTS)
    def push(self, mate, point):
        if not list_versions(self.paths[mate]):
            return
        TAKEN["push"] += 1
        self._survive(
            point,
            lambda: transfer(FolderLocation(self.paths[mate]), FolderLocation(self.paths["r"])),
        )
        self._merge_known(mate, "r")

    @rule(mate=MATES, point=POINTS)
    def pull(self, mate, point):
        if not list_versions(self.paths["r"]):
            return
        TAKEN["pull"] += 1
        source, target = FolderLocation(self.paths["r"]), self.paths[mate]
        self._survive(point, lambda: transfer(source, FolderLocation(target), is_source_first=True))
        self._merge_known("r", mate)

    @rule(place=st.sampled_from("abr"), point=POINTS)
    def compact(self, place, point):
        if list_versions(self.paths[place]):
            TAKEN["compact"] += 1
            self._survive(point, lambda: compact(self.paths[place], "test"))

    @rule(place=st.sampled_from("abr"), point=POINTS, keep=st.integers(1, 3))
    def gc(self, place, point, keep):
        if list_versions(self.paths[place]):
            TAKEN["gc"] += 1
            self._survive(point, lambda: collect(self.paths[place], keep=keep))

    @rule(
        place=st.sampled_from("abr"),
        which=st.integers(0, 10**6),
        where=st.integers(0, 10**6),
        bit=st.integers(0, 7),
    )
    def corrupt_and_repair(self, place, which, where, bit):
        path = self.paths[place]
        if not list_versions(path):
            return
        TAKEN["corrupt_and_repair"] += 1
        folders = [path / "segments" / record.segment_id for record in open_store(path).records]
        files = [path / "store.json", path / "canary/features.npy"]
        files += [
            file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()
        ]
        file = files[which % len(files)]
        content = bytearray(file.read_bytes())
        content[where % len(content)] ^= 1 << bit
        file.unlink()  # it may be linked from another place
        file.write_bytes(content)
        assert not fsck(path).ok
        repair(path, IDENTITY, CANARY)
        report = fsck(path)
        assert report.ok, report.problems
        found = self._found(place)
        hidden = set(open_store(path).deleted_ids.tolist())
        lost = [
            item
            for item, (_, value) in self.known[place].items()
            if found.get(item) != value or (value is TOMBSTONE and item not in hidden)
        ]
        mend = []
        for item in lost:
            if item[0] == place:  # its own: extraction computes it again
                clock = self._tick()
                value = TOMBSTONE if self.known[place][item][1] is TOMBSTONE else float(clock)
                self.staged[place][item] = (clock, value)
                mend.append(self._row(item, clock, value))
            elif item in found:  # an older state shows, until a pull or push brings the newest back
                self.known[place][item] = (int(found[item]), found[item])
            else:
                del self.known[place][item]
        if mend:
            self._publish(place, mend)
            self._commit_staged(place)

    @invariant()
    def every_place_holds_what_the_dict_says(self):
        for place in "abr" if hasattr(self, "folder") else "":
            expected = {
                item: value
                for item, (_, value) in self.known[place].items()
                if value is not TOMBSTONE
            }
            assert self._found(place) == expected

    def _found(self, place):
        if not list_versions(self.paths[place]):
            return {}
        opened = open_store(self.paths[place])
        report = fsck(self.paths[place])
        assert report.ok, report.problems
        return dict(zip(opened.item_ids.tolist(), opened.load()[:, 1, 7].tolist(), strict=True))

    def _tick(self):
        self.clock += 1
        return self.clock

    def _stage(self, mate, numbers):
        batch = []
        for number in numbers:
            clock = self._tick()
            self.staged[mate][f"{mate}{number}"] = (clock, float(clock))
            batch.append(self._row(f"{mate}{number}", clock, float(clock)))
        return batch

    def _row(self, item, clock, value):
        if value is TOMBSTONE:
            return ItemRow(item, None, ItemStatus.DELETED)
        return ItemRow(item, f"{clock:064x}", ItemStatus.OK, row=np.full((2, 8), value, np.float16))

    def _publish(self, mate, batch):
        journal = Journal.open(self.paths[mate], "shard 1/1")
        journal.append(batch)
        journal.publish({})
        journal.close()

    def _commit_staged(self, mate):
        self.known[mate].update(self.staged[mate])
        self.staged[mate].clear()

    def _merge_known(self, source, target):
        for item, state in self.known[source].items():
            self.known[target][item] = max(
                state, self.known[target].get(item, (0, TOMBSTONE)), key=lambda s: s[0]
            )

    def _survive(self, point, work):
        """Do the work in a child that dies at its n-th sync, rename or link; then once more, to the end."""
        if point:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if child == 0:
                _die_at(point)
                try:
                    work()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        work()


def _die_at(point):
    left = [point]

    def counting(call):
        def counted(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return counted

    for name in ("fsync", "rename", "replace", "link"):
        setattr(os, name, counting(getattr(os, name)))


@pytest.mark.slow
@pytest.mark.timeout(36_000 if IS_FULL else 1_800)
def test_any_order_of_anything():
    done = subprocess.run(
        [sys.executable, "-P", __file__], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def main():
    """Run the sequences; end with an error that names the shortest one that fails."""
    run_state_machine_as_test(
        Teammates,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.reuse, Phase.generate, Phase.shrink] if IS_FULL else [Phase.generate],
        ),
    )
    rules = {name for name, member in vars(Teammates).items() if hasattr(member, RULE_MARKER)}
    if EXAMPLES > 20:  # fewer sequences need not take every rule
        assert set(TAKEN) == rules, f"rules that did nothing: {rules - set(TAKEN)}"


if __name__ == "__main__":
    main()
