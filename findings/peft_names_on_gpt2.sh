#!/usr/bin/env bash
# peft 0.21.2, transformers 5.23.0: LoRA's target_modules on a GPT-2 are ends of names, and names there mislead.
#
# Without target_modules, a GPT-2 gets adapters on attn.c_attn alone: one of the four matrices of a block, and a quarter
# of the numbers that all four would have (rank × 4 d of rank × 16 d). print_trainable_parameters tells their sum and
# not where they are. With ["c_attn", "c_proj"] one might expect attention's two matrices; c_proj is the end of
# mlp.c_proj, too, so the feed-forward network's second matrix is adapted as well. "attn.c_proj" means attention's
# alone. "all-linear" finds all four, though they are Conv1D and no Linear, and leaves out the head.
#
# Seen: for each choice the matrices of a block that got adapters, as EXPECTED below.
set -euo pipefail
EXPECTED='default: attn.c_attn
c_attn, c_proj: attn.c_attn, attn.c_proj, mlp.c_proj
c_attn, attn.c_proj: attn.c_attn, attn.c_proj
all-linear: attn.c_attn, attn.c_proj, mlp.c_fc, mlp.c_proj'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0 peft==0.21.2
cat > try.py <<'PY'
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel

for said in (None, ["c_attn", "c_proj"], ["c_attn", "attn.c_proj"], "all-linear"):
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=12, n_layer=1, n_head=2))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=said, fan_in_fan_out=True))
    names = [name.split(".lora_A")[0] for name, _ in adapted.named_parameters() if ".lora_A" in name]
    name = said if isinstance(said, str) else ", ".join(said or ["default"])
    print(f"{name}: {', '.join(sorted(name.split('h.0.')[-1] for name in names))}")
PY
found=$(venv/bin/python try.py 2>/dev/null)
echo "$found"
[ "$found" = "$EXPECTED" ]
