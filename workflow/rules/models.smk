rule train_classifier:
    """Train a classifier, keep its best or last epoch and predict its validation and test folds."""
    input:
        split="data/splits/{task}/{protocol}/{seed}.parquet",
        prepared=lambda wildcards: planned_for(wildcards).inputs.prepared,
        weights=weights_for,
        trials=trials_for,
    output:
        model="results/runs/{task}/{protocol}/{architecture}/{seed}/model.keras",
        history="results/runs/{task}/{protocol}/{architecture}/{seed}/history.csv",
        manifest="results/runs/{task}/{protocol}/{architecture}/{seed}/manifest.json",
        predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
    log:
        "logs/train/{task}/{protocol}/{architecture}/{seed}.log",
    benchmark:
        "benchmarks/train/{task}/{protocol}/{architecture}/{seed}.tsv"
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        architecture="|".join(CLASSIFIERS),
    conda:
        "../../envs/cpu.conda.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="8h",
    params:
        options=lambda wildcards: asdict(settled_for(wildcards).options),
        settings=lambda wildcards: asdict(planned_for(wildcards).settings),
        decided_by=lambda wildcards: fingerprint_decisions(settled_for(wildcards)),
    script:
        "../scripts/train.py"


use rule train_classifier as train_segmenter with:
    """Train a segmentation network, keep its best or last epoch and predict masks of its validation and test folds."""
    output:
        model="results/runs/{task}/{protocol}/{architecture}/{seed}/model.keras",
        history="results/runs/{task}/{protocol}/{architecture}/{seed}/history.csv",
        manifest="results/runs/{task}/{protocol}/{architecture}/{seed}/manifest.json",
        predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
        masks="results/runs/{task}/{protocol}/{architecture}/{seed}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        architecture="|".join(SEGMENTERS),


rule fit_classification_baseline:
    """Fit a baseline without deep learning with each seed and predict its validation and test folds."""
    input:
        splits=lambda wildcards: [
            planned.inputs.split for planned in planned_seeds(wildcards)
        ],
        prepared=lambda wildcards: planned_seeds(wildcards)[0].inputs.prepared,
    output:
        manifest=seeds_of("manifest.json"),
        predictions=seeds_of("predictions.parquet"),
    log:
        "logs/fit_baseline/{task}/{protocol}/{architecture}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        architecture="|".join(BASELINES),
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="1h",
    params:
        seeds=config["seeds"],
        decided_by=lambda wildcards: [
            fingerprint_decisions(planned) for planned in planned_seeds(wildcards)
        ],
    script:
        "../scripts/fit_baseline.py"


use rule fit_classification_baseline as fit_segmentation_baseline with:
    """Fit a segmentation baseline without deep learning with each seed, and predict its validation and test folds."""
    output:
        manifest=seeds_of("manifest.json"),
        predictions=seeds_of("predictions.parquet"),
        masks=seeds_of("predicted_masks.npz"),
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        architecture="|".join(BASELINES),
    resources:
        mem_mb=8000,
        runtime="1h",
