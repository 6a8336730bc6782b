"""What every dataset promises by its card: asked of whatever is registered."""

import pytest

from covbench.data.datasets import DATASETS, TASKS, dataset_named, dataset_of, task_named, usable_rows
from covbench.data.index import check_index
from covbench.schema import BACKGROUND, CLASSIFICATION, NOT_STATED, SEGMENTATION, CovbenchError, GitHub, Synthetic

STUDY = {
    "ieee8023_xray": "ieee8023",
    "covid_ct": "covid_ct",
    "sarscov2_ct": "sarscov2_ct",
    "radiography": "radiography",
    "zenodo_infection": "zenodo",
    "zenodo_multiclass": "zenodo",
    "medseg_multiclass": "medseg",
}
SAMPLED = [pytest.param(module, id=name) for name, module in DATASETS.items()]
CARDS = [pytest.param(module.CARD, id=name) for name, module in DATASETS.items()]
ALL_TASKS = [pytest.param(task, id=name) for name, task in TASKS.items()]


def test_every_task_of_the_study_is_registered():
    assert {task: dataset_of(task) for task in STUDY} == STUDY


@pytest.mark.parametrize("card", CARDS)
def test_a_card_says_what_it_is_and_where_it_comes_from(card):
    assert card.title
    assert card.licence
    assert card.citation
    assert card.modality in ("xray", "ct")
    assert card.tasks
    assert card.sources


@pytest.mark.parametrize("card", CARDS)
def test_a_card_states_how_labels_were_made_and_where_this_is_stated(card):
    assert card.datasheet.label_origin != NOT_STATED
    assert card.datasheet.label_source != NOT_STATED
    assert all(vars(card.datasheet).values())


@pytest.mark.parametrize("card", CARDS)
def test_a_card_can_be_mirrored_unless_it_draws_itself(card):
    drawn = all(isinstance(source, Synthetic) for source in card.sources)
    assert bool(card.mirror_folders) != drawn
    assert bool(card.homepage) or drawn


@pytest.mark.parametrize("card", CARDS)
def test_a_repository_is_pinned_to_a_commit(card):
    for source in card.sources:
        if isinstance(source, GitHub):
            assert len(source.commit) == 40
            assert int(source.commit, 16)


@pytest.mark.parametrize("task", ALL_TASKS)
def test_a_tasks_classes_are_distinct_plain_words_and_its_special_classes_are_among_them(task):
    assert len(set(task.classes)) == len(task.classes) >= 2
    assert all(name.isidentifier() and name.islower() for name in task.classes)
    assert task.kind in (CLASSIFICATION, SEGMENTATION)
    if task.kind == CLASSIFICATION:
        assert task.positive in ("", *task.classes)
        assert bool(task.positive) == (len(task.classes) == 2)
        assert not task.lesions
    else:
        assert task.classes[0] == BACKGROUND
        assert task.lesions
        assert set(task.lesions) < set(task.classes[1:]) | {BACKGROUND}
        assert BACKGROUND not in task.lesions


@pytest.mark.parametrize("module", SAMPLED)
def test_an_index_of_a_sample_in_the_datasets_own_layout_keeps_its_promises(module, tmp_path):
    drawn = [source.draw for source in module.CARD.sources if isinstance(source, Synthetic)]
    (drawn[0] if drawn else module.write_sample)(tmp_path / "raw")
    table = module.index(tmp_path / "raw")
    check_index(table, module.CARD)
    for task in module.CARD.tasks:
        usable = usable_rows(table, task)
        assert len(usable), task.name
        if task.kind == CLASSIFICATION:
            assert set(usable["label"]) == set(task.classes), task.name


def test_no_two_datasets_pose_a_task_of_the_same_name():
    names = [task.name for module in DATASETS.values() for task in module.CARD.tasks]
    assert len(names) == len(set(names))


def test_an_unknown_dataset_is_named_with_the_known_ones():
    with pytest.raises(CovbenchError, match=r"unknown dataset 'sars'; known: .*ieee8023.*zenodo"):
        dataset_named("sars")


def test_an_unknown_task_is_named_with_the_nearest_one():
    with pytest.raises(CovbenchError, match=r"unknown task 'covidct'.*did you mean 'covid_ct'\?"):
        task_named("covidct")
