"""Search learning rates on the validation fold, before the networks of a run are trained with the chosen ones."""


rule train_trial:
    """Train a network with one of the learning rates of a search, and score it on the validation fold alone."""
    input:
        split="data/splits/{task}/{protocol}/{seed}.parquet",
        prepared=lambda wildcards: planned_for(wildcards).inputs.prepared,
        weights=weights_for,
    output:
        history="results/runs/{task}/{protocol}/{architecture}/trials/{seed}/{trial}/history.csv",
        manifest="results/runs/{task}/{protocol}/{architecture}/trials/{seed}/{trial}/manifest.json",
    log:
        "logs/train_trial/{task}/{protocol}/{architecture}/{seed}/{trial}.log",
    benchmark:
        "benchmarks/train_trial/{task}/{protocol}/{architecture}/{seed}/{trial}.tsv"
    wildcard_constraints:
        protocol=SEARCHED,
        architecture="|".join([*CLASSIFIERS, *SEGMENTERS]),
        trial=TRIAL_NUMBERS,
    conda:
        "../../envs/cpu.conda.yaml"
    threads: config["threads"]
    resources:
        gpu=1,
        mem_mb=12000,
        runtime="8h",
    params:
        options=lambda wildcards: asdict(planned_trial(wildcards).options),
        settings=lambda wildcards: asdict(planned_trial(wildcards).settings),
        decided_by=lambda wildcards: fingerprint_decisions(planned_trial(wildcards)),
    script:
        "../scripts/train_trial.py"


rule compare_search:
    """Gather every trial of the search: its learning rates, its score on the validation fold, and its cost."""
    input:
        list_trials(RUNS),
    output:
        "results/compare/search.csv",
    log:
        "logs/compare_search.log",
    conda:
        "../../envs/cpu.conda.yaml"
    resources:
        mem_mb=1000,
        runtime="30m",
    params:
        plan=PLAN_ID,
        made_by=made_by("compare_search"),
    script:
        "../scripts/compare_search.py"
