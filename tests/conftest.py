"""One thread for each test process, and the same random examples on every run."""

import torch
from hypothesis import settings

torch.set_num_threads(1)  # `make test` runs two processes on what may be two cores

# The same examples every time: a failure in CI is a failure here. No deadline: a busy machine is no bug.
settings.register_profile("minigpt", derandomize=True, deadline=None)
settings.load_profile("minigpt")
