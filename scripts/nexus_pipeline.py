"""Run the whole pipeline: the same as `nexus-final`, by the path that the operator's manual names."""

import sys

from nexus_final.cli import main

if __name__ == "__main__":
    sys.exit(main())
