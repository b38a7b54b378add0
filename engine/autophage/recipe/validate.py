"""Validation of a document against the schema, its sweep, gates and remedies. All faults are reported in one message.

`consistency` checks whether valid values go together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ValidationError

from autophage.recipe.explain import from_pydantic
from autophage.recipe.keys import REMEDIES, SWEEP
from autophage.recipe.remedies import check_bundles
from autophage.recipe.schema import Recipe
from autophage.recipe.sweeps import check_values
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.faults import Fault, raise_faults
from autophage.recipe.syntax.literals import toml_value
from autophage.recipe.tables.gate import GATE
from autophage.recipe.written_gates import check_gates


def validate(document: TomlDocument, faults: Iterable[Fault]) -> Recipe:
    """Return the recipe that `document` describes.

    Args:
        faults: Faults that were found before, to report with the others.

    Raises:
        RecipeError: `faults` is not empty, or the document has faults of its own. The message lists both.
    """
    sweep, sweep_faults = check_values(document)
    gates, gate_faults = check_gates(document, document.data.get(GATE, []))
    bundles, bundle_faults = check_bundles(document, sweep)
    found = [*document.faults, *faults, *sweep_faults, *gate_faults, *bundle_faults]
    recipe = None
    try:
        recipe = Recipe.model_validate({**document.data, SWEEP: sweep, GATE: gates, REMEDIES: bundles})
    except ValidationError as error:
        if document.empty and "name" not in document.data:
            remedy = f"write at least: name = {toml_value(_a_name(document))}"
            found.append(Fault(document.key_location(()), "the file is empty, but a recipe needs a name", (remedy,)))
        else:
            errors = error.errors(include_url=False)
            found += from_pydantic(errors, document, _a_name(document))
    raise_faults(found)
    assert recipe is not None
    return recipe


def _a_name(document: TomlDocument) -> str:
    """Return a valid name for a run, made from the name of the recipe file."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", document.path.stem).lstrip("._-")
    return stem[:64] or "my-run"
