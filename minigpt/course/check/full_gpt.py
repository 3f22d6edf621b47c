"""The checks of lesson 8, the full GPT."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minigpt.config import GPTConfig
from minigpt.course.check.gpt_by_hand import learns_otherwise, unlike_gpt
from minigpt.course.exercise import Exercise, NothingReturned, close
from minigpt.model.gpt import GPT, parameter_count

SIZES = GPTConfig(vocab_size=17, context_length=13, n_layers=3, n_heads=2, d_model=6, d_ff=11)


@Exercise
def untie(answer: Callable[[GPT], object]) -> str | None:
    """Give the output head a table of its own, with the numbers of the embedding's."""
    model = GPT(GPTConfig(vocab_size=7, context_length=5, n_layers=1, n_heads=1, d_model=4))
    old = model.token_embedding.weight.detach().clone()
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with suppress(NothingReturned):  # there is nothing to return, also where no `-> None` says so
        answer(model)
    table, head = model.token_embedding.weight, model.output_head.weight
    if table is head:
        return "The head's weight still is the embedding's. What must stand left of the = for the model to get another?"
    for name, tensor in (("embedding", table), ("head", head)):
        if tensor.shape != old.shape:
            return (
                f"The {name}'s weight is now {tuple(tensor.shape)}. Should it not be (V, d_model) = (7, 4), as before?"
            )
        if not torch.equal(tensor, old):
            return (
                f"The {name} has other numbers now, and the logits change. Which numbers should its table start with?"
            )
    if model.output_head.bias is not None:
        return "The head has a bias now, which it did not have: the logits change. What makes a Linear without one?"
    if table.data_ptr() == head.data_ptr():
        with torch.no_grad():
            table[0, 0] = 7
        return (
            f"Two tensors, but they look at one memory: I set table[0, 0] to 7, and head[0, 0] is {head[0, 0]:.0f}. "
            "What makes a copy of the numbers?"
        )
    if len(list(model.parameters())) != len(list(GPT(replace(model.config, tie_embeddings=False)).parameters())):
        return (
            "One of the two tables is a bare tensor: model.parameters() does not list it, and no optimiser will see it."
        )
    if not (table.requires_grad and head.requires_grad):
        return "One of the two tables is frozen: requires_grad is False. Is each to be trained?"
    for name, values in model.state_dict().items():
        if name != "output_head.weight" and not torch.equal(values, before[name]):
            return f"{name} has other numbers now. Only the head gets a table of its own."
    return None


@Exercise
def initialise(answer: Callable[[GPT], object]) -> str | None:
    """The package's initialisation, after GPT-2's paper."""
    for n_layers, tied in ((8, False), (3, True)):
        model = _anything(n_layers, tied)
        before = {name: values.clone() for name, values in model.state_dict().items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            with suppress(NothingReturned):
                answer(model)
        if hint := _unlike_gpt2(model, before):
            return hint if n_layers == 8 else f"Right for 8 blocks. For 3 blocks: {hint}"
        if tied and model.output_head.weight is not model.token_embedding.weight:
            return (
                "Right for an untied model. A tied one is tied no longer: its head has a weight of its own now. "
                "Does nn.init.normal_ make a new tensor, or fill the one that is there?"
            )
    return None


def _anything(n_layers: int, tied: bool) -> GPT:
    """A GPT with arbitrary numbers in its matrices and biases."""
    model = GPT(
        GPTConfig(vocab_size=300, context_length=64, n_layers=n_layers, n_heads=2, d_model=64, tie_embeddings=tied)
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            nn.init.normal_(parameter, mean=1.0, std=3.0, generator=generator)
    return model


def _unlike_gpt2(model: GPT, before: dict[str, Tensor]) -> str | None:
    """A hint for the first thing that GPT-2 does otherwise."""
    after = {name: values.detach() for name, values in model.state_dict().items()}
    if all(torch.equal(before[name], values) for name, values in after.items()):
        return "no number in the model has changed. Does your function write into the tensors, or make new ones?"
    for name, values in after.items():
        if "norm" in name and not torch.equal(values, before[name]):
            return f"{name} is now {values[0]:.4f} … A LayerNorm stays as torch made it. Which modules are meant?"
    for name, values in after.items():
        if name.endswith("bias") and "norm" not in name and values.any():
            return f"{name} is {values[0]:.4f} … What should a bias of a Linear be?"

    def size(ending: str) -> float:
        found = [values.flatten() for name, values in after.items() if name.endswith(ending)]
        return torch.cat(found).pow(2).mean().sqrt().item()

    def has(ending: str, expected: float) -> bool:
        return close(size(ending) / expected, 1, 0.05)

    plain = ("token_embedding.weight", "position_embedding.weight", "output_head.weight", "qkv.weight", "up.weight")
    for ending in plain:
        came = f"{ending} has the size {size(ending):.4f}."
        if has(ending, math.sqrt(10)):
            return f"{came} That is what was in it. Which kinds of modules does your loop reach?"
        if ending.startswith("position") and has(ending, 0.01):
            return f"{came} So does OpenAI's code for GPT-2. The paper and this package take 0.02 for all."
        if has(ending, 0.02 / math.sqrt(3)):
            return f"{came} That is 0.02 / √3, the size of a uniform draw up to 0.02. Which distribution is asked for?"
        if has(ending, 1.0):
            return f"{came} Is that the default? In nn.init.normal_(tensor, mean, std) what comes second is the mean."
        if has(ending, 0.02**2) or has(ending, math.sqrt(0.02)):
            return (
                f"{came} 0.02 is the standard deviation, and not the variance. Which of them does your function take?"
            )
        if has(ending, 0.02 / math.sqrt(2 * model.config.n_layers)):
            return f"{came} That is scaled for the depth, but this matrix does not end on the stream. Which two do?"
        if not has(ending, 0.02):
            return f"{came} It should be 0.02, with mean 0. What does it hold now?"
        values = torch.cat([values.flatten() for name, values in after.items() if name.endswith(ending)])
        kurtosis = (
            ((values - values.mean()) / values.std()).pow(4).mean().item()
        )  # 3 for a normal, 1.8 for a uniform one
        if not 2.6 < kurtosis < 3.5:
            return (
                f"{came} That is right, but the distribution is not normal: the fourth moment is {kurtosis:.1f} times "
                "the variance squared, and 3 is normal. Which nn.init function draws your numbers?"
            )

    L = model.config.n_layers
    right = 0.02 / math.sqrt(2 * L)
    scaled = ("attention.output.weight", "feed_forward.down.weight")
    if sum(has(ending, right) for ending in scaled) == 1:
        missed = next(ending for ending in scaled if not has(ending, right))
        return f"of the two projections that end on the stream one is scaled, and {missed} is not ({size(missed):.4f})."
    came = f"{scaled[0]} has the size {size(scaled[0]):.4f}."
    if has(scaled[0], 0.02):
        return (
            f"{came} 2L outputs are added up on the stream, and these projections make them. Where is their factor? "
            "Does a later line write over it?"
        )
    if has(scaled[0], 0.02 / math.sqrt(L)):
        return f"{came} That is 0.02 / √L. How many times does one block add to the stream?"
    if has(scaled[0], 0.02 / (2 * L)):
        return f"{came} That is 0.02 / 2L. Do 2L random outputs sum to 2L times the size of one?"
    if has(scaled[0], 0.02 * math.sqrt(2 * L)):
        return f"{came} That makes the stream louder still. Is the factor above 1 or below?"
    if not has(scaled[0], right):
        return f"{came} With L = {L} it should be 0.02 / √{2 * L} = {right:.4f}. Where does your L come from?"
    for ending in ("qkv.weight", "up.weight", *scaled):
        draws = [values for name, values in after.items() if name.endswith(ending)]
        if any(torch.allclose(draws[0], other, rtol=1e-3, atol=1e-6) for other in draws[1:]):
            return (
                f"all blocks have the very same {ending}: they would learn the same things. Is a seed set, or a tensor "
                "drawn only once?"
            )
    if torch.equal(after["token_embedding.weight"][:64], after["position_embedding.weight"][:64]):
        return "both embeddings start with the same numbers. Is a seed set before each?"
    return None


@Exercise
def your_gpt(answer: Callable[[Tensor, dict[str, Tensor], GPTConfig], Tensor]) -> str | None:
    """The forward pass of a GPT, from ids to logits, with the weights of a package's GPT."""
    return unlike_gpt(answer) or learns_otherwise(answer)


@Exercise
def gpt_parameters(answer: Callable[[GPTConfig], int]) -> str | None:
    """How many numbers a GPT learns."""
    V, T, L, h, d, d_ff = 17, 13, 3, 2, 6, 11  # those of SIZES
    norm, block = 2 * d, 4 * d * d + 4 * d + 2 * d * d_ff + d_ff + d + 4 * d
    to_four_d, head_matrices = (2 * d + 1) * (4 * d - d_ff), 3 * (d * d + d)
    right = parameter_count(SIZES)
    mistakes = {
        V * d: "That is a whole table too many. With tie_embeddings=True, what does the head own?",
        -T * d: "A table is missing: what tells a token where it stands?",
        -V * d: "A table is missing: what stands for each token?",
        -norm: "Something small is missing outside the blocks: what stands between the last block and the head?",
        V: "The output head's bias is too much. It never has one.",
        -(L - 1) * block: "That is the count for one block. How many are there?",
        -2 * L * norm: "The LayerNorms in the blocks are missing. How many has a block, and what is in one?",
        -L
        * norm: "Each block has two LayerNorms, one before attention and one before the feed-forward network. If you "
        "have both: queries, keys and values have 3d biases.",
        -2 * L * d * d: "Queries, keys and values take a matrix each. Yours share a single one.",
        -(2 * L + 1) * d: "A LayerNorm holds a gain and a bias: two numbers for each of its d. You have one.",
        -L * (5 * d + d_ff): "The biases of the Linear layers are missing: each has as many as it has outputs.",
        -L * (d * d + d): "Attention has a fourth projection, after the heads are joined.",
        L * to_four_d: "Your feed-forward network is 4 d wide. Here it is not: which field says so?",
        L * (h - 1) * head_matrices: "More heads are not more parameters: each head is only d / h wide.",
        -L * (d_ff - d): "The up projection has d_ff outputs, and so d_ff biases. You have d.",
    }
    if (off := answer(SIZES) - right) != 0:
        other = f"The difference is {off:+,}. Write the ledger of this model: which line is that?"
        return f"For {_short(SIZES)} you return {right + off:,}; it has {right:,}. {mistakes.get(off, other)}"
    for config, what in (
        (
            GPTConfig(17, 13, 3, 2, 6, 11, tie_embeddings=False),
            "The head now has a table of its own: V times d.",
        ),
        (
            GPTConfig(17, 13, 3, 2, 6, 11, bias=False),
            "Without biases: the Linear layers have none, and the LayerNorms only a gain.",
        ),
        (
            GPTConfig(17, 13, 3, 2, 6, 11, tie_embeddings=False, bias=False),
            "Two tables and no biases: the head never has one.",
        ),
        (
            GPTConfig(17, 13, 3, 1, 6, 11, positions="rope"),
            "With rotary positions there is no position table.",
        ),
        (GPTConfig(17, 13, 3, 2, 6), "d_ff is 0 here, which means 4 d. Which property of the config has it filled in?"),
        (
            GPTConfig(17, 13, 5, 3, 6, 11),
            "Only the blocks and heads are others. Where does your number of blocks come from?",
        ),
        (GPTConfig(), "These are GPT-2's sizes."),
    ):
        if (got := answer(config)) != parameter_count(config):
            if got - parameter_count(config) == config.vocab_size:
                what = "That is V too many: the output head never has a bias."
            came = f"For {_short(config)} you return {got:,} instead of {parameter_count(config):,}."
            return f"Right for a first model. {came} {what}"
    return None


@Exercise
def gpt_forward_flops(answer: Callable[[GPTConfig, int, int], int]) -> str | None:
    """2mkn for every product of matrices in a forward pass."""
    B, T, V, L, h, d, d_ff = 3, 5, 17, 3, 2, 6, 11  # those of SIZES
    right = _counted(SIZES, B, T)
    scores, to_four_d = 2 * B * T * T * d, 2 * B * T * 2 * d * (4 * d - d_ff)  # scores over all heads
    block, head = 2 * B * T * (4 * d * d + 2 * d * d_ff) + 2 * scores, 2 * B * T * d * V
    mistakes = {
        -right // 2: "That is half. One multiplication and one addition: how many operations?",
        2 * right: "That is three times as much, the cost of a whole training step. How much of it is forward?",
        right // B - right: "That is for one sequence. How many are there?",
        right // (B * T) - right: "That is for one token. How many are there in all?",
        -head: "The last product is missing: from the stream to V scores.",
        head // T - head: "The head has scores for every position, not for the last alone.",
        head: "A table's rows are fetched and not multiplied: the embedding costs nothing here.",
        -2 * L * scores: "Attention's own two products are missing: queries with keys, weights with values.",
        -L * scores: "Half of attention is missing. After the scores, what are the weights multiplied with? (The mask "
        "saves nothing in this count.)",
        -4 * L * B * T * d * d: "Queries, keys and values take a matrix each. Yours share a single one.",
        2 * L * (scores // T - scores): "Attention compares T tokens with T tokens. Does your T stand there twice?",
        2 * L * (h - 1) * scores: "Each of the h heads is only d / h wide. How much do they cost together?",
        L * to_four_d: "Your feed-forward network is 4 d wide. Here it is not: which field says so?",
        -(L - 1) * block: "That has a single block. How many are there?",
        -L * 2 * B * T * d * d: "Attention has a fourth projection, after the heads are joined.",
    }
    if (off := answer(SIZES, B, T) - right) != 0:
        other = f"The difference is {off:+,}. Which product is that? A block has six, and the head is one more."
        came = f"For {_short(SIZES)}, B = {B} and T = {T} you return {right + off:,}; torch counts {right:,}."
        return f"{came} {mistakes.get(off, other)}"
    for config, B, T in ((GPTConfig(17, 13, 3, 2, 6), 1, 4), (GPTConfig(17, 13, 4, 3, 6, 11, bias=False), 3, 7)):
        if (got := answer(config, B, T)) != _counted(config, B, T):
            return (
                f"Right for a first model. For {_short(config)}, B = {B} and T = {T} you return {got:,} instead of "
                f"{_counted(config, B, T):,}. Do all sizes come from the arguments, and d_ff with its default?"
            )
    return None


@cache
def _counted(config: GPTConfig, B: int, T: int) -> int:
    """The FLOPs of a forward pass, as torch counts them, with attention as plain products."""
    with torch.device("meta"):
        model, ids = GPT(config), torch.zeros(B, T, dtype=torch.long)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids)
    return counter.get_total_flops()


def _short(config: GPTConfig) -> str:
    """What of a config makes it large or small."""
    d_ff = f"d_ff={config.feed_forward_size}" + ("" if config.d_ff else " by default")
    flags = f"bias={config.bias}, tie_embeddings={config.tie_embeddings}"
    return (
        f"a GPT of V={config.vocab_size:,}, context={config.context_length:,}, {config.n_layers} blocks, "
        f"{config.n_heads} heads, d_model={config.d_model}, {d_ff}, {flags}"
    )
