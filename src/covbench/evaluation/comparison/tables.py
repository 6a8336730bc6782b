"""The columns of the tables in results/compare. No run depends on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from covbench.schema import CELL_COLUMNS, Column

_TASK = {"task": CELL_COLUMNS["task"]}
_MODEL = {**CELL_COLUMNS, "architecture": Column("str", "network or baseline")}
_FAMILY = {"family": Column("str", "deep, baseline, external or ensemble")}
_WEIGHTS = {"weights": Column("str", "file of pretrained weights, or none")}
_METRIC = {"metric": Column("str", "key of metrics.json")}
_INTERVAL = {
    "low": Column("float64", "lower end of the 95 % interval; empty: none"),
    "high": Column("float64", "upper end of it"),
}
_COVERS = {
    "covers": Column("str", "what the interval covers: patients and training, or patients alone; empty: no interval"),
}


def _with_interval(name: str, meaning: str) -> dict[str, Column]:
    """Three columns: a difference and the two ends of its 95 % interval."""
    return {
        name: Column("float64", meaning),
        f"{name}_low": Column(
            "float64", "lower end of its 95 % interval; groups in both test folds are drawn for both"
        ),
        f"{name}_high": Column("float64", "upper end of it"),
    }


def _bounded(name: str, meaning: str) -> dict[str, Column]:
    """Three columns: a value and the two ends of its 95 % interval over patients and the choice on validation."""
    return {
        name: Column("float64", meaning),
        f"{name}_low": Column("float64", "lower end of its 95 % interval; empty: none"),
        f"{name}_high": Column("float64", "upper end of it"),
    }


def _estimated(name: str, meaning: str) -> dict[str, Column]:
    """Three columns: a value and the two ends of its interval, as Estimate.name_columns names them."""
    ends = {"": "", "_low": ", lower end of the interval", "_high": ", upper end of it"}
    return {f"{name}{end}": Column("float64", f"{meaning}{words}") for end, words in ends.items()}


_CHANGE = _with_interval("change", "mean under audited minus mean under published")
_SEEDS = {"seeds": Column("int64", "runs for which the metric is defined")}


def _under(protocols: Sequence[str], names: Mapping[str, str]) -> dict[str, Column]:
    """Columns of numbers, once per protocol: `{name}_published`, `{name}_audited`, …."""
    return {
        f"{name}_{protocol}": Column("float64", f"{meaning}, under {protocol}")
        for protocol in protocols
        for name, meaning in names.items()
    }


COMPARE_TABLES: dict[str, dict[str, Column]] = {
    "metrics": {
        **_MODEL,
        **_FAMILY,
        "seed": Column("int64", "of the run"),
        "class": Column("str", "class of a per-class metric; empty: of the whole test fold"),
        **_METRIC,
        "value": Column("float64", "score on the test fold; empty: undefined"),
        **_INTERVAL,
        "reason": Column("str", "why there is no value or no interval; else empty"),
    },
    "summary": {
        **_MODEL,
        **_FAMILY,
        **_METRIC,
        **_SEEDS,
        "values": Column("str", "score of each seed, in the order of the seeds, with three digits"),
        "mean": Column("float64", "over these seeds; empty: undefined in all"),
        "sd": Column("float64", "standard deviation over seeds; empty for a single one"),
        **_INTERVAL,
        **_COVERS,
        "groups": Column("int64", "groups of images that the score rests on, all seeds together"),
        "se": Column("float64", "standard error of the mean, of what the interval covers"),
        "df": Column("float64", "degrees of freedom of that error; empty: a normal quantile or no error"),
        "run_se": Column("float64", "standard error of a single run's score over patients"),
        "training_sd": Column("float64", "standard deviation of a score over trainings alone; empty: too few seeds"),
        "without_duplicates": Column("float64", "mean on one image per duplicate_set; headline metrics only"),
        "duplicates_dropped": Column("float64", "test images left out for it, mean over seeds"),
        "reason": Column("str", "why there is no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "subgroups": {
        **_MODEL,
        **_FAMILY,
        "fact": Column("str", "what divides the test images: sex, age_band, view, source or lesion_size"),
        "subgroup": Column("str", "value of the fact; unknown; others: all with too few groups"),
        "metric": Column("str", "key of metrics.json; empty for others"),
        **_SEEDS,
        "images": Column("int64", "test images of the subgroup, all seeds together"),
        "groups": Column("int64", "groups of images of the subgroup, all seeds together"),
        "mean": Column("float64", "over these seeds; empty: not scored"),
        **_INTERVAL,
        **_COVERS,
        "reason": Column("str", "why there is no score or no interval, or why it covers patients alone; else empty"),
    },
    "subgroup_gaps": {
        **_MODEL,
        **_FAMILY,
        "fact": Column("str", "as in subgroups"),
        **_METRIC,
        "subgroups": Column("int64", "compared subgroups: known, and with a score"),
        "best": Column("str", "subgroup with the highest mean"),
        "worst": Column("str", "subgroup with the lowest mean"),
        "gap": Column("float64", "mean of the best minus mean of the worst"),
        "low": Column("float64", "lower end of the interval that holds for all pairs of these subgroups at once"),
        "high": Column("float64", "upper end of it"),
        **_COVERS,
        "reason": Column("str", "why there is no interval, or why it covers patients alone; else empty"),
    },
    "protocols": {
        **_TASK,
        "architecture": _MODEL["architecture"],
        **_FAMILY,
        **_METRIC,
        **_under(
            ("published", "published_audited_split", "audited"),
            {"mean": "mean over seeds", "low": "lower end of its interval", "high": "upper end of it"},
        ),
        **_with_interval("split_change", "published_audited_split minus published: what the split alone changes"),
        **_with_interval("recipe_change", "audited minus published_audited_split: what the recipe changes"),
        **_CHANGE,
        **_COVERS,
        "reason": Column("str", "why an interval is missing, or covers patients alone; else empty"),
    },
    "pairs": {
        **CELL_COLUMNS,
        **_METRIC,
        "one": Column("str", "first model"),
        "other": Column("str", "second model"),
        "seeds": Column("int64", "runs of each"),
        "groups": Column("int64", "groups of images whose answers differ"),
        "difference": Column("float64", "mean over seeds, first minus second"),
        **_INTERVAL,
        "scope": Column("str", "what the verdict speaks of: architectures, or trained models"),
        "test": Column("str", "name of the paired test"),
        "p": Column("float64", "of this pair alone; below .05 exactly where the interval excludes 0"),
        "p_holm": Column("float64", "corrected for all pairs of this task, protocol and metric (Holm)"),
        "smallest_p": Column("float64", "smallest p that so many groups can give: 2 of all orders of the two models"),
        "verdict": Column("str", "of the first model: better, worse, undecided or cannot be decided (p_holm < .05)"),
        "reason": Column("str", "why it cannot be decided, or why it speaks of trained models; else empty"),
    },
    "ranks": {
        **CELL_COLUMNS,
        **_METRIC,
        "architecture": _MODEL["architecture"],
        **_FAMILY,
        "score": Column("float64", "mean over seeds"),
        "best": Column("int64", "1 + the models that the verdicts of `pairs` call better"),
        "worst": Column("int64", "number of models - those that the verdicts call worse"),
        "models": Column("int64", "ranked models"),
    },
    "resolution": {
        **CELL_COLUMNS,
        **_METRIC,
        "groups": Column("int64", "of the test folds, all seeds together"),
        "seeds": Column("int64", "runs of each model"),
        "models": Column("int64", "compared models"),
        "error": Column("float64", "standard error of the difference of two models"),
        "df": Column("float64", "its degrees of freedom"),
        "resolvable": Column("float64", "smallest true difference that is found in 80 % of such studies; empty: none"),
        "basis": Column("str", "what the error is taken from"),
    },
    "agreement": {
        **_TASK,
        "protocol": CELL_COLUMNS["protocol"],
        "seed": Column("int64", "of the runs"),
        "one": Column("str", "first reader: a contestant with `answers: labels`"),
        "other": Column("str", "second reader"),
        "measure": Column("str", "kappa of the classes that they name, or dice of the lesions that they mark"),
        "images": Column("int64", "of kappa, all test images; of dice, those where one of the two marks a lesion"),
        "groups": Column("int64", "groups of these images"),
        "value": Column("float64", "agreement; empty: undefined"),
        **_INTERVAL,
        "reason": Column("str", "why there is no value or no interval; else empty"),
    },
    "operating_points": {
        **_MODEL,
        **_FAMILY,
        "unit": Column("str", "what is classified: image or patient"),
        "promised": Column("str", "rate that the threshold has to hold on validation: specificity or sensitivity"),
        "level": Column("float64", "how large that rate has to be"),
        "seeds": Column("int64", "runs"),
        "thresholds": Column("str", "probability of the positive class that each seed's validation fold chose"),
        **_bounded("sensitivity", "on the test fold, mean over seeds"),
        **_bounded("specificity", "on the test fold, mean over seeds"),
        **_bounded("lr_positive", "positive likelihood ratio, of the mean rates"),
        **_bounded("lr_negative", "negative likelihood ratio, of the mean rates"),
        "prevalence": Column("float64", "share of positives among the test images or patients"),
        "positive_groups": Column("int64", "groups with positives in the test folds, all seeds together"),
        "negative_groups": Column("int64", "groups with negatives in the test folds, all seeds together"),
        "validation_groups": Column("int64", "groups in the validation folds with the class whose rate is promised"),
        **_COVERS,
        "reason": Column("str", "why there is no value or no interval, or why it covers patients alone; else empty"),
    },
    "calibration": {
        **_MODEL,
        **_FAMILY,
        "class": Column("str", "class of slope and intercept; empty: of all classes together"),
        "metric": Column("str", "ece, log_loss, brier, slope or intercept"),
        "seeds": Column("int64", "runs"),
        "groups": Column("int64", "groups of images that the score rests on, all seeds together"),
        "value": Column("float64", "on the test fold, mean over seeds; empty: undefined"),
        **_INTERVAL,
        "temperatures": Column("str", "of each seed, fitted on its validation fold; empty: none"),
        "scaled": Column("float64", "the same score with probabilities scaled by these temperatures"),
        **_bounded("change", "scaled minus value"),
        **_COVERS,
        "reason": Column("str", "why there is no value, interval or temperature, or why it covers patients alone"),
    },
    "published": {
        **_TASK,
        "architecture": Column("str", "network of ours that is set beside the value: the one that the study trained"),
        "study_model": Column("str", "network as the study names it"),
        "metric": Column("str", "as the study names it"),
        "reported": Column("float64", "value in the study"),
        "source": Column("str", "where the study reports it"),
        "our_metric": Column("str", "metric of ours that is set beside it"),
        "class": Column("str", "class that the value speaks of"),
        "averaging": Column("str", "how the value is averaged"),
        "test_images": Column("int64", "in the study's test set"),
        "images": Column("str", "what the study's test set was drawn from"),
        **_under(
            ("published", "published_audited_split", "audited"),
            {"value": "our mean over seeds", "low": "lower end of its interval", "high": "upper end of it"},
        ),
        **_with_interval("difference", "our mean under published minus the reported value"),
        "empty_mask": Column("float64", "what a mask without any lesion scores in the same test folds"),
        **_CHANGE,
        "verdict": Column("str", "matches, differs or untestable"),
        "why": Column("str", "reason of the verdict"),
        "note": Column("str", "why this metric of ours was chosen"),
        "definition": Column("str", "what our metric counts"),
    },
    "findings": {
        "finding": Column("str", "what the values are, in a few words"),
        **_TASK,
        "models": Column("str", "rows that it concerns, as the study names them, separated by blanks"),
        "metrics": Column("str", "values that it concerns, as the study names them, separated by blanks"),
        "values": Column("int64", "number of these values"),
        "untestable": Column("str", "yes: the values cannot be judged; else empty"),
        "words": Column("str", "what was found, in a sentence or two"),
        "evidence": Column("str", "file and cell of the study that show it"),
    },
    "literature": {
        **_TASK,
        "protocol": Column("str", "test set, in words"),
        "model": Column("str", "as its authors name it"),
        "metric": Column("str", "as its authors name it"),
        "value": Column("float64", "as reported"),
        "note": Column("str", "what else to know"),
        "source": Column("str", "publication"),
    },
    "external": {
        **_MODEL,
        "tested_on": Column("str", "task of the other dataset"),
        **_METRIC,
        "seeds": Column("int64", "tested runs"),
        **_estimated("internal", "on the own test fold, labels reduced to what both datasets share"),
        **_estimated("external", "on the new images of the other dataset"),
        **_estimated("drop", "internal minus external"),
        "images": Column("float64", "new images of the other dataset; empty: not tested"),
        "patients": Column("float64", "patients among them; empty: the dataset publishes none"),
        "groups": Column("float64", "groups among them: patients with all near-duplicates"),
        "usable": Column("float64", "images of the other dataset that can be used"),
        "duplicates": Column("float64", "of these, images that the own dataset holds too"),
        "removed": Column("float64", "images left out: duplicates and all others of their groups"),
        **_COVERS,
        "reason": Column("str", "why there is no score or no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "controls": {
        **_MODEL,
        "control": Column("str", "what is left of the images: lungs_out, lungs_only, border_only or centre_only"),
        **_METRIC,
        "seeds": Column("int64", "tested runs"),
        **_estimated("full", "on the same images, unaltered"),
        **_estimated("altered", "on the altered images"),
        **_estimated("change", "altered minus full"),
        "kept": Column("float64", "share of the AUROC above chance that is left; empty: there is none"),
        "images": Column("float64", "different test images, all seeds together; empty: not tested"),
        "groups": Column("float64", "groups among them: patients with all near-duplicates"),
        "left_out": Column("float64", "test images in which no lungs were found"),
        "flag": Column("str", "of lungs_out: yes, the network needs no lungs, or no; empty: not known"),
        **_COVERS,
        "reason": Column("str", "why there is no score or no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "focus": {
        **_MODEL,
        "region": Column("str", "what the maps are compared with: lungs or lesions"),
        "seeds": Column("int64", "runs that were explained"),
        **_estimated("hits", "share of images whose map is largest in the region, or half a cell of the map from it"),
        **_estimated("energy", "share of a map's sum in the region, mean over images"),
        **_estimated("gain", "hits minus chance"),
        "chance": Column("float64", "share of the image that counts as a hit, mean"),
        "area": Column("float64", "share of the image that the region takes, mean: the energy of an even map"),
        "images": Column("float64", "different test images, all seeds together; empty: not explained"),
        "groups": Column("float64", "groups among them: patients with all near-duplicates"),
        "left_out": Column("float64", "of lesions: wrong answers, all seeds together; 0 for lungs"),
        **_COVERS,
        "reason": Column("str", "why there is no score or no interval, or why it covers patients alone; else empty"),
        **_WEIGHTS,
    },
    "search": {
        **_MODEL,
        "seed": Column("int64", "of the run whose rates the trial may give"),
        "trial": Column("int64", "counted from 0, which has the protocol's own rates"),
        "head_rate": Column("float64", "learning rate of the first phase; empty: it is skipped"),
        "fine_tune_rate": Column("float64", "learning rate of the second phase; empty: it is skipped"),
        "val_loss": Column("float64", "validation loss of the kept epoch; empty: it became infinite or no number"),
        "epochs_run": Column("int64", "trained epochs"),
        "seconds": Column(
            "float64", "of training; all restarts together, unless the loss became infinite or no number"
        ),
        "chosen": Column("str", "yes: the run was trained with these rates; else no"),
    },
    "runs": {
        **_MODEL,
        **_FAMILY,
        "seed": Column("int64", "of the run"),
        "state": Column("str", "scored, trained, stale, running, failed or missing"),
        "reason": Column("str", "why it is not scored, or which edits were accepted; else empty"),
        "seconds": Column("float64", "of training, all restarts together; this and what follows: of scored runs only"),
        "parameters": Column("float64", "of the network; 0 for a baseline, empty for a contestant from elsewhere"),
        "epochs_run": Column("float64", "trained epochs"),
        "best_epoch": Column("float64", "epoch of the kept weights, best or last, counted from 0"),
        "peak_memory_mb": Column("float64", "resident memory of the job at its peak"),
        "energy_kwh": Column("float64", "of training, all restarts together; empty: unknown"),
        "energy_basis": Column("str", "measured by counters, estimated from processor time, or partly measured"),
        "country": Column("str", "where it was trained, as the config says; else empty"),
        "grid_g_per_kwh": Column("float64", "CO2 equivalent of this country's electricity, g per kWh"),
        "device": Column("str", "where it was trained: name of the GPU, or cpu"),
        "cpu": Column("str", "model of the processor"),
        "instruction_set": Column("str", "widest one that oneDNN may use on it"),
        "threads": Column("float64", "of the training"),
        "precision": Column("str", "numbers that the network was trained in"),
        **_WEIGHTS,
        "training_data": Column(
            "str", "what a contestant from elsewhere has learned from beside the split; else empty"
        ),
        "fingerprint": Column("str", "sha256 of everything that decided the run"),
        "git_commit": Column("str", "commit of the code that trained it"),
        "finished": Column("str", "when, ISO 8601, UTC"),
        "images": Column("float64", "in the test fold"),
        "patients": Column("float64", "in the test fold; empty: the dataset publishes none"),
        "groups": Column("float64", "in the test fold: patients with all near-duplicates"),
    },
}
"""Columns of results/compare/{name}.csv, in their order."""
