"""Ensembles of the config: which contestants answer together, and how their answers count."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from covbench.experiment.contestants import NAME, NAME_RULE, list_contestants
from covbench.experiment.shapes import suggest
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS


@dataclass(frozen=True)
class Ensemble:
    """Contestants that answer together.

    members: their names. weights: one for each. mean_of_seeds: whether the seeds of all members answer together too.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    mean_of_seeds: bool


def read_ensembles(config: Mapping[str, Any]) -> dict[str, Ensemble]:
    """Read the ensembles of a checked config, by name."""
    return {name: _read(entry) for name, entry in config.get("ensembles", {}).items()}


def _read(entry: Sequence[str] | Mapping[str, Any]) -> Ensemble:
    keys = entry if isinstance(entry, Mapping) else {"members": entry}
    members = tuple(keys["members"])
    weights = tuple(float(weight) for weight in keys.get("weights", [1.0] * len(members)))
    return Ensemble(members, weights, keys.get("seeds", "each") == "mean")


def find_mistakes(config: Mapping[str, Any], planned: Collection[str]) -> Iterator[str]:
    """Find what is wrong with the ensembles of a config.

    Args:
        config: with the shape that the schema asks for.
        planned: names of all other contestants of the config.

    Yields:
        The mistakes.
    """
    taken = {*CLASSIFIERS, *SEGMENTERS, *BASELINES, *list_contestants()}
    for name, ensemble in read_ensembles(config).items():
        key = f"ensembles.{name}"
        if not NAME.fullmatch(name):
            yield f"{key}: {NAME_RULE}"
        if name in taken:
            yield f"{key}: a network, baseline or contestant has this name; choose another"
        if len(ensemble.weights) != len(ensemble.members):
            yield f"{key}.weights: {len(ensemble.weights)} weights for {len(ensemble.members)} members; write one each"
        if len(ensemble.members) == 1 and not ensemble.mean_of_seeds:
            yield f"{key}: one member is no ensemble; name two, or write seeds: mean"
        for member in ensemble.members:
            if member not in planned:
                yield f"{key}: {member!r} is no planned contestant; {suggest(member, sorted(planned))}"
