rule evaluate:
    """Score a model's seeds from their stored predictions, per image and in total."""
    input:
        predictions=seeds_of("predictions.parquet"),
        masks=masks_for,
    output:
        metrics=seeds_of("metrics.json"),
        cases=seeds_of("cases.parquet"),
    log:
        "logs/evaluate/{task}/{protocol}/{architecture}.log",
    wildcard_constraints:
        architecture=MODELS,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=2000,
        runtime="30m",
    params:
        rows=lambda wildcards: prepared_at(wildcards, wildcards.task)["rows"],
        masks=lambda wildcards: prepared_at(wildcards, wildcards.task).get("masks"),
        seeds=config["seeds"],
        made_by=made_by("evaluate"),
    script:
        "../scripts/evaluate.py"


use rule evaluate as evaluate_contestant with:
    """Score a run of a contestant from elsewhere or of an ensemble: it may have other seeds than the networks."""
    input:
        predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
        masks=masks_of_run,
    output:
        metrics="results/runs/{task}/{protocol}/{architecture}/{seed}/metrics.json",
        cases="results/runs/{task}/{protocol}/{architecture}/{seed}/cases.parquet",
    log:
        "logs/evaluate/{task}/{protocol}/{architecture}/{seed}.log",
    wildcard_constraints:
        architecture=f"{CONTESTANT_NAMES}|{ENSEMBLE_NAMES}",
    params:
        rows=lambda wildcards: prepared_at(wildcards, wildcards.task)["rows"],
        masks=lambda wildcards: prepared_at(wildcards, wildcards.task).get("masks"),
        seeds=lambda wildcards: [int(wildcards.seed)],
        made_by=made_by("evaluate"),


rule compare:
    """Gather every run into tidy tables with intervals, ranks and tests, beside the published values."""
    input:
        metrics=files_of_runs("metrics.json"),
        manifests=files_of_runs("manifest.json"),
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        published=f"{RESOURCES}/published_results.csv",
        counterparts=f"{RESOURCES}/counterparts.csv",
        findings=f"{RESOURCES}/study_findings.csv",
        literature=f"{RESOURCES}/literature.csv",
    output:
        metrics="results/compare/metrics.csv",
        summary="results/compare/summary.csv",
        subgroups="results/compare/subgroups.csv",
        subgroup_gaps="results/compare/subgroup_gaps.csv",
        protocols="results/compare/protocols.csv",
        pairs="results/compare/pairs.csv",
        ranks="results/compare/ranks.csv",
        resolution="results/compare/resolution.csv",
        agreement="results/compare/agreement.csv",
        operating_points="results/compare/operating_points.csv",
        calibration="results/compare/calibration.csv",
        published="results/compare/published.csv",
        literature="results/compare/literature.csv",
        findings="results/compare/findings.csv",
        runs="results/compare/runs.csv",
        scores="results/scores.json",
    log:
        "logs/compare.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="1h",
    params:
        plan=PLAN_ID,
        accepted=ACCEPTED,
        made_by=made_by("compare"),
    script:
        "../scripts/compare.py"
