rule report:
    """Write the report: one page that opens offline."""
    input:
        "results/compare/metrics.csv",
        "results/compare/summary.csv",
        "results/compare/published.csv",
        "results/compare/runs.csv",
        "results/audit/splits.csv",
    output:
        page="results/report/index.html",
        summary="results/report/summary.md",
    params:
        plan=PLAN,
    log:
        "logs/report.log",
    resources:
        mem_mb=4000,
    script:
        "../scripts/report.py"


rule partial_report:
    """Write a report of what has finished so far, missing runs shown as missing, into results/partial."""
    params:
        plan=PLAN,
    log:
        "logs/partial_report.log",
    script:
        "../scripts/partial_report.py"


rule track:
    """Copy finished runs into MLflow; repeating it changes nothing."""
    input:
        metrics=files_of_runs("metrics.json"),
        manifests=files_of_runs("manifest.json"),
    output:
        "results/tracking.json",
    params:
        uri=config["tracking"]["uri"],
        plan=PLAN,
    log:
        "logs/track.log",
    script:
        "../scripts/track.py"
