"""The plan: read from the config once, before the first job; the rules below expand from it."""

import gc
import os
import sys
from dataclasses import asdict
from pathlib import Path

# The package of this checkout, also where another checkout is the installed one.
sys.path.insert(0, f"{workflow.basedir}/src")

from covbench.experiment.config import check_config
from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.experiment.code_fingerprint import depend_script
from covbench.data.external import find_external_tasks, external_folder
from covbench.experiment.provenance import decide_inputs, fingerprint_inputs
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS
from covbench.experiment.plan import (
    describe_plan,
    describe_planned,
    input_files,
    is_baseline,
    plan_runs,
    planned_datasets,
    resolve_all,
)
from covbench.protocols import PROTOCOLS, split_rule
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError, Run
from covbench.system.snakemake_fixes import quote_interpreters

# From where Snakemake runs, so that a clone elsewhere names the same inputs.
RESOURCES = os.path.relpath(f"{workflow.basedir}/workflow/resources")
TEMPLATES = sorted(
    os.path.relpath(path)
    for path in Path(f"{workflow.basedir}/src/covbench/reporting/templates").rglob(
        "*.*"
    )
)

# Environments of --software-deployment-method conda hold the lock; the package itself comes from the checkout.
os.environ.update(PYTHONPATH=f"{workflow.basedir}/src")

# Jobs of a plan are millions of objects that stay: looking for garbage among them took an eighth of a large dry run.
gc.set_threshold(1_000_000)


quote_interpreters()

try:
    config = check_config(config)
    RUNS = plan_runs(config)
    # Stands for the plan among a rule's parameters: Snakemake notes those with every output.
    PLAN_ID = fingerprint_inputs({"plan": describe_plan(config)})
    OPTIONS = resolve_all(config)
except CovbenchError as mistake:
    raise WorkflowError(str(mistake))


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
    size=r"\d+",


def index_of(wildcards):
    return f"data/index/{dataset_of(wildcards.task)}.parquet"


def duplicates_within(wildcards):
    dataset = dataset_of(wildcards.task)
    return f"data/duplicates/{dataset}/{dataset}.parquet"


def run_of(wildcards):
    return Run(
        wildcards.task, wildcards.protocol, wildcards.architecture, int(wildcards.seed)
    )


def options_for(wildcards):
    return OPTIONS[wildcards.task, wildcards.protocol]


def files_for(wildcards):
    return input_files(config, run_of(wildcards), options_for(wildcards)["size"])


def prepared_of(files):
    return [files[name] for name in ("images", "rows", "masks") if name in files]


def prepared_for(wildcards):
    """The arrays that a run reads; masks too where pixels are labelled."""
    return prepared_of(files_for(wildcards))


def files_at(wildcards, task):
    """The files of any task at the size that a model takes."""
    run = Run(task, wildcards.protocol, wildcards.architecture, config["seeds"][0])
    return input_files(config, run, options_for(wildcards)["size"])


def prepared_external(wildcards):
    return prepared_of(files_at(wildcards, wildcards.external))


def duplicates_across(wildcards):
    one, other = sorted(
        dataset_of(task) for task in (wildcards.task, wildcards.external)
    )
    return f"data/duplicates/{one}/{other}.parquet"


def weights_for(wildcards):
    files = files_for(wildcards)
    return [files["weights"]] if "weights" in files else []


def decided_by(wildcards):
    """The fingerprint of all that decides a run but its files: Snakemake sees no edited module and no edited lock."""
    run = run_of(wildcards)
    planned = describe_planned(config, run, options_for(wildcards))
    return fingerprint_inputs(
        decide_inputs(run, planned["options"], planned["settings"])
    )


def made_by(script, *modules):
    """The fingerprint of a script's own modules and pins; `modules`: those that it finds by the job's wildcards."""
    return fingerprint_inputs(depend_script(script, modules))


def index_made_by(wildcards):
    return made_by("index", f"covbench.data.datasets.{wildcards.dataset}")


def split_rule_for(wildcards):
    return asdict(split_rule(wildcards.protocol, TASKS[wildcards.task]))


def seeds_of(name):
    """A file of every seed of a model."""
    folder = "results/runs/{{task}}/{{protocol}}/{{architecture}}"
    return expand(f"{folder}/{{seed}}/{name}", seed=config["seeds"])


def masks_for(wildcards):
    """What scoring a model's segmentations needs beside their tables."""
    if TASKS[wildcards.task].kind != SEGMENTATION:
        return []
    predicted = [path.format(**wildcards) for path in seeds_of("predicted_masks.npz")]
    return predicted + prepared_of(files_at(wildcards, wildcards.task))[1:]


def files_of_runs(name):
    """A file of every run; only `compare` asks for them, rules after it for its runs.csv, which plans faster."""
    return [f"{run.folder}/{name}" for run in RUNS]


def external_files():
    """Scores of every network on each other dataset that fits; baselines are not kept."""
    models = {
        (run.task, run.protocol, run.architecture): None
        for run in RUNS
        if not is_baseline(run)
    }
    return [
        f"{external_folder(*model, external)}/{name}"
        for model in models
        for external in find_external_tasks(model[0], config["tasks"])
        for name in ("metrics.json", "cases.parquet")
    ]


def runs_to_explain(task, protocol):
    """The networks of a classification, one seed of each."""
    return [
        run
        for run in RUNS
        if (run.task, run.protocol, run.seed) == (task, protocol, min(config["seeds"]))
        and TASKS[run.task].kind == CLASSIFICATION
        and not is_baseline(run)
    ]


def explained_by(name):
    """A file of every run that is explained, for the job's wildcards."""
    return lambda wildcards: [
        f"{run.folder}/{name}"
        for run in runs_to_explain(wildcards.task, wildcards.protocol)
    ]


def planned_explanations():
    places = dict.fromkeys((run.task, run.protocol) for run in RUNS)
    return [
        f"results/explained/{task}/{protocol}.npz"
        for task, protocol in places
        if runs_to_explain(task, protocol)
    ]


def planned_splits():
    return sorted(
        {f"data/splits/{run.task}/{run.protocol}/{run.seed}.parquet" for run in RUNS}
    )


def planned_indexes():
    return [f"data/index/{dataset}.parquet" for dataset in planned_datasets(config)]


def planned_duplicates():
    """Every planned dataset against itself and those of its modality after it in the alphabet."""
    datasets = sorted(planned_datasets(config))
    modality = {name: DATASETS[name].CARD.modality for name in datasets}
    return [
        f"data/duplicates/{one}/{other}.parquet"
        for one in datasets
        for other in datasets
        if one <= other and modality[one] == modality[other]
    ]
