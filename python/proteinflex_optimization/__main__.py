"""`python -m proteinflex_optimization` is `flexopt`."""

import sys

from proteinflex_optimization.cli import main

sys.exit(main())
