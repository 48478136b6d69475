"""`python -m earthtone` is `earthtone`."""

import sys

from earthtone.cli import main

sys.exit(main())
