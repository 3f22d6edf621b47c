"""Low-rank adapters: hand arithmetic, peft on the same weights, what they land on, and merged equal to unmerged."""

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.config import GPTConfig, InputError, LoRAMatrix
from minigpt.generation.decoding import Decoding
from minigpt.generation.generate import generate
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.model.lora import (
    LoRALinear,
    adapter_count,
    adapter_state,
    adapters,
    base_state,
    merged,
    report,
    summary,
    training_bytes,
    with_adapters,
)
from minigpt.weights.gpt2_layout import to_gpt2, to_gpt2_config

MODERN: dict[str, Any] = {"positions": "rope", "norm": "rmsnorm", "n_kv_heads": 1, "feed_forward": "swiglu"}
BLOCKS: tuple[LoRAMatrix, ...] = ("qkv", "output", "up", "down")


def model_of(**options: Any) -> GPT:
    """In float64, with weights large enough that every matrix matters."""
    torch.manual_seed(0)
    config = {"vocab_size": 23, "context_length": 11, "n_layers": 2, "n_heads": 2, "d_model": 12}
    model = GPT(GPTConfig(**config | options)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model.eval()


def disturbed(model: GPT) -> GPT:
    """With adapters as after some training: B is no longer zero."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.1)
    return model


def some_ids() -> Tensor:
    return torch.randint(23, (3, 11), generator=torch.Generator().manual_seed(2))


# By hand.


def test_rank_one_on_four_by_four_by_hand() -> None:
    """W = identity, A = (1 0 2 0), B = (0 1 0 -1)', scale 3 / 1: y = x + 3 (x_1 + 2 x_3) B."""
    base = nn.Linear(4, 4)
    with torch.no_grad():
        base.weight.copy_(torch.eye(4))
        base.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 10.0]))
    layer = LoRALinear(base, rank=1, alpha=3.0, generator=torch.Generator())
    with torch.no_grad():
        layer.lora_a.copy_(torch.tensor([[1.0, 0.0, 2.0, 0.0]]))
        layer.lora_b.copy_(torch.tensor([[0.0], [1.0], [0.0], [-1.0]]))
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])  # A x = 7
    assert layer(x).tolist() == [1, 2 + 21, 3, 4 + 10 - 21]
    assert layer.weight.tolist() == [[1, 0, 0, 0], [3, 1, 6, 0], [0, 0, 1, 0], [-3, 0, -6, 1]]
    assert layer.bias is base.bias
    layer(x[None, None]).sum().backward()  # dL/dB = scale A x, dL/dA = scale (sum of B) x = 0 here
    assert layer.lora_b.grad is not None and layer.lora_b.grad.tolist() == [[21.0]] * 4
    assert layer.lora_a.grad is not None and layer.lora_a.grad.tolist() == [[0.0] * 4]


def test_a_gaussian_and_b_zero_so_that_only_b_learns_at_first() -> None:
    model = with_adapters(model_of(d_model=64), 32, 16.0)
    a = torch.cat([t.flatten() * t.size(1) ** 0.5 for n, t in adapter_state(model).items() if n.endswith("lora_a")])
    assert abs(a.mean()) < 0.02 and abs(a.std() - 1) < 0.02
    assert abs((a.abs() > 2).double().mean() - 0.0455) < 0.005, "the tails of a Gaussian"
    next_token_loss(model(some_ids()), some_ids()).backward()
    for name, parameter in model.named_parameters():
        if name.endswith("lora_a"):
            assert parameter.grad is not None and parameter.grad.abs().max() == 0, name
        elif name.endswith("lora_b"):
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


# What it promises.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, MODERN])
def test_at_first_nothing_changes_bit_for_bit(options: dict[str, Any], dtype: torch.dtype) -> None:
    model = model_of(**options).float()
    adapted = with_adapters(model, 2, 16.0, (*BLOCKS, "head"))
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        assert torch.equal(adapted(some_ids()), model(some_ids()))


def test_the_base_is_shared_stays_and_has_no_gradient() -> None:
    model = model_of()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    adapted = with_adapters(model, 2, 16.0)
    assert torch.equal(torch.get_rng_state(), state), "no global dice"
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        next_token_loss(adapted(some_ids()), some_ids()).backward()
        optimizer.step()
    assert not torch.equal(adapted(some_ids()), model(some_ids()))
    shared = base_state(adapted)
    assert shared.keys() == before.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) and shared[name].data_ptr() == tensor.data_ptr(), name
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None) == (".lora_" in name), name
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert with_adapters(model.train(), 2, 1.0).training and not with_adapters(model.eval(), 2, 1.0).training


def test_the_seed_makes_the_adapters() -> None:
    def drawn(seed: int) -> Tensor:
        return torch.cat([t.flatten() for t in adapter_state(with_adapters(model_of(), 2, 1.0, seed=seed)).values()])

    assert torch.equal(drawn(3), drawn(3)) and not torch.equal(drawn(3), drawn(4))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("on", [(), ("qkv",), ("output", "down"), ("head",), (*BLOCKS, "head")])
@pytest.mark.parametrize("options", [{}, MODERN])
def test_merged_computes_the_same_and_is_plain(options: dict[str, Any], on: Any, tied: bool) -> None:
    model = model_of(tie_embeddings=tied, **options).float()
    adapted = disturbed(with_adapters(model, 3, 5.0, on))
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    plain = merged(adapted)
    (ids, logits) = some_ids(), adapted(some_ids())
    assert (logits - model(ids)).abs().max() > 1e-2, "the adapters do something"
    for name, tensor in plain.state_dict().items():  # against float64
        module = adapted.get_submodule(name.rpartition(".")[0])
        if isinstance(module, LoRALinear) and name.endswith("weight"):
            exact = module.base.weight.double() + 5 / 3 * module.lora_b.double() @ module.lora_a.double()
            assert (tensor - exact).abs().max() < 1e-6, name
    torch.testing.assert_close(plain(ids), logits, rtol=1e-5, atol=1e-5)  # logits of up to 20
    torch.testing.assert_close(merged(adapted.double())(ids), adapted(ids), rtol=1e-13, atol=1e-13)
    assert not adapters(plain) and all(parameter.requires_grad for parameter in plain.parameters())
    assert plain.config.tie_embeddings == (tied and "head" not in on)
    assert (plain.output_head.weight is plain.token_embedding.weight) == plain.config.tie_embeddings
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.zero_()
    for name, tensor in adapted.state_dict().items():
        assert torch.equal(tensor.float(), before[name]), "copies"


def test_merging_a_model_without_adapters_changes_nothing() -> None:
    assert merged(model := model_of()) is model


def test_on_tied_embeddings_the_head_alone_changes() -> None:
    model = model_of()
    adapted = disturbed(with_adapters(model, 2, 8.0, ["head"]))
    assert torch.equal(adapted.hidden_states(some_ids()), model.hidden_states(some_ids())), "tokens are read as before"
    assert torch.equal(merged(adapted).token_embedding.weight, model.token_embedding.weight)
    assert not torch.equal(merged(adapted).output_head.weight, model.output_head.weight)


@pytest.mark.parametrize("options", [{}, MODERN, {"tie_embeddings": False}])
def test_generation_reads_the_merged_weights(options: dict[str, Any]) -> None:
    adapted = disturbed(with_adapters(model_of(**options), 3, 6.0, (*BLOCKS, "head")))
    plain = merged(adapted)
    assert generate(adapted, [1, 2], 8, temperature=0) == generate(plain, [1, 2], 8, temperature=0)
    steps = [Decoding(model, [[1, 2, 3], [4]], 2, 6) for model in (adapted, plain)]
    for decoding in steps:
        decoding.prefill()
    ids = torch.tensor([[5], [6], [7], [8]])
    for _ in range(3):
        a, b = (decoding.step(ids) for decoding in steps)
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_rounding_to_bfloat16_does_not_swallow_a_small_adapter() -> None:
    """1 + 2^-10 is 1 in bfloat16, which has 8 digits of 2; beside W x of 0 the adapter's 2^-10 is still there."""
    base = nn.Linear(2, 1, bias=False)
    layer = LoRALinear(base, 1, 1.0, torch.Generator())
    with torch.no_grad():
        base.weight.fill_(1)
        layer.lora_a.copy_(torch.tensor([[2.0**-10, 0]]))
        layer.lora_b.fill_(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.tensor([1.0, -1.0])).item() == 2**-10


def test_a_frozen_matrix_costs_no_gradient_and_no_copy() -> None:
    """What is kept for the backward pass is the input and the parameters themselves: no W + scale B A, no B A x."""
    adapted = with_adapters(model_of(), 2, 1.0)
    layer = adapted.get_submodule("blocks.0.feed_forward.up")
    kept: list[Tensor] = []
    x = torch.randn(3, 12, dtype=torch.float64)

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(x)
    own = {t.data_ptr() for t in (x, *layer.parameters())}
    assert kept and {tensor.data_ptr() for tensor in kept} <= own


# What they land on.


@pytest.mark.parametrize(
    ("options", "on", "expected"),
    [
        ({}, (), {"qkv": (36, 12), "output": (12, 12), "up": (48, 12), "down": (12, 48)}),
        ({}, ("down", "qkv"), {"qkv": (36, 12), "down": (12, 48)}),
        ({"pad_vocab": 8}, ("head",), {"head": (24, 12)}),
        (MODERN, (), {"qkv": (24, 12), "output": (12, 12), "up": (32, 12), "gate": (32, 12), "down": (12, 32)}),
        ({"d_ff": 20}, ("up", "head"), {"up": (20, 12), "head": (23, 12)}),
    ],
)
def test_they_land_on_what_was_asked_for_and_are_counted_as_predicted(
    options: dict[str, Any], on: Any, expected: dict[LoRAMatrix, tuple[int, int]]
) -> None:
    model = with_adapters(model_of(**options), 3, 16.0, on)
    found = adapters(model)
    assert {a.matrix: (a.d_out, a.d_in) for a in found} == expected
    assert all(isinstance(model.get_submodule(a.name), LoRALinear) for a in found)
    assert len({a.name for a in found}) == len(found) == sum(1 if m == "head" else 2 for m in expected)
    n = sum(3 * (d_in + d_out) * (1 if m == "head" else 2) for m, (d_out, d_in) in expected.items())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert n == trained == sum(a.parameters for a in found) == adapter_count(model.config, 3, on)
    lines = report(model).splitlines()
    assert len(lines) == len(found) + 1 and lines[-1] == summary(model)
    for line, adapter in zip(lines, found, strict=False):
        assert adapter.name in line and f"{adapter.d_out} × {adapter.d_in}, rank 3: {adapter.parameters:,} " in line
    assert f"on {len(found)} matrices ({', '.join(expected)}), {n:,} of " in summary(model)


def test_gpt2_and_its_query_key_value_matrices_have_the_known_count() -> None:
    """294,912, what peft counts with rank 8 on c_attn of GPT-2's smallest: 12 × 8 × (768 + 2304)."""
    assert adapter_count(GPTConfig(), 8, ["qkv"]) == 294_912


@pytest.mark.parametrize(("rank", "on"), [(0, ()), (2, ()), (3, ("qkv", "head"))])
def test_training_holds_what_was_predicted(rank: int, on: Any) -> None:
    model = model_of(tie_embeddings=False).float()
    trained = with_adapters(model, rank, 8.0, on) if rank else model
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad])
    next_token_loss(trained(some_ids()), some_ids()).backward()
    optimizer.step()
    held = [*trained.parameters(), *(p.grad for p in trained.parameters() if p.grad is not None)]
    held += [t for values in optimizer.state.values() for name, t in values.items() if name != "step"]
    assert sum(t.numel() * t.element_size() for t in held) == training_bytes(model.config, rank, on)


@pytest.mark.parametrize(
    ("options", "rank", "on", "message"),
    [
        ({}, 0, (), "rank of an adapter is 0; it must be at least 1"),
        ({}, 13, (), r"rank 13 on blocks.0.attention.qkv \(36 × 12\).*at most 12: choose a rank up to 12"),
        ({"vocab_size": 5}, 6, ("head",), r"rank 6 on output_head \(5 × 12\).*at most 5"),
        (
            {},
            2,
            ("gate",),
            "'gate' would land on nothing: feed_forward 'gelu' has none; choose from qkv, output",
        ),
        ({}, 2, ("c_attn",), "'c_attn' would land on nothing: no model has such a matrix"),
        (
            {"n_labels": 3, "tie_embeddings": False},
            2,
            ("head",),
            "'head' would land on nothing: a classifier's head is",
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], rank: int, on: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_adapters(model_of(**options), rank, 16.0, on)


def test_adapters_on_adapters_are_refused() -> None:
    with pytest.raises(InputError, match="has adapters already: merge them first"):
        with_adapters(with_adapters(model_of(), 2, 1.0), 2, 1.0)


# Against peft.

TARGETS = {"qkv": "attn.c_attn", "output": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}


def in_peft(adapted: GPT, alpha: int) -> Any:
    """The same model and adapters in transformers and peft, whose GPT-2 has «Conv1D» layers: matrices transposed."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    theirs = GPT2LMHeadModel(GPT2Config(**to_gpt2_config(adapted.config, None))).double()
    base = GPT(adapted.config).double()
    base.load_state_dict(base_state(adapted))
    theirs.load_state_dict(to_gpt2(base), strict=False)
    found = adapters(adapted)
    wanted = [TARGETS[m] for m in dict.fromkeys(a.matrix for a in found)]
    config = LoraConfig(
        r=found[0].rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=wanted, fan_in_fan_out=True, bias="none"
    )
    peft = get_peft_model(theirs, config)
    state = peft.state_dict()
    for name, tensor in adapter_state(adapted).items():
        state[their_name(name)].copy_(tensor)
    return peft.train()


def their_name(name: str) -> str:
    _, block, module, attribute, kind = name.split(".")
    letter = kind[-1].upper()
    return f"base_model.model.transformer.h.{block}.{TARGETS[attribute]}.lora_{letter}.default.weight"


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # of a name that peft still uses
@pytest.mark.parametrize("on", [BLOCKS, ("qkv",), ("output", "down")])
def test_equal_to_peft_in_outputs_gradients_and_after_twenty_steps(on: Any) -> None:
    alpha = 5
    ours = disturbed(with_adapters(model_of(), 3, alpha, on)).train()
    theirs = in_peft(ours, alpha)
    named = dict(theirs.named_parameters())
    mine = {name: parameter for name, parameter in ours.named_parameters() if parameter.requires_grad}
    assert {their_name(name) for name in mine} == {name for name, p in named.items() if p.requires_grad}
    optimizers = [
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-2, weight_decay=0.1)
        for model in (ours, theirs)
    ]
    losses = []
    for step in range(20):
        batch = (torch.arange(12) * 3 + torch.arange(4)[:, None] + step) % 23  # each token is the one before it plus 3
        ids, targets = batch[:, :-1], batch[:, 1:]
        logits = ours(ids), theirs(ids).logits
        torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)
        for each in logits:
            F.cross_entropy(each.flatten(0, 1), targets.flatten()).backward()
        for name, parameter in mine.items():
            torch.testing.assert_close(parameter.grad, named[their_name(name)].grad, rtol=1e-7, atol=1e-10, msg=name)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(F.cross_entropy(logits[0].flatten(0, 1), targets.flatten()).item())
    for name, parameter in mine.items():
        torch.testing.assert_close(parameter, named[their_name(name)], rtol=1e-7, atol=1e-8, msg=name)
    assert losses[-1] < losses[0] - 0.02, "they learned"
    joined = theirs.merge_and_unload().eval()
    torch.testing.assert_close(merged(ours).eval()(ids), joined(ids).logits, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_without_a_choice_peft_adapts_one_matrix_of_four() -> None:
    """The trap that kinds of matrices avoid: peft's default for a GPT-2 is c_attn alone."""
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    model = model_of()
    theirs = GPT2LMHeadModel(GPT2Config(**to_gpt2_config(model.config, None)))
    peft = get_peft_model(theirs, LoraConfig(r=2, fan_in_fan_out=True))
    landed = {name.split(".lora_A")[0][-11:] for name, _ in peft.named_parameters() if ".lora_A" in name}
    assert landed == {"attn.c_attn"}
    trained = sum(p.numel() for p in peft.parameters() if p.requires_grad)
    assert trained == adapter_count(model.config, 2, ["qkv"]) < adapter_count(model.config, 2) / 2
    assert {a.matrix for a in adapters(with_adapters(model, 2, 1.0))} == set(BLOCKS)


def test_every_kind_of_matrix_has_a_place() -> None:
    modern = with_adapters(model_of(**MODERN), 1, 1.0, get_args(LoRAMatrix))
    assert [*dict.fromkeys(a.matrix for a in adapters(modern))] == list(get_args(LoRAMatrix))
    linears = [name for name, module in modern.named_modules() if type(module) is nn.Linear]
    assert all(name.endswith(".base") for name in linears), "no matrix is left out"
