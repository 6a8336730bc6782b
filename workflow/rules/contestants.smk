rule make_environment:
    """Install the packages of a contestant from elsewhere into a virtual environment of its own."""
    input:
        requirements=lambda wildcards: os.path.relpath(
            CARDS[wildcards.architecture].requirements
        ),
    output:
        "data/environments/{architecture}/installed",
    log:
        "logs/make_environment/{architecture}.log",
    wildcard_constraints:
        architecture=CONTESTANT_NAMES,
    conda:
        "../../envs/cpu.conda.yaml"
    params:
        requirements=lambda wildcards: hash_file(
            CARDS[wildcards.architecture].requirements
        ),
    script:
        "../scripts/make_environment.py"


# A rule for each contestant, because each asks for its own threads, memory and time.
for card in CARDS.values():

    rule:
        """Show a contestant from elsewhere a split, and take in what it predicts for the test fold."""
        name:
            f"run_{card.name}"
        input:
            split="data/splits/{task}/{protocol}/{seed}.parquet",
            index=lambda wildcards: index_path(wildcards.task),
            prepared=lambda wildcards: planned_for(wildcards).inputs.prepared,
            environment=[f"data/environments/{card.name}/installed"]
            * bool(card.requirements),
            external=lambda wildcards: [
                path for _, path in planned_for(wildcards).inputs.external
            ],
        output:
            manifest="results/runs/{task}/{protocol}/{architecture}/{seed}/manifest.json",
            predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
            masks=[
                "results/runs/{task}/{protocol}/{architecture}/{seed}/predicted_masks.npz"
            ]
            * (card.kind == SEGMENTATION),
            external=[
                "results/runs/{task}/{protocol}/{architecture}/{seed}/external.parquet"
            ]
            * card.external,
            external_masks=[
                "results/runs/{task}/{protocol}/{architecture}/{seed}/external_masks.npz"
            ]
            * (card.external and card.kind == SEGMENTATION),
        log:
            "logs/train/{task}/{protocol}/{architecture}/{seed}.log",
        benchmark:
            "benchmarks/train/{task}/{protocol}/{architecture}/{seed}.tsv"
        wildcard_constraints:
            architecture=card.name,
        conda:
            "../../envs/cpu.conda.yaml"
        threads: card.threads
        resources:
            gpu=card.gpu,
            mem_mb=card.memory,
            runtime=math.ceil(60 * card.hours),
        params:
            arguments=lambda wildcards: planned_for(wildcards).arguments,
            external=lambda wildcards: dict(planned_for(wildcards).inputs.external),
            decided_by=lambda wildcards: fingerprint_decisions(planned_for(wildcards)),
        script:
            "../scripts/run_contestant.py"


rule average:
    """Average the probabilities that the members of an ensemble have predicted."""
    input:
        lambda wildcards: list(planned_for(wildcards).inputs.by_name.values()),
    output:
        manifest="results/runs/{task}/{protocol}/{architecture}/{seed}/manifest.json",
        predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
    log:
        "logs/average/{task}/{protocol}/{architecture}/{seed}.log",
    wildcard_constraints:
        task=CLASSIFICATION_TASKS,
        architecture=ENSEMBLE_NAMES,
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1500,
        runtime="30m",
    params:
        ensemble=lambda wildcards: asdict(ENSEMBLES[wildcards.architecture]),
        files=lambda wildcards: planned_for(wildcards).inputs.by_name,
        decided_by=lambda wildcards: fingerprint_decisions(planned_for(wildcards)),
    script:
        "../scripts/average.py"


use rule average as average_masks with:
    """Let the members of an ensemble vote about each pixel of the masks that they have predicted."""
    output:
        manifest="results/runs/{task}/{protocol}/{architecture}/{seed}/manifest.json",
        predictions="results/runs/{task}/{protocol}/{architecture}/{seed}/predictions.parquet",
        masks="results/runs/{task}/{protocol}/{architecture}/{seed}/predicted_masks.npz",
    wildcard_constraints:
        task=SEGMENTATION_TASKS,
        architecture=ENSEMBLE_NAMES,
    resources:
        mem_mb=4000,
        runtime="1h",
