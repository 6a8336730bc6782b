"""Start the command where its console script is not installed."""

import sys

from covbench.cli.main import main

sys.exit(main())
