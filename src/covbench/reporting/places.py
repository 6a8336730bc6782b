"""Where pages and cards lie in the report's folder, so that each can link the others."""

from __future__ import annotations

from covbench.reporting.wording import slug


def locate_model(task: str, protocol: str, architecture: str) -> str:
    """Path of a model's page in the report's folder.

    Args:
        task: Name of the task.
        protocol: Name of the protocol.
        architecture: Name of the model.

    Returns:
        The path, made of harmless characters.
    """
    return f"models/{_name_model(task, protocol, architecture)}.html"


def locate_model_card(task: str, protocol: str, architecture: str) -> str:
    """Path of a model's card in the report's folder.

    Args:
        task: Name of the task.
        protocol: Name of the protocol.
        architecture: Name of the model.

    Returns:
        The path, made of harmless characters.
    """
    return f"cards/models/{_name_model(task, protocol, architecture)}.md"


def _name_model(task: str, protocol: str, architecture: str) -> str:
    return "/".join(map(slug, (task, protocol, architecture)))


def locate_dataset_card(dataset: str) -> str:
    """Path of a dataset's card in the report's folder."""
    return f"cards/datasets/{slug(dataset)}.json"
