rule fetch:
    """Fetch a dataset as published, verify it, and write its manifest beside data/raw/{dataset}."""
    output:
        "data/raw/{dataset}.manifest.json",
    log:
        "logs/fetch/{dataset}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    script:
        "../scripts/fetch.py"


rule fetch_weights:
    """Fetch and verify an ImageNet weight file, because compute nodes have no internet."""
    output:
        "data/weights/{file}",
    log:
        "logs/fetch_weights/{file}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    script:
        "../scripts/fetch_weights.py"


rule index:
    """Index a dataset: a row per image, with the reason if it cannot be used."""
    input:
        "data/raw/{dataset}.manifest.json",
    output:
        "data/index/{dataset}.parquet",
    log:
        "logs/index/{dataset}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 2
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        made_by=lambda wildcards: fingerprint_code(
            "index", f"covbench.data.datasets.{wildcards.dataset}"
        ),
    script:
        "../scripts/index.py"


rule make_thumbnails:
    """Reduce a dataset's usable images to thumbnails with perceptual hashes."""
    input:
        index="data/index/{dataset}.parquet",
    output:
        "data/thumbnails/{dataset}.npz",
    log:
        "logs/make_thumbnails/{dataset}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 2
    resources:
        mem_mb=2500,
        runtime="1h",
    params:
        made_by=made_by("make_thumbnails"),
    script:
        "../scripts/make_thumbnails.py"


rule find_duplicates:
    """Find exact, near, mirrored and annotated duplicates within a dataset, or between two."""
    input:
        index="data/index/{dataset}.parquet",
        other_index="data/index/{other}.parquet",
        thumbnails="data/thumbnails/{dataset}.npz",
        other_thumbnails="data/thumbnails/{other}.npz",
    output:
        "data/duplicates/{dataset}/{other}.parquet",
    log:
        "logs/find_duplicates/{dataset}/{other}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 2
    resources:
        mem_mb=1500,
        runtime="1h",
    params:
        made_by=made_by("find_duplicates"),
    script:
        "../scripts/find_duplicates.py"


rule split:
    """Divide a task into train, val and test as its protocol does."""
    input:
        index=lambda wildcards: index_path(wildcards.task),
        duplicates=lambda wildcards: duplicates_path(wildcards.task, wildcards.task),
    output:
        "data/splits/{task}/{protocol}/{seed}.parquet",
    log:
        "logs/split/{task}/{protocol}/{seed}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        rule=lambda wildcards: asdict(
            split_rule(wildcards.protocol, TASKS[wildcards.task])
        ),
        made_by=made_by("split", "covbench.data.index"),
    script:
        "../scripts/split.py"


rule audit:
    """Count images on their way into each split, leaks into its test fold, and duplicates across datasets."""
    input:
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        duplicates=list_duplicates(planned_datasets(config)),
        splits=list_splits(RUNS),
    output:
        splits="results/audit/splits.csv",
        flow="results/audit/flow.csv",
        pairs="results/audit/pairs.csv",
        across="results/audit/across.csv",
    log:
        "logs/audit.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        made_by=made_by("audit"),
    script:
        "../scripts/audit.py"


rule audit_sources:
    """Score how well the source alone, or the file's type and size, predicts each label."""
    input:
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        thumbnails=expand(
            "data/thumbnails/{dataset}.npz", dataset=planned_datasets(config)
        ),
        duplicates=expand(
            "data/duplicates/{dataset}/{dataset}.parquet",
            dataset=planned_datasets(config),
        ),
    output:
        "results/audit/sources.csv",
    log:
        "logs/audit_sources.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        tasks=list(config["tasks"]),
        made_by=made_by("audit_sources"),
    script:
        "../scripts/audit_sources.py"


rule audit_datasets:
    """Score how well the datasets of one modality are told apart by the look of their images."""
    input:
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        thumbnails=expand(
            "data/thumbnails/{dataset}.npz", dataset=planned_datasets(config)
        ),
        duplicates=list_duplicates(planned_datasets(config)),
    output:
        "results/audit/datasets.csv",
    log:
        "logs/audit_datasets.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        made_by=made_by("audit_datasets"),
    script:
        "../scripts/audit_datasets.py"


rule audit_labels:
    """List labels that contradict each other, and the rows that audited splits drop from authors' splits."""
    input:
        indexes=expand("data/index/{dataset}.parquet", dataset=planned_datasets(config)),
        duplicates=list_duplicates(planned_datasets(config)),
    output:
        contradictions="results/audit/contradictions.csv",
        mixed_patients="results/audit/mixed_patients.csv",
        dropped="results/audit/dropped.csv",
    log:
        "logs/audit_labels.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        tasks=list(config["tasks"]),
        made_by=made_by("audit_labels"),
    script:
        "../scripts/audit_labels.py"


rule prepare:
    """Resize a task's images into one memory-mapped grey array."""
    input:
        index=lambda wildcards: index_path(wildcards.task),
    output:
        images="data/prepared/{task}/{size}/images.npy",
        rows="data/prepared/{task}/{size}/rows.parquet",
    log:
        "logs/prepare/{task}/{size}.log",
    benchmark:
        "benchmarks/prepare/{task}/{size}.tsv"
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 2
    resources:
        mem_mb=1000,
        runtime="1h",
    params:
        made_by=made_by("prepare"),
    script:
        "../scripts/prepare.py"


rule prepare_native_masks:
    """Decode a task's masks on the grids that they are stored on, compressed, for scores at native spacing."""
    input:
        index=lambda wildcards: index_path(wildcards.task),
    output:
        masks="data/prepared/{task}/native_masks.npz",
        grids="data/prepared/{task}/native_grids.parquet",
    log:
        "logs/prepare_native_masks/{task}.log",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        made_by=made_by("prepare_native_masks"),
    script:
        "../scripts/prepare_native_masks.py"


rule prepare_masks:
    """Decode a task's masks once into one memory-mapped array of class numbers."""
    input:
        index=lambda wildcards: index_path(wildcards.task),
        rows="data/prepared/{task}/{size}/rows.parquet",
    output:
        "data/prepared/{task}/{size}/masks.npy",
    log:
        "logs/prepare_masks/{task}/{size}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime="1h",
    params:
        made_by=made_by("prepare_masks"),
    script:
        "../scripts/prepare_masks.py"
