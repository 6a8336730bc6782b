"""What the subcommands of `covbench` share: their parser, the arguments that name a plan, and kinds of values."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from covbench.experiment.config import Config
    from covbench.experiment.plan import PlannedRun


class Parser(argparse.ArgumentParser):
    """A parser that reports a mistake in one line. Its help text is in the module that does the work.

    Args:
        module: Holds HELP and EXAMPLES; it is imported only when somebody asks for help.
        options: As for argparse.ArgumentParser.
    """

    def __init__(self, *, module: str = "", **options: Any) -> None:
        super().__init__(formatter_class=_format_help, allow_abbrev=False, **options)
        self.module = module

    def format_help(self) -> str:
        if self.module:
            worker = importlib.import_module(self.module)
            self.description, self.epilog = worker.HELP, worker.EXAMPLES
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _format_help(prog: str) -> argparse.HelpFormatter:
    formatter = argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=118)
    formatter._action_max_length = 17  # argparse ignores the indent of subcommands, so long names would break the line
    return formatter


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Add the two arguments that name a plan and its working directory."""
    parser.add_argument(
        "--configfile", type=Path, metavar="FILE", help="as for snakemake; default: config/config.yaml alone"
    )
    parser.add_argument(
        "--directory",
        type=folder,
        default=Path(),
        metavar="DIR",
        help="as for snakemake: the folder that holds data/ and results/; default: this one",
    )


def read_plan(options: argparse.Namespace) -> tuple[Config, list[PlannedRun]]:
    from covbench.experiment.config import read_config
    from covbench.experiment.plan import plan_runs

    config = read_config(options.configfile)
    return config, plan_runs(config)


def folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is not a folder")
    return Path(text)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
