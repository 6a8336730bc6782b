"""Turn the config into the list of planned runs, before the first job and without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.data.external import find_external_tasks
from covbench.data.sources.pretrained_weights import weights_file
from covbench.experiment.contestants import read_contestant, stored_path
from covbench.experiment.ensembles import Ensemble, read_ensembles
from covbench.experiment.search import list_options
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS, architecture
from covbench.protocols import PROTOCOLS, Options, resolve_options, split_rule
from covbench.schema import SEGMENTATION, Run, Trial

Config = Mapping[str, Any]

DEEP, BASELINE, EXTERNAL, ENSEMBLE = "deep", "baseline", "external", "ensemble"


@dataclass(frozen=True)
class Settings:
    """The keys of the config that decide every training of a network."""

    deterministic: bool
    precision: str
    threads: int


@dataclass(frozen=True)
class InputFiles:
    """The files that a run reads, relative to the working directory.

    masks: None for a classification. weights: None for a network that starts from random weights. predicted: name
    and path of each file that the members of an ensemble have predicted. external: the same of each file of another
    dataset that a contestant is shown, as list_external_files.
    """

    split: str
    images: str
    rows: str
    masks: str | None = None
    weights: str | None = None
    predicted: tuple[tuple[str, str], ...] = ()
    external: tuple[tuple[str, str], ...] = ()

    @property
    def by_name(self) -> dict[str, str]:
        """The files of this run by name, without those that it does not read."""
        single = {name: path for name, path in vars(self).items() if isinstance(path, str)}
        return single | dict(self.predicted) | dict(self.external)

    @property
    def prepared(self) -> list[str]:
        """The prepared arrays: images, their rows, and the masks of a segmentation."""
        return [path for path in (self.images, self.rows, self.masks) if path is not None]


@dataclass(frozen=True)
class PlannedRun:
    """A run as the config asks for it.

    family: DEEP, BASELINE, EXTERNAL or ENSEMBLE. options: None unless a network is trained; only that uses options and
    settings. ensemble: None unless the family is ENSEMBLE. arguments: words for the command of a contestant from
    elsewhere. trials: of a search, which decides the rates in the options; empty if nothing is searched.
    """

    run: Run
    family: str
    options: Options | None
    settings: Settings
    inputs: InputFiles
    ensemble: Ensemble | None = None
    arguments: str = ""
    trials: tuple[PlannedRun, ...] = ()

    @property
    def is_deep(self) -> bool:
        """Whether a network is trained."""
        return self.family == DEEP

    def describe(self) -> dict[str, Any]:
        """Describe the run in plain JSON values, for fingerprints and for other processes.

        This has to be fast, because a plan can have thousands of runs.
        """
        described = {
            **vars(self.run),
            "folder": self.run.folder,
            "family": self.family,
            "options": dict(vars(decided))
            if (decided := self.options or self.ensemble)
            else describe_words(self.arguments),
            "settings": dict(vars(self.settings)) if self.is_deep else {},
            "files": self.inputs.by_name,
        }
        return described | ({"trials": [dict(vars(trial.options)) for trial in self.trials]} if self.trials else {})


def plan_runs(config: Config) -> list[PlannedRun]:
    """List every cell of the grid: task x protocol x (architecture or baseline of the task's kind) x seed."""
    return [
        plan_run(config, Run(task, protocol, name, seed), options)
        for task, protocol in product(config["tasks"], config["protocols"])
        for name in _contestants(config, task)
        for options in [find_options(config, task, protocol, name)]
        for seed in list_seeds(config, task, protocol, name)
    ]


def plan_run(config: Config, run: Run, options: Options) -> PlannedRun:
    """Plan one cell of the grid, whether or not the config names it.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        run: the cell.
        options: of its task, protocol and architecture, as find_options returns them.

    Returns:
        What the config asks of this run. If no network is trained, it keeps only the image size of the options, in its
        input files.
    """
    ensemble = read_ensembles(config).get(run.architecture)
    family = ENSEMBLE if ensemble else family_of(run.architecture)
    prepared = prepared_paths(run.task, options.size, options.resize)
    files = InputFiles(
        split=split_path(run),
        images=prepared["images"],
        rows=prepared["rows"],
        masks=prepared.get("masks"),
        weights=_weights_path(config, run, family),
        predicted=_predicted_paths(config, run, ensemble) if ensemble else (),
        external=_external_paths(config, run, options) if family == EXTERNAL else (),
    )
    settings = Settings(config["deterministic"], config["precision"], config["threads"])
    words = choose_arguments(config, run.architecture) if family == EXTERNAL else ""
    planned = PlannedRun(run, family, options if family == DEEP else None, settings, files, ensemble, words)
    return replace(planned, trials=tuple(_plan_trials(config, planned)))


def _plan_trials(config: Config, planned: PlannedRun) -> Iterator[PlannedRun]:
    """Plan the search of a run: the same training with other rates; none where the rates are the protocol's own."""
    search, run = config.get("search"), planned.run
    if search and planned.options and PROTOCOLS[run.protocol].searched:
        listed = list_options(planned.options, search["trials"], search["factors"], run.seed)
        for number, options in enumerate(listed):
            yield replace(planned, run=Trial(**vars(run), trial=number), options=options)


def choose_arguments(config: Config, name: str) -> str:
    """Choose the words for the command of a contestant from elsewhere: those of the config, or else its own."""
    own: str = read_contestant(name).arguments
    return str(config.get("arguments", {}).get(name, own))


def describe_words(arguments: str) -> dict[str, str]:
    """Describe the words for a command as options of a run; empty if there are none."""
    return {"arguments": arguments} if arguments else {}


def _predicted_paths(config: Config, run: Run, ensemble: Ensemble) -> tuple[tuple[str, str], ...]:
    seeds = _common_seeds(config, run.task, run.protocol, ensemble) if ensemble.mean_of_seeds else [run.seed]
    names = ["predictions.parquet"] + ["predicted_masks.npz"] * (TASKS[run.task].kind == SEGMENTATION)
    members = [Run(run.task, run.protocol, member, seed) for member, seed in product(ensemble.members, seeds)]
    return tuple(
        (f"{member.architecture}/{member.seed}/{name}", f"{member.folder}/{name}")
        for member in members
        for name in names
    )


def _external_paths(config: Config, run: Run, options: Options) -> tuple[tuple[str, str], ...]:
    """Name the files of other datasets that a contestant is shown; none unless its card asks for them."""
    asked = read_contestant(run.architecture).external
    return tuple(list_external_files(config, run.task, options).items()) if asked else ()


def list_external_files(config: Config, task: str, options: Options) -> dict[str, str]:
    """List the files of other datasets that decide which of their images are new to a task's models, and these images.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        task: the models' task.
        options: of the models, for the size of the images.

    Returns:
        For each planned task that fits, the paths by TASK/index, TASK/duplicates, TASK/within, TASK/images, TASK/rows
        and TASK/masks.
    """
    found: dict[str, str] = {}
    for other in find_external_tasks(task, config["tasks"]):
        files = {"index": index_path(other), "duplicates": duplicates_path(task, other)}
        files |= {"within": duplicates_path(other, other)} | prepared_paths(other, options.size, options.resize)
        found |= {f"{other}/{name}": path for name, path in files.items()}
    return found


def _common_seeds(config: Config, task: str, protocol: str, ensemble: Ensemble) -> list[int]:
    """List the seeds that every member of an ensemble has."""
    seeds = [list_seeds(config, task, protocol, member) for member in ensemble.members]
    return [seed for seed in config["seeds"] if all(seed in others for others in seeds)]


def _contestants(config: Config, task: str) -> list[str]:
    kind, networks, others = TASKS[task].kind, config["architectures"], config["contestants"]
    listed = [*networks.get(kind, []), *networks.get(task, []), *others.get(kind, []), *others.get(task, [])]
    listed += config["baselines"].get(kind, [])
    together = [name for name, ensemble in read_ensembles(config).items() if {*ensemble.members} <= {*listed}]
    return listed + together


def family_of(name: str) -> str:
    """Return the family of a contestant by its name: what is neither a network nor a baseline is from elsewhere."""
    if name in BASELINES:
        return BASELINE
    return DEEP if name in CLASSIFIERS or name in SEGMENTERS else EXTERNAL


def list_seeds(config: Config, task: str, protocol: str, name: str) -> list[int]:
    """List the planned seeds of a contestant.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        task: name of the task.
        protocol: name of the protocol.
        name: of the contestant.

    Returns:
        The seeds of the config, without those for which a contestant without a command has stored no predictions. An
        ensemble has the seeds that all its members have. If their answers are averaged too, it has the first of them,
        and none where each seed has other test images.
    """
    seeds: list[int] = config["seeds"]
    if ensemble := read_ensembles(config).get(name):
        common = _common_seeds(config, task, protocol, ensemble)
        if not ensemble.mean_of_seeds:
            return common
        return common[:1] if len(common) == 1 or shares_test_fold(task, protocol) else []
    if family_of(name) != EXTERNAL or (card := read_contestant(name)).command:
        return seeds
    return [seed for seed in seeds if stored_path(card, Run(task, protocol, name, seed))]


def shares_test_fold(task: str, protocol: str) -> bool:
    """Say whether all seeds test the same images: those of the authors' own split."""
    rule = split_rule(protocol, TASKS[task])
    return (rule.base or rule).official and DATASETS[dataset_of(task)].CARD.official_split


def find_options(config: Config, task: str, protocol: str, architecture: str) -> Options:
    """Find the options of a model.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        task: name of the task.
        protocol: name of the protocol.
        architecture: name of the network or baseline. A baseline takes the image size that most networks have.

    Returns:
        The options, with the changes of the config.

    Raises:
        CovbenchError: two options exclude each other.
    """
    return resolve_options(protocol, TASKS[task], config["options"], architecture)


def split_path(run: Run) -> str:
    """Return the path of a run's split, which its task, protocol and seed decide."""
    return f"data/splits/{run.task}/{run.protocol}/{run.seed}.parquet"


def index_path(task: str) -> str:
    """Return the path of the index of a task's dataset."""
    return f"data/index/{dataset_of(task)}.parquet"


def duplicates_path(task: str, other: str) -> str:
    """Return the path of the duplicates between the datasets of two tasks, in alphabetical order, or within one."""
    one, two = sorted((dataset_of(task), dataset_of(other)))
    return f"data/duplicates/{one}/{two}.parquet"


def prepared_paths(task: str, size: int, resize: str) -> dict[str, str]:
    """Name the files of a task's prepared arrays.

    Args:
        task: name of the task.
        size: side of the images, pixels.
        resize: how they were brought to this size, a name of covbench.data.resizing.RESIZES.

    Returns:
        The paths by name: images, rows, and the masks of a segmentation.
    """
    folder = f"data/prepared/{task}/{size}" + ("" if resize == "antialias" else f"-{resize}")
    paths = {"images": f"{folder}/images.npy", "rows": f"{folder}/rows.parquet"}
    return paths | ({"masks": f"{folder}/masks.npy"} if TASKS[task].kind == SEGMENTATION else {})


def native_masks_path(task: str) -> str:
    """Return the path of a segmentation task's masks on their stored grids, whatever the size of its arrays."""
    return f"data/prepared/{task}/native_masks.npz"


def native_grids_path(task: str) -> str:
    """Return the path of the table of these grids."""
    return f"data/prepared/{task}/native_grids.parquet"


def _weights_path(config: Config, run: Run, family: str) -> str | None:
    key = architecture(run.architecture).weights if family == DEEP else None
    if not key or config["weights"] == "none":
        return None
    return f"data/weights/{weights_file(key, tuple(config['weights'].get('substitutes', ())))}"


def planned_datasets(config: Config) -> list[str]:
    """List the datasets that the tasks need, each once, in the order of the tasks."""
    return list(dict.fromkeys(dataset_of(task) for task in config["tasks"]))
