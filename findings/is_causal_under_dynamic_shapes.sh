#!/usr/bin/env bash
# torch 2.13.0, torch.compile with dynamic=True: attention's `is_causal` cannot be computed from a length.
#
# `scaled_dot_product_attention(q, k, v, is_causal=q.size(2) > 1)` is what one writes for a cache: several new tokens
# need the causal mask, a single one must not have it. Under dynamic shapes the length is symbolic, `T > 1` becomes a
# SymBool, and the call raises TypeError: is_causal must be bool, not SymBool. One would expect `bool(...)` around it
# to force a decision. It does not: dynamo leaves a SymBool one, and the same error comes. A branch in Python,
# `if T > 1: … else: …`, is decided by a guard, and compiles in one graph.
#
# Seen: one line a form, as EXPECTED below.
set -euo pipefail
EXPECTED='comparison: SymBool refused
bool of it: SymBool refused
branch: 1 graph'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import torch
import torch.nn.functional as F


def comparison(q):
    return F.scaled_dot_product_attention(q, q, q, is_causal=q.size(2) > 1)


def bool_of_it(q):
    return F.scaled_dot_product_attention(q, q, q, is_causal=bool(q.size(2) > 1))


def branch(q):
    if q.size(2) > 1:
        return F.scaled_dot_product_attention(q, q, q, is_causal=True)
    return F.scaled_dot_product_attention(q, q, q)


for function in (comparison, bool_of_it, branch):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=True)
    try:
        for length in (5, 7, 9):
            compiled(torch.randn(1, 2, length, 8))
        seen = f"{len(graphs)} graph"
    except Exception as error:
        seen = "SymBool refused" if "SymBool" in str(error) else f"{type(error).__name__}: {error}"
    print(f"{function.__name__.replace('_', ' ')}: {seen}")
PY
found=$(venv/bin/python try.py 2>/dev/null)
echo "$found"
[ "$found" = "$EXPECTED" ]
