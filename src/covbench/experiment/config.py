"""Check a config before the first job. An error lists every mistake with its key and the nearest known name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from covbench.data.datasets import TASKS
from covbench.data.sources.pretrained_weights import list_substitutes
from covbench.experiment.config_files import check_config_file
from covbench.experiment.contestants import list_contestants, read_contestant
from covbench.experiment.ensembles import find_mistakes, read_ensembles
from covbench.experiment.plan import shares_test_fold
from covbench.experiment.shapes import check_shape, suggest
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS
from covbench.protocols import PROTOCOLS
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError
from covbench.system.energy import read_grid
from covbench.system.files import PROJECT

SCHEMA = PROJECT / "workflow" / "schemas" / "config.schema.yaml"

LEVELS = (CLASSIFICATION, SEGMENTATION, *TASKS)
"""What networks and options are given for: a kind of task, or one task."""
HEADS = {
    CLASSIFICATION: ("dense_512_64", "pooled_logits", "average_pool"),
    SEGMENTATION: ("softmax_map", "background_sigmoid"),
}

Config = dict[str, Any]


def read_config(configfile: Path | None = None) -> Config:
    """Read and check the config that `snakemake --configfile` would see: the file merged into config/config.yaml.

    Raises CovbenchError for a file that cannot be read. The error lists every mistake in the config.
    """
    if configfile is not None:
        check_config_file(configfile)
    try:
        config: Config = load_configfile(PROJECT / "config" / "config.yaml")
        if configfile is not None:
            update_config(config, load_configfile(configfile))
    except WorkflowError as error:
        raise CovbenchError(f"{configfile or 'config/config.yaml'}: {' '.join(str(error).split())}") from error
    return check_config(config)


def check_config(config: Mapping[str, Any], schema_path: Path = SCHEMA) -> Config:
    """Return the config with defaults filled in. Raises CovbenchError that lists every mistake."""
    checked = check_shape(config, schema_path, "config")
    mistakes = [*_unknown_names(checked), *_unknown_levels(checked)]
    mistakes = mistakes or [*_misfits(checked), *_misplaced_search(checked), *_bad_contestants(checked)]
    mistakes = mistakes or [*find_mistakes(checked, _all_names(checked)), *_unshared_seeds(checked)]
    if mistakes:
        raise CovbenchError("config: " + "\nconfig: ".join(mistakes))
    return checked


def _unknown_names(config: Config) -> Iterator[str]:
    baselines = {
        kind: [name for name in BASELINES if BASELINES[name] == kind] for kind in (CLASSIFICATION, SEGMENTATION)
    }
    known: dict[str, tuple[list[str], list[str]]] = {
        "tasks": (config["tasks"], list(TASKS)),
        "protocols": (config["protocols"], list(PROTOCOLS)),
        **{
            f"architectures.{level}": (names, list(CLASSIFIERS if _kind_of(level) == CLASSIFICATION else SEGMENTERS))
            for level, names in config["architectures"].items()
            if level in LEVELS
        },
        **{
            f"contestants.{level}": (names, list_contestants())
            for level, names in config["contestants"].items()
            if level in LEVELS
        },
        "baselines.classification": (config["baselines"][CLASSIFICATION], baselines[CLASSIFICATION]),
        "baselines.segmentation": (config["baselines"][SEGMENTATION], baselines[SEGMENTATION]),
        "weights.substitutes": (_substitutes(config), [weights.key for weights in list_substitutes()]),
        "energy.country": ([country] if (country := config["energy"]["country"]) else [], list(read_grid())),
    }
    for key, (names, choices) in known.items():
        for name in names:
            if name not in choices:
                yield f"{key}: unknown name '{name}'; {_other_kind(key, name) or suggest(name, choices)}"


def _kind_of(level: str) -> str:
    """Return the kind of a level of the config, which is a kind itself or the name of a task."""
    return TASKS[level].kind if level in TASKS else level


def _substitutes(config: Config) -> list[str]:
    names: list[str] = [] if config["weights"] == "none" else config["weights"]["substitutes"]
    return names


def _other_kind(key: str, name: str) -> str:
    family, level = key.split(".") if "." in key else ("", "")
    kind = _kind_of(level)
    if family == "architectures" and BASELINES.get(name) == kind:
        return f"it is a baseline; move it to baselines.{kind}"
    if family == "baselines" and name in (CLASSIFIERS if kind == CLASSIFICATION else SEGMENTERS):
        return f"it is no baseline; move it to architectures.{kind}"
    if kind == CLASSIFICATION and (name in SEGMENTERS or BASELINES.get(name) == SEGMENTATION):
        return f"it segments; move it to {family}.{SEGMENTATION}"
    if kind == SEGMENTATION and (name in CLASSIFIERS or BASELINES.get(name) == CLASSIFICATION):
        return f"it classifies; move it to {family}.{CLASSIFICATION}"
    return ""


def _unknown_levels(config: Config) -> Iterator[str]:
    for family in ("architectures", "contestants"):
        for level in config[family]:
            if level not in LEVELS:
                yield f"{family}.{level}: neither a kind of task nor a task; {suggest(level, LEVELS)}"
    for protocol, changes in config["options"].items():
        if protocol not in PROTOCOLS:
            yield f"options.{protocol}: unknown protocol; {suggest(protocol, list(PROTOCOLS))}"
        elif repeated := PROTOCOLS[protocol].repeats:
            yield f"options.{protocol}: it has the options of {repeated}; write changes under options.{repeated}"
        for level in changes:
            if level not in LEVELS:
                yield f"options.{protocol}.{level}: neither a kind of task nor a task; {suggest(level, LEVELS)}"


def _misfits(config: Config) -> Iterator[str]:
    """Find known names that do not fit together."""
    for family in ("architectures", "contestants"):
        for task, further in config[family].items():
            for name in {*further} & {*config[family][_kind_of(task)]} if task in TASKS else ():
                yield f"{family}.{task}: {name} is in {family}.{_kind_of(task)} already; list it once"
    for kind in dict.fromkeys(TASKS[name].kind for name in config["tasks"]):
        if not any(config[family][kind] for family in ("architectures", "contestants", "baselines")):
            yield f"tasks: a {kind} task, but architectures.{kind}, contestants.{kind} and baselines.{kind} are empty"
    for protocol, changes in config["options"].items():
        for level, options in changes.items():
            kind = _kind_of(level)
            if "head" in options and options["head"] not in HEADS[kind]:
                yield (
                    f"options.{protocol}.{level}.head: {options['head']!r} does not suit {kind}; "
                    f"known: {', '.join(HEADS[kind])}"
                )


def _misplaced_search(config: Config) -> Iterator[str]:
    """Find a search that draws from no range, or that no planned protocol uses."""
    if config["search"] is None:
        return
    low, high = config["search"]["factors"]
    if low >= high:
        yield f"search.factors: {low} is not below {high}; write the smaller factor first"
    searched = [name for name in PROTOCOLS if PROTOCOLS[name].searched]
    if not {*searched} & {*config["protocols"]}:
        yield f"search: no planned protocol is searched; add {' or '.join(searched)} to protocols, or remove search"


def _unshared_seeds(config: Config) -> Iterator[str]:
    """Find ensembles of seeds that no planned task lets answer together."""
    cells = product(config["tasks"], config["protocols"])
    if len(config["seeds"]) == 1 or any(shares_test_fold(task, protocol) for task, protocol in cells):
        return
    for name, ensemble in read_ensembles(config).items():
        if ensemble.mean_of_seeds:
            yield f"ensembles.{name}: each seed of the planned tasks has other test images; write seeds: each"


def _all_names(config: Config) -> set[str]:
    families = (config[family] for family in ("architectures", "contestants", "baselines"))
    return {name for levels in families for names in levels.values() for name in names}


def _bad_contestants(config: Config) -> Iterator[str]:
    """Find contestants whose folder is wrong, or that are listed for another kind of task than theirs."""
    for level, names in config["contestants"].items():
        for name in names:
            try:
                card = read_contestant(name)
            except CovbenchError as error:
                yield f"contestants.{level}: {error}"
                continue
            if card.kind != _kind_of(level):
                yield f"contestants.{level}: {name} is for {card.kind}; move it to contestants.{card.kind}"
    named = {name for names in config["contestants"].values() for name in names}
    for name in config["arguments"]:
        if name not in named:
            yield f"arguments.{name}: no contestant of this config; {suggest(name, sorted(named))}"
