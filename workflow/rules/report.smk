rule explain:
    """Find where the classifiers of a task looked, for the cases on which each was most wrong."""
    input:
        models=explained_by("model.keras"),
        cases=explained_by("cases.parquet"),
        images=lambda wildcards: [
            planned.inputs.images for planned in explained(wildcards)
        ],
        rows=lambda wildcards: [planned.inputs.rows for planned in explained(wildcards)],
    output:
        "results/explained/{task}/{protocol}.npz",
    log:
        "logs/explain/{task}/{protocol}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
    conda:
        "../../envs/cpu.conda.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=8000,
        runtime="1h",
    params:
        options=lambda wildcards: [
            asdict(planned.options) for planned in explained(wildcards)
        ],
        threads=config["threads"],
        made_by=made_by("explain"),
    script:
        "../scripts/explain.py"


rule report:
    """Write the report: pages that open offline."""
    input:
        TEMPLATES,
        "results/compare/metrics.csv",
        "results/compare/summary.csv",
        "results/compare/subgroups.csv",
        "results/compare/subgroup_gaps.csv",
        "results/compare/published.csv",
        "results/compare/protocols.csv",
        "results/compare/pairs.csv",
        "results/compare/ranks.csv",
        "results/compare/resolution.csv",
        "results/compare/agreement.csv",
        "results/compare/operating_points.csv",
        "results/compare/calibration.csv",
        "results/compare/literature.csv",
        "results/compare/findings.csv",
        "results/compare/external.csv",
        "results/compare/controls.csv",
        "results/compare/focus.csv",
        "results/compare/search.csv" if config["search"] else [],
        "results/compare/runs.csv",
        "results/audit/splits.csv",
        "results/audit/flow.csv",
        "results/audit/pairs.csv",
        "results/audit/across.csv",
        "results/audit/sources.csv",
        "results/audit/lungs.csv",
        "results/audit/datasets.csv",
        "results/audit/contradictions.csv",
        "results/audit/mixed_patients.csv",
        "results/audit/dropped.csv",
        expand("data/thumbnails/{dataset}.npz", dataset=planned_datasets(config)),
        [f"results/explained/{task}/{protocol}.npz" for task, protocol in EXPLAINED],
    output:
        page="results/report/index.html",
        summary="results/report/summary.md",
        figures=report(
            directory("results/figures"),
            patterns=["{topic}/{figure}.svg"],
            caption="../resources/figure.rst",
            category="{topic}",
            labels={"figure": "{figure}"},
        ),
    log:
        "logs/report.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        plan=PLAN_ID,
        made_by=made_by("report"),
    script:
        "../scripts/report.py"


rule partial_report:
    """Write a report of what has finished so far into results/partial. Missing runs are shown as missing."""
    input:
        published=f"{RESOURCES}/published_results.csv",
        counterparts=f"{RESOURCES}/counterparts.csv",
        findings=f"{RESOURCES}/study_findings.csv",
        literature=f"{RESOURCES}/literature.csv",
    log:
        "logs/partial_report.log",
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        plan=PLAN_ID,
    script:
        "../scripts/partial_report.py"


rule track:
    """Copy finished runs into MLflow; repeating it changes nothing."""
    input:
        "results/compare/runs.csv",
    output:
        "results/tracking.json",
    log:
        "logs/track.log",
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        uri=config["tracking"]["uri"],
        copy_models=config["tracking"]["models"] == "copy",
        plan=PLAN_ID,
    script:
        "../scripts/track.py"
