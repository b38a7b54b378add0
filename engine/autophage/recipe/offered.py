"""Entry points of installed packages: gates and makers, built-in ones and plug-ins alike.

This module knows groups and names. The caller checks the type of a loaded object. A module is imported by `load_offer` alone.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


class OfferError(ValueError):
    """No package, or more than one, offers a name; or the offered module cannot be imported."""


def offered(group: str) -> dict[str, list[EntryPoint]]:
    """Return the entry points of a group of installed packages, by name.

    A name has several entry points if packages disagree.
    """
    found: dict[str, list[EntryPoint]] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        offers = found.setdefault(point.name, [])
        if point.value not in [other.value for other in offers]:
            offers.append(point)
    return found


def find_offer(group: str, name: str, what: str) -> EntryPoint:
    """Return the only entry point of a group that is called `name`.

    Args:
        what: Word for a member of the group, for messages.

    Raises:
        OfferError: no package offers the name, or several do.
    """
    offers = offered(group).get(name, [])
    if not offers:
        raise OfferError(f"no installed package offers this {what}")
    if len(offers) > 1:
        raise OfferError(f"several packages offer a {what} of this name: {' and '.join(map(origin, offers))}")
    return offers[0]


def load_offer(point: EntryPoint) -> object:
    """Import and return the object of an entry point.

    Raises:
        OfferError: the import fails.
    """
    try:
        found: object = point.load()
    except Exception as error:  # a plug-in's import can raise anything
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OfferError(f"{origin(point)} cannot be imported: {said}") from error
    return found


def origin(point: EntryPoint) -> str:
    """Return the module, object and package of an entry point as one text, for messages."""
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"{point.value}{package}"
