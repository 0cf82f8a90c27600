"""`python -m odevision`: the same as the command `odevision`."""

import sys

from odevision.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
