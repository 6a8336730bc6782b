rule fetch:
    """Bring a dataset as published, verified, into data/raw/{dataset}, beside its manifest."""
    output:
        "data/raw/{dataset}.manifest.json",
    log:
        "logs/fetch/{dataset}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        mirror=config["fetch"]["mirror"],
    script:
        "../scripts/fetch.py"


rule fetch_weights:
    """Bring an ImageNet weight file, verified: compute nodes have no internet."""
    output:
        "data/weights/{file}",
    log:
        "logs/fetch_weights/{file}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        mirror=config["weights"]["mirror"] if config["weights"] != "none" else None,
    script:
        "../scripts/fetch_weights.py"


rule index:
    """Read a dataset's own layout into a row per image, with what cannot be used and why."""
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
        mem_mb=4000,
    params:
        made_by=index_made_by,
    script:
        "../scripts/index.py"


rule split:
    """Divide a task into train, val and test as its protocol does."""
    input:
        index=index_of,
    output:
        "data/splits/{task}/{protocol}/{seed}.parquet",
    log:
        "logs/split/{task}/{protocol}/{seed}.log",
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        rule=split_rule_for,
        made_by=made_by("split", "covbench.datasets._rows"),
    script:
        "../scripts/split.py"


rule audit:
    """Count which test images have their patient or a copy in training."""
    input:
        indexes=planned_indexes(),
        splits=planned_splits(),
    output:
        "results/audit/splits.csv",
    log:
        "logs/audit.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=4000,
    params:
        made_by=made_by("audit"),
    script:
        "../scripts/audit.py"


rule prepare:
    """Decode a task's images once into one memory-mapped grey array."""
    input:
        index=index_of,
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
        mem_mb=4000,
    params:
        made_by=made_by("prepare"),
    script:
        "../scripts/prepare.py"


rule prepare_masks:
    """Decode a task's masks once into one memory-mapped array of class numbers."""
    input:
        index=index_of,
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
    params:
        made_by=made_by("prepare_masks"),
    script:
        "../scripts/prepare_masks.py"
