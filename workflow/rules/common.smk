"""The plan: read from the config once, before the first job; the rules below expand from it."""

import os
from dataclasses import asdict

from snakemake.script import PythonScript

from covbench.configuration import check_config
from covbench.datasets import TASKS, dataset_of
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS, architecture
from covbench.plan import (
    describe_plan,
    options_of,
    plan_runs,
    planned_datasets,
)
from covbench.protocols import PROTOCOLS
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError
from covbench.weights import weights_file

# Environments of --software-deployment-method conda hold the lock; the package itself comes from the checkout.
os.environ.update(PYTHONPATH=f"{workflow.basedir}/src")


def quote_interpreter(execute):
    """Snakemake 9.27 does not quote the interpreter's path: below a folder with a space no script would start."""

    def execute_quoted(script, command, **parts):
        return execute(script, command.replace("{py_exec} ", "{py_exec:q} "), **parts)

    return execute_quoted


PythonScript._execute_cmd = quote_interpreter(PythonScript._execute_cmd)

try:
    config = check_config(config)
    RUNS = plan_runs(config)
    PLAN = describe_plan(config)
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
    task="|".join(TASKS),
    protocol="|".join(PROTOCOLS),
    seed=r"\d+",
    size=r"\d+",


def index_of(wildcards):
    return f"data/index/{dataset_of(wildcards.task)}.parquet"


def options_for(wildcards):
    return asdict(options_of(config, wildcards.task, wildcards.protocol))


def prepared_for(wildcards):
    """The arrays that a run reads; masks too where pixels are labelled."""
    size = options_of(config, wildcards.task, wildcards.protocol).size
    names = ["images.npy", "rows.parquet"] + ["masks.npy"] * (
        TASKS[wildcards.task].kind == SEGMENTATION
    )
    return [f"data/prepared/{wildcards.task}/{size}/{name}" for name in names]


def weights_for(wildcards):
    key = architecture(wildcards.architecture).weights
    return (
        [f"data/weights/{weights_file(key)}"]
        if key and config["weights"] != "none"
        else []
    )


def masks_for(wildcards):
    """What scoring a segmentation needs beside its table."""
    if TASKS[wildcards.task].kind != SEGMENTATION:
        return []
    folder = f"results/runs/{wildcards.task}/{wildcards.protocol}/{wildcards.architecture}/{wildcards.seed}"
    return [f"{folder}/predicted_masks.npz", *prepared_for(wildcards)[1:]]


def files_of_runs(name):
    return [f"{run.folder}/{name}" for run in RUNS]


def planned_splits():
    return sorted(
        {f"data/splits/{run.task}/{run.protocol}/{run.seed}.parquet" for run in RUNS}
    )


def planned_indexes():
    return [f"data/index/{dataset}.parquet" for dataset in planned_datasets(config)]
