"""Set the resources of every rule above for the user's SLURM cluster. On one machine, they change nothing."""

from pathlib import Path

from snakemake.resources import Resources

from covbench.operations.slurm import place_rule, read_cluster

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
