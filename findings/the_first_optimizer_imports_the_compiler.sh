#!/usr/bin/env bash
# torch 2.13.0: making a process's first optimizer imports torch's compiler, sympy with it, over 800 modules.
#
# `import torch` leaves the compiler alone, and so do a forward and a backward pass. But a method by which every
# optimizer takes its parameters is marked as one that the compiler must not read, and the mark imports the compiler at
# the first call, also in a program that compiles nothing. Before the first step, that takes nearly as long as
# `import torch` (1.3 and 1.6 CPU seconds here). No switch was found that avoids it.
#
# Seen: as EXPECTED below; whether each is imported.
set -euo pipefail
EXPECTED='import torch: torch._dynamo False, torch._inductor False, sympy False
a backward pass: torch._dynamo False, torch._inductor False, sympy False
SGD of one number: torch._dynamo True, torch._inductor True, sympy True
over 800 modules more: True'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import sys

import torch


def tell(what: str) -> int:
    print(f"{what}: " + ", ".join(f"{name} {name in sys.modules}" for name in ("torch._dynamo", "torch._inductor", "sympy")))
    return len(sys.modules)


tell("import torch")
weight = torch.nn.Parameter(torch.ones(1))
(weight * 2).sum().backward()
before = tell("a backward pass")
torch.optim.SGD([weight], lr=0.1)
print(f"over 800 modules more: {tell('SGD of one number') - before > 800}")
PY
found=$(venv/bin/python try.py)
echo "$found"
[ "$found" = "$EXPECTED" ]
