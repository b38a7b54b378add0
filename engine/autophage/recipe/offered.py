"""What installed packages offer by entry points: gates and makers, built-in ones and plug-ins alike.

Knows groups and names; what may stand behind them is the matter of whoever asks. A module is imported when it is loaded.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


class OfferError(ValueError):
    """Nothing is offered under a name, or what is offered cannot be had."""


def offered(group: str) -> dict[str, list[EntryPoint]]:
    """What is offered under each name; more than one where packages disagree."""
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        offers = found.setdefault(point.name, [])
        if point.value not in [other.value for other in offers]:
            offers.append(point)
    return found


def find_offer(group: str, name: str, what: str) -> EntryPoint:
    """The one offer under `name`; `what` is a word for things of this group.

    Raises:
        OfferError: no package offers it, or several do.
    """
    offers = offered(group).get(name, [])
    if not offers:
        raise OfferError(f"no installed package offers such a {what}")
    if len(offers) > 1:
        raise OfferError(f"several packages offer a {what} of this kind: {' and '.join(map(origin, offers))}")
    return offers[0]


def load_offer(point: EntryPoint) -> object:
    """What stands behind an offer; `OfferError` where it cannot be imported."""
    try:
        found: object = point.load()
    except Exception as error:  # importing somebody else's module can fail in any way
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OfferError(f"{origin(point)} cannot be imported: {said}") from error
    return found


def origin(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"{point.value}{package}"
