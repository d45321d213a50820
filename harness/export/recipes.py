"""What each recipe does (see docs/recipes.md)."""

from __future__ import annotations


def parse_recipe(recipe: str) -> list[str]:
    """Placeholder shape: split a recipe into its steps; raises ValueError for an unknown one."""
    return recipe.split("+")
