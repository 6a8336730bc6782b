"""Resources of every rule above on the user's SLURM cluster; on one machine they change nothing."""

import shlex
from pathlib import Path

from snakemake.resources import Resources
from snakemake_executor_plugin_slurm_jobstep import Executor as JobStepExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from covbench.operations.slurm import place_rule, read_cluster


def quote_python(find_python):
    """The job scripts of Snakemake's executors do not quote it: below a folder with a space no job would start."""
    return lambda executor: shlex.quote(find_python(executor))


for executor in (RemoteExecutor, JobStepExecutor):
    if executor.get_python_executable.__name__ != "<lambda>":
        executor.get_python_executable = quote_python(executor.get_python_executable)

try:
    CLUSTER = read_cluster(Path(workflow.basedir) / "config" / "cluster.yaml")
except CovbenchError as mistake:
    raise WorkflowError(str(mistake))

for planned in workflow.rules:
    asked = {
        name: resource.value
        for name, resource in planned.resources.items()
        if not resource.is_evaluable()
    }
    planned.resources.update(Resources.from_mapping(place_rule(CLUSTER, asked)))
