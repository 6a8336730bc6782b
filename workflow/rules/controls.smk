"""Test classifiers on altered images: without the lungs, or with a part of the image alone."""


rule prepare_lungs:
    """Find the lungs of a task's prepared images, as shipped or with a classical segmentation, and read its lesions."""
    input:
        index=lambda wildcards: index_path(wildcards.task),
        images="data/prepared/{task}/{size}/images.npy",
        rows="data/prepared/{task}/{size}/rows.parquet",
        masks=lambda wildcards: lung_masks_at(wildcards),
    output:
        lungs="data/prepared/{task}/{size}/lungs.npy",
        facts="data/prepared/{task}/{size}/lungs.parquet",
        lesions="data/prepared/{task}/{size}/lesions.npz",
    log:
        "logs/prepare_lungs/{task}/{size}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=2000,
        runtime="1h",
    params:
        made_by=made_by("prepare_lungs"),
    script:
        "../scripts/prepare_lungs.py"


rule audit_lungs:
    """Count where the lung masks come from, and score the classical segmentation on those that datasets ship."""
    input:
        lungs=list_lungs(RUNS),
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        duplicates=expand(
            "data/duplicates/{dataset}/{dataset}.parquet",
            dataset=planned_datasets(config),
        ),
    output:
        "results/audit/lungs.csv",
    log:
        "logs/audit_lungs.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        made_by=made_by("audit_lungs"),
    script:
        "../scripts/audit_lungs.py"


rule predict_controls:
    """Predict altered images of the test folds of a classifier's seeds, and measure where each looks."""
    input:
        models=seeds_of("model.keras"),
        manifests=seeds_of("manifest.json"),
        splits=lambda wildcards: [
            planned.inputs.split for planned in planned_seeds(wildcards)
        ],
        prepared=lambda wildcards: planned_seeds(wildcards)[0].inputs.prepared,
        lungs=lambda wildcards: lungs_path(planned_seeds(wildcards)[0].inputs),
        lesions=lambda wildcards: lesions_path(planned_seeds(wildcards)[0].inputs),
    output:
        predictions="results/controls/{task}/{protocol}/{architecture}/predictions.parquet",
        focus="results/controls/{task}/{protocol}/{architecture}/focus.parquet",
        maps="results/controls/{task}/{protocol}/{architecture}/maps.npz",
        manifest="results/controls/{task}/{protocol}/{architecture}/manifest.json",
    log:
        "logs/predict_controls/{task}/{protocol}/{architecture}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        architecture="|".join(CLASSIFIERS),
    conda:
        "../../envs/cpu.conda.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=8000,
        runtime="2h",
    params:
        options=options_for,
        seeds=config["seeds"],
        threads=config["threads"],
        made_by=made_by("predict_controls"),
    script:
        "../scripts/predict_controls.py"


rule compare_controls:
    """Compare each classifier's score with those on altered images, flag who needs no lungs, and say where each looks."""
    input:
        controls=expand(
            "{folder}/{name}",
            folder=list_controls(RUNS),
            name=["predictions.parquet", "focus.parquet", "manifest.json"],
        ),
        runs="results/compare/runs.csv",
    output:
        controls="results/compare/controls.csv",
        focus="results/compare/focus.csv",
    log:
        "logs/compare_controls.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="1h",
    params:
        plan=PLAN_ID,
        made_by=made_by("compare_controls"),
    script:
        "../scripts/compare_controls.py"
