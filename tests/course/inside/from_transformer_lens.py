"""What transformer-lens 4.3.0 finds in two models, for test_transformer_lens.py: how `transformer_lens.json` is made.

transformer-lens needs wandb and more, which reading a model does not; so it is no dependency here. By hand, in a
folder of its own:

    pip install --no-deps --target /tmp/lens transformer-lens==4.3.0 einops fancy-einsum jaxtyping wadler-lindig \\
        beartype
    PYTHONPATH=/tmp/lens python -m tests.course.inside.from_transformer_lens

Each activation is kept as two numbers, its length and its product with a wave: another order, shape or value gives
others. Tables of patching and shares of logits are kept whole.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.course.inside.twins import hero_twins
from minigpt.course.stand_in import stand_in_tokenizer
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import Tokenizer
from minigpt.weights.models import export, load_model

FILE = Path(__file__).with_name("transformer_lens.json")
LLAMA = GPTConfig(
    1863, 64, n_layers=2, n_heads=4, n_kv_heads=2, d_model=32, d_ff=48, bias=False, positions="rope",
    norm="rmsnorm", feed_forward="swiglu",
)  # fmt: skip
THEIRS = {
    "queries": "attn.hook_q", "keys": "attn.hook_k", "values": "attn.hook_v", "weights": "attn.hook_pattern",
    "heads": "attn.hook_z", "attention": "hook_attn_out", "middle": "hook_resid_mid", "units": "mlp.out.hook_in",
    "feed_forward": "hook_mlp_out", "stream": "hook_resid_post",
}  # fmt: skip
"""Our name of what a layer computes, and theirs."""


def models() -> dict[str, tuple[GPT, Tokenizer]]:
    """The storyteller, and a model of Llama's kind with weights that are larger than at a start."""
    torch.manual_seed(0)
    llama = GPT(LLAMA).eval()
    for weight in llama.parameters():
        weight.data.mul_(4.0 if weight.dim() == 2 else 1.0)
    return {"gpt2": load_model("storyteller"), "llama": (llama, stand_in_tokenizer())}


def texts(kind: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two texts, two others, and for both: the place that is looked at, the old token and the new one."""
    if kind == "gpt2":
        twins = hero_twins(load_model("storyteller")[1], 2)
        return twins.here, twins.there, twins.ask, twins.old, twins.new
    generator = torch.Generator().manual_seed(1)
    here, there = torch.randint(3, 1800, (2, 2, 9), generator=generator)
    return here, there, torch.tensor([8, 6]), torch.tensor([20, 30]), torch.tensor([40, 50])


def fingerprint(x: Tensor) -> list[float]:
    """Two numbers for a tensor of any shape."""
    flat = x.detach().double().flatten()
    wave = torch.cos(0.37 * torch.arange(len(flat), dtype=torch.float64))
    return [round(float(flat.norm()), 5), round(float(flat @ wave), 5)]


def lead(logits: Tensor, ask: Tensor, old: Tensor, new: Tensor) -> Tensor:
    """How far the new token is ahead of the old one, for each text."""
    rows = torch.arange(len(ask))
    return logits[rows, ask, new] - logits[rows, ask, old]


def found(kind: str, model: GPT, tokenizer: Tokenizer, folder: str) -> dict[str, Any]:
    """All that transformer-lens says about one model."""
    from transformer_lens import patching
    from transformer_lens.model_bridge import TransformerBridge

    path = Path(folder) / kind
    export(model, tokenizer, path)
    bridge = TransformerBridge.boot_transformers(str(path), device="cpu")
    here, there, ask, old, new = texts(kind)
    _, cache = bridge.run_with_cache(here)
    _, other = bridge.run_with_cache(there)
    names = {"embeddings": "blocks.0.hook_resid_pre", "final": "ln_final.hook_out", "logits": "unembed.hook_out"}
    for layer in range(model.config.n_layers):
        names |= {f"{layer + 1}.{ours}": f"blocks.{layer}.{theirs}" for ours, theirs in THEIRS.items()}

    def metric(logits: Tensor) -> Tensor:
        return lead(logits, ask, old, new).mean()

    stream = patching.get_act_patch_resid_pre(bridge, here, other, metric)
    heads = patching.get_act_patch_attn_head_out_all_pos(bridge, here, other, metric)
    by_head = []  # each head's share of the lead, with the norm's divisor as it was
    for row in range(len(here)):
        scale = cache["ln_final.hook_scale"][row, ask[row]]
        direction = bridge.W_U[:, new[row]] - bridge.W_U[:, old[row]]
        shares = []
        for layer in range(model.config.n_layers):
            z = cache[f"blocks.{layer}.attn.hook_z"][row, ask[row]]  # (h, head_size)
            written = torch.einsum("hk,hkd->hd", z, bridge.W_O[layer])
            if model.config.norm == "layernorm":
                written = written - written.mean(-1, keepdim=True)
            shares.append((written / scale * bridge.ln_final.weight @ direction).tolist())
        by_head.append(shares)
    return {
        "activations": {ours: fingerprint(cache[theirs]) for ours, theirs in names.items()},
        "stream": [[round(x, 5) for x in line] for line in stream.tolist()],
        "heads": [[round(x, 5) for x in line] for line in heads.tolist()],
        "shares": [[[round(x, 5) for x in line] for line in text] for text in by_head],
        "lens": [
            fingerprint(bridge.unembed(bridge.ln_final(cache[f"blocks.{layer}.hook_resid_post"])))
            for layer in range(model.config.n_layers)
        ],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        everything = {kind: found(kind, *pair, temporary) for kind, pair in models().items()}
    FILE.write_text(json.dumps(everything) + "\n", encoding="utf-8")
