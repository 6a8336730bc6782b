"""The leaders of every task in a few lines, with both steps, in Markdown and in the terminal."""

import pytest

from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.reporting.gather import read_results
from covbench.reporting.summary import (
    choose_steps,
    find_leaders,
    name_columns,
    order_story,
    print_summary,
    write_summary,
)
from tests.reporting.compare_rows import make_change, make_row, make_score, make_table
from tests.synthetic_results import UNEVEN, compare_tree, draw_tree, plan_runs

STORY = ("published", "published_audited_split", "audited")
SCORES = [
    make_score("audited", "a", 0.80, 0.70, 0.88),
    make_score("audited", "b", 0.90, 0.85, 0.95),
    make_score("published", "a", 0.99, 0.95, 1.00),
    make_score("published", "c", 0.85, 0.80, 0.90),
    make_score("audited", "hog_logistic", 0.86, 0.80, 0.92, family="baseline"),
]
RANK = make_row("ranks", protocol="audited", metric="auroc", architecture="b", best=1, worst=2, models=3)


def find(scores, **tables):
    compare = {name: make_table(name, tables.get(name, ())) for name in COMPARE_TABLES}
    return list(find_leaders(compare | {"summary": make_table("summary", scores)}))


def test_the_network_with_the_highest_audited_score_is_shown_with_its_ranks_and_the_best_baseline():
    (leader,) = find(SCORES, ranks=[RANK])
    baseline = "hog_logistic 0.860 (0.800–0.920)"
    shown = ("t", "AUROC", "–", "b (rank 1–2 of 3)", "–", "–", "0.900 (0.850–0.950)", baseline)
    assert leader.cells == shown


def test_weights_that_are_not_the_published_ones_are_named_beside_the_network():
    file = "mobilenetv2_dequantised.h5"
    (leader,) = find([row | {"weights": file} for row in SCORES])
    assert leader.model == f"b ({file})"


def test_columns_read_from_published_over_the_split_and_the_recipe_to_audited():
    steps = choose_steps(STORY)
    assert order_story(STORY, steps) == [
        "published",
        "split_change",
        "published_audited_split",
        "recipe_change",
        "audited",
    ]
    assert name_columns(STORY, steps)[4:-1] == (
        "Published",
        "Split alone",
        "Published recipe, audited folds",
        "Recipe",
        "Audited",
    )


@pytest.mark.parametrize(
    ("protocols", "steps"), [(("published", "audited"), ("change",)), (("audited",), ()), (("half", "published"), ())]
)
def test_without_the_protocol_between_both_steps_are_one(protocols, steps):
    assert choose_steps(protocols) == steps


def test_the_study_and_both_steps_are_set_beside_the_leader_of_the_studys_metric():
    scores = [row | {"metric": "accuracy"} for row in SCORES]
    scores.append(make_score("published_audited_split", "b", 0.88, metric="accuracy"))
    study = [
        make_row("published", architecture=name, metric="accuracy", reported=value, our_metric="accuracy")
        for name, value in (("b", 0.97), ("x", 0.91))
    ]
    change = make_change("b", {"split_change": (-0.1, -0.25, 0.05), "recipe_change": (0.02, None, None)})
    _, leader = find(scores, published=study, protocols=[change])
    assert (leader.study, leader.model) == ("0.91–0.97", "b")
    assert leader.steps == {"split_change": "−0.100 (−0.250 to +0.050)", "recipe_change": "+0.020 (no interval)"}


def test_balanced_accuracy_and_a_warning_follow_where_accuracy_misleads():
    scores = [
        make_score("audited", "a", mean, metric=name) for name, mean in (("accuracy", 0.81), ("balanced_accuracy", 0.5))
    ]
    study = [make_row("published", architecture="a", metric="accuracy", reported=0.9, our_metric="accuracy")]
    keys = {"protocol": "audited", "architecture": "a", "metric": "support"}
    images = [make_row("metrics", **keys, **{"class": name}, value=n) for name, n in (("covid", 81), ("normal", 19))]
    found = {leader.metric: leader.warnings for leader in find(scores, published=study, metrics=images)}
    assert list(found) == ["auroc", "accuracy", "balanced_accuracy"]
    assert found["accuracy"][0].startswith("audited: 81 % of the test images are covid.")
    assert found["balanced_accuracy"] == ()
    assert "balanced_accuracy" not in {leader.metric for leader in find(scores, published=study)}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("summary")
    plan = plan_runs({UNEVEN: ["vgg16", "majority"], "phantom_lesions": ["unet_vgg19"]}, STORY)
    draw_tree(root, plan, images=60)
    compare_tree(root, plan)
    results = root / "results"
    gathered = read_results(results, plan, results / "compare", results / "report")
    write_summary(results / "summary.md", gathered, "Test")
    return results


def test_the_terminal_shows_every_task_protocol_and_step_within_80_columns(results, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_summary(results)
    printed = capsys.readouterr().out
    words = (
        UNEVEN,
        "phantom_lesions",
        "published recipe",
        "audited folds",
        "split alone",
        "recipe",
        "majority",
        "rank",
    )
    assert all(word in printed for word in words)
    assert "% of the test images are covid" in printed
    assert "18 scored" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_the_file_beside_the_report_has_both_steps_and_the_warning(results):
    text = (results / "summary.md").read_text(encoding="utf-8")
    assert "| Published | Split alone | Published recipe, audited folds | Recipe | Audited |" in text
    assert "ieee8023\\_xray, " in text
    assert "Always answering covid has accuracy 0.8" in text
    assert "Balanced accuracy" in text


def test_the_summary_of_nothing_says_so(tmp_path, capsys):
    print_summary(tmp_path)
    assert "no run is scored yet" in capsys.readouterr().out


def test_a_score_without_interval_says_so_in_its_place():
    (leader,) = find([make_score("audited", "a", 0.8), make_score("published", "a", None)])
    assert leader.scores == {"published": "–", "audited": "0.800 (no interval)"}
