"""`python -m pytest_ftgate VERB` = `pytest-ftgate VERB`."""

import sys

from pytest_ftgate.cli import main

if __name__ == "__main__":
    sys.exit(main())
