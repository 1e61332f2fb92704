"""`python -m redpool`."""

import sys

from redpool.cli import main

sys.exit(main())
