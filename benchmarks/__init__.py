"""Side by side with the peers a user would pick instead; measure.py says how a benchmark looks."""

import minigpt.runtime  # noqa: F401  first of all: it bounds how long OpenMP threads spin, which torch reads as it loads
