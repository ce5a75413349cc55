from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MOST_PACKAGES = 15


def brought_by(name, extras=()):
    """Return the names of all distributions that installing one brings, itself included."""
    brought, waiting = set(), [(canonicalize_name(name), frozenset(extras))]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in brought:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform, or an extra that is not asked for
        brought.add((name, extras))
        for text in requires:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in (*extras, "")]
            if requirement.marker is None or any(map(requirement.marker.evaluate, environments)):
                waiting.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in brought}


def test_the_service_adds_at_most_fifteen_packages_to_a_trainers_installation():
    added = brought_by("crossan", ["service"]) - brought_by("crossan")

    assert {"fastapi", "uvicorn", "cronsim"} <= added
    assert len(added) <= MOST_PACKAGES, sorted(added)
