"""The subcommands of `covbench` and what each of them calls."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from covbench.cli.arguments import Parser, add_plan, count, folder, read_plan
from covbench.cli.contestants import CONTESTANT_COMMANDS
from covbench.schema import CovbenchError
from covbench.system.disk import describe_full_disk, is_full_disk
from covbench.system.terminal import print_anywhere

ABOUT = """\
Plan, check and read a covbench benchmark. Snakemake trains. These commands show what it will do and what it has done.
"""
EXAMPLES = """\
examples:
  covbench doctor                              is everything in place? sources, weights, disk, GPUs
  covbench forecast                            hours, memory, disk and kWh of the trainings that are still to do
  covbench run -- --cores 8 --resources gpu=2  Snakemake with a progress line per stage
  covbench status                              the state of every planned run
  covbench verify                              is every file still what was fetched or made?
  covbench summary results                     every task under each protocol
  covbench export-split covid_ct --out given   what a contestant from elsewhere may see of a split
  covbench score given/p.csv --name my_model --task covid_ct    check its answers, score them and take them in

`covbench COMMAND --help` explains a command. A command ends with 0 if it did what it says. A mistake ends with 1, a
wrong argument with 2, and one sentence on stderr says what to do.
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `covbench` with all its subcommands. The parsed `run` is the function to call."""
    parser = Parser(prog="covbench", description=ABOUT, epilog=EXAMPLES)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for add in (_add_doctor, _add_forecast, _add_cost, _add_run, _add_status, _add_verify, _add_accept, _add_summary):
        add(commands)
    for add in (_add_restore_dates, _add_raw_data, _add_mlflow, _add_mlflow_views, *CONTESTANT_COMMANDS):
        add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. A mistake of the user is one sentence on stderr.

    Args:
        arguments: The command line after `covbench`; None takes that of this process.
    """
    options = build_parser().parse_args(arguments)
    with print_anywhere():
        try:
            code = options.run(options) or 0
            sys.stdout.flush()
        except BrokenPipeError:  # `| head` reads no further
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except CovbenchError as error:
            print(f"covbench {options.command}: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            words = f"{error.filename or 'system'}: {error.strerror}"
            if is_full_disk(error):
                words = describe_full_disk(Path(), str(error.filename or "a file"))
            print(f"covbench {options.command}: {words}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return int(code)


def _add_status(commands: Any) -> None:
    parser = commands.add_parser(
        "status", module="covbench.experiment.status", help="the state of every planned run, and why"
    )
    add_plan(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="counts and runs, a stale one with every difference")
    form.add_argument("--folders", metavar="STATE", help="only the folders of the runs in one state")
    parser.set_defaults(run=_status)


def _status(options: argparse.Namespace) -> None:
    from covbench.experiment.runs import examine_runs
    from covbench.experiment.shapes import suggest
    from covbench.experiment.status import STATES, describe_status, show_runs

    states = [str(state) for state in STATES]
    if options.folders and options.folders not in states:
        raise CovbenchError(f"--folders {options.folders}: unknown state; {suggest(options.folders, states)}")
    runs = examine_runs(read_plan(options)[1], options.directory)
    if options.json:
        print(json.dumps(describe_status(runs), indent=1))
    elif options.folders:
        for run in runs:
            if run.state == options.folders:
                print(run.folder)
    else:
        print(show_runs(runs))


def _add_verify(commands: Any) -> None:
    parser = commands.add_parser(
        "verify", module="covbench.experiment.verify", help="compare every byte with the hashes that were recorded"
    )
    parser.add_argument(
        "--directory", type=folder, default=Path(), metavar="DIR", help="the folder that holds data/ and results/"
    )
    parser.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    from covbench.experiment.verify import verify

    verdict = verify(options.directory)
    print(verdict)
    return int(bool(verdict.damages))


def _add_forecast(commands: Any) -> None:
    parser = commands.add_parser(
        "forecast", module="covbench.operations.forecast", help="hours, memory, disk and kWh of what is still to train"
    )
    add_plan(parser)
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these networks only; * stands for any text"
    )
    parser.add_argument(
        "--minutes", type=_minutes, default=5, metavar="N", help="time networks for at most N minutes; default: 5"
    )
    _add_gpus(parser)
    parser.set_defaults(run=_forecast)


def _add_gpus(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpus",
        type=count,
        default=1,
        metavar="N",
        help="runs at once, as snakemake --resources gpu=N; default: 1",
    )


def _forecast(options: argparse.Namespace) -> None:
    from covbench.operations.forecast import choose_trainings, forecast_study
    from covbench.operations.show_forecast import show_forecast

    plan = choose_trainings(read_plan(options)[1], options.only)
    found = forecast_study(plan, options.directory, options.minutes * 60)
    if found.lines:
        print(show_forecast(found, options.gpus, fold=not options.only))
    else:
        print("nothing to forecast: no planned training is missing or stale")


def _add_cost(commands: Any) -> None:
    parser = commands.add_parser(
        "cost", module="covbench.operations.network_costs", help="parameters, multiply-adds, latency and memory"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these networks only")
    parser.add_argument(
        "--directory", type=folder, default=Path(), metavar="DIR", help="the folder that holds results/"
    )
    parser.set_defaults(run=_cost)


def _cost(options: argparse.Namespace) -> None:
    from covbench.operations.network_costs import measure_costs, show_costs

    print(show_costs(measure_costs(options.only, options.directory)))


def _add_summary(commands: Any) -> None:
    parser = commands.add_parser("summary", module="covbench.reporting.summary", help="every task under each protocol")
    parser.add_argument(
        "results", type=folder, nargs="?", default=Path("results"), help="the folder results/ of a benchmark"
    )
    parser.set_defaults(run=_summary)


def _summary(options: argparse.Namespace) -> None:
    from covbench.reporting.summary import print_summary, require_tables

    require_tables(options.results)
    print_summary(options.results)


def _add_accept(commands: Any) -> None:
    about = """\
Declare an edit of the code or of a locked package harmless for stale runs, so that they count as current again.

The run's manifest.json records your reason, the date and the hashes that you accept. The report and `covbench status`
show them beside the run. A further edit makes the run stale again. A run is refused if its options, split, data or
weights differ from the plan: such a run needs a new training.
"""
    examples = """\
examples:
  covbench accept results/runs/covid_ct/audited/vgg16/0 --because "only a comment changed"
  covbench accept $(covbench status --folders stale) --because "renamed a variable in training/epoch.py"
"""
    parser = commands.add_parser(
        "accept", help="declare an edit harmless for stale runs", description=about, epilog=examples
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders of stale runs, as `status --folders stale`")
    parser.add_argument("--because", required=True, metavar="REASON", help="why the edit changes no result")
    add_plan(parser)
    parser.set_defaults(run=_accept)


def _accept(options: argparse.Namespace) -> None:
    from covbench.experiment.acceptance import accept

    for message in accept(read_plan(options)[1], options.runs, options.because, options.directory):
        print(message)


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor", module="covbench.operations.doctor", help="check data sources, weights, disk, GPUs, SLURM, MLflow"
    )
    add_plan(parser)
    _add_gpus(parser)
    parser.add_argument(
        "--workflow-profile", type=folder, metavar="DIR", help="as for snakemake; profiles/slurm checks the cluster"
    )
    parser.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from covbench.operations.doctor import PROBLEM, examine, show_findings

    config, plan = read_plan(options)
    findings = examine(config, plan, options.directory, options.gpus, options.workflow_profile)
    print(show_findings(findings))
    return int(any(finding.level == PROBLEM for finding in findings))


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run", module="covbench.operations.progress", help="Snakemake with a progress line per stage"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- ...", help="arguments of snakemake")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from covbench.operations.progress import run_snakemake

    arguments = options.arguments
    return run_snakemake(arguments[1:] if arguments[:1] == ["--"] else arguments)


def _add_restore_dates(commands: Any) -> None:
    parser = commands.add_parser(
        "restore-dates",
        module="covbench.operations.dvc_timestamps",
        help="after dvc pull: restore the dates of all outputs",
    )
    add_plan(parser)
    parser.set_defaults(run=_restore_dates)


def _restore_dates(options: argparse.Namespace) -> None:
    from covbench.operations.dvc_timestamps import reconcile

    restored = reconcile(read_plan(options)[1], options.directory)
    print(f"dates restored: {restored}" if restored else "every output has the date at which it was made")


def _add_raw_data(commands: Any) -> None:
    parser = commands.add_parser(
        "add-raw-data", module="covbench.operations.dvc_raw_data", help="put fetched datasets under DVC, verified"
    )
    add_plan(parser)
    parser.add_argument(
        "--accept", nargs="+", default=(), metavar="DATASET", help="competition data that you may keep under DVC"
    )
    parser.set_defaults(run=_raw_data)


def _raw_data(options: argparse.Namespace) -> None:
    from covbench.experiment.plan import planned_datasets
    from covbench.operations.dvc_raw_data import version_raw

    version_raw(planned_datasets(read_plan(options)[0]), options.directory, options.accept)


def _add_mlflow(commands: Any) -> None:
    parser = commands.add_parser(
        "mlflow", module="covbench.operations.mlflow.server", help="MLflow's pages of the runs, behind a password"
    )
    parser.add_argument(
        "results", type=Path, nargs="?", default=Path("results"), help="the folder results/ of a benchmark"
    )
    parser.add_argument("--port", type=count, default=5000, metavar="N", help="of this machine; default: %(default)s")
    parser.set_defaults(run=_mlflow)


def _mlflow(options: argparse.Namespace) -> NoReturn:
    from covbench.operations.mlflow.server import serve

    serve(options.results, options.port)


def _add_mlflow_views(commands: Any) -> None:
    parser = commands.add_parser(
        "mlflow-views", module="covbench.operations.mlflow.views", help="the address of every task's page in MLflow"
    )
    parser.add_argument("uri", nargs="?", default="sqlite:///results/mlflow.db", help="store, as tracking.uri")
    parser.add_argument(
        "server", nargs="?", default="http://127.0.0.1:5000", help="where its pages are served; default: %(default)s"
    )
    parser.set_defaults(run=_mlflow_views)


def _mlflow_views(options: argparse.Namespace) -> None:
    from covbench.operations.mlflow.store import explaining
    from covbench.operations.mlflow.views import list_views, require_store

    require_store(options.uri)
    with explaining(options.uri):
        views = list_views(options.uri, options.server)
    print("\n".join(views) or f"{options.uri} holds no task yet: run the benchmark first")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 <= minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of minutes from 0 on")
    return minutes
