"""The subcommands for contestants from elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from covbench.cli.arguments import add_plan, read_plan


def _add_cell(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name protocol and seed of a split."""
    parser.add_argument("--protocol", default="audited", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: %(default)s")
    parser.add_argument("--external", action="store_true", help="with images of the other planned datasets")
    add_plan(parser)


def _add_export(commands: Any) -> None:
    parser = commands.add_parser(
        "export-split", module="covbench.contestants.split_export", help="what a contestant may see of a split"
    )
    parser.add_argument("task", metavar="TASK", help="as in the config")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument(
        "--images",
        choices=("links", "files", "png", "nifti", "arrays"),
        metavar="FORM",
        help="links, files, png, nifti or arrays; default: links for a classification, png for a segmentation",
    )
    _add_cell(parser)
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from covbench.contestants.split_export import export_split
    from covbench.schema import Run

    config, _ = read_plan(options)
    run = Run(options.task, options.protocol, "", options.seed)
    for line in export_split(config, run, options.directory, options.out, options.images, options.external):
        print(line)


def _add_score(commands: Any) -> None:
    parser = commands.add_parser(
        "score", module="covbench.operations.submissions", help="check answers from elsewhere, score and take them in"
    )
    parser.add_argument("answers", type=Path, metavar="ANSWERS", help="a table, or a folder or .npz file of masks")
    parser.add_argument("--name", required=True, metavar="NAME", help="of the contestant: small letters, digits and _")
    parser.add_argument("--task", required=True, metavar="TASK", help="as in the config")
    for name, meaning in (
        ("title", "what it is, in a few words; default: its name"),
        ("citation", "how its authors want to be cited"),
        ("contact", "whom to ask about it"),
        ("training-data", "other images than the split's that it has learned from"),
    ):
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=meaning)
    parser.add_argument("--labels", action="store_true", help="it names a class instead of probabilities, as people do")
    parser.add_argument("--dry-run", action="store_true", help="check and score, but keep nothing")
    _add_cell(parser)
    parser.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> None:
    from covbench.operations.submissions import Submission, score_submission
    from covbench.schema import Run

    config, _ = read_plan(options)
    words = {name: getattr(options, name) for name in ("title", "citation", "contact", "training_data")}
    run = Run(options.task, options.protocol, options.name, options.seed)
    submission = Submission(options.answers, run, words, options.labels, options.external)
    for line in score_submission(config, submission, options.directory, keep=not options.dry_run):
        print(line)


def _add_new(commands: Any) -> None:
    parser = commands.add_parser(
        "new",
        module="covbench.operations.templates",
        help="the template of a contestant, dataset or architecture",
    )
    parser.add_argument("kind", choices=("contestant", "dataset", "architecture"), metavar="KIND", help="%(choices)s")
    parser.add_argument("name", metavar="NAME", help="small letters, digits and _")
    parser.set_defaults(run=_new)


def _new(options: argparse.Namespace) -> None:
    from covbench.operations.templates import write_template

    for line in write_template(options.kind, options.name):
        print(line)


CONTESTANT_COMMANDS = (_add_export, _add_score, _add_new)
