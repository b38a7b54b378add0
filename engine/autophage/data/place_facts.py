"""What a gazetteer says about places, as facts with an answer and plausible wrong ones. No choice here is random.

    subject      asked about    answer       classes by population
    cities       a city         country      ranks 1 to 300; 1,501 to 3,000; 12,001 to 24,000
    capitals     a country      capital      the largest third; the middle one; the smallest one
    currencies   a country      currency     as capitals
    continents   a country      continent    as capitals

Between the classes of cities lie ranks that belong to none. The questions are then apart in how often a text names
their places. Left out is what has no single answer: a city whose name is that of a city in another country. Left out is
what tells its answer: a name that shares a word with it (Guatemala City). Left out is what misleads: a city with a
country in its name (Lebanon, Ohio).

Wrong answers are those of countries on the same continent with the most similar population. They are kept apart by
whether the country is larger: a model that always named the largest country would else be right too often.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from autophage.data.gazetteer import REGION_ALIASES, City, Country, Gazetteer, folded

SUBJECTS = ("cities", "capitals", "currencies", "continents")
BUCKETS = ("head", "torso", "tail")
CITY_RANKS = {"head": (0, 300), "torso": (1500, 3000), "tail": (12_000, 24_000)}
"""First and last rank (exclusive) of a city by population, from 0."""
SHARED_WORD = 4
"""Letters of a word from which on two names that share it tell each other."""
CURRENCY_ALIASES = {
    "Bolivar Soberano": ("Bolivar",),
    "Krona": ("Kronor",),
    "Krone": ("Kroner",),
    "Riels": ("Riel",),
    "Shekel": ("Sheqel",),
    "Yuan Renminbi": ("Yuan", "Renminbi"),
    "Zimbabwe Gold": ("ZiG",),
}


LEAST_PEOPLE = 1000
"""Fewest people of a territory that is asked about. Smaller ones are stations and rocks."""


@dataclass(frozen=True)
class PlaceAnswer:
    """An answer: its name, the name within a sentence, and other names of the same thing."""

    name: str
    in_sentence: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fact:
    """Something that the gazetteer says about a place.

    Attributes:
        id: Subject and the place's own id, such as "capitals/FR".
        bucket: Class of the place by population: "head", "torso" or "tail".
        question: A question for the answer.
        statement: The beginning of a sentence that the answer ends.
        larger: Wrong answers about larger countries, the most plausible first.
        smaller: The same about smaller countries. All wrong answers stand here if size does not matter.
    """

    id: str
    subject: str
    bucket: str
    question: str
    statement: str
    answer: PlaceAnswer
    larger: tuple[PlaceAnswer, ...]
    smaller: tuple[PlaceAnswer, ...]

    @property
    def wrong(self) -> int:
        """Number of wrong answers."""
        return len(self.larger) + len(self.smaller)


class PlaceFacts:
    """All facts of a gazetteer that can be asked, by subject and class."""

    def __init__(self, gazetteer: Gazetteer, city_ranks: Mapping[str, tuple[int, int]] = CITY_RANKS) -> None:
        self._gazetteer, self._city_ranks = gazetteer, city_ranks
        ranked = sorted(gazetteer.countries, key=lambda one: (-one.population, one.code))
        self._countries = [one for one in ranked if one.population >= LEAST_PEOPLE]

    def of(self, subject: str, bucket: str) -> list[Fact]:
        """Return the facts of a subject about places of a class, by falling population."""
        return [fact for fact in self._facts[subject] if fact.bucket == bucket]

    def answers(self, subject: str) -> tuple[PlaceAnswer, ...]:
        """Return every answer to questions of a subject, right or wrong, each once."""
        named = {
            "cities": [_country(one) for one in self._countries],
            "capitals": [self._capital(one) for one in self._countries if one.capital],
            "currencies": [_currency(one.currency) for one in self._countries if one.currency],
            "continents": [PlaceAnswer(name, name) for name in self._gazetteer.continents],
        }
        return tuple({one.name: one for one in named[subject]}.values())

    @cached_property
    def _facts(self) -> dict[str, list[Fact]]:
        return {
            "cities": list(self._cities()),
            "capitals": list(self._about_countries("capitals")),
            "currencies": list(self._about_countries("currencies")),
            "continents": list(self._about_countries("continents")),
        }

    def _cities(self) -> Iterator[Fact]:
        homes: dict[str, set[str]] = defaultdict(set)
        for city in self._gazetteer.cities:
            homes[folded(city.name)].add(city.country)
        countries = {one.code: one for one in self._countries}
        named = {folded(one.name) for one in self._gazetteer.countries}
        ranked = sorted(self._gazetteer.cities, key=lambda one: (-one.population, one.id))
        others = {one.code: [tuple(map(_country, some)) for some in self._alike(one)] for one in self._countries}
        seen: set[str] = set()
        for rank, city in enumerate(ranked):
            name, home = folded(city.name), countries.get(city.country)
            first = name not in seen
            seen.add(name)
            bucket = next((one for one, (low, high) in self._city_ranks.items() if low <= rank < high), None)
            if bucket is None or home is None or not first or len(homes[name]) > 1:
                continue
            if any(part in named for part in _parts(name)) or tells(city.name, home.name):
                continue
            yield Fact(
                f"cities/{city.id}",
                "cities",
                bucket,
                f"In which country is the city of {city.name}?",
                f"{city.name} is a city in",
                _home(city, home),
                *others[home.code],
            )

    def _about_countries(self, subject: str) -> Iterator[Fact]:
        """Yield the facts of a subject about countries whose answer the file states and the name does not tell."""
        stated = {one.code: self._answer(subject, one) for one in self._countries}
        names = {one.code: one.name for one in self._countries}
        asked = {code: one for code, one in stated.items() if one.name and not tells(names[code], one.name)}
        for rank, country in enumerate(self._countries):
            if country.code not in asked:
                continue
            answer = asked[country.code]
            others = [[asked[one.code] for one in some if one.code in asked] for some in self._alike(country)]
            if subject != "capitals":  # neither currencies nor continents are one per country
                others = [[], [asked[one.code] for one in self._likeness(country) if one.code in asked]]
            larger, smaller = (_distinct(some, answer) for some in others)
            question, statement = _words(subject, country)
            yield Fact(
                f"{subject}/{country.code}",
                subject,
                BUCKETS[rank * len(BUCKETS) // len(self._countries)],
                question,
                statement,
                answer,
                larger,
                smaller,
            )

    def _answer(self, subject: str, country: Country) -> PlaceAnswer:
        """Return the answer about a country. Its name is empty if the file does not state it."""
        if subject == "capitals":
            return self._capital(country)
        if subject == "currencies":
            return _currency(country.currency)
        return PlaceAnswer(country.continent, country.continent)

    def _capital(self, country: Country) -> PlaceAnswer:
        names = self._city_names.get((country.code, folded(country.capital)), ())
        return PlaceAnswer(country.capital, country.capital, names)

    @cached_property
    def _city_names(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Other names of each city by its country and name. Of two cities in one country the larger has its place."""
        ranked = sorted(self._gazetteer.cities, key=lambda one: (one.population, one.id))
        return {(one.country, folded(one.name)): one.aliases for one in ranked}

    def _alike(self, country: Country) -> tuple[list[Country], list[Country]]:
        """Return the larger countries and the smaller ones, each in the order of `_likeness`."""
        others = self._likeness(country)
        return (
            [one for one in others if one.population > country.population],
            [one for one in others if one.population <= country.population],
        )

    def _likeness(self, country: Country) -> list[Country]:
        """Return the other countries: those of the same continent first, by the likeness of their population."""
        others = (one for one in self._countries if one.code != country.code)
        size = math.log(country.population)
        return sorted(
            others,
            key=lambda one: (one.continent != country.continent, abs(math.log(one.population) - size), one.code),
        )


def tells(name: str, answer: str) -> bool:
    """Return True if a name shares a word with its answer, so that it tells the answer."""
    first, second = folded(name), folded(answer)
    return any(
        word in other
        for one, other in ((first, second), (second, first))
        for word in one.split()
        if len(word) >= min(SHARED_WORD, len(one))
    )


def _words(subject: str, country: Country) -> tuple[str, str]:
    """Return the question about a country, and the beginning of the statement."""
    name = country.in_sentence
    if subject == "capitals":
        return f"What is the capital of {name}?", f"The capital of {name} is"
    if subject == "currencies":
        return f"What is the currency of {name}?", f"The currency of {name} is the"
    return f"On which continent is {name}?", f"{name[:1].upper()}{name[1:]} is on the continent of"


def _parts(name: str) -> Iterator[str]:
    """Yield each sequence of whole words of a folded name."""
    words = name.split()
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield " ".join(words[start:end])


def _distinct(others: Iterable[PlaceAnswer], answer: PlaceAnswer) -> tuple[PlaceAnswer, ...]:
    return tuple({one.name: one for one in others if one.name != answer.name}.values())


def _country(country: Country) -> PlaceAnswer:
    return PlaceAnswer(country.name, country.in_sentence, country.aliases)


def _home(city: City, country: Country) -> PlaceAnswer:
    own = _country(country)
    return replace(own, aliases=(*own.aliases, *REGION_ALIASES.get((city.country, city.region), ())))


def _currency(name: str) -> PlaceAnswer:
    return PlaceAnswer(name, name.lower(), (f"{name}s", *CURRENCY_ALIASES.get(name, ())))
