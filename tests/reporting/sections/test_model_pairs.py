import pandas as pd

from covbench.reporting.sections.model_pairs import build_model_pairs_section, read_resolution, show_ranks
from tests.reporting.compare_rows import make_change, make_pair, make_row, make_table


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


def resolve(**values):
    return make_row("resolution", protocol="audited", metric="auroc", groups=41, seeds=3, **values)


def test_the_resolution_is_a_sentence_with_groups_seeds_metrics_and_its_basis():
    found = {"resolvable": 0.1234, "basis": "median over pairs of models"}
    rows = make_table("resolution", [resolve(**found), resolve(**found) | {"metric": "accuracy", "resolvable": 0.2}])
    assert read_resolution(rows) == [
        "Under audited, 80 % of studies with 41 groups of images and 3 seeds find a true difference between two models "
        "of 0.123 in AUROC and 0.200 in accuracy (median over pairs of models)."
    ]


def test_without_an_interval_no_difference_is_resolvable():
    rows = make_table("resolution", [resolve(basis="no pair has an interval")])
    assert read_resolution(rows) == ["Under audited, no difference is resolvable: no pair has an interval."]


def build(pairs=(), changes=()):
    compared = {name: make_table(name) for name in ("ranks", "resolution")}
    compared |= {"pairs": make_table("pairs", pairs), "protocols": make_table("protocols", changes)}
    return build_model_pairs_section(compared, ["accuracy"])


def read_pair(**values):
    table = build([make_pair("vgg16", "vgg19", **values)]).pairs
    return {heading: cell for (heading, _), cell in zip(table.columns, table.rows[0], strict=True)}


def test_a_pair_has_one_verdict_its_scope_and_its_corrected_p_value():
    cells = read_pair(verdict="better", difference=0.1, low=0.05, high=0.15, p=1e-9, p_holm=0.04, smallest_p=1e-12)
    shown = {heading: cells[heading].text for heading in ("Pair", "First model is", "Speaks of", "p, Holm", "p", "Why")}
    assert shown == {
        "Pair": "vgg16 minus vgg19",
        "First model is": "better",
        "Speaks of": "architectures",
        "p, Holm": "0.040",
        "p": "< 0.001",
        "Why": "",
    }
    assert (cells["Difference"].text, cells["Difference"].detail) == ("+0.100", "+0.050 to +0.150")


def test_a_pair_that_cannot_be_decided_says_why_in_place_of_a_p_value():
    why = "cannot be decided with 4 patients on whom the models differ"
    cells = read_pair(verdict="cannot be decided", difference=0.1, smallest_p=0.125, reason=why)
    assert (cells["First model is"].text, cells["Why"].text, cells["Smallest p"].text) == (
        "cannot be decided",
        why,
        "0.125",
    )
    assert (cells["p, Holm"].text, cells["p, Holm"].note) == ("–", why)
    assert (cells["Difference"].detail, cells["Speaks of"].text) == ("no interval", "–")


def test_without_results_there_is_nothing_to_show():
    section = build()
    assert (section.changes, section.pairs, section.resolution) == (None, None, [])


def test_the_steps_are_a_table():
    section = build(changes=[make_change("vgg16", {"split_change": (-0.1, -0.2, 0.0)})])
    assert [row[0].text for row in section.changes.rows] == ["vgg16"]
