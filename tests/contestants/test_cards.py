"""What contestant.yaml may say, and which files decide a run."""

import pytest

from covbench.experiment.config import check_config
from covbench.experiment.contestants import hash_contestant, list_contestants, read_contestant
from covbench.experiment.plan import EXTERNAL, plan_runs
from covbench.experiment.provenance import decide_inputs
from covbench.schema import CovbenchError, Run

CARD = "title: Mine\nkind: classification\ncommand: python run.py {input} {output} {arguments}\narguments: --epochs 9\n"


def write(folder, name="mine", card=CARD):
    (folder / name).mkdir(parents=True)
    (folder / name / "contestant.yaml").write_text(card)
    (folder / name / "run.py").write_text("pass")
    return folder


def test_the_contestants_of_the_project_can_be_read():
    assert {"hog_svm", "nnunet", "torch_convnext"} <= {*list_contestants()}
    assert all(read_contestant(name).title for name in list_contestants())


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("title: Mine", "contestants/mine/contestant.yaml: kind: missing; add this key"),
        ("kind: detection\ntitle: x", "kind: 'detection' is no choice"),
        (CARD + "commmand: x\n", "commmand: unknown key; did you mean 'command'?"),
        (CARD.replace("{output}", "{outptu}"), "'outptu' is not understood; known: {input}, {output}"),
        (CARD + "environment: {requirements: absent.txt}\n", "environment.requirements: "),
        (CARD + "memory: 1.5\n", "memory: 1.5 is no whole number"),
        ("- a", "holds no keys"),
        ("title: a\ntitle: b", "twice"),
    ],
)
def test_a_wrong_card_is_refused_with_file_and_key(tmp_path, card, said):
    folder = write(tmp_path / "contestants", card=card)
    with pytest.raises(CovbenchError) as raised:
        read_contestant("mine", folder)
    assert said in str(raised.value)


@pytest.mark.parametrize("name", ["vgg16", "majority", "Mine", "my model", "9lives", "../mine"])
def test_a_name_that_is_taken_or_no_name_is_refused(tmp_path, name):
    with pytest.raises(CovbenchError):
        read_contestant(name, write(tmp_path / "contestants", name))


def test_every_file_decides_but_hidden_and_compiled_ones_and_the_answers_to_other_runs(tmp_path):
    folder = write(tmp_path / "contestants")
    for name in (".hidden", "__pycache__/run.pyc", "predictions/covid_ct/audited/0.parquet"):
        (folder / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / name).write_text("x")
    files = {"contestants/mine/contestant.yaml", "contestants/mine/run.py"}
    assert hash_contestant(Run("covid_ct", "audited", "mine", 1), folder).keys() == files
    answered = hash_contestant(Run("covid_ct", "audited", "mine", 0), folder)
    assert answered.keys() == files | {"contestants/mine/predictions/covid_ct/audited/0.parquet"}


def plan(**more):
    config = {"tasks": ["covid_ct"], "architectures": {}, "contestants": {"classification": ["hog_svm"]}} | more
    return [planned for planned in plan_runs(check_config(config)) if planned.family == EXTERNAL]


def test_words_of_the_config_take_the_place_of_those_of_the_card():
    assert [planned.arguments for planned in plan(protocols=["audited"])] == [""]
    (planned,) = plan(protocols=["audited"], arguments={"hog_svm": "--side 32"})
    assert planned.describe()["options"] == {"arguments": "--side 32"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"arguments": {"hog_smv": "x"}}, "arguments.hog_smv: no contestant of this config; did you mean 'hog_svm'?"),
        (
            {"contestants": {"segmentation": ["hog_svm"]}},
            "hog_svm is for classification; move it to contestants.",
        ),
        ({"contestants": {"classification": ["hog_smv"]}}, "unknown name 'hog_smv'; did you mean 'hog_svm'?"),
        ({"contestants": {"covid": ["hog_svm"]}}, "contestants.covid: neither a kind of task nor a task"),
    ],
)
def test_a_wrong_config_is_refused_with_its_key(more, said):
    with pytest.raises(CovbenchError) as raised:
        plan(**more)
    assert said in str(raised.value)


def test_the_files_of_one_contestant_do_not_decide_the_runs_of_another():
    names = ("hog_svm", "torch_convnext", "hog_svm")
    codes = [decide_inputs(Run("covid_ct", "audited", name, 0), {}, {})["code"] for name in names]
    owned = [{key.split("/")[1] for key in code if key.startswith("contestants/")} for code in codes]
    assert owned == [{name} for name in names]
