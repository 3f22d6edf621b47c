"""GPT-2 (Radford et al. 2019), whole: blocks, model, loss, and the arithmetic of its size and cost.

With rotary positions, RMSNorm, SwiGLU and fewer heads of keys and values it is a Llama (Touvron et al. 2023).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.model.attention import CausalSelfAttention
from minigpt.model.feed_forward import make_feed_forward
from minigpt.model.kv_cache import KVCache
from minigpt.model.norm import make_norm


class TransformerBlock(nn.Module):
    """Attention, then feed-forward, each added to the residual stream and normalised before (Radford et al. 2019, 2.3).

    The original Transformer normalised after the addition; before it, deep models train without tricks
    (Xiong et al. 2020).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = CausalSelfAttention(config)
        self.feed_forward_norm = make_norm(config)
        self.feed_forward = make_feed_forward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cache: KVCache | None = None, layer: int = 0, position: int = 0) -> Tensor:
        """(B, T, d_model) -> (B, T, d_model). Arguments and errors are those of CausalSelfAttention."""
        x = x + self.dropout(self.attention(self.attention_norm(x), cache, layer, position))
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x


class GPT(nn.Module):
    """The model: for every token, a score for each token that could come next."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.n_layers))
        self.final_norm = make_norm(config)
        self.output_head = nn.Linear(config.d_model, config.n_outputs, bias=False)
        if config.tie_embeddings:
            self.output_head.weight = self.token_embedding.weight  # Press and Wolf 2017
        self.initialise()

    def initialise(self) -> None:
        """GPT-2's initialisation: normal(0, 0.02), zero biases, and residual projections scaled for the depth."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # 2 n_layers outputs are added up; their sum should be as large as one (Radford et al. 2019, section 2.3).
        for name, weight in self.named_parameters():
            if name.endswith(("attention.output.weight", "feed_forward.down.weight")):
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * self.config.n_layers))

    def forward(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """Token ids (B, T), int64, to logits (B, T, vocab_size): the logits at t are about the token at t + 1.

        A classifier's are (B, T, n_labels), about the label of the tokens up to t.

        Args:
            ids: the tokens at `position` and after.
            cache: holds the tokens before `position` and receives the new ones; without it, the text starts with ids.
            position: the place of the first of ids in its sequence.

        Raises:
            InputError: if the text is longer than the context, or (on the CPU) an id is not in the vocabulary.
        """
        logits: Tensor = self.output_head(self.hidden_states(ids, cache, position))
        return logits

    def hidden_states(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """What the output head reads, (B, T, d_model); arguments and errors are those of forward."""
        T, context_length = ids.size(1), self.config.context_length
        if position < 0 or position + T > context_length:
            raise InputError(
                f"{T} tokens from position {position} do not fit into the model's context of {context_length} tokens: "
                f"pass the last {context_length} tokens at most, or train a model with a larger context_length"
            )
        try:  # torch itself looks for bad ids on the CPU; to look here too would make a GPU wait
            x: Tensor = self.token_embedding(ids)  # (B, T, d_model)
        except IndexError:
            vocab_size = self.config.vocab_size
            bad = ids[(ids < 0) | (ids >= vocab_size)][0].item()
            raise InputError(
                f"token id {bad} is not in the vocabulary of {vocab_size} tokens (0 to {vocab_size - 1}): "
                "use the tokenizer that the model was trained with"
            ) from None
        if self.config.positions == "learned":
            x = x + self.position_embedding(torch.arange(position, position + T, device=ids.device))
        x = self.dropout(x)
        for layer, block in enumerate(self.blocks):
            # Without a cache all blocks are called alike, so that compiled once they serve for all.
            x = block(x, cache, layer if cache else 0, position)
        x = self.final_norm(x)
        return x


class _NoInitialWeights(TorchFunctionMode):
    """Leaves out nn.init.normal_: on the meta device it has nothing to do, and imports torch's compiler to do it."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return kwargs["tensor"] if function is nn.init.normal_ else function(*args, **kwargs)


def empty_model(config: GPTConfig) -> GPT:
    """A model of shapes without numbers (torch's meta device), in no time, for weights that take their place."""
    with torch.device("meta"), _NoInitialWeights():
        return GPT(config)


def holding(config: GPTConfig, state: dict[str, Tensor]) -> GPT:
    """A model that holds these tensors themselves, in evaluation mode; a tied output head is the token embedding."""
    model = empty_model(config)
    if config.tie_embeddings:
        state = state | {"output_head.weight": state["token_embedding.weight"]}
    model.load_state_dict(state, assign=True)
    if config.tie_embeddings:
        model.output_head.weight = model.token_embedding.weight
    return model.eval()


def next_token_loss(logits: Tensor, targets: Tensor, n_targets: Tensor | int | None = None) -> Tensor:
    """Cross-entropy in nats: the sum over all targets that count, divided by how many they are.

    Args:
        logits: (B, T, vocab_size).
        targets: (B, T), the token that comes next at each place, or IGNORE.
        n_targets: what to divide by. Give the number in the whole global batch when this is a part of it: the
            parts' losses then add up to the whole's, whoever holds how many. Default: the number in `targets`.

    Returns:
        a scalar, computed in float32 or better; 0 where no target counts.
    """
    if n_targets is None:
        n_targets = (targets != IGNORE).sum().clamp(min=1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # bfloat16 has 3 digits, too few to add up
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum") / n_targets


def parameter_count(config: GPTConfig) -> int:
    """How many numbers the model learns: 124,439,808 for GPT-2's smallest. Tied embeddings count once."""
    d, bias = config.d_model, int(config.bias)
    kv, d_ff = config.kv_heads * config.head_size, config.feed_forward_size
    n_up = 2 if config.feed_forward == "swiglu" else 1  # matrices from d to d_ff
    embeddings = (config.padded_vocab_size + (config.context_length if config.positions == "learned" else 0)) * d
    attention = (2 * d + 2 * kv) * (d + bias)  # queries and output, keys and values
    feed_forward = (n_up + 1) * d * d_ff + bias * (n_up * d_ff + d)
    norm = d + (bias * d if config.norm == "layernorm" else 0)
    output_head = 0 if config.tie_embeddings else config.n_outputs * d
    return embeddings + config.n_layers * (attention + feed_forward + 2 * norm) + norm + output_head


def flops_per_token(config: GPTConfig, context_length: int) -> int:
    """Floating-point operations to train on one token of a sequence of `context_length`: forward and backward.

    The count of Chowdhery et al. 2022 (PaLM, appendix B), 6 N + 12 L d_model T, after Kaplan et al. 2020 (section 2.1).
    A multiplication and an addition per weight make 2 forward; the backward pass costs twice that (the gradient of
    the input and of the weight). Counted: all matrix products, the output head among them, and attention as if no
    token were masked. Not counted: lookups, biases, rotations, norms, softmax, GELU and gates, the optimiser,
    anything recomputed.
    """
    d, kv, d_ff = config.d_model, config.kv_heads * config.head_size, config.feed_forward_size
    block = (2 * d + 2 * kv + (3 if config.feed_forward == "swiglu" else 2) * d_ff) * d
    weights = config.n_layers * block + config.n_outputs * d  # N: those that multiply
    attention = 2 * config.n_layers * d * context_length  # Q K^T, and weights times V
    return 6 * (weights + attention)
