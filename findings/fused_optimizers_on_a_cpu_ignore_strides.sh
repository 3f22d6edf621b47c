#!/usr/bin/env bash
# torch 2.13.0: on a CPU, the fused optimisers read a gradient as if its numbers lay in memory in its parameter's order.
#
# `torch.autograd.grad` returns a gradient with whatever strides its last operation left: that of a matrix which was
# used transposed may be a transposed view. Put into `.grad`, it has the parameter's shape and the right numbers, and
# AdamW, Adam, SGD and Adagrad update by it as one expects. With `fused=True` all four put its numbers at wrong places,
# without a word (on a GPU, unequal strides are an error). `loss.backward()` is not concerned: it copies such a
# gradient into the parameter's order. What helps: `parameter.grad = torch.empty_like(parameter).copy_(gradient)`.
#
# Seen: as EXPECTED below. Each row is the first update, divided by the learning rate, of a 2 × 3 matrix.
set -euo pipefail
EXPECTED='the gradient [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], strides (1, 2)
SGD plain [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
SGD fused [[1.0, 4.0, 2.0], [5.0, 3.0, 6.0]]
SGD fused, after backward [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
the same as plain when fused: none of AdamW, Adam, SGD, Adagrad'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import torch

slopes = torch.tensor([[1.0, -4.0], [2.0, 5.0], [-3.0, 6.0]])


def update(kind, fused, by_backward, slopes):
    """What one step takes off the weights, over the learning rate; and the gradient."""
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    loss = (weight.t().contiguous() * slopes).sum()
    if by_backward:
        loss.backward()
    else:
        (weight.grad,) = torch.autograd.grad(loss, weight)
    gradient = weight.grad
    kind([weight], lr=0.5, fused=fused).step()
    return (-2 * weight.detach()).round(decimals=3), gradient


_, gradient = update(torch.optim.SGD, False, False, slopes.abs())
print(f"the gradient {gradient.tolist()}, strides {gradient.stride()}")
for name, fused, by_backward in (("plain", False, False), ("fused", True, False), ("fused, after backward", True, True)):
    print("SGD", name, update(torch.optim.SGD, fused, by_backward, slopes.abs())[0].tolist())
kinds = [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad]
alike = [k.__name__ for k in kinds if torch.equal(*(update(k, fused, False, slopes)[0] for fused in (False, True)))]
print(f"the same as plain when fused: {', '.join(alike) or 'none'} of {', '.join(k.__name__ for k in kinds)}")
PY
found=$(venv/bin/python try.py)
echo "$found"
[ "$found" = "$EXPECTED" ]
