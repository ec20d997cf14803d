"""The main job on a real structure; the same as `flexopt demo`.

    python examples/pipeline.py --pdb my.pdb --steps 50000

The code is in the package, in `proteinflex_optimization/demo`: start at `pipeline.py`.
"""

import sys

from proteinflex_optimization.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
