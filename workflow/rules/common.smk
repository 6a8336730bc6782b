"""Read the plan from the config once, before the first job. The rules below expand from it."""

import gc
import math
import os
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

# Use the package of this checkout, even if another checkout is installed.
sys.path.insert(0, f"{workflow.basedir}/src")

from covbench.data.datasets import TASKS, dataset_of
from covbench.data.external import external_folder
from covbench.experiment.accepted_edits import fingerprint_decisions, list_accepted
from covbench.experiment.code_fingerprint import depend_script
from covbench.experiment.config import check_config
from covbench.experiment.config_files import check_config_file
from covbench.experiment.contestants import read_contestant
from covbench.experiment.ensembles import read_ensembles
from covbench.experiment.plan import (
    duplicates_path,
    find_options,
    index_path,
    list_seeds,
    native_grids_path,
    native_masks_path,
    plan_run,
    plan_runs,
    planned_datasets,
    prepared_paths,
)
from covbench.experiment.provenance import fingerprint_inputs, fingerprint_plan
from covbench.experiment.trials import settle_run
from covbench.experiment.workflow_files import (
    group_explained,
    lesions_path,
    list_controls,
    list_duplicates,
    list_external,
    list_lungs,
    list_splits,
    list_trials,
    lungs_path,
    marks_lungs,
    seed_paths,
)
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS
from covbench.operations.mlflow.store import require_storable
from covbench.protocols import PROTOCOLS, split_rule
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError, Run
from covbench.system.files import hash_file
from covbench.system.snakemake_fixes import (
    look_once_a_second,
    quote_interpreters,
    require_usable_path,
)

# Relative to the working directory, so that a clone in another folder names the same inputs.
RESOURCES = os.path.relpath(f"{workflow.basedir}/workflow/resources")
TEMPLATES = sorted(
    os.path.relpath(path)
    for path in Path(f"{workflow.basedir}/src/covbench/reporting/templates").rglob(
        "*.*"
    )
)

# The conda environments hold the locked packages. The package covbench comes from the checkout.
os.environ.update(PYTHONPATH=f"{workflow.basedir}/src")

# The jobs of a plan are millions of objects that stay. Garbage collection took an eighth of a large dry run.
gc.set_threshold(1_000_000)


quote_interpreters()
look_once_a_second()

try:
    require_usable_path(workflow.basedir)
    for path in [*workflow.configfiles, *workflow.overwrite_configfiles]:
        check_config_file(Path(path))
    config = check_config(config)
    require_storable(config["tracking"]["uri"])
    RUNS = plan_runs(config)
except CovbenchError as mistake:
    raise WorkflowError(str(mistake))

CARDS = {
    name: read_contestant(name)
    for names in config["contestants"].values()
    for name in names
}
CONTESTANT_NAMES = "|".join(CARDS) or "no_contestant"
ENSEMBLES = read_ensembles(config)
ENSEMBLE_NAMES = "|".join(ENSEMBLES) or "no_ensemble"
SEARCHED = "|".join(name for name in PROTOCOLS if PROTOCOLS[name].searched)
TRIAL_NUMBERS = (
    "|".join(map(str, range(config["search"]["trials"])))
    if config["search"]
    else "no_trial"
)
MODELS = "|".join([*CLASSIFIERS, *SEGMENTERS, *BASELINES])

# Fingerprints instead of the whole plan as parameters of rules: Snakemake stores parameters with every output.
PLAN_ID = fingerprint_plan(RUNS)
ACCEPTED = list_accepted(map(settle_run, RUNS))
EXPLAINED = group_explained(RUNS)

CLASSIFICATION_TASKS = "|".join(
    name for name, task in TASKS.items() if task.kind == CLASSIFICATION
)
SEGMENTATION_TASKS = "|".join(
    name for name, task in TASKS.items() if task.kind == SEGMENTATION
)


wildcard_constraints:
    dataset=r"\w+",
    other=r"\w+",
    task="|".join(TASKS),
    protocol="|".join(PROTOCOLS),
    seed=r"\d+",
    size=r"\d+(-linear|-nearest)?",


def planned_for(wildcards):
    """Return what the config asks for the run of a job."""
    return planned_seed(wildcards, int(wildcards.seed))


def planned_seeds(wildcards):
    """Return what the config asks for each seed of a model, in the order of the seeds."""
    return [planned_seed(wildcards, seed) for seed in config["seeds"]]


def planned_seed(wildcards, seed):
    w = wildcards
    run = Run(w.task, w.protocol, w.architecture, seed)
    return plan_run(config, run, model_options(w))


def model_options(wildcards):
    w = wildcards
    return find_options(config, w.task, w.protocol, w.architecture)


def options_for(wildcards):
    return asdict(model_options(wildcards))


def settled_for(wildcards):
    """Return the run of a job with the rates that its search has chosen."""
    return settle_run(planned_for(wildcards))


def planned_trial(wildcards):
    """Return what the config asks for a trial of a run."""
    return planned_for(wildcards).trials[int(wildcards.trial)]


def trials_for(wildcards):
    """Name the trials that choose the rates of a run; nothing without a search."""
    return list_trials([planned_for(wildcards)])


def prepared_at(wildcards, task):
    """Return the arrays of any task by name, at the size of a model; masks too if pixels are labelled."""
    options = model_options(wildcards)
    return prepared_paths(task, options.size, options.resize)


def weights_for(wildcards):
    weights = planned_for(wildcards).inputs.weights
    return [weights] if weights else []


@cache
def fingerprint_code(script, *modules):
    """Compute the fingerprint of a script's code and packages. `modules` are those that wildcards choose."""
    return fingerprint_inputs(depend_script(script, modules))


def made_by(script, *modules):
    """Delay the fingerprint until a job is planned. A job on a cluster starts Snakemake again, for its own rule alone."""
    return lambda wildcards: fingerprint_code(script, *modules)


def seeds_of(name):
    """Name one file of every seed of a model."""
    return seed_paths("{task}", "{protocol}", "{architecture}", config["seeds"], name)


def files_of_runs(name):
    """Name one file of every run. Only `compare` reads them; later rules read its runs.csv, which plans faster."""
    return [f"{planned.run.folder}/{name}" for planned in RUNS]


def annotated_at(wildcards, task):
    """What scoring any task's segmentations reads beside what was predicted; nothing for a classification."""
    prepared = prepared_at(wildcards, task)
    if "masks" not in prepared:
        return []
    native = [native_masks_path(task), native_grids_path(task)]
    return [prepared["rows"], prepared["masks"], *native]


def lung_masks_at(wildcards):
    """Name the prepared masks of a task whose classes mark the lungs; nothing for any other."""
    w = wildcards
    return (
        [f"data/prepared/{w.task}/{w.size}/masks.npy"]
        if marks_lungs(TASKS[w.task])
        else []
    )


def masks_for(wildcards):
    """What scoring a model's segmentations needs beside their tables: predicted masks, and the annotated ones."""
    return masks_of_seeds(wildcards, config["seeds"])


def masks_of_run(wildcards):
    """The same for a single run."""
    return masks_of_seeds(wildcards, [wildcards.seed])


def masks_of_seeds(wildcards, seeds):
    w, annotated = wildcards, annotated_at(wildcards, wildcards.task)
    if not annotated:
        return []
    predicted = "predicted_masks.npz"
    return [
        *seed_paths(w.task, w.protocol, w.architecture, seeds, predicted),
        *annotated,
    ]


def explained(wildcards):
    """List the planned runs that a job explains."""
    return EXPLAINED.get((wildcards.task, wildcards.protocol), [])


def explained_by(name):
    """Name one file of every run that a job explains."""
    return lambda wildcards: [
        f"{planned.run.folder}/{name}" for planned in explained(wildcards)
    ]


def contestant_seeds(wildcards):
    """Return the seeds of a contestant from elsewhere."""
    w = wildcards
    return list_seeds(config, w.task, w.protocol, w.architecture)


def contestant_files(wildcards, name):
    """Name one file of each run of a contestant from elsewhere."""
    w = wildcards
    seeds = contestant_seeds(w)
    return seed_paths(w.task, w.protocol, w.architecture, seeds, name)


def external_masks(wildcards):
    """Name what each run of a contestant has segmented of other datasets; nothing for a classification."""
    segments = TASKS[wildcards.task].kind == SEGMENTATION
    return contestant_files(wildcards, "external_masks.npz") if segments else []


def ensemble_seeds(wildcards):
    """Return the seeds of an ensemble's own runs, and those of its members that each of them averages."""
    w, ensemble = wildcards, ENSEMBLES[wildcards.architecture]
    seeds = list_seeds(config, w.task, w.protocol, w.architecture)
    averaged = config["seeds"] if ensemble.mean_of_seeds else None
    return {seed: averaged or [seed] for seed in seeds}


def ensemble_files(wildcards, name):
    """Name one file of each of an ensemble's own runs."""
    w = wildcards
    return seed_paths(
        w.task, w.protocol, w.architecture, ensemble_seeds(wildcards), name
    )


def member_files(wildcards, name):
    """Name one file of what each member of an ensemble has predicted for another dataset."""
    w = wildcards
    return [
        f"{external_folder(w.task, w.protocol, member, w.external)}/{name}"
        for member in ENSEMBLES[w.architecture].members
    ]
