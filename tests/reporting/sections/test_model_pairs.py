import pandas as pd

from covbench.reporting.sections.model_pairs import build_model_pairs_section, read_resolution, show_ranks
from covbench.schema import COMPARE_TABLES


def rank(architecture, best, worst, protocol="audited", metric="auroc"):
    return {
        "task": "covid_ct",
        "protocol": protocol,
        "metric": metric,
        "architecture": architecture,
        "best": best,
        "worst": worst,
        "models": 12,
    }


def test_ranks_are_those_of_the_audited_protocol_where_it_ranks_a_model():
    ranks = [rank("vgg16", 1, 9, "published"), rank("vgg16", 2, 2), rank("vgg19", 1, 4), rank("old", 3, 5, "published")]
    ranks.append(rank("vgg19", 12, 12, metric="accuracy"))
    assert show_ranks(pd.DataFrame(ranks), "auroc") == {
        "vgg16": "rank 2 of 12",
        "vgg19": "rank 1–4 of 12",
        "old": "rank 3–5 of 12",
    }


def test_the_resolution_is_a_sentence_with_patients_metrics_and_its_basis():
    row = {"protocol": "audited", "metric": "auroc", "groups": 41, "resolvable": 0.1234, "basis": "median over pairs"}
    assert read_resolution(pd.DataFrame([row])) == (
        "Under audited, 80 % of studies with 41 groups of images detect a true difference between two models of 0.123 "
        "in AUROC (median over pairs)."
    )


def test_a_change_has_its_sign_and_interval_and_a_p_value_never_reads_as_zero():
    change = {"architecture": "vgg16", "family": "deep", "metric": "auroc", "change": -0.1}
    change |= {f"mean_{name}": 0.9 for name in ("published", "audited")} | {"change_low": -0.2, "change_high": 0.01}
    change |= {f"{end}_{name}": 0.8 for name in ("published", "audited") for end in ("low", "high")}
    pair = {"one": "vgg16", "other": "vgg19", "protocol": "audited", "metric": "auroc", "difference": 0.1}
    pair |= {"low": 0.05, "high": 0.15, "test": "DeLong, by patient", "p": 1e-9, "p_holm": 0.04}
    frames = {"protocols": [change, change | {"metric": "accuracy"}], "pairs": [pair], "ranks": [], "resolution": []}
    compared = {
        name: pd.DataFrame(rows or None, columns=None if rows else list(COMPARE_TABLES[name]))
        for name, rows in frames.items()
    }
    section = build_model_pairs_section(compared, "auroc")
    (row,) = section.changes.rows
    assert (row[-1].text, row[-1].detail) == ("−0.100", "−0.200 to +0.010")
    assert [cell.text for cell in section.pairs.rows[0]][3:] == ["+0.100", "DeLong, by patient", "< 0.001", "0.040"]
    assert section.resolution == ""


def test_without_results_there_is_nothing_to_show():
    section = build_model_pairs_section(
        {name: pd.DataFrame(columns=list(columns)) for name, columns in COMPARE_TABLES.items()}, "auroc"
    )
    assert (section.changes, section.pairs, section.resolution) == (None, None, "")
