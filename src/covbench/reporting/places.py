"""Where pages and cards lie in the report's folder, so that each can link the others."""

from __future__ import annotations

from covbench.reporting.wording import slug


def locate_model(*model: str) -> str:
    """Path of a model's page in the report's folder, of harmless characters. model: task, protocol and architecture."""
    return f"models/{'/'.join(map(slug, model))}.html"


def locate_model_card(*model: str) -> str:
    """Path of a model's card, as locate_model that of its page."""
    return f"cards/models/{'/'.join(map(slug, model))}.md"


def locate_dataset_card(dataset: str) -> str:
    """Path of a dataset's card in the report's folder."""
    return f"cards/datasets/{slug(dataset)}.json"
