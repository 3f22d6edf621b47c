"""Every activation of a model by its name, from one forward pass; and the same pass with some of them replaced.

- `embeddings` (B, T, d_model): the residual stream before the first layer
- `1.queries`, `1.keys`, `1.values` (B, T, h or kv_heads, head_size): of layer 1, before positions turn them
- `1.weights` (B, h, T, T): a row for each token that looks; only to be read, the model never holds it
- `1.heads` (B, T, h, head_size): what each head gives, before the output projection
- `1.attention` (B, T, d_model): what attention adds to the stream
- `1.middle` (B, T, d_model): the stream between attention and feed-forward; only to be read
- `1.units` (B, T, d_ff): of the feed-forward network, after its bend
- `1.feed_forward` (B, T, d_model): what the feed-forward network adds
- `1.stream` (B, T, d_model): the stream after layer 1
- `final` (B, T, d_model): what the output head reads
- `logits` (B, T, vocab_size)
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.config import GPTConfig, InputError, nearest
from minigpt.generation.decoding import check_finite
from minigpt.model.attention import rotate, rotation
from minigpt.model.gpt import GPT

Edit = Callable[[Tensor], Tensor]
"""From an activation to what takes its place, of the same shape."""

ONLY_READ = ("weights", "middle")


def activation_names(config: GPTConfig) -> list[str]:
    """The names of all activations, in the order in which a pass computes them; layers count from 1."""
    parts = ("queries", "keys", "values", "weights", "heads", "attention", "middle", "units", "feed_forward", "stream")
    layers = [f"{layer}.{part}" for layer in range(1, config.n_layers + 1) for part in parts]
    return ["embeddings", *layers, "final", "logits"]


def check_names(config: GPTConfig, given: Mapping[str, Any] | list[str]) -> None:
    """Refuse a name that no activation has, with the nearest that there is."""
    known = activation_names(config)
    for name in given:
        if name not in known:
            close = nearest(name, known)
            raise InputError(f"there is no activation {name!r}; {close.partition(' Valid')[0]}; layers count from 1")


def _qkv_sizes(config: GPTConfig) -> dict[str, int]:
    return {"queries": config.n_heads, "keys": config.kv_heads, "values": config.kv_heads}


@contextmanager
def replaced(model: GPT, edits: Mapping[str, Edit]) -> Iterator[None]:
    """While this lasts, every pass of the model has these activations replaced; afterwards it is as it was.

    Gradients flow through it. Dropout is off.

    Raises:
        InputError: for a name that does not exist or can only be read, or an edit that changes the shape.
    """
    config = model.config
    check_names(config, edits)
    if bad := [name for name in edits if name.rpartition(".")[2] in ONLY_READ]:
        raise InputError(
            f"{bad[0]!r} can only be read: the model computes it inside a larger step. Replace "
            + ("heads, queries or keys" if bad[0].endswith("weights") else "attention or stream")
        )

    def changed(name: str, value: Tensor) -> Tensor:
        new = edits[name](value)
        if new.shape != value.shape:
            raise InputError(f"the edit of {name!r} made {tuple(new.shape)} of {tuple(value.shape)}: keep the shape")
        return new

    def output(name: str) -> Callable[..., Any]:
        return lambda _, __, out: changed(name, out)

    def given(name: str) -> Callable[..., Any]:
        return lambda _, inputs: (changed(name, inputs[0]), *inputs[1:])

    def heads(name: str) -> Callable[..., Any]:
        return lambda _, inputs: (changed(name, inputs[0].unflatten(-1, (config.n_heads, -1))).flatten(2),)

    def qkv(layer: int) -> Callable[..., Any]:
        def hook(_: nn.Module, __: Any, out: Tensor) -> Tensor:
            parts = out.split([n * config.head_size for n in _qkv_sizes(config).values()], dim=-1)
            new = []
            for (part, n), value in zip(_qkv_sizes(config).items(), parts, strict=True):
                name = f"{layer}.{part}"
                new.append(changed(name, value.unflatten(-1, (n, -1))).flatten(2) if name in edits else value)
            return torch.cat(new, dim=-1)

        return hook

    blocks: list[Any] = list(model.blocks)
    training = model.training
    with ExitStack() as undo:
        undo.callback(model.train, training)
        model.eval()
        for number, block in enumerate(blocks, start=1):
            attention, feed_forward = block.attention, block.feed_forward
            for name, module, hook in (
                (f"{number}.attention", attention, output),
                (f"{number}.feed_forward", feed_forward, output),
                (f"{number}.stream", block, output),
            ):
                if name in edits:
                    undo.callback(module.register_forward_hook(hook(name)).remove)
            if f"{number}.heads" in edits:
                undo.callback(attention.output.register_forward_pre_hook(heads(f"{number}.heads")).remove)
            if f"{number}.units" in edits:
                undo.callback(feed_forward.down.register_forward_pre_hook(given(f"{number}.units")).remove)
            if any(f"{number}.{part}" in edits for part in _qkv_sizes(config)):
                undo.callback(attention.qkv.register_forward_hook(qkv(number)).remove)
        if "embeddings" in edits:
            undo.callback(model.blocks[0].register_forward_pre_hook(given("embeddings")).remove)
        for name, module in (("final", model.final_norm), ("logits", model.output_head)):
            if name in edits:
                undo.callback(module.register_forward_hook(output(name)).remove)
        yield


@torch.no_grad()
def activations(model: GPT, ids: Tensor, edits: Mapping[str, Edit] | None = None) -> dict[str, Tensor]:
    """All activations of one pass over texts of one length, by name, without dropout.

    Args:
        model: the model.
        ids: (B, T), or (T,) for a single text, which is a batch of one.
        edits: what is replaced on the way; the result has what came of it.

    Raises:
        InputError: as `replaced`, for no token at all, or if the logits are not finite.
    """
    ids = ids[None] if ids.dim() == 1 else ids
    if not ids.numel():
        raise InputError("there is no token, and a model needs at least one")
    found: dict[str, Tensor] = {}
    config = model.config
    blocks: list[Any] = list(model.blocks)

    def keep(name: str, value: Tensor) -> None:
        found[name] = value.detach()

    with replaced(model, edits or {}), ExitStack() as undo:  # these hooks come after the edits and see what they made
        first = model.blocks[0]
        undo.callback(first.register_forward_pre_hook(lambda _, inputs: keep("embeddings", inputs[0])).remove)
        for number, block in enumerate(blocks, start=1):
            for name, module in {
                f"{number}.qkv": block.attention.qkv,
                f"{number}.attention": block.attention,
                f"{number}.feed_forward": block.feed_forward,
                f"{number}.stream": block,
            }.items():
                undo.callback(module.register_forward_hook(lambda _, __, out, name=name: keep(name, out)).remove)
            for name, module in {
                f"{number}.heads": block.attention.output,
                f"{number}.middle": block.feed_forward_norm,
                f"{number}.units": block.feed_forward.down,
            }.items():
                undo.callback(
                    module.register_forward_pre_hook(lambda _, inputs, name=name: keep(name, inputs[0])).remove
                )
        undo.callback(model.final_norm.register_forward_hook(lambda _, __, out: keep("final", out)).remove)
        logits = model(ids.to(model.token_embedding.weight.device))[..., : config.vocab_size]
    check_finite(logits)
    found["logits"] = logits
    for number, block in enumerate(blocks, start=1):
        parts = found.pop(f"{number}.qkv").split([n * config.head_size for n in _qkv_sizes(config).values()], dim=-1)
        for (part, n), value in zip(_qkv_sizes(config).items(), parts, strict=True):
            found[f"{number}.{part}"] = value.unflatten(-1, (n, -1))
        found[f"{number}.heads"] = found[f"{number}.heads"].unflatten(-1, (config.n_heads, -1))
        found[f"{number}.weights"] = _weights(
            config, block.attention, found[f"{number}.queries"], found[f"{number}.keys"]
        )
    return {name: found[name] for name in activation_names(config)}


def _weights(config: GPTConfig, attention: Any, queries: Tensor, keys: Tensor) -> Tensor:
    """The rows of weights, out of the model's own fused attention: with unit vectors as values it blends these."""
    q, k = queries.transpose(1, 2), keys.transpose(1, 2)
    k = k.repeat_interleave(config.n_heads // config.kv_heads, dim=1)  # (B, h, T, head_size)
    if config.positions == "rope":
        turn = rotation(torch.arange(q.size(2), device=q.device), config.head_size, config.rope_base)
        q, k = rotate(q, turn), rotate(k, turn)
    unit = torch.eye(q.size(2), dtype=q.dtype, device=q.device).expand(*q.shape[:2], -1, -1)  # (B, h, T, T)
    training = attention.training
    attention.eval()
    weights: Tensor = attention.fused_attention(q, k, unit)
    attention.train(training)
    return weights
