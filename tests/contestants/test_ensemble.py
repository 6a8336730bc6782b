"""Contestants that answer together: averages, votes, and members that do not fit."""

import numpy as np
import pandas as pd
import pytest

from covbench.contestants.ensemble import match_rows, vote
from covbench.experiment.config import check_config
from covbench.experiment.plan import ENSEMBLE, plan_runs
from covbench.schema import CovbenchError, Run

RUN = Run("covid_ct", "audited", "both", 0)


def rows(ids, folds=("val", "test"), **more):
    columns = {"image_id": [f"{fold}{n}" for fold in folds for n in ids], "copy": 0}
    return pd.DataFrame(columns | {"fold": [fold for fold in folds for _ in ids], "p_0": 0.5} | more)


def test_rows_are_matched_by_image_whatever_their_order():
    one, other = rows([0, 1]), rows([0, 1]).iloc[::-1].reset_index(drop=True)
    kept, places = match_rows(RUN, [one, other])
    assert kept["image_id"].tolist() == ["val0", "val1", "test0", "test1"]
    assert [place.tolist() for place in places] == [[0, 1, 2, 3], [3, 2, 1, 0]]


def test_the_validation_fold_is_left_out_where_a_member_has_not_predicted_it():
    kept, places = match_rows(RUN, [rows([0, 1]), rows([0, 1], ["test"])])
    assert kept["fold"].unique().tolist() == ["test"]
    assert [place.tolist() for place in places] == [[2, 3], [0, 1]]


@pytest.mark.parametrize("others", [[0], [0, 1, 2], [0, 2]])
def test_members_with_other_test_images_are_refused(others):
    with pytest.raises(CovbenchError, match="have not predicted the same test images"):
        match_rows(RUN, [rows([0, 1], ["test"]), rows(others, ["test"])])


def test_the_class_with_most_votes_is_chosen_and_of_equal_ones_the_lowest():
    maps = [
        np.array([[[0, 1, 2, 2]]], np.uint8),
        np.array([[[0, 1, 1, 1]]], np.uint8),
        np.array([[[1, 1, 0, 1]]], np.uint8),
    ]
    chosen, unsure = vote(maps, np.ones(3))
    assert chosen.tolist() == [[[0, 1, 0, 1]]]
    assert unsure.tolist() == [[[False, False, True, False]]]


def test_weights_count_as_votes():
    maps = [np.array([[[2, 0]]], np.uint8), np.array([[[1, 1]]], np.uint8), np.array([[[1, 1]]], np.uint8)]
    assert vote(maps, np.array([3.0, 1.0, 1.0]))[0].tolist() == [[[2, 0]]]


CONFIG = {
    "tasks": ["covid_ct", "zenodo_infection"],
    "architectures": {"classification": ["vgg16", "resnet50"], "segmentation": ["unet_vgg19", "fpn_vgg19"]},
    "protocols": ["audited"],
    "seeds": [0, 1],
}


def plan(**ensembles):
    runs = plan_runs(check_config(CONFIG | {"ensembles": ensembles}))
    return [planned for planned in runs if planned.family == ENSEMBLE]


def test_an_ensemble_is_planned_for_the_tasks_of_all_its_members():
    runs = plan(both=["vgg16", "resnet50"], masks={"members": ["unet_vgg19", "fpn_vgg19"], "weights": [2, 1]})
    assert [(p.run.task, p.run.architecture, p.run.seed) for p in runs] == [
        *(("covid_ct", "both", seed) for seed in (0, 1)),
        *(("zenodo_infection", "masks", seed) for seed in (0, 1)),
    ]
    assert dict(runs[0].inputs.predicted) == {
        f"{name}/0/predictions.parquet": f"results/runs/covid_ct/audited/{name}/0/predictions.parquet"
        for name in ("vgg16", "resnet50")
    }
    assert runs[2].ensemble.weights == (2.0, 1.0)
    assert "unet_vgg19/0/predicted_masks.npz" in dict(runs[2].inputs.predicted)


def test_the_mean_of_seeds_is_one_run_that_reads_all_seeds():
    (planned,) = plan(seeds_of_vgg={"members": ["vgg16"], "seeds": "mean"})
    assert planned.run.seed == 0
    assert list(dict(planned.inputs.predicted)) == ["vgg16/0/predictions.parquet", "vgg16/1/predictions.parquet"]


def test_the_mean_of_seeds_has_a_run_only_where_the_seeds_share_their_test_images():
    ensembles = {"seeds_of_vgg": {"members": ["vgg16"], "seeds": "mean"}}
    config = CONFIG | {"tasks": ["covid_ct", "radiography"], "protocols": ["published", "audited"]}
    runs = plan_runs(check_config(config | {"ensembles": ensembles}))
    found = [(p.run.task, p.run.protocol) for p in runs if p.family == ENSEMBLE]
    assert found == [("covid_ct", "audited")]
    single = CONFIG | {"tasks": ["radiography"], "seeds": [3], "ensembles": ensembles}
    assert [p.run.seed for p in plan_runs(check_config(single)) if p.family == ENSEMBLE] == [3]
    with pytest.raises(CovbenchError, match=r"ensembles\.seeds_of_vgg: each seed of the planned tasks has other test"):
        check_config(CONFIG | {"tasks": ["radiography"], "ensembles": ensembles})


@pytest.mark.parametrize(
    ("ensembles", "said"),
    [
        (
            {"both": ["vgg16", "resnet5"]},
            "ensembles.both: 'resnet5' is no planned contestant; did you mean 'resnet50'?",
        ),
        ({"vgg19": ["vgg16", "resnet50"]}, "ensembles.vgg19: a network, baseline or contestant has this name"),
        ({"both": {"members": ["vgg16", "resnet50"], "weights": [1]}}, "1 weights for 2 members; write one each"),
        ({"both": {"members": ["vgg16"]}}, "one member is no ensemble"),
        ({"both": ["vgg16"]}, "ensembles.both: [vgg16] is too short a list; name at least 2"),
        ({"both": "vgg16"}, "ensembles.both: vgg16 is no list or set of keys with values"),
    ],
)
def test_a_wrong_ensemble_is_refused_with_its_key(ensembles, said):
    with pytest.raises(CovbenchError) as raised:
        plan(**ensembles)
    assert said in str(raised.value)
