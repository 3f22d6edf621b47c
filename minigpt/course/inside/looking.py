"""What a model computed for one text, read from its own modules with hooks: attention weights and residual stream.

Nothing of the model is written a second time. The weights come out of its own fused attention, which never shows them:
the output of a head is the blend of its values, so with unit vectors as values the blend is the row of weights itself.
"""

from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.generation.decoding import check_finite
from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import GPT, TransformerBlock
from minigpt.text.tokenizer import CharTokenizer, Tokenizer


@dataclass(frozen=True)
class Inside:
    """What a model computed for a text of T tokens, on the CPU, in the model's own precision.

    Attributes: `ids`; `weights` (n_layers, h, T, T), a row for each token that looks; `stream` (2 n_layers + 1, T,
    d_model), the residual stream after the embeddings and after each attention and each feed-forward; `logits`
    (T, vocab_size).
    """

    ids: list[int]
    weights: Tensor
    stream: Tensor
    logits: Tensor


@torch.no_grad()
def look_inside(model: GPT, ids: list[int]) -> Inside:
    """Run the model once on a text, without dropout, and keep what its modules read and gave.

    Raises:
        InputError: if there is no token, an id that is not in the vocabulary, more tokens than the context holds, or if
            the logits are not finite.
    """
    if not ids:
        raise InputError("the text is empty, and a model needs at least one token: type something")
    stream: list[Tensor] = []
    qkv: list[Tensor] = []
    training = model.training
    with ExitStack() as undo:
        # Each norm reads the residual stream, and each block's `qkv` gives its queries, keys and values.
        blocks = [block for block in model.blocks if isinstance(block, TransformerBlock)]
        norms = [norm for block in blocks for norm in (block.attention_norm, block.feed_forward_norm)]
        for norm in (*norms, model.final_norm):
            undo.callback(norm.register_forward_pre_hook(lambda _, given: stream.append(given[0][0])).remove)
        for block in blocks:
            undo.callback(block.attention.qkv.register_forward_hook(lambda _, __, out: qkv.append(out)).remove)
        undo.callback(model.train, training)
        model.eval()
        logits = model(torch.tensor([ids], device=model.token_embedding.weight.device))[0]
        logits = logits[:, : model.config.vocab_size]  # (T, vocab_size): rows to spare have no text
        check_finite(logits)
        weights = []
        for block, projected in zip(blocks, qkv, strict=True):
            config, n_heads = model.config, model.config.n_heads
            heads = projected.unflatten(-1, (-1, config.head_size)).transpose(1, 2)  # (1, h + 2 kv_heads, T, head_size)
            q, k, _ = heads.split((n_heads, config.kv_heads, config.kv_heads), dim=1)
            k = k.repeat_interleave(n_heads // config.kv_heads, dim=1)  # (1, h, T, head_size)
            unit = torch.eye(len(ids), dtype=q.dtype, device=q.device).expand(1, q.size(1), -1, -1)  # (1, h, T, T)
            if config.positions == "rope":
                turn = rotation(torch.arange(len(ids), device=q.device), config.head_size, config.rope_base)
                q, k = rotate(q, turn), rotate(k, turn)
            weights.append(block.attention.fused_attention(q, k, unit)[0])
    return Inside(ids, torch.stack(weights).cpu(), torch.stack(stream).cpu(), logits.cpu())


@torch.no_grad()
def logit_lens(model: GPT, stream: Tensor) -> Tensor:
    """What the model would say if it stopped there: its own last norm and output head on any residual stream.

    The logit lens of nostalgebraist 2020, «interpreting GPT: the logit lens»
    (https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens).

    Args:
        model: the model.
        stream: (..., d_model).

    Returns:
        logits (..., vocab_size), on the CPU.
    """
    logits: Tensor = model.output_head(model.final_norm(stream.to(model.token_embedding.weight.device)))
    return logits[..., : model.config.vocab_size].cpu()


def part_names(n_layers: int) -> list[str]:
    """What wrote last into each of the 2 n_layers + 1 states of `Inside.stream`."""
    parts = [(f"attention {layer}", f"feed-forward {layer}") for layer in range(1, n_layers + 1)]
    return ["embeddings", *(name for pair in parts for name in pair)]


def visible(tokenizer: Tokenizer, token: int) -> str:
    r"""A token as a label: ␣ is a space, ↵ a new line, \xe5 a byte that is no character, \x07 one that has no shape."""
    if isinstance(tokenizer, CharTokenizer):
        text = tokenizer.decode([token])
    else:
        text = tokenizer.token_bytes(token).decode("utf-8", errors="backslashreplace")
    text = text.replace(" ", "␣").replace("\n", "↵")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
