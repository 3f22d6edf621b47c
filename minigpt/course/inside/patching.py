"""What happens when a part of a model is silenced, or given what it had in another text.

A part that is silenced and missed was *needed* for this text; a part whose old value brings the old answer back is
*enough* for it. Neither says what it does elsewhere, and other parts may take over what a silenced one did
(Wang et al. 2022, «Interpretability in the Wild»). Compare with other parts of the same kind.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from minigpt.config import InputError
from minigpt.course.inside.activations import Edit, activations
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache

How = Literal["zero", "mean", "resample"]

Metric = Callable[[Tensor], Tensor]
"""From logits (B, T, vocab_size) to one number for each text, (B,)."""

Cache = Mapping[str, Tensor]
"""What `activations` returns."""


def put(value: Tensor, head: int | None = None, position: int | None = None) -> Edit:
    """An edit that puts another value in, at one head or one position, or everywhere.

    Args:
        value: of the activation's shape, or one that is spread over it.
        head: of `heads`, `queries`, `keys` or `values`; counts from 0.
        position: in the text, from 0.
    """

    def edit(x: Tensor) -> Tensor:
        where: tuple[slice, ...] = (slice(None), slice(None) if position is None else slice(position, position + 1))
        if head is not None:
            where = (*where, slice(head, head + 1))
        new = x.clone()
        new[where] = value.expand_as(x)[where]
        return new

    return edit


def ablation(
    name: str, how: How, reference: Cache | None = None, head: int | None = None, position: int | None = None
) -> Edit:
    """An edit that takes away what an activation says about this text.

    Args:
        name: of the activation.
        how: zero: nothing is left; most parts never give that, so that it hurts for a second reason. mean: what it
            gives in the mean over the reference, at all places but the first of each text, which is unlike all others.
            resample: what it has at the same places of other texts, the reference's rows in turn.
        reference: `activations` of other texts, for mean and resample.
        head: only this head.
        position: only this place in the text.

    Raises:
        InputError: for another way, or a reference that is missing, empty or too short.
    """
    if how not in get_args(How):
        raise InputError(f"there is no ablation {how!r}; choose from {', '.join(get_args(How))}")
    if how == "zero":
        return lambda x: put(x.new_zeros(()), head, position)(x)
    if reference is None or name not in reference:
        raise InputError(f"{how} takes the place of {name!r} from other texts: give their activations as reference")
    others = reference[name]
    if how == "mean":
        if others.size(1) < 2:
            raise InputError("the reference has no second token, and the first of a text is left out of the mean")
        return put(others[:, 1:].mean(dim=(0, 1)), head, position)

    def edit(x: Tensor) -> Tensor:
        if others.size(1) < x.size(1):
            raise InputError(f"the reference has {others.size(1)} tokens and the text {x.size(1)}: give longer texts")
        rows = torch.arange(x.size(0), device=others.device) % others.size(0)
        return put(others[rows, : x.size(1)], head, position)(x)

    return edit


@torch.no_grad()
def effect(model: GPT, ids: Tensor, edits: Mapping[str, Edit], metric: Metric) -> Tensor:
    """What the metric says with these edits: (B,). `activations(model, ids)["logits"]` gives it without."""
    return metric(activations(model, ids, edits)["logits"])


@torch.no_grad()
def patch_heads(model: GPT, cache: Cache, source: Cache, metric: Metric, reads_from: int = 0) -> Tensor:
    """Each head in turn gets what it gave in another text; all else goes on from there: (n_layers, h).

    Args:
        model: the model.
        cache: `activations` of the texts.
        source: `activations` of the other texts, as many and as long.
        metric: its mean over the texts is the result.
        reads_from: the first place of which the metric looks at the logits: those before are not computed.
    """
    check_same(cache, source)
    _check_place(cache, reads_from)
    training = model.training
    model.eval()
    logits = cache["logits"].clone()
    found = torch.zeros(model.config.n_layers, model.config.n_heads, dtype=torch.float64)
    for layer in range(model.config.n_layers):
        name = f"{layer + 1}.heads"
        for head in range(model.config.n_heads):
            heads = put(source[name], head)(cache[name])
            before = cache["embeddings"] if layer == 0 else cache[f"{layer}.stream"]
            middle = _last_middle(model, before, heads, layer)
            logits[:, reads_from:] = _logits(model, middle[:, reads_from:])
            found[layer, head] = metric(logits).double().mean()
    model.train(training)
    return found


@torch.no_grad()
def patch_stream(model: GPT, ids: Tensor, source: Cache, metric: Metric, reads_from: int = 0) -> Tensor:
    """The stream at one place gets what it was in another text: (n_layers + 1, T), from the embeddings up.

    In a causal model nothing before the place changes, so that only the rest runs again, beside kept keys and values.

    Args:
        model: the model.
        ids: (B, T), the texts.
        source: `activations` of the other texts, as many and as long.
        metric: its mean over the texts is the result.
        reads_from: as of `patch_heads`.
    """
    cache = activations(model, ids)
    check_same(cache, source)
    _check_place(cache, reads_from)
    states = ["embeddings", *(f"{layer}.stream" for layer in range(1, model.config.n_layers + 1))]
    B, T = ids.shape
    kept = KVCache(model.config, B, length=T, device=cache["final"].device, dtype=cache["final"].dtype)
    found = torch.zeros(len(states), T, dtype=torch.float64)
    training = model.training
    model.eval()
    blocks: list[Any] = list(model.blocks)
    for layer, name in enumerate(states[:-1]):
        logits = cache["logits"].clone()
        for position in reversed(range(T)):  # each run writes keys and values from its place on, so the last goes first
            if position == T - 1:
                model.hidden_states(ids, kept)
            stream = put(source[name], position=position)(cache[name])[:, position:]
            for i in range(layer, len(blocks) - 1):
                stream = blocks[i](stream, kept, i, position)
            begin = max(position, reads_from)
            added = blocks[-1].attention(blocks[-1].attention_norm(stream), kept, len(blocks) - 1, position)
            logits[:, begin:] = _logits(model, (stream + added)[:, begin - position :])
            found[layer, position] = metric(logits).double().mean()
    for position in range(T):  # after the last layer a place speaks for itself alone
        logits = put(source["logits"], position=position)(cache["logits"])
        found[-1, position] = metric(logits).double().mean()
    model.train(training)
    return found


def check_same(cache: Cache, source: Cache) -> None:
    """Refuse activations of texts that are not as many and as long."""
    here, there = cache["embeddings"].shape[:2], source["embeddings"].shape[:2]
    if here != there:
        raise InputError(
            f"{here[0]} texts of {here[1]} tokens and {there[0]} of {there[1]}: patching needs pairs of equal length"
        )


def _check_place(cache: Cache, reads_from: int) -> None:
    length = cache["embeddings"].size(1)
    if not 0 <= reads_from < length:
        raise InputError(f"reads_from is {reads_from}; it must be a place in the texts, 0 to {length - 1}")


def _logits(model: GPT, middle: Tensor) -> Tensor:
    """What becomes of the stream after the last attention: each place by itself, so that some will do."""
    block: Any = model.blocks[-1]
    logits: Tensor = model.output_head(model.final_norm(middle + block.feed_forward(block.feed_forward_norm(middle))))
    return logits[..., : model.config.vocab_size]


def _last_middle(model: GPT, before: Tensor, heads: Tensor, layer: int) -> Tensor:
    """The stream after the last attention when a layer's heads are known: the layers below it need not run again."""
    blocks: list[Any] = list(model.blocks)
    middle: Tensor = before + blocks[layer].attention.output(heads.flatten(2))
    for block, following in zip(blocks[layer:], blocks[layer + 1 :], strict=False):
        stream = middle + block.feed_forward(block.feed_forward_norm(middle))
        middle = stream + following.attention(following.attention_norm(stream))
    return middle
