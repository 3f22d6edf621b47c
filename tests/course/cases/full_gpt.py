"""Answers to the exercises of lesson 8."""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from minigpt.config import GPTConfig
from minigpt.course.check.gpt_by_hand import ATTENTION, gpt_by_hand
from minigpt.model.gpt import GPT, flops_per_token, parameter_count
from tests.course.cases import Answers


def by_deepcopy(model: GPT) -> None:
    model.output_head = copy.deepcopy(model.output_head)


def without_annotations(model):
    model.output_head.weight = nn.Parameter(model.token_embedding.weight.detach().clone())


def into_a_new_linear(model: GPT) -> None:
    V, d = model.token_embedding.weight.shape
    head = nn.Linear(d, V, bias=False)
    with torch.no_grad():
        head.weight.copy_(model.token_embedding.weight)
    model.output_head = head


def the_other_gets_the_copy(model: GPT) -> None:
    model.token_embedding = nn.Embedding.from_pretrained(model.output_head.weight.detach().clone(), freeze=False)


def only_a_name(model: GPT) -> None:
    weight = model.output_head.weight
    weight = nn.Parameter(weight.clone())


def a_new_view(model: GPT) -> None:
    model.output_head.weight = nn.Parameter(model.token_embedding.weight.detach())


def new_numbers(model: GPT) -> None:
    V, d = model.token_embedding.weight.shape
    model.output_head = nn.Linear(d, V, bias=False)


def turned(model: GPT) -> None:
    model.output_head.weight = nn.Parameter(model.token_embedding.weight.detach().T.clone())


def frozen(model: GPT) -> None:
    model.output_head.weight = nn.Parameter(model.token_embedding.weight.detach().clone(), requires_grad=False)


def bare_tensor(model: GPT) -> None:
    copied = model.token_embedding.weight.detach().clone().requires_grad_()
    del model.output_head.weight
    model.output_head.weight = copied


def not_a_parameter(model: GPT) -> None:
    model.output_head.weight = model.token_embedding.weight.clone()


def with_a_bias(model: GPT) -> None:
    V, d = model.token_embedding.weight.shape
    head = nn.Linear(d, V)
    head.weight = nn.Parameter(model.token_embedding.weight.detach().clone())
    model.output_head = head


def norm_overwritten(model: GPT) -> None:
    by_deepcopy(model)
    nn.init.zeros_(model.final_norm.weight)


def gpt2s(
    model: GPT,
    std: float = 0.02,
    scaled: tuple[str, ...] = ("attention.output.weight", "feed_forward.down.weight"),
    factor: Callable[[int], float] = lambda L: 1 / math.sqrt(2 * L),
    biases: bool = True,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, nn.Embedding),
) -> None:
    """Initialise as GPT-2, or with one mistake."""
    for module in model.modules():
        if isinstance(module, kinds):
            nn.init.normal_(module.get_parameter("weight"), std=std)
        if biases and isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for name, weight in model.named_parameters():
        if name.endswith(scaled):
            nn.init.normal_(weight, std=std * factor(model.config.n_layers))


def by_name(model: GPT) -> None:
    for name, parameter in model.named_parameters():
        if "norm" in name:
            continue
        if parameter.ndim == 1:
            parameter.data.fill_(0)
        else:
            onto_stream = ".output." in name or ".down." in name
            parameter.data = torch.randn(parameter.shape) * 0.02
            if onto_stream:
                parameter.data /= (2 * model.config.n_layers) ** 0.5


def scaled_afterwards(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1.0)
    with torch.no_grad():
        for block in model.blocks:
            for name in ("attention.output.weight", "feed_forward.down.weight"):
                block.get_parameter(name).mul_((2 * len(model.blocks)) ** -0.5)


def norms_too(model: GPT) -> None:
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    gpt2s(model)


def into_thin_air(model: GPT) -> None:
    for parameter in model.parameters():
        _ = torch.randn(parameter.shape) * 0.02


def norms_like_the_rest(model: GPT) -> None:
    gpt2s(model)
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.normal_(parameter, std=0.02)


def biases_forgotten(model: GPT) -> None:
    gpt2s(model, biases=False)


def embeddings_forgotten(model: GPT) -> None:
    gpt2s(model, kinds=(nn.Linear,))


def uniform(model: GPT) -> None:
    gpt2s(model)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.uniform_(module.weight, -0.02, 0.02)


def variance(model: GPT) -> None:
    gpt2s(model, std=math.sqrt(0.02))


def all_scaled(model: GPT) -> None:
    gpt2s(model, scaled=("qkv.weight", "output.weight", "up.weight", "down.weight"))


def too_large(model: GPT) -> None:
    gpt2s(model, std=0.5)


def mean_for_std(model: GPT) -> None:
    gpt2s(model)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0.02)


def one_of_two(model: GPT) -> None:
    gpt2s(model, scaled=("attention.output.weight",))


def not_scaled(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1.0)


def once_a_block(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1 / math.sqrt(L))


def no_root(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1 / (2 * L))


def upside_down(model: GPT) -> None:
    gpt2s(model, factor=lambda L: math.sqrt(2 * L))


def always_gpt2s_depth(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1 / math.sqrt(24))


def always_eight(model: GPT) -> None:
    gpt2s(model, factor=lambda L: 1 / math.sqrt(16))


def unties(model: GPT) -> None:
    gpt2s(model)
    model.output_head.weight = nn.Parameter(model.output_head.weight.detach().clone())


def positions_of_openai(model: GPT) -> None:
    gpt2s(model)
    nn.init.normal_(model.position_embedding.weight, std=0.01)


def uniform_of_the_right_size(model: GPT) -> None:
    gpt2s(model)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            width = module.weight.pow(2).mean().sqrt().item() * math.sqrt(3)
            nn.init.uniform_(module.weight, -width, width)


def seeded_before_each(model: GPT) -> None:
    for name, parameter in model.named_parameters():
        torch.manual_seed(0)
        if parameter.ndim == 2:
            onto_stream = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * model.config.n_layers) if onto_stream else 0.02)
        elif "norm" not in name:
            nn.init.zeros_(parameter)


def first_block_copied(model: GPT) -> None:
    gpt2s(model)
    for block in model.blocks:
        block.load_state_dict(model.blocks[0].state_dict())


def with_the_package(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    return functional_call(GPT(config).double(), weights, (ids,))


def with_torchs_functions(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    B, T = ids.shape
    d, h = config.d_model, config.n_heads

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (d,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    x = F.embedding(ids, weights["token_embedding.weight"]) + weights["position_embedding.weight"][torch.arange(T)]
    for n in range(config.n_layers):
        q, k, v = linear(norm(x, f"blocks.{n}.attention_norm"), f"blocks.{n}.attention.qkv").split(d, dim=-1)
        q, k, v = (part.unflatten(-1, (h, d // h)).transpose(1, 2) for part in (q, k, v))
        x = x + linear(
            F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2),
            f"blocks.{n}.attention.output",
        )
        hidden = F.gelu(
            linear(norm(x, f"blocks.{n}.feed_forward_norm"), f"blocks.{n}.feed_forward.up"), approximate="tanh"
        )
        x = x + linear(hidden, f"blocks.{n}.feed_forward.down")
    return F.linear(norm(x, "final_norm"), weights["token_embedding.weight"])


def head_by_head(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    """Row by row and head by head, with loops and einsum."""
    d, size = config.d_model, config.head_size

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = x.mean(-1, keepdim=True), x.var(-1, correction=0, keepdim=True)
        return torch.addcmul(weights[f"{name}.bias"], weights[f"{name}.weight"], (x - mean) * (var + 1e-5).rsqrt())

    rows = []
    for row in ids:
        x = weights["token_embedding.weight"][row] + weights["position_embedding.weight"][: len(row)]
        for n in range(config.n_layers):
            of = {
                name.removeprefix(f"blocks.{n}."): w for name, w in weights.items() if name.startswith(f"blocks.{n}.")
            }
            qkv = torch.einsum("td,ed->te", norm(x, f"blocks.{n}.attention_norm"), of["attention.qkv.weight"])
            qkv = qkv + of["attention.qkv.bias"]
            blends = []
            for start in range(0, d, size):
                q, k, v = (qkv[:, at + start : at + start + size] for at in (0, d, 2 * d))
                scores = (q @ k.T / size**0.5).masked_fill(~torch.ones(len(row), len(row)).tril().bool(), -math.inf)
                shares = (scores - scores.amax(-1, keepdim=True)).exp()
                blends.append(shares / shares.sum(-1, keepdim=True) @ v)
            x = x + torch.cat(blends, -1) @ of["attention.output.weight"].T + of["attention.output.bias"]
            up = norm(x, f"blocks.{n}.feed_forward_norm") @ of["feed_forward.up.weight"].T + of["feed_forward.up.bias"]
            bent = up / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
            x = x + bent @ of["feed_forward.down.weight"].T + of["feed_forward.down.bias"]
        rows.append(norm(x, "final_norm") @ weights["token_embedding.weight"].T)
    return torch.stack(rows)


def gpt_with(mistake: str) -> Callable[..., Tensor]:
    """A GPT with one mistake, under its name."""

    def with_mistake(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
        return gpt_by_hand(ids, weights, config, mistake)

    with_mistake.__name__ = mistake.replace(" ", "_")
    return with_mistake


def no_shift(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    softmax = Tensor.softmax
    try:
        Tensor.softmax = lambda x, dim: x.exp() / x.exp().sum(dim, keepdim=True)  # type: ignore
        return gpt_by_hand(ids, weights, config)
    finally:
        Tensor.softmax = softmax  # type: ignore[method-assign]


def logits_cut_off(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    return with_torchs_functions(ids, weights, config).detach()


def one_matrix_cut_off(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    frozen = {name: w.detach() if name == "blocks.1.attention.qkv.weight" else w for name, w in weights.items()}
    return with_torchs_functions(ids, frozen, config)


def two_heads_always(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    return with_torchs_functions(
        ids, weights, GPTConfig(1, 1, config.n_layers, 2 if config.d_model > 4 else 1, config.d_model)
    )


def changes_a_weight(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    logits = with_torchs_functions(ids, weights, config)
    weights["position_embedding.weight"].data[0] = 0
    return logits


def not_transposed(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    return weights["token_embedding.weight"][ids] @ weights["token_embedding.weight"]


def noise_in_the_network(ids: Tensor, weights: dict[str, Tensor], config: GPTConfig) -> Tensor:
    louder = {name: w * 1.01 if name.endswith("up.weight") else w for name, w in weights.items()}
    return with_torchs_functions(ids, louder, config)


def one_matrix_for_three(config: GPTConfig) -> int:
    return parameter_count(config) - 2 * config.n_layers * config.d_model**2


def by_building(config: GPTConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in GPT(config).parameters())


def ledger(config: GPTConfig, **changes: int) -> int:
    """Count line by line, or with one mistake."""
    V, T, L, d, d_ff = config.vocab_size, config.context_length, config.n_layers, config.d_model, config.d_ff or 0
    have = {
        "V": V, "T": T if config.positions == "learned" else 0,
        "L": L, "d_ff": d_ff or 4 * d, "bias": int(config.bias), "norm_bias": int(config.bias),
        "head": 0 if config.tie_embeddings else V, "head_bias": 0, "norms": 2, "final": 1, "matrices": 4, "up_bias": -1,
    } | changes  # fmt: skip
    up_bias = have["d_ff"] if have["up_bias"] < 0 else have["up_bias"]
    norm = d + have["norm_bias"] * d
    attention = have["matrices"] * (d * d + have["bias"] * d)
    feed_forward = 2 * d * have["d_ff"] + have["bias"] * (up_bias + d)
    blocks = have["L"] * (attention + feed_forward + have["norms"] * norm)
    return (have["V"] + have["T"] + have["head"]) * d + have["head_bias"] + blocks + have["final"] * norm


def line_by_line(config: GPTConfig) -> int:
    return ledger(config)


def head_counted_twice(config: GPTConfig) -> int:
    return ledger(config, head=config.vocab_size)


def head_never_counted(config: GPTConfig) -> int:
    return ledger(config, head=0)


def no_positions(config: GPTConfig) -> int:
    return ledger(config, T=0)


def no_tokens(config: GPTConfig) -> int:
    return ledger(config, V=0)


def no_final_norm(config: GPTConfig) -> int:
    return ledger(config, final=0)


def head_with_bias(config: GPTConfig) -> int:
    return ledger(config, head_bias=config.vocab_size)


def one_block(config: GPTConfig) -> int:
    return ledger(config, L=1)


def no_norms_in_blocks(config: GPTConfig) -> int:
    return ledger(config, norms=0)


def one_norm_a_block(config: GPTConfig) -> int:
    return ledger(config, norms=1)


def norms_without_bias(config: GPTConfig) -> int:
    return ledger(config, norm_bias=0)


def positions_always(config: GPTConfig) -> int:
    return ledger(config, T=config.context_length)


def untied_head_with_bias(config: GPTConfig) -> int:
    return ledger(config, head_bias=0 if config.tie_embeddings else config.vocab_size)


def linears_without_bias(config: GPTConfig) -> int:
    return ledger(config, bias=0)


def biases_always(config: GPTConfig) -> int:
    return ledger(config, bias=1, norm_bias=1)


def no_output_projection(config: GPTConfig) -> int:
    return ledger(config, matrices=3)


def always_four_d(config: GPTConfig) -> int:
    return ledger(config, d_ff=4 * config.d_model)


def field_without_default(config: GPTConfig) -> int:
    return ledger(config, d_ff=config.d_ff)


def a_matrix_for_each_head(config: GPTConfig) -> int:
    return ledger(config, matrices=1 + 3 * config.n_heads)


def up_bias_too_short(config: GPTConfig) -> int:
    return ledger(config, up_bias=config.d_model)


def twelve_d_squared(config: GPTConfig) -> int:
    return 12 * config.n_layers * config.d_model**2


def a_third_of_training(config: GPTConfig, B: int, T: int) -> int:
    return B * T * flops_per_token(config, T) // 3


def product_by_product(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T)


def six_per_block(config: GPTConfig, B: int, T: int) -> int:
    d, d_ff, h = config.d_model, config.feed_forward_size, config.n_heads
    products = [(B * T, d, 3 * d), (B * T, d, d), (B * T, d, d_ff), (B * T, d_ff, d)] * config.n_layers
    products += [(T, d // h, T), (T, T, d // h)] * (config.n_layers * B * h) + [(B * T, d, config.vocab_size)]
    return sum(2 * m * k * n for m, k, n in products)


def work(config: GPTConfig, B: int, T: int, **changes: int) -> int:
    """Count product by product, or with one mistake."""
    d = config.d_model
    have = {
        "flops": 2, "d_ff": config.feed_forward_size, "keys": T, "heads": 1, "products": 2, "matrices": 4,
        "scored": T, "L": config.n_layers, "V": config.vocab_size,
    } | changes  # fmt: skip
    linear = B * T * (have["matrices"] * d * d + 2 * d * have["d_ff"])
    attention = have["products"] * B * T * have["keys"] * d * have["heads"]
    return have["flops"] * (have["L"] * (linear + attention) + B * have["scored"] * d * have["V"])


def multiplications_only(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, flops=1)


def with_backward(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, flops=6)


def one_sequence(config: GPTConfig, B: int, T: int) -> int:
    return work(config, 1, T)


def per_token(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T) // (B * T)


def no_head(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, V=0)


def last_position_only(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, scored=1)


def lookup_as_product(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, V=2 * config.vocab_size)


def linear_layers_only(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, products=0)


def scores_only(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, products=1)


def t_once(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, keys=1)


def every_head_full(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, heads=config.n_heads)


def narrow_only(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, d_ff=4 * config.d_model)


def single_block(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, L=1)


def three_matrices(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, matrices=3)


def two_per_parameter(config: GPTConfig, B: int, T: int) -> int:
    return 2 * B * T * parameter_count(config)


def d_ff_without_default(config: GPTConfig, B: int, T: int) -> int:
    return work(config, B, T, d_ff=config.d_ff)


ANSWERS = {
    "untie": Answers(
        right=[by_deepcopy, without_annotations, into_a_new_linear, the_other_gets_the_copy],
        wrong={
            only_a_name: "still is the embedding's",
            a_new_view: "they look at one memory",
            new_numbers: "The head has other numbers now",
            turned: "The head's weight is now (4, 7)",
            frozen: "frozen",
            bare_tensor: "a bare tensor",
            not_a_parameter: "cannot assign",
            with_a_bias: "The head has a bias now",
            norm_overwritten: "Only the head gets a table of its own",
        },
    ),
    "initialise": Answers(
        right=[gpt2s, by_name, scaled_afterwards, norms_too],
        wrong={
            into_thin_air: "no number in the model has changed",
            norms_like_the_rest: "A LayerNorm stays",
            biases_forgotten: "What should a bias of a Linear be?",
            embeddings_forgotten: "That is what was in it",
            uniform: "a uniform draw",
            variance: "and not the variance",
            all_scaled: "this matrix does not end on the stream",
            too_large: "What does it hold now?",
            mean_for_std: "what comes second is the mean",
            one_of_two: "feed_forward.down.weight is not (0.02",
            not_scaled: "Where is their factor?",
            once_a_block: "How many times does one block add",
            no_root: "Do 2L random outputs sum to 2L times",
            upside_down: "louder still",
            always_gpt2s_depth: "With L = 8 it should be",
            always_eight: "Right for 8 blocks",
            unties: "A tied one is tied no longer",
            positions_of_openai: "So does OpenAI's code",
            uniform_of_the_right_size: "the distribution is not normal",
            seeded_before_each: "the very same qkv.weight",
        },
    ),
    "your_gpt": Answers(
        right=[with_the_package, with_torchs_functions, head_by_head],
        wrong={
            gpt_with("no positions"): "where it stands",
            gpt_with("positions from 1"): "Which row did it get?",
            gpt_with("no final norm"): "between the last block and the head",
            gpt_with("no gain"): "Are both at work?",
            gpt_with("unbiased"): "by d or by d - 1",
            gpt_with("no epsilon"): "For numbers this small",
            gpt_with("probabilities"): "Those are probabilities",
            gpt_with("last only"): "Those are the logits of the last token",
            gpt_with("no head"): "That is what the head reads",
            **{gpt_with(mistake): question for mistake, question in ATTENTION.items()},
            gpt_with("mask hides itself"): "in which every score is -inf",
            no_shift: "does an exponential overflow?",
            gpt_with("relu"): "Which bend has GPT-2?",
            gpt_with("exact gelu"): "GELU comes in two forms",
            gpt_with("no bend"): "between up and down",
            gpt_with("no up bias"): "`feed_forward.up` has a bias",
            gpt_with("no down bias"): "`feed_forward.down` has a bias",
            gpt_with("no residual"): "Does yours replace it?",
            gpt_with("no norm"): "read the stream through?",
            gpt_with("post-norm"): "The stream itself is normalised",
            gpt_with("first norm twice"): "Do both read through the same?",
            gpt_with("side by side"): "before attention wrote",
            gpt_with("feed-forward first"): "Which of the two sub-layers comes first?",
            gpt_with("one block"): "Only one block was at work",
            gpt_with("block 0 again"): "Did block 0 run each time?",
            gpt_with("last block first"): "from 0 upwards",
            logits_cut_off: "they carry no gradient",
            one_matrix_cut_off: "does not get its gradient",
            two_heads_always: "Is any size fixed?",
            changes_a_weight: "it was only given to read",
            not_transposed: "your shapes do not fit",
            noise_in_the_network: "look at feed-forward. The first position",
        },
    ),
    "gpt_parameters": Answers(
        right=[by_building, line_by_line, parameter_count],
        wrong={
            head_counted_twice: "what does the head own?",
            head_never_counted: "The head now has a table of its own",
            no_positions: "where it stands",
            no_tokens: "what stands for each token?",
            no_final_norm: "outside the blocks",
            head_with_bias: "output head's bias",
            one_block: "the count for one block",
            no_norms_in_blocks: "The LayerNorms in the blocks are missing",
            one_norm_a_block: "Each block has two LayerNorms",
            norms_without_bias: "You have one",
            linears_without_bias: "as many as it has outputs",
            biases_always: "Without biases",
            no_output_projection: "a fourth projection",
            one_matrix_for_three: "Yours share a single one",
            always_four_d: "is 4 d wide",
            field_without_default: "d_ff is 0 here",
            a_matrix_for_each_head: "More heads are not more parameters",
            up_bias_too_short: "so d_ff biases",
            twelve_d_squared: "Write the ledger of this model",
            positions_always: "there is no position table",
            untied_head_with_bias: "V too many",
        },
    ),
    "gpt_forward_flops": Answers(
        right=[a_third_of_training, product_by_product, six_per_block],
        wrong={
            multiplications_only: "That is half.",
            with_backward: "a whole training step",
            one_sequence: "for one sequence",
            per_token: "for one token",
            no_head: "to V scores",
            last_position_only: "not for the last alone",
            lookup_as_product: "fetched and not multiplied",
            linear_layers_only: "Attention's own two products",
            scores_only: "Half of attention is missing",
            t_once: "Does your T stand there twice?",
            every_head_full: "How much do they cost together?",
            narrow_only: "is 4 d wide",
            single_block: "has a single block",
            three_matrices: "a fourth projection",
            two_per_parameter: "Which product is that?",
            d_ff_without_default: "Right for a first model",
        },
    ),
}
