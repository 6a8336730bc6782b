"""Every value of the study names its counterpart, and what is said of the study follows from its confusion matrices."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.counterparts import read_counterparts
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.definitions import METRICS
from covbench.models.catalogue import CLASSIFIERS
from covbench.schema import CovbenchError

RESOURCES = Path(__file__).parents[3] / "workflow" / "resources"
FILES = tuple(RESOURCES / f"{name}.csv" for name in ("published_results", "counterparts", "study_findings"))
VALUES, FINDINGS = read_counterparts(*FILES)
MATRICES = pd.read_csv(Path(__file__).with_name("study_matrices.csv"))
MISFIT = FINDINGS[FINDINGS["finding"] == "Does not fit its confusion matrix"]


def test_each_of_the_300_values_names_metric_class_averaging_images_and_network():
    named = VALUES[["network", "our_metric", "class", "averaging", "images"]]
    assert len(VALUES) == 300
    assert (named != "").all(axis=None)
    assert VALUES["test_images"].min() == 20


def test_a_value_is_set_beside_the_network_of_its_own_name_except_where_the_study_trained_another():
    own = VALUES["architecture"].str.cat(VALUES["backbone"], sep="_").str.rstrip("_")
    other = VALUES[VALUES["network"] != own]
    assert set(zip(other["task"], own[other.index], other["network"], strict=True)) == {
        ("radiography", "resnet50", "mobilenetv2"),
        *(
            ("zenodo_infection", f"{name}_seresnet101", f"{name}_seresnext101")
            for name in ("unet", "pspnet", "linknet")
        ),
    }
    assert set(VALUES[VALUES["kind"] == "classification"]["network"]) <= set(CLASSIFIERS)


def test_what_cannot_be_judged_has_a_reason_in_words():
    reasons = VALUES[VALUES["untestable"] != ""].groupby("task").size().to_dict()
    assert reasons == {"covid_ct": 36, "ieee8023_xray": 36, "radiography": 9, "zenodo_infection": 18}
    assert VALUES[VALUES["task"] == "covid_ct"]["untestable"].str.contains("544 images").all()
    assert VALUES[VALUES["task"] == "ieee8023_xray"]["untestable"].str.contains("93 came from elsewhere").all()
    assert VALUES.query("network == 'mobilenetv2' and architecture == 'resnet50'")["untestable"].str.len().min() > 20


def test_a_finding_names_its_values_its_evidence_and_how_many_they_are():
    assert list(FINDINGS) == list(COMPARE_TABLES["findings"])
    assert (FINDINGS[["finding", "words", "evidence", "models", "metrics"]] != "").all(axis=None)
    counts = FINDINGS.groupby("finding")["values"].sum()
    assert counts["Score of the background"] == 48
    assert counts["Rows with one result"] == 9 * 2


def score_matrix(matrix, metric):
    """A metric of VALUES from a confusion matrix, (C, C), rows truth; the first class is COVID."""
    hits, true, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        rates = {"precision": hits / called, "recall": hits / true, "f1": 2 * hits / (true + called)}
    rates["sensitivity"] = rates["recall"]
    rate, _, average = metric.partition("_")
    if rate == "accuracy":
        return hits.sum() / matrix.sum()
    return rates[rate].mean() if average.startswith("macro") else rates[rate][0]


def read_matrix(text):
    return np.array([[int(count) for count in row.split()] for row in text.split("/")])


def is_misfit(value):
    rows = MISFIT[(MISFIT["task"] == value["task"]) & (MISFIT["models"] == value["architecture"])]
    return any(value["metric"] in row.split() for row in rows["metrics"])


def list_scored():
    matrices = {(row["task"], row["architecture"]): read_matrix(row["matrix"]) for _, row in MATRICES.iterrows()}
    for _, value in VALUES[VALUES["kind"] == "classification"].iterrows():
        if not value["note"].startswith("The study takes this value from evaluate"):
            yield value, matrices[value["task"], value["architecture"]]


def test_every_value_fits_its_confusion_matrix_by_its_counterpart_unless_the_findings_name_it():
    apart = [
        (value["task"], value["architecture"], value["metric"])
        for value, matrix in list_scored()
        if not abs(value["value"] - score_matrix(matrix, value["our_metric"])) <= 0.00501
    ]
    named = [(value["task"], value["architecture"], value["metric"]) for value, _ in list_scored() if is_misfit(value)]
    assert apart == named
    assert len(named) == 9


def test_the_matrices_prove_that_precision_and_recall_are_exchanged():
    chosen = [
        (value, matrix)
        for value, matrix in list_scored()
        if value["task"] in ("covid_ct", "sarscov2_ct") and value["metric"] in ("precision", "recall")
    ]
    as_named = [abs(value["value"] - score_matrix(matrix, value["metric"])) <= 0.00501 for value, matrix in chosen]
    assert len(chosen) == 36
    assert sum(as_named) == 0


def test_the_test_sets_are_as_large_as_the_matrices():
    for value, matrix in list_scored():
        assert matrix.sum() == value["test_images"]


def test_rows_with_one_result_are_equal_in_the_tables():
    rows = FINDINGS[FINDINGS["finding"] == "Rows with one result"]
    named = [model for models in rows["models"] for model in models.split()]
    results = VALUES[VALUES["task"] == "zenodo_infection"].assign(
        model=VALUES["architecture"] + "_" + VALUES["backbone"]
    )
    pairs = results.pivot_table(index="model", columns="metric", values="value").loc[named]
    assert len(named) == 9
    assert len(pairs.drop_duplicates()) == 4


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (1, "radiografy,,,,,accuracy,all,all,1,none,", "speaks of no value of"),
        (2, "Other images,covid_ct,vgg17,,,yes,words,file", "speaks of no value of"),
    ],
)
def test_a_row_that_speaks_of_no_value_is_refused_with_its_line(tmp_path, number, line, message):
    files = list(FILES)
    files[number] = tmp_path / "table.csv"
    text = FILES[number].read_text(encoding="utf-8")
    files[number].write_text(text + line + "\n", encoding="utf-8")
    with pytest.raises(CovbenchError, match=rf"table.csv: line {len(text.splitlines()) + 1} {message}"):
        read_counterparts(*files)


def test_a_value_without_a_counterpart_is_refused_by_name(tmp_path):
    lines = FILES[1].read_text(encoding="utf-8").splitlines()
    fewer = tmp_path / "counterparts.csv"
    fewer.write_text("\n".join(line for line in lines if not line.startswith("radiography,,,f1")), encoding="utf-8")
    with pytest.raises(CovbenchError, match="no counterpart for radiography, xception, , f1; add one"):
        read_counterparts(FILES[0], fewer, FILES[2])


def test_every_counterpart_is_a_metric_of_its_kind_of_task():
    for kind, values in VALUES.groupby("kind"):
        assert set(values["our_metric"]) <= set(METRICS[kind])
