"""Who leads: the verdicts of the model pairs decide, whatever the intervals do."""

import pytest

from covbench.reporting.leading import find_lead, read_duplicates, read_leaders
from covbench.reporting.sections.model_pairs import show_ranks
from tests.reporting.compare_rows import make_pair, make_row, make_score, make_table

AUDITED = [
    make_score("audited", "a", 0.80, 0.70, 0.88),
    make_score("audited", "b", 0.90, 0.85, 0.95),
    make_score("audited", "hog_logistic", 0.86, 0.80, 0.92, family="baseline"),
]
FEW = "cannot be decided with 4 patients on whom the models differ"


def read(scores, *pairs, metric="auroc"):
    return read_leaders(make_table("summary", scores), make_table("pairs", pairs), metric)


def test_a_model_leads_if_it_is_better_than_every_other_though_the_intervals_overlap():
    pairs = (
        make_pair("a", "b", "worse"),
        make_pair("b", "hog_logistic", "better"),
        make_pair("a", "hog_logistic", "undecided"),
    )
    assert read(AUDITED, *pairs) == {
        "audited": "audited: b leads with AUROC 0.900 (0.850–0.950). It is better than each of the 2 other models. It "
        "is better than the best baseline, hog_logistic, by 0.040. This speaks of architectures."
    }


def test_models_tie_if_the_best_one_is_not_better_by_verdict_though_the_intervals_are_apart():
    scores = [AUDITED[0], make_score("audited", "b", 0.97, 0.96, 0.98), AUDITED[2]]
    pairs = (
        make_pair("a", "b", "worse"),
        make_pair("b", "hog_logistic", "undecided"),
        make_pair("a", "hog_logistic", "undecided"),
    )
    assert read(scores, *pairs)["audited"] == (
        "audited: not decided, because 2 of 3 models tie (b and hog_logistic). b has the highest AUROC, 0.970 "
        "(0.960–0.980). Whether it is better than the best baseline, hog_logistic, is undecided (0.110). This speaks "
        "of architectures."
    )


def test_the_tie_of_the_sentence_is_the_rank_of_the_table():
    pairs = [make_pair("a", "b", "worse"), make_pair("b", "hog_logistic", "undecided")]
    lead = find_lead(make_table("summary", AUDITED), make_table("pairs", pairs), "auroc")
    rank = make_row("ranks", protocol="audited", metric="auroc", architecture="b", best=1, worst=2, models=3)
    assert lead.tied == ["b", "hog_logistic"]
    assert show_ranks(make_table("ranks", [rank]), "auroc") == {"b": "rank 1–2 of 3"}


def test_pairs_that_cannot_be_decided_are_counted_with_their_reason():
    pairs = (
        make_pair("a", "b", "cannot be decided", reason=FEW),
        make_pair("b", "hog_logistic", "cannot be decided", reason=FEW),
    )
    sentence = read(AUDITED, *pairs)["audited"]
    assert "not decided, because 3 of 3 models tie (b, hog_logistic and a)." in sentence
    assert "Whether it is better than the best baseline, hog_logistic, cannot be decided (0.040)." in sentence
    assert sentence.endswith(f"(0.040). 2 of these pairs {FEW}.")


@pytest.mark.parametrize(("seeds", "words"), [(1, "1 seed is too few"), (2, "2 seeds are too few")])
def test_with_few_seeds_a_verdict_speaks_of_the_trained_models(seeds, words):
    scores = [row | {"seeds": seeds} for row in AUDITED[:2]]
    sentence = read(scores, make_pair("a", "b", "worse", scope="trained models"))["audited"]
    assert sentence.startswith("audited: b leads with AUROC 0.900 (0.850–0.950). It is better than a.")
    assert sentence.endswith(f"This speaks of the trained models: {words} to speak of architectures.")


def test_a_baseline_may_have_the_best_score():
    scores = [AUDITED[0], AUDITED[2]]
    assert read(scores, make_pair("hog_logistic", "a", "undecided"))["audited"].startswith(
        "audited: not decided, because 2 of 2 models tie (hog_logistic and a). The baseline hog_logistic has the "
        "highest AUROC, 0.860 (0.800–0.920). No network has a better score than this baseline."
    )


def test_where_smaller_is_better_the_lowest_score_is_the_best():
    scores = [row | {"metric": "false_positive_rate"} for row in AUDITED[:2]]
    pair = make_pair("a", "b", "better", metric="false_positive_rate")
    assert read(scores, pair, metric="false_positive_rate")["audited"].startswith(
        "audited: a leads with false-positive rate 0.800"
    )


def test_a_model_without_all_seeds_is_named_as_not_compared():
    sentence = read(AUDITED, make_pair("a", "hog_logistic", "undecided"))["audited"]
    assert "The baseline hog_logistic has the highest AUROC" in sentence
    assert sentence.endswith("Not compared, because seeds are missing: b.")


def test_without_pairs_nobody_leads():
    assert read(AUDITED[:1]) == {
        "audited": "audited: a has the highest AUROC, 0.800 (0.700–0.880). It is the only model."
    }
    assert read(AUDITED)["audited"].endswith(
        "b has the highest AUROC, 0.900 (0.850–0.950). No pair of models was compared."
    )


def test_protocols_follow_the_story_under_readable_names():
    names = ("audited", "published_audited_split", "published")
    found = read([make_score(name, "a", 0.8) for name in names])
    assert list(found) == ["published", "published_audited_split", "audited"]
    assert found["published_audited_split"].startswith("published recipe, audited folds: a has")


def test_many_tied_models_are_counted():
    scores = [make_score("audited", f"net{number}", 0.9 - number / 100) for number in range(7)]
    pairs = [make_pair("net0", f"net{number}", "undecided") for number in range(1, 7)]
    assert "7 of 7 models tie (net0, net1, net2, net3 and 3 others)." in read(scores, *pairs)["audited"]


def test_the_score_without_duplicates_is_set_beside_the_score_of_the_best_model():
    repeated = {"without_duplicates": 0.85, "duplicates_dropped": 12.3}
    scores = make_table("summary", [AUDITED[0] | repeated, AUDITED[1] | repeated, make_score("published", "a", 0.9)])
    assert read_duplicates(scores, "auroc") == {
        "audited": "audited: without the 12.3 test images that repeat another one of the fold, b has AUROC 0.850 "
        "instead of 0.900."
    }


def test_a_reason_that_does_not_begin_with_the_verdict_follows_it():
    why = "no interval: the same in all draws"
    sentence = read(AUDITED[:2], make_pair("a", "b", "cannot be decided", reason=why))["audited"]
    assert sentence.endswith(f"1 of these pairs cannot be decided: {why}.")
