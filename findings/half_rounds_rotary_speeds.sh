#!/usr/bin/env bash
# transformers 5.23.0, torch 2.13.0: model.half().float() of a Llama is not the model with rounded weights.
#
# A Llama's rotary speeds (inv_freq) are a buffer that no file holds, kept in float32 on purpose. half() rounds buffers,
# too, and float() cannot bring the digits back. So a model that was turned to float16 in memory, to be saved or
# compared, and back, turns its queries and keys at other speeds than the same weights read from the saved files; the
# further a token stands from the beginning, the more. The weights themselves are equal to the last bit in both.
#
# Seen: the weights are equal; the speeds and the logits are not.
set -euo pipefail
EXPECTED='weights equal: True
speeds equal: False
logits within 0.001: False
logits within 0.001 with the speeds put back: True'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 numpy==2.4.6 transformers==5.23.0
cat > try.py <<'PY'
import torch
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=99, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=512,
)
model = LlamaForCausalLM(config).eval()
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, 0.02, 0.3)
turned = model.half()
turned.save_pretrained("saved")
turned = turned.float()
read = LlamaForCausalLM.from_pretrained("saved", dtype=torch.float32).eval()
ids = torch.randint(99, (1, 500))
pairs = zip(turned.parameters(), read.parameters(), strict=True)
print("weights equal:", all(torch.equal(a, b) for a, b in pairs))
speeds = turned.model.rotary_emb.inv_freq, read.model.rotary_emb.inv_freq
print("speeds equal:", torch.equal(*speeds))
with torch.no_grad():
    expected = read(ids).logits
    print("logits within 0.001:", torch.allclose(turned(ids).logits, expected, atol=1e-3))
    turned.model.rotary_emb.inv_freq.copy_(speeds[1])
    found = turned(ids).logits
print("logits within 0.001 with the speeds put back:", torch.allclose(found, expected, atol=1e-3))
PY
found=$(venv/bin/python try.py 2>/dev/null)
echo "$found"
[ "$found" = "$EXPECTED" ]
