"""covbench: an honest comparison of deep learning architectures for COVID-19 imaging.

snakemake --cores 8 --resources gpu=2          the whole benchmark
snakemake -n --quiet                           what it would do
snakemake partial_report --cores 8             a report of what has finished so far
snakemake --list                               every rule in a sentence
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/search.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/contestants.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/controls.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/cluster.smk"


localrules:
    all,
    fetch,
    fetch_weights,
    make_environment,
    track,
    partial_report,


rule all:
    """The report, and every run in MLflow."""
    default_target: True
    input:
        "results/report/index.html",
        "results/tracking.json",


onerror:
    print(
        "A job failed; its log is named above. What has finished can be seen: snakemake partial_report --cores 1"
    )
