#!/usr/bin/env bash
# torch 2.13.0: under torch.compile with dynamic shapes, `bool(T > 1)` is still no bool for is_causal.
#
# A layer that asks for causal attention «when there is more than one query» passes is_causal=T > 1. Eagerly T is an
# int and all is well. Traced with dynamic shapes, T > 1 is a SymBool, and scaled_dot_product_attention refuses it:
#   TypeError … argument 'is_causal' (position 6) must be bool, not SymBool
# (a graph break; an error with fullgraph=True). One would guess that bool(T > 1) decides it, as it does for every
# other Python function that wants a bool. Seen: the same TypeError, since the tracer keeps bool() of a SymBool
# symbolic. A branch decides it: `causal = False if T == 1 else True` is traced into one graph for all lengths above 1.
# Cost in practice: a frame compiled in small pieces at the second length that a batch has, without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 numpy==2.4.6
cd "$folder"
cat > seen.py <<'PY'
import torch
import torch.nn.functional as F


def plain(q):
    return F.scaled_dot_product_attention(q, q, q, is_causal=q.size(-2) > 1)


def with_bool(q):
    return F.scaled_dot_product_attention(q, q, q, is_causal=bool(q.size(-2) > 1))


def with_branch(q):
    causal = False if q.size(-2) == 1 else True
    return F.scaled_dot_product_attention(q, q, q, is_causal=causal)


def outcome(function):
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=True)
    try:
        for length in (7, 5, 11):
            q = torch.randn(1, 2, length, 4)
            assert torch.allclose(compiled(q), function(q), atol=1e-6)
    except Exception as error:
        return "SymBool refused" if "not SymBool" in str(error) else repr(error)
    return f"{len(graphs)} graph"


assert torch.__version__.split("+")[0] == "2.13.0"
seen = [outcome(function) for function in (plain, with_bool, with_branch)]
print(seen)
assert seen == ["SymBool refused", "SymBool refused", "1 graph"], seen
PY
"$folder/venv/bin/python" seen.py
