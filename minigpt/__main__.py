"""`python -m minigpt …` is `minigpt …`; torchrun needs a module to start."""

import sys

from minigpt.cli import main

sys.exit(main())
