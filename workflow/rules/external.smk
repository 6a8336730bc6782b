rule test_external:
    """Test a model's seeds on the images of another dataset, but for those that its own dataset holds too."""
    input:
        models=seeds_of("model.keras"),
        manifests=seeds_of("manifest.json"),
        index=lambda wildcards: index_path(wildcards.other),
        duplicates=lambda wildcards: duplicates_path(wildcards.task, wildcards.other),
        prepared=lambda wildcards: prepared_at(wildcards, wildcards.other).values(),
    output:
        metrics="results/external/{task}/{protocol}/{architecture}/{other}/metrics.json",
        cases="results/external/{task}/{protocol}/{architecture}/{other}/cases.parquet",
    log:
        "logs/test_external/{task}/{protocol}/{architecture}/{other}.log",
    wildcard_constraints:
        other="|".join(TASKS),
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 4
    resources:
        gpu=1,
        mem_mb=8000,
        runtime="2h",
    params:
        options=options_for,
        seeds=config["seeds"],
        made_by=made_by("test_external"),
    script:
        "../scripts/test_external.py"


rule compare_external:
    """Gather what is left of each score on the images of other datasets, with intervals."""
    input:
        external=expand(
            "{folder}/{name}",
            folder=list_external(RUNS, config["tasks"]),
            name=["metrics.json", "cases.parquet"],
        ),
        runs="results/compare/runs.csv",
    output:
        "results/compare/external.csv",
    log:
        "logs/compare_external.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=4000,
    params:
        plan=PLAN_ID,
        made_by=made_by("compare_external"),
    script:
        "../scripts/compare_external.py"
