#!/usr/bin/env bash
# torch 2.13.0: `torch.set_num_threads(1)` in a Python thread does not last if it is the first thing that the thread
# asks of torch.
#
# The number of threads that share an operation is kept for each Python thread by itself, and `set_num_threads` sets the
# caller's. But it is also noted in one place for all, and at its first operation (or its first question,
# `get_num_threads`) each thread takes over what is noted there: the number that any thread has set last. So a worker
# that sets 1 and computes has 1, unless another thread has set a number in between; then it has that one. And a new
# worker that sets nothing begins with another worker's number and not with the program's. What helps: ask before you
# set. After `torch.get_num_threads()` the thread's number is its own.
#
# Seen: as EXPECTED below.
set -euo pipefail
EXPECTED='the program sets 4: it has 4
a worker sets 2: it has 2, the program 4
a worker sets nothing: it has 2
a worker sets 1, then the program sets 3: it has 3
a worker asks, sets 1, then the program sets 3: it has 1'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import threading

import torch


def worker(asks, number, meanwhile=lambda: None):
    """How many threads a new Python thread has in the end."""
    has_set, may_go, found = threading.Event(), threading.Event(), []

    def work():
        if asks:
            torch.get_num_threads()
        if number:
            torch.set_num_threads(number)
        has_set.set()
        may_go.wait()
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    has_set.wait()
    meanwhile()
    may_go.set()
    thread.join()
    return found[0]


torch.get_num_threads()
torch.set_num_threads(4)
print("the program sets 4: it has", torch.get_num_threads())
print(f"a worker sets 2: it has {worker(False, 2)}, the program {torch.get_num_threads()}")
print("a worker sets nothing: it has", worker(False, 0))
three = lambda: torch.set_num_threads(3)
print("a worker sets 1, then the program sets 3: it has", worker(False, 1, three))
print("a worker asks, sets 1, then the program sets 3: it has", worker(True, 1, three))
PY
found=$(venv/bin/python try.py)
echo "$found"
[ "$found" = "$EXPECTED" ]
