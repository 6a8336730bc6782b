"""Test networks, baselines and ensembles on the images of every other dataset that fits."""


rule predict_external:
    """Predict the images of another dataset with a model's seeds, except those that its own dataset also holds."""
    input:
        models=seeds_of("model.keras"),
        manifests=seeds_of("manifest.json"),
        index=lambda wildcards: index_path(wildcards.external),
        duplicates=lambda wildcards: duplicates_path(wildcards.task, wildcards.external),
        within=lambda wildcards: duplicates_path(wildcards.external, wildcards.external),
        prepared=lambda wildcards: prepared_at(wildcards, wildcards.external).values(),
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
    log:
        "logs/predict_external/{task}/{protocol}/{architecture}/{external}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        external=CLASSIFICATION_TASKS,
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
        made_by=made_by("predict_external"),
    script:
        "../scripts/predict_external.py"


use rule predict_external as predict_external_masks with:
    """Segment the images of another dataset with a model's seeds, except those that its own dataset also holds."""
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
        masks="results/external/{task}/{protocol}/{architecture}/{external}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        external=SEGMENTATION_TASKS,
        architecture="|".join(SEGMENTERS),


rule predict_external_baseline:
    """Fit a baseline again and predict the images of another dataset, except those that its own dataset also holds."""
    input:
        manifests=seeds_of("manifest.json"),
        predictions=seeds_of("predictions.parquet"),
        splits=lambda wildcards: [
            planned.inputs.split for planned in planned_seeds(wildcards)
        ],
        own=lambda wildcards: planned_seeds(wildcards)[0].inputs.prepared,
        index=lambda wildcards: index_path(wildcards.external),
        duplicates=lambda wildcards: duplicates_path(wildcards.task, wildcards.external),
        within=lambda wildcards: duplicates_path(wildcards.external, wildcards.external),
        prepared=lambda wildcards: prepared_at(wildcards, wildcards.external).values(),
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
    log:
        "logs/predict_external/{task}/{protocol}/{architecture}/{external}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        external=CLASSIFICATION_TASKS,
        architecture="|".join(BASELINES),
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="1h",
    params:
        seeds=config["seeds"],
        made_by=made_by("predict_external_baseline"),
    script:
        "../scripts/predict_external_baseline.py"


use rule predict_external_baseline as predict_external_baseline_masks with:
    """Fit a baseline again and segment the images of another dataset, except those that its own dataset also holds."""
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
        masks="results/external/{task}/{protocol}/{architecture}/{external}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        external=SEGMENTATION_TASKS,
        architecture="|".join(BASELINES),
    resources:
        mem_mb=8000,
        runtime="1h",


rule take_external:
    """Take what a contestant has answered for the images of another dataset."""
    input:
        manifests=lambda wildcards: contestant_files(wildcards, "manifest.json"),
        answers=lambda wildcards: contestant_files(wildcards, "external.parquet"),
        masks=external_masks,
        index=lambda wildcards: index_path(wildcards.external),
        duplicates=lambda wildcards: duplicates_path(wildcards.task, wildcards.external),
        within=lambda wildcards: duplicates_path(wildcards.external, wildcards.external),
        prepared=lambda wildcards: prepared_at(wildcards, wildcards.external).values(),
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
    log:
        "logs/predict_external/{task}/{protocol}/{architecture}/{external}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        external=CLASSIFICATION_TASKS,
        architecture=CONTESTANT_NAMES,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        seeds=contestant_seeds,
        made_by=made_by("take_external"),
    script:
        "../scripts/take_external.py"


use rule take_external as take_external_masks with:
    """Take the masks that a contestant has answered for the images of another dataset."""
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
        masks="results/external/{task}/{protocol}/{architecture}/{external}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        external=SEGMENTATION_TASKS,
        architecture=CONTESTANT_NAMES,
    resources:
        mem_mb=4000,
        runtime="1h",


rule average_external:
    """Average what the members of an ensemble have predicted for another dataset."""
    input:
        manifests=lambda wildcards: ensemble_files(wildcards, "manifest.json"),
        members=lambda wildcards: member_files(wildcards, "predictions.parquet"),
        described=lambda wildcards: member_files(wildcards, "manifest.json"),
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
    log:
        "logs/predict_external/{task}/{protocol}/{architecture}/{external}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        external=CLASSIFICATION_TASKS,
        architecture=ENSEMBLE_NAMES,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        ensemble=lambda wildcards: asdict(ENSEMBLES[wildcards.architecture]),
        seeds=ensemble_seeds,
        made_by=made_by("average_external"),
    script:
        "../scripts/average_external.py"


use rule average_external as average_external_masks with:
    """Let the members of an ensemble vote about each pixel of the masks that they have predicted for another dataset."""
    input:
        manifests=lambda wildcards: ensemble_files(wildcards, "manifest.json"),
        members=lambda wildcards: member_files(wildcards, "predictions.parquet"),
        described=lambda wildcards: member_files(wildcards, "manifest.json"),
        masks=lambda wildcards: member_files(wildcards, "predicted_masks.npz"),
    output:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
        masks="results/external/{task}/{protocol}/{architecture}/{external}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        external=SEGMENTATION_TASKS,
        architecture=ENSEMBLE_NAMES,
    resources:
        mem_mb=4000,
        runtime="1h",


rule evaluate_external:
    """Score a classifier's seeds on another dataset from their stored predictions."""
    input:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
    output:
        metrics="results/external/{task}/{protocol}/{architecture}/{external}/metrics.json",
        cases="results/external/{task}/{protocol}/{architecture}/{external}/cases.parquet",
    log:
        "logs/evaluate_external/{task}/{protocol}/{architecture}/{external}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        external=CLASSIFICATION_TASKS,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        made_by=made_by("evaluate_external"),
    script:
        "../scripts/evaluate_external.py"


use rule evaluate_external as evaluate_external_masks with:
    """Score a segmentation network's seeds on another dataset from their stored masks."""
    input:
        predictions="results/external/{task}/{protocol}/{architecture}/{external}/predictions.parquet",
        manifest="results/external/{task}/{protocol}/{architecture}/{external}/manifest.json",
        masks="results/external/{task}/{protocol}/{architecture}/{external}/predicted_masks.npz",
        prepared=lambda wildcards: annotated_at(wildcards, wildcards.external),
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        external=SEGMENTATION_TASKS,
    resources:
        mem_mb=4000,
        runtime="1h",


rule compare_external:
    """Compare each model's internal scores with those on the images of other datasets, with intervals."""
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
        mem_mb=1500,
        runtime="1h",
    params:
        plan=PLAN_ID,
        made_by=made_by("compare_external"),
    script:
        "../scripts/compare_external.py"
