"""`python -m evalsets.overlap TRAIN... --evals FILE`."""

import sys

from evalsets.overlap.command import main

if __name__ == "__main__":
    sys.exit(main())
