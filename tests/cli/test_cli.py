"""The command `covbench`: what its help teaches, what it prints, and that a mistake ends in one sentence."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from covbench.cli import build_parser, main
from tests.reporting.compare_rows import make_row, make_table

from .conftest import RUNS

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ["status", "verify", "forecast", "summary", "accept", "restore-dates", "add-raw-data", "doctor", "run"]
COMMANDS += ["mlflow-views", "export-split", "score", "new"]
COVBENCH = [sys.executable, "-m", "covbench.cli"]


def fail(capsys, *arguments):
    """The exit code and what stderr says of a call that has to fail; it has to be one line, and stdout empty."""
    try:
        code = main(list(map(str, arguments)))
    except SystemExit as left:
        code = left.code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return code, said.err


def call(*arguments, **environment):
    """The command in a process of its own."""
    command = [*COVBENCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, env=os.environ | environment)


def test_help_imports_neither_pandas_nor_tensorflow_nor_snakemake():
    code = (
        "import sys, covbench.cli\n"
        "try: covbench.cli.main(['--help'])\n"
        "except SystemExit: print(sorted({'pandas', 'tensorflow', 'keras', 'snakemake'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(f"  {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_a_purpose_and_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: covbench {command}")
    assert "\nexamples:\n" in printed
    assert f"  covbench {command}" in printed


def test_the_help_of_status_explains_every_state(capsys):
    from covbench.experiment.status import STATES

    with pytest.raises(SystemExit):
        main(["status", "--help"])
    printed = capsys.readouterr().out
    assert all(f"  {state} " in printed for state in STATES)


def test_the_console_script_is_the_same_command():
    (name, target), *others = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].items()
    module, function = target.split(":")
    assert (name, others) == ("covbench", [])
    assert getattr(importlib.import_module(module), function) is main


def test_no_module_behind_a_command_is_started_by_python_any_more():
    started = [path for path in (ROOT / "src").rglob("*.py") if '__name__ == "__main__"' in path.read_text()]
    assert {path.stem for path in started} == {"live_process", "time_answer", "time_steps"}  # they start themselves


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "covbench: the following arguments are required: COMMAND; see covbench --help"),
        (["stauts"], 2, "invalid choice: 'stauts'"),
        (["status", "--directory", "absent"], 2, "argument --directory: absent is not a folder"),
        (["status", "--folders", "stail"], 1, "--folders stail: unknown state; did you mean 'stale'?"),
        (["status", "--configfile", "absent.yaml"], 1, "absent.yaml: No such file or directory; give the path"),
        (["forecast", "--only", "resnet60"], 1, "--only resnet60: no planned network has this name; did you mean"),
        (["forecast", "--gpus", "0"], 2, "argument --gpus: 0 is not a whole number above 0"),
        (["forecast", "--minutes", "nan"], 2, "argument --minutes: nan is not a number of minutes"),
        (["summary", "absent"], 2, "argument results: absent is not a folder"),
        (["summary", "."], 1, "compare/runs.csv: no such file; run snakemake"),
        (["accept", RUNS], 2, "the following arguments are required: --because"),
        (["add-raw-data", "--accept", "medsegg"], 1, "--accept medsegg: no planned dataset; did you mean 'medseg'?"),
        (["mlflow-views", "sqlite:///absent.db"], 1, "absent.db: no such file; run the benchmark first"),
        (["mlflow-views", "mlruns"], 1, "'mlruns' is no store"),
        (["export-split", "covid_c", "--out", "given"], 1, "unknown name 'covid_c'; did you mean 'covid_ct'?"),
        (["export-split", "covid_ct", "--out", "given"], 1, "does not exist; make it, with the --configfile of your"),
        (["score", "absent.csv", "--name", "vgg16", "--task", "covid_ct"], 1, "a network or baseline has this name"),
        (["score", "absent.csv", "--name", "mine", "--task", "covid_ct"], 1, "absent.csv does not exist; name a table"),
        (["new", "contestant", "hog_svm"], 1, "hog_svm exists; choose another name"),
        (["new", "dataset", "My X-rays"], 1, "use at most 40 small letters, digits and _"),
        (["doctor", "--workflow-profile", "absent"], 2, "argument --workflow-profile: absent is not a folder"),
    ],
)
def test_a_mistake_ends_in_one_sentence_that_names_the_remedy(arguments, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ended, words = fail(capsys, *arguments)
    assert ended == code
    assert said in words


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seeds: 0", "config: seeds: 0 is no list; write seeds: [0]"),
        ("- a\n- b", "keys at top level"),
        ("tasks: [", "line 1: "),
    ],
)
def test_a_mistake_in_the_config_ends_every_command_that_reads_it(text, said, tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text(text)
    for command in ("status", "forecast", "restore-dates", "add-raw-data", "doctor"):
        code, words = fail(capsys, command, "--configfile", tmp_path / "wrong.yaml")
        assert code == 1
        assert words.startswith(f"covbench {command}: ")
        assert said in words


def test_a_folder_that_cannot_be_made_is_a_sentence_too(tmp_path, capsys):
    (tmp_path / "data").touch()
    code, words = fail(capsys, "restore-dates", "--directory", tmp_path)
    assert (code, words) == (1, f"covbench restore-dates: {tmp_path}/data/index: Not a directory\n")


def test_status_prints_json_folders_or_a_table(benchmark, capsys):
    arguments = ["--configfile", str(benchmark / "config.yaml"), "--directory", str(benchmark)]
    assert main(["status", *arguments, "--json"]) == 0
    states = {(run["architecture"], run["seed"]): run["state"] for run in json.loads(capsys.readouterr().out)["runs"]}
    assert [state == "stale" for state in states.values()] == [False, True, False, True, True, True]
    assert main(["status", *arguments, "--folders", "stale"]) == 0
    assert f"{benchmark}/{RUNS}/1\n" in capsys.readouterr().out
    assert main(["status", *arguments]) == 0
    assert capsys.readouterr().out.startswith("6 runs planned")


def test_no_command_imports_tensorflow(benchmark, scores):
    plan = ["--configfile", str(benchmark / "config.yaml"), "--directory", str(benchmark)]
    commands = [["status", *plan], ["forecast", *plan, "--minutes", "0"], ["doctor", *plan], ["summary", str(scores)]]
    commands += [["restore-dates", *plan], ["accept", RUNS, "--because", "no reason", *plan], ["add-raw-data", *plan]]
    code = (
        "import json, sys; from covbench.cli import main\n"
        "for command in json.loads(sys.argv[1]): main(command)\n"
        "print(sorted({'tensorflow', 'keras', 'segmentation_models'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(commands)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.endswith("[]\n"), done.stderr
    assert all(said in done.stdout for said in ("6 runs planned", "1 finished", "problems: ", "covid_ct: not fetched"))


def test_a_reader_that_goes_away_is_no_mistake():
    """The study's 768 runs are more than a pipe takes at once."""
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m covbench.cli status --json | head -c 9; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.endswith("0\n")


@pytest.fixture
def scores(tmp_path):
    """results/compare of one task: a network that loses 0.2 of AUROC under `audited`."""
    compare = tmp_path / "results" / "compare"
    compare.mkdir(parents=True)
    keys = {"task": "covid_ct", "architecture": "vgg16", "family": "deep", "metric": "auroc"}
    scores = [
        make_row("summary", **keys, protocol="published", mean=0.9, low=0.85, high=0.95, weights="none"),
        make_row("summary", **keys, protocol="audited", mean=0.7, low=0.6, high=0.8, weights="none"),
    ]
    change = make_row("protocols", **keys, change=-0.2, change_low=-0.3, change_high=-0.1)
    make_table("summary", scores).to_csv(compare / "summary.csv", index=False)
    make_table("protocols", [change]).to_csv(compare / "protocols.csv", index=False)
    pd.DataFrame({"state": ["running", "missing"]}).to_csv(compare / "runs.csv", index=False)
    return tmp_path / "results"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_the_summary_prints_under_any_locale(scores, encoding):
    done = call("summary", scores, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    printed = done.stdout.decode(encoding)
    minus, dash, line = ("−", "–", "─") if encoding == "utf-8" else ("-", "-", "-")
    assert f"{minus}0.200" in printed
    assert f"(0.600{dash}0.800)" in printed
    assert line * 10 in printed
    assert "Runs: 1 running, 1 missing" in printed


def test_the_summary_of_the_folder_above_names_the_right_one(scores, capsys):
    assert fail(capsys, "summary", scores.parent)[1].endswith(f"did you mean {scores}?\n")


def test_accept_makes_runs_current_whose_code_was_edited_and_no_others(benchmark, capsys):
    plan = ["--configfile", str(benchmark / "config.yaml"), "--directory", str(benchmark)]
    majority = "results/runs/covid_ct/audited/majority/0"
    assert main(["accept", majority, "--because", "only a comment changed", *plan]) == 0
    assert majority in capsys.readouterr().out
    main(["status", *plan, "--folders", "stale"])
    assert capsys.readouterr().out.split() == [
        f"{benchmark}/{RUNS}/1",
        *(f"{benchmark}/{majority[:-1]}{seed}" for seed in (1, 2)),
    ]
    assert main(["accept", f"{benchmark}/{RUNS}/1", "--because", "it is all the same", *plan]) == 1
    assert "batch_size" in capsys.readouterr().err
    assert main(["accept", f"{majority[:-1]}1", "--because", " ", *plan]) == 1
    assert "--because" in capsys.readouterr().err


def test_every_command_has_a_function_behind_it():
    needed = {"accept": [RUNS, "--because", "x"], "export-split": ["covid_ct", "--out", "x"]}
    needed |= {"score": ["x", "--name", "x", "--task", "x"], "new": ["contestant", "x"]}
    for command in COMMANDS:
        assert callable(build_parser().parse_args([command, *needed.get(command, [])]).run)
