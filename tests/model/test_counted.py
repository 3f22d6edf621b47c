"""With less work the same states, logits and gradients as from the whole model, whatever its shape."""

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from minigpt.config import GPTConfig
from minigpt.model.counted import Pairs, hidden_states_at, hidden_states_of_pairs, last_hidden_states, logits_of
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache
from minigpt.model.lora import adapter_state, with_adapters

SHAPE = {"vocab_size": 11, "context_length": 9, "n_layers": 3, "n_heads": 4, "d_model": 16}
IDS = torch.arange(27).view(3, 9) * 7 % 11


def model_of(**options: Any) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE | options)).double()
    for parameter in model.parameters():  # biases and norms, too, must count
        nn.init.normal_(parameter, std=0.3)
    return model


def states_and_gradients(model: GPT, states: torch.Tensor) -> list[torch.Tensor]:
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    weights = torch.linspace(-1, 2, states.numel(), dtype=states.dtype).view_as(states)
    return [states, *torch.autograd.grad((weights * states).sum(), wanted, allow_unused=True, materialize_grads=True)]


VARIED: list[dict[str, Any]] = [
    {},
    {"n_layers": 1, "bias": False, "tie_embeddings": False, "d_ff": 24},
    {"positions": "rope", "rope_base": 500.0, "n_kv_heads": 2, "norm": "rmsnorm", "feed_forward": "swiglu"},
    {"positions": "rope", "n_kv_heads": 1, "pad_vocab": 4, "norm_epsilon": 0.1},
    {"n_labels": 3, "tie_embeddings": False},
]


def test_every_field_of_a_config_is_tried() -> None:
    """`hidden_states_at` does what the last block does: a new field must be tried here, too."""
    tried = SHAPE.keys() | {"dropout"} | {name for options in VARIED for name in options}
    assert tried == set(GPTConfig.__dataclass_fields__)


@pytest.mark.parametrize("options", VARIED)
@pytest.mark.parametrize("lora", [False, True])
def test_states_and_gradients_are_those_of_the_whole_model(options: dict[str, Any], lora: bool) -> None:
    model = model_of(**options)
    if lora:
        model = with_adapters(model, 2, 4.0)
        for tensor in adapter_state(model).values():
            nn.init.normal_(tensor)
    for places in ([[8], [3], [5]], [[0, 4, 8], [], [7]], [[1, 2, 3, 4, 5, 6, 7, 8], [0], []], [range(9)] * 3):
        counted = torch.zeros(3, 9, dtype=torch.bool)
        for row, columns in enumerate(places):
            counted[row, list(columns)] = True
        fast, slow = hidden_states_at(model, IDS, counted), model.hidden_states(IDS)[counted]
        pairs = zip(states_and_gradients(model, fast), states_and_gradients(model, slow), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


PAIRED = torch.tensor(
    [
        [1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 0, 6, 7, 8, 9],  # four alike, then other ones
        [1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 9],  # all alike
        [1, 2, 3, 4, 5, 6, 7, 8, 9], [2, 2, 3, 4, 5, 6, 7, 8, 9],  # none
    ]
)  # fmt: skip


@pytest.mark.parametrize("options", VARIED)
@pytest.mark.parametrize("lora", [False, True])
def test_pairs_that_begin_alike_have_the_states_and_gradients_of_the_whole_model(
    options: dict[str, Any], lora: bool
) -> None:
    model = model_of(**options)
    if lora:
        model = with_adapters(model, 2, 4.0)
        for tensor in adapter_state(model).values():
            nn.init.normal_(tensor)
    for places, n_read in (
        ([range(9)] * 6, 9 + 5 + 9 + 9 + 9),
        ([[2, 3, 4], range(1, 9), [8], range(9), [0], []], 3 + 1 + 5 + 9 + 1),
        ([[0, 1], [0], [], [], [6], [6, 7]], 2 + 0 + 1 + 2),
    ):
        counted = torch.zeros(6, 9, dtype=torch.bool)
        for row, columns in enumerate(places):
            counted[row, list(columns)] = True
        hidden, index = hidden_states_of_pairs(model, PAIRED, counted, Pairs.of(PAIRED, counted))
        assert len(hidden) == n_read, "what both begin with is there once"
        pairs = zip(
            states_and_gradients(model, hidden[index]),
            states_and_gradients(model, model.hidden_states(PAIRED)[counted]),
            strict=True,
        )
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_pairs_are_read_to_the_last_place_that_counts() -> None:
    counted = torch.zeros(6, 9, dtype=torch.bool)
    counted[0, 4], counted[1, 8], counted[2, 2], counted[3, 5], counted[5, 1] = (True,) * 5
    pairs = Pairs.of(PAIRED, counted)
    assert pairs.first.tolist() == [5, 3, 0] and pairs.second.tolist() == [9, 6, 2]
    assert pairs.common.tolist() == [4, 3, 0] and pairs.lengths.tolist() == [10, 6, 2]
    assert pairs.save_much()  # 7 of 25
    assert not Pairs.of(IDS[:2], torch.ones(2, 9, dtype=torch.bool)).save_much()
    assert not Pairs.of(IDS[:2], torch.zeros(2, 9, dtype=torch.bool)).save_much()


def test_autocast_keeps_the_dtype_of_the_whole_model() -> None:
    model, counted = model_of().float(), IDS % 4 == 0
    with torch.autocast("cpu", torch.bfloat16):
        fast, slow = hidden_states_at(model, IDS, counted), model.hidden_states(IDS)[counted]
    assert fast.dtype == slow.dtype
    torch.testing.assert_close(fast, slow, rtol=0.05, atol=0.05)
    with torch.no_grad():
        exact = model.hidden_states(IDS)[counted]
    assert (fast - exact).norm() < 1.5 * (slow - exact).norm(), "as near the truth as the whole model"


def test_with_dropout_the_mean_is_the_same() -> None:
    model, counted = model_of(dropout=0.1, n_layers=1), IDS % 5 == 0
    torch.manual_seed(1)
    with torch.no_grad():
        fast = torch.stack([hidden_states_at(model, IDS, counted) for _ in range(400)])
        slow = torch.stack([model.hidden_states(IDS)[counted] for _ in range(400)])
    assert fast.std(0).min() > 0.001
    error = ((fast.var(0) + slow.var(0)) / 400).sqrt()
    assert ((fast.mean(0) - slow.mean(0)).abs() / error).max() < 5


@pytest.mark.parametrize("options", VARIED)
def test_the_last_places_alone(options: dict[str, Any]) -> None:
    """With a cache in which each row serves two, what is left in it is the same, too."""
    model = model_of(**options).eval()
    expected, written = (KVCache(model.config, 2 * len(IDS), dtype=torch.float64) for _ in range(2))
    with torch.inference_mode():
        whole = model.hidden_states(IDS, expected)[:, -1]
        torch.testing.assert_close(last_hidden_states(model, IDS), whole)
        torch.testing.assert_close(last_hidden_states(model, IDS, written), whole)
    T = IDS.size(1)
    torch.testing.assert_close(written.keys[..., :T, :], expected.keys[..., :T, :])
    torch.testing.assert_close(written.values[..., :T, :], expected.values[..., :T, :])


@pytest.mark.parametrize(("vocab_size", "n", "wide"), [(61, 16, True), (61, 15, False), (64, 100, False)])
def test_logits_of_whole_vectors_are_those_of_the_head(vocab_size: int, n: int, wide: bool) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=vocab_size, context_length=8, n_layers=1, n_heads=2, d_model=16)).double()
    hidden = torch.randn(n, 16, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(vocab_size, (n,))
    found = []
    for logits in (model.output_head(hidden), logits_of(model, hidden)):
        loss = F.cross_entropy(logits, targets)
        found.append((loss, *torch.autograd.grad(loss, [hidden, model.output_head.weight])))
    assert logits.size(1) == (64 if wide else vocab_size)
    assert logits[:, vocab_size:].isneginf().all()
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-15)


def test_an_adapter_on_the_head_is_heard() -> None:
    model = GPT(GPTConfig(vocab_size=61, context_length=8, n_layers=1, n_heads=2, d_model=16))
    adapted = with_adapters(model, 2, 4.0, on=["head"])
    torch.nn.init.normal_(cast(Any, adapted.output_head).lora_b)
    hidden = torch.randn(16, 16)
    assert torch.equal(logits_of(adapted, hidden), adapted.output_head(hidden))
    assert not torch.allclose(logits_of(adapted, hidden), model.output_head(hidden))
