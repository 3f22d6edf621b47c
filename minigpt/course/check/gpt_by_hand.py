"""GPT's forward pass by its formulas, right or with one mistake, and where a learner's differs (lesson 8)."""

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt.config import GPTConfig
from minigpt.course.exercise import close
from minigpt.model.gpt import GPT, next_token_loss

Forward = Callable[[Tensor, dict[str, Tensor], GPTConfig], Tensor]

# Each mistake with the question that leads away from it. First those that show in a model whose blocks are silent.
AROUND = {
    "no positions": "Which table tells a token where it stands?",
    "positions from 1": "The first token stands at position 0. Which row did it get?",
    "no final norm": "What stands between the last block and the head?",
    "no gain": "The norms have a gain and a bias. Are both at work?",
    "no norm bias": "The norms have a gain, and a bias as well. Is it there?",
    "unbiased": "Does your variance divide by d or by d - 1?",
    "no epsilon": "For numbers this small ε matters. Is it added to the variance, inside the root?",
    "probabilities": "Those are probabilities. The logits are the scores before any softmax.",
    "last only": "Those are the logits of the last token. Where are those of the others?",
    "no head": "That is what the head reads. Which table turns it into V scores?",
}
ATTENTION = {
    "no mask": "A token sees later ones. Which scores must the mask remove?",
    "masked with 0": "Masked scores are 0, and e^0 is 1. Which score gets no weight?",
    "no scale": "Are the scores divided by the root of head_size?",
    "scale d_model": "The scores are divided by the root of d_model. How long are the vectors that meet?",
    "one head": "There is one head as wide as d_model. How many should there be, and how wide?",
    "heads interleaved": "Head 1 has the first head_size features, head 2 the next. Does your view lay them out so?",
    "heads not joined": "The heads were never brought back behind the tokens (transpose) before they were joined.",
    "keys first": "In qkv the queries come first, then the keys. Which did you take first?",
    "values before keys": "In qkv the keys come before the values. Are yours exchanged?",
    "softmax over queries": "Each token's weights should sum to 1 over the tokens it sees. Which dimension is that?",
    "no output": "The heads are joined by one more projection, `attention.output`. Where is it?",
    "no qkv bias": "qkv has a bias. Is it added?",
    "no output bias": "`attention.output` has a bias. Is it added?",
}
FEED_FORWARD = {
    "relu": "Which bend has GPT-2?",
    "exact gelu": "GELU comes in two forms. Which one does this model have?",
    "no bend": "What stands between up and down?",
    "no up bias": "`feed_forward.up` has a bias. Is it added?",
    "no down bias": "`feed_forward.down` has a bias. Is it added?",
}
BLOCK = {
    "no residual": "A sub-layer's output is added to the stream. Does yours replace it?",
    "no norm": "What does a sub-layer read the stream through?",
    "post-norm": "The stream itself is normalised on its way. In a pre-norm only what is read is.",
    "first norm twice": "Each sub-layer has a norm of its own. Do both read through the same?",
    "side by side": "Feed-forward reads the stream as it was before attention wrote.",
    "feed-forward first": "Which of the two sub-layers comes first?",
    "one block": "Only one block was at work. How many are there?",
    "block 0 again": "Every block has weights of its own. Did block 0 run each time?",
    "last block first": "The blocks run from 0 upwards. In which order do yours?",
}


def gpt_by_hand(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig, mistake: str = "") -> Tensor:
    """Token ids (B, T) to logits (B, T, V), with one of the mistakes above."""
    B, T = ids.shape
    d, h = config.d_model, 1 if mistake == "one head" else config.n_heads

    def linear(x: Tensor, name: str, bias: bool = True) -> Tensor:
        return x @ weights[f"{name}.weight"].T + (weights[f"{name}.bias"] if bias else 0)

    def layer_norm(x: Tensor, name: str) -> Tensor:
        if mistake == "no norm" and name != "final_norm":
            return x
        if mistake == "first norm twice":
            name = name.replace("feed_forward_norm", "attention_norm")
        variance = x.var(dim=-1, correction=int(mistake == "unbiased"), keepdim=True)
        x = (x - x.mean(dim=-1, keepdim=True)) / (variance + (0 if mistake == "no epsilon" else 1e-5)).sqrt()
        x = x if mistake == "no gain" else x * weights[f"{name}.weight"]
        return x if mistake == "no norm bias" else x + weights[f"{name}.bias"]

    def attention(x: Tensor, name: str) -> Tensor:
        q, k, v = linear(x, f"{name}.qkv", mistake != "no qkv bias").chunk(3, dim=-1)
        if mistake == "keys first":
            q, k = k, q
        if mistake == "values before keys":
            k, v = v, k
        if mistake == "heads interleaved":
            q, k, v = (part.reshape(B, T, d // h, h).permute(0, 3, 1, 2) for part in (q, k, v))
        else:
            q, k, v = (part.reshape(B, T, h, d // h).transpose(1, 2) for part in (q, k, v))
        scale = {"no scale": 1, "scale d_model": d}.get(mistake, d // h)
        scores = q @ k.transpose(-2, -1) / math.sqrt(scale)
        future = torch.ones(T, T, dtype=torch.bool).triu(0 if mistake == "mask hides itself" else 1)
        if mistake != "no mask":
            scores = scores.masked_fill(future, 0 if mistake == "masked with 0" else -math.inf)
        x = scores.softmax(dim=-2 if mistake == "softmax over queries" else -1) @ v
        if mistake == "heads interleaved":
            x = x.permute(0, 2, 3, 1).reshape(B, T, d)
        else:
            x = (x if mistake == "heads not joined" else x.transpose(1, 2)).reshape(B, T, d)
        return x if mistake == "no output" else linear(x, f"{name}.output", mistake != "no output bias")

    def feed_forward(x: Tensor, name: str) -> Tensor:
        x = linear(x, f"{name}.up", mistake != "no up bias")
        if mistake == "relu":
            x = F.relu(x)
        elif mistake != "no bend":
            x = F.gelu(x, approximate="none" if mistake == "exact gelu" else "tanh")
        return linear(x, f"{name}.down", mistake != "no down bias")

    def connected(x: Tensor, sublayer: str, block: str) -> Tensor:
        norm, function = f"{block}.{sublayer}_norm", attention if sublayer == "attention" else feed_forward
        if mistake == "post-norm":
            return layer_norm(x + function(x, f"{block}.{sublayer}"), norm)
        read = layer_norm(x, norm)
        written = function(read, f"{block}.{sublayer}")
        if mistake == "no residual":
            return written
        return x + written

    table = weights["token_embedding.weight"]
    x = table[ids]
    if mistake != "no positions":
        first = int(mistake == "positions from 1")
        x = x + weights["position_embedding.weight"].roll(-first, 0)[:T]
    numbers = list(range(1 if mistake == "one block" else config.n_layers))
    for n in reversed(numbers) if mistake == "last block first" else numbers:
        block = f"blocks.{0 if mistake == 'block 0 again' else n}"
        if mistake == "side by side":
            x = connected(x, "attention", block) + connected(x, "feed_forward", block) - x
            continue
        order = ("feed_forward", "attention") if mistake == "feed-forward first" else ("attention", "feed_forward")
        for sublayer in order:
            x = connected(x, sublayer, block)
    x = x if mistake == "no final norm" else layer_norm(x, "final_norm")
    if mistake == "no head":
        return x
    logits = x @ table.T
    if mistake == "probabilities":
        return logits.softmax(dim=-1)
    return logits[:, -1] if mistake == "last only" else logits


def unlike_gpt(answer: Forward) -> str | None:
    """A hint where the logits are not those of the formulas: first with parts of the model silent, then with all."""
    config = GPTConfig(vocab_size=11, context_length=7, n_layers=2, n_heads=2, d_model=6, d_ff=10)
    weights = _drawn(config)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(11, (2, 5), generator=generator)

    def unlike(weights: dict[str, Tensor], where: str, *questions: dict[str, str]) -> str | None:
        """A hint where the logits are not those of the formulas."""
        handed, given = {name: values.clone() for name, values in weights.items()}, ids.clone()
        try:
            got = torch.as_tensor(answer(given, handed, config)).detach()
        except (RuntimeError, IndexError) as error:
            if "numpy" in str(error) or "size" not in str(error) and "shape" not in str(error):
                raise
            return (
                f"Two rows of five ids, d_model 6 and 2 heads: your shapes do not fit ({str(error).splitlines()[0]})."
            )
        changed = next((name for name in weights if not torch.equal(handed[name], weights[name])), "")
        if changed or not torch.equal(given, ids):
            return f"Your function changed {changed or 'the ids'}, which it was only given to read."
        if close(got, gpt_by_hand(ids, weights, config)):
            return None
        for mistake, question in {name: text for table in questions for name, text in table.items()}.items():
            if close(got, gpt_by_hand(ids, weights, config, mistake), 1e-5):
                return f"{where} {question}"
        if got.shape != (2, 5, 11):
            return f"For ids (2, 5) and V = 11 you return {tuple(got.shape)}. The logits are (B, T, V)."
        if got.isnan().any() and questions:
            return "Some logits are nan, as from a softmax in which every score is -inf. Does each token see itself?"
        same = (got - gpt_by_hand(ids, weights, config)).abs().amax(dim=-1) <= 1e-6  # nan is not
        first = int((~same).any(dim=0).nonzero()[0])
        return f"{where} The first position with other logits is {first}. Print what you have there, step by step."

    silent = weights | {name: 0 * values for name, values in weights.items() if ".output." in name or ".down." in name}
    tiny = silent | {name: values / 500 for name, values in weights.items() if "embedding" in name}
    loud = weights | {name: 30 * values for name, values in weights.items() if ".qkv." in name}  # scores of thousands
    no_network = weights | {name: 0 * values for name, values in weights.items() if ".down." in name}
    no_attention = weights | {name: 0 * values for name, values in weights.items() if ".output." in name}
    stages = (
        (
            silent,
            "With blocks that add nothing the logits differ: look at embeddings, last norm and head.",
            AROUND,
            BLOCK,
            {"no output": ATTENTION["no output"]},  # silent only through that projection
        ),
        (tiny, "With blocks that add nothing and small embeddings the logits differ.", AROUND),
        (no_network, "With a feed-forward that adds nothing the logits differ: look at attention.", ATTENTION, BLOCK),
        (
            no_attention,
            "With an attention that adds nothing the logits differ: look at feed-forward.",
            FEED_FORWARD,
            BLOCK,
        ),
        (weights, "Each part alone is right. Together they differ.", BLOCK),
        (loud, "Right, but not for scores of thousands: does an exponential overflow?"),
    )
    for stage, where, *questions in stages:
        if hint := unlike(stage, where, *questions):
            return hint

    for other, B, T in (
        (config, 1, 1),
        (config, 3, 7),
        (GPTConfig(vocab_size=9, context_length=12, n_layers=3, n_heads=4, d_model=12), 2, 12),
        (GPTConfig(vocab_size=5, context_length=4, n_layers=1, n_heads=1, d_model=4), 1, 3),
    ):
        new_ids = torch.randint(other.vocab_size, (B, T), generator=generator)
        sizes = f"{other.n_layers} blocks, {other.n_heads} heads and d_model {other.d_model}"
        if not close(
            torch.as_tensor(answer(new_ids, _drawn(other), other)).detach(), gpt_by_hand(new_ids, _drawn(other), other)
        ):
            return f"Right for 2 rows of 5 ids. For {B} of {T}, with {sizes}, it is not. Is any size fixed?"
    return None


def _drawn(config: GPTConfig) -> dict[str, Tensor]:
    """Large weights for a GPT, also in norms and biases: no mistake can pass for rounding."""
    generator = torch.Generator().manual_seed(0)
    named = GPT(config).double().named_parameters()
    return {name: torch.nn.init.normal_(values.detach(), 0.3, 0.7, generator=generator) for name, values in named}


def learns_otherwise(answer: Forward) -> str | None:
    """A hint where 100 steps of training do not go as with the formulas; every gradient is looked at in the first."""
    try:
        losses, gradients = _trained(answer)
    except _NoGradient:
        return "The logits are right, but they carry no gradient: nothing could learn. What cuts it off?"
    right_losses, right_gradients = _by_formulas()
    for name, gradient in gradients.items():
        if not close(gradient, right_gradients[name], 1e-5):
            return f"The logits are right, but {name} does not get its gradient. What cuts it off?"
    if not close(losses, right_losses, 1e-4):
        return f"After 100 steps of training the loss is {losses[-1]:.4f}, not {right_losses[-1]:.4f}."
    return None


class _NoGradient(Exception):
    """Logits that no gradient can be computed from."""


@cache
def _by_formulas() -> tuple[list[float], dict[str, Tensor]]:
    return _trained(gpt_by_hand)


def _trained(forward: Forward) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of 100 steps, and every gradient of the first."""
    config = GPTConfig(vocab_size=11, context_length=8, n_layers=2, n_heads=2, d_model=8)
    weights = {name: (0.3 * values).requires_grad_() for name, values in _drawn(config).items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-2)
    losses: list[float] = []
    gradients: dict[str, Tensor] = {}
    for step in range(100):
        rows = torch.randint(11, (4, 4), generator=torch.Generator().manual_seed(step)).repeat(1, 2)
        logits = forward(rows[:, :-1], weights, config)
        if not isinstance(logits, Tensor) or not logits.requires_grad:
            raise _NoGradient
        loss = next_token_loss(logits, rows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {n: torch.zeros_like(w) if w.grad is None else w.grad.clone() for n, w in weights.items()}
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients
