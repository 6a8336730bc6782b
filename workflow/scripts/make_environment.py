"""The requirements file of a contestant -> a virtual environment, and a file that says that it is whole."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

from covbench.contestants.environment import make_environment

installed = Path(snakemake.output[0])
make_environment(Path(snakemake.input.requirements), installed.parent.resolve())
installed.write_text(snakemake.params.requirements)
