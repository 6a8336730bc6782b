"""Paths for the rules of the workflow: single files, and lists of all files that a plan asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from covbench.data.datasets import DATASETS, TASKS
from covbench.data.external import external_folder, find_external_tasks
from covbench.experiment.contestants import read_contestant
from covbench.experiment.plan import EXTERNAL, InputFiles, PlannedRun, family_of
from covbench.schema import CLASSIFICATION, SEGMENTATION, Task


def seed_paths(task: str, protocol: str, architecture: str, seeds: Iterable[int], name: str) -> list[str]:
    """Name one file of every seed of a model. Task, protocol and architecture may be wildcards.

    Args:
        task: name of the task.
        protocol: name of the protocol.
        architecture: name of the architecture or baseline.
        seeds: the seeds.
        name: name of the file in a run's folder.

    Returns:
        A path per seed, in the order of the seeds.
    """
    return [f"results/runs/{task}/{protocol}/{architecture}/{seed}/{name}" for seed in seeds]


def list_splits(plan: Iterable[PlannedRun]) -> list[str]:
    """List the splits of all runs, each once."""
    return sorted({planned.inputs.split for planned in plan})


def list_duplicates(datasets: Iterable[str]) -> list[str]:
    """List the duplicate tables within every dataset and between every two datasets of the same modality."""
    names = sorted(datasets)
    modality = {name: DATASETS[name].CARD.modality for name in names}
    return [
        f"data/duplicates/{one}/{other}.parquet"
        for one in names
        for other in names
        if one <= other and modality[one] == modality[other]
    ]


def list_external(plan: Iterable[PlannedRun], tasks: Sequence[str]) -> list[str]:
    """List the folders of every model that can be tested externally on every other planned task that fits."""
    models = dict.fromkeys(
        (planned.run.task, planned.run.protocol, planned.run.architecture) for planned in plan if is_tested(planned)
    )
    return [external_folder(*model, other) for model in models for other in find_external_tasks(model[0], tasks)]


def is_tested(planned: PlannedRun) -> bool:
    """Return whether a run is tested on other datasets: not if a contestant answers for its own alone."""
    members = planned.ensemble.members if planned.ensemble else [planned.run.architecture]
    return all(family_of(member) != EXTERNAL or read_contestant(member).external for member in members)


def list_trials(plan: Iterable[PlannedRun]) -> list[str]:
    """List the manifests of all trials of the runs."""
    return [f"{trial.run.folder}/manifest.json" for planned in plan for trial in planned.trials]


def controls_folder(task: str, protocol: str, architecture: str) -> str:
    """Name the folder of what a network predicts for altered images. All three may be wildcards.

    Args:
        task: of the network.
        protocol: of the network.
        architecture: of the network.

    Returns:
        The folder, relative to the working directory.
    """
    return f"results/controls/{task}/{protocol}/{architecture}"


def list_controlled(plan: Iterable[PlannedRun]) -> list[PlannedRun]:
    """List the runs with shortcut controls: networks of a classification. Nothing else can predict altered images."""
    return [planned for planned in plan if planned.is_deep and TASKS[planned.run.task].kind == CLASSIFICATION]


def list_controls(plan: Iterable[PlannedRun]) -> list[str]:
    """List the folders of the shortcut controls of all networks, each once."""
    runs = (planned.run for planned in list_controlled(plan))
    return list(dict.fromkeys(controls_folder(run.task, run.protocol, run.architecture) for run in runs))


def marks_lungs(task: Task) -> bool:
    """Return whether the masks of a task mark all of the lungs: as a class, and lesions inside them."""
    return task.kind == SEGMENTATION and any("lung" in name for name in task.classes)


def lungs_path(inputs: InputFiles) -> str:
    """Name the lungs of a run's prepared images, which lie beside these."""
    return f"{inputs.images.removesuffix('images.npy')}lungs.npy"


def lesions_path(inputs: InputFiles) -> str:
    """Name the lesions of a run's prepared images, which lie beside these."""
    return f"{inputs.images.removesuffix('images.npy')}lesions.npz"


def list_lungs(plan: Sequence[PlannedRun]) -> list[str]:
    """List the tables on the lungs of images: of all runs with shortcut controls, and where masks mark the lungs."""
    marked = [planned for planned in plan if marks_lungs(TASKS[planned.run.task])]
    paths = (lungs_path(planned.inputs) for planned in [*list_controlled(plan), *marked])
    return sorted({f"{path.removesuffix('.npy')}.parquet" for path in paths})


def group_explained(plan: Sequence[PlannedRun]) -> dict[tuple[str, str], list[PlannedRun]]:
    """Group the classification networks by task and protocol. Returns the runs of their lowest planned seed."""
    lowest = min((planned.run.seed for planned in plan), default=0)
    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for planned in plan:
        run = planned.run
        if planned.is_deep and run.seed == lowest and TASKS[run.task].kind == CLASSIFICATION:
            groups.setdefault((run.task, run.protocol), []).append(planned)
    return groups
