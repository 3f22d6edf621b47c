#!/usr/bin/env bash
# torch 2.13.0: inside `torch.inference_mode()` a TorchDispatchMode sees other operations than inside `torch.no_grad()`.
#
# A dispatch mode stands below autograd, where `linear`, `matmul` and `softmax` have long been taken apart: with
# gradients or under no_grad it is shown addmm, mm and _softmax. Inference mode leaves autograd's keys out, and with
# them the place where these layers are taken apart before a mode is asked: it is shown linear, matmul and softmax.int,
# whole. A mode that counts, changes or checks products by their names then finds none, and says nothing. (What helps:
# inside the mode, `with self: func.decompose(*args, **kwargs)`, which gives NotImplemented for what has no parts.)
#
# Seen: one line a context, as EXPECTED below.
set -euo pipefail
EXPECTED='with gradients: t addmm _softmax
no_grad: t addmm _softmax
inference_mode: linear softmax
inference_mode, decomposed: t addmm _softmax'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Names(TorchDispatchMode):
    def __init__(self, decompose=False):
        super().__init__()
        self.decompose, self.seen = decompose, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.decompose:
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def names(context, decompose=False):
    x, layer = torch.randn(3, 8), torch.nn.Linear(8, 8)
    with context, Names(decompose) as mode:
        layer(x).softmax(-1)
    return " ".join(name for name in mode.seen if name != "detach")


print("with gradients:", names(torch.enable_grad()))
print("no_grad:", names(torch.no_grad()))
print("inference_mode:", names(torch.inference_mode()))
print("inference_mode, decomposed:", names(torch.inference_mode(), decompose=True))
PY
found=$(venv/bin/python try.py 2>/dev/null)
echo "$found"
[ "$found" = "$EXPECTED" ]
