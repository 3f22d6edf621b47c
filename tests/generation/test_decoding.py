"""Decoding with a cache, rows at different positions, against the model that reads each text alone and anew."""

import functools
import itertools
import math
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, get_args
from unittest.mock import MagicMock, patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from minigpt.config import Activation, GPTConfig, Norm, Positions
from minigpt.generation import decoding
from minigpt.generation.beam_search import beam_search
from minigpt.generation.decoding import Decoding, attend, by_columns, last_logits, product
from minigpt.generation.generate import generate, generate_batch
from minigpt.model.gpt import GPT
from minigpt.model.kv_cache import KVCache

CONFIG = GPTConfig(vocab_size=11, context_length=24, n_layers=2, n_heads=2, d_model=8, dropout=0.5)
SHAPES = [
    CONFIG,
    replace(CONFIG, bias=False, tie_embeddings=False, n_heads=4),
    replace(CONFIG, n_layers=1, n_heads=1, d_ff=5),
    replace(CONFIG, positions="rope"),
    replace(CONFIG, positions="rope", n_heads=4, n_kv_heads=2, norm="rmsnorm", feed_forward="swiglu", bias=False),
]


def model_of(config: GPTConfig = CONFIG) -> GPT:
    """Random weights, large enough that every part of the model matters; float64."""
    torch.manual_seed(1)
    model = GPT(config).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def stored_by_columns(model: GPT) -> GPT:
    """The same model, its matrices stored as the reader of GGUF files stores them."""
    for parameter in model.parameters():
        parameter.data = by_columns(parameter.data)
    return model


def alone(model: GPT, text: list[int]) -> torch.Tensor:
    """Logits after a text, by the definition: (V,)."""
    return model(torch.tensor([text]))[0, -1]


@given(
    config=st.sampled_from(SHAPES),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    num=st.integers(1, 3),
    max_new_tokens=st.sampled_from([12, 40]),  # below and above where the weights are copied
    kept=st.lists(st.integers(0, 11), min_size=1, max_size=4),
    threads=st.sampled_from([1, 2]),  # with two, the weights are in parts
    columns=st.booleans(),
    large=st.booleans(),  # as the head of a large vocabulary
)
@settings(max_examples=80)
def test_every_row_has_the_logits_that_it_has_alone(
    config: GPTConfig,
    lengths: list[int],
    num: int,
    max_new_tokens: int,
    kept: list[int],
    threads: int,
    columns: bool,
    large: bool,
):
    model = stored_by_columns(model_of(config)) if columns else model_of(config)
    generator = torch.Generator().manual_seed(sum(lengths))
    prompts = [torch.randint(11, (length,), generator=generator).tolist() for length in lengths]
    texts = [list(prompt) for prompt in prompts for _ in range(num)]
    with (
        torch.inference_mode(),
        patch.object(torch, "get_num_threads", lambda: threads),
        patch.object(decoding, "SMALL", 0),
        patch.object(decoding, "LARGE", 0 if large else decoding.LARGE),
    ):
        rows = Decoding(model, prompts, num, max_new_tokens)
        logits = rows.prefill()
        for step in range(8):
            torch.testing.assert_close(logits, torch.stack([alone(model, text) for text in texts]))
            if step == 4:  # other rows, in another order, some of them twice
                order = [row % len(texts) for row in kept][: len(texts)]
                rows.keep(order)
                texts = [list(texts[row]) for row in order]
            tokens = torch.randint(11, (len(texts), 1), generator=generator)
            for text, (token,) in zip(texts, tokens.tolist(), strict=True):
                text.append(token)
            logits = rows.step(tokens)


VARIED: dict[str, list[Any]] = {
    "n_heads": [1, 4],
    "n_kv_heads": [0, 2],
    "d_ff": [0, 5],
    "bias": [True, False],
    "positions": list(get_args(Positions)),
    "norm": list(get_args(Norm)),
    "feed_forward": list(get_args(Activation)),
}
UNUSUAL: dict[str, Any] = {"rope_base": 50.0, "norm_epsilon": 0.1, "tie_embeddings": False}  # not the defaults
SIZES = {"vocab_size", "context_length", "n_layers", "d_model", "dropout", "pad_vocab", "n_labels"}


def test_a_new_field_of_the_config_has_its_place_below():
    """`decode_token` describes the block a second time: whatever a config can say, both must obey."""
    assert VARIED.keys() | UNUSUAL.keys() | SIZES == set(GPTConfig.__dataclass_fields__)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])  # in float32, several rows have another attention
@pytest.mark.parametrize("lengths", [[5], [5, 5, 5], [2, 7, 5]])
def test_the_step_is_the_model_for_every_config(lengths: list[int], dtype: torch.dtype, threads: int):
    generator = torch.Generator().manual_seed(3)
    prompts = [torch.randint(11, (length,), generator=generator).tolist() for length in lengths]
    tokens = torch.randint(11, (4, len(lengths), 1), generator=generator)
    limit = 1e-10 if dtype == torch.float64 else 1e-3
    for values in itertools.product(*VARIED.values()):
        fields = dict(zip(VARIED, values, strict=True))
        if fields["n_kv_heads"] > fields["n_heads"]:
            continue
        config = replace(CONFIG, **UNUSUAL, **fields)
        model = model_of(config).to(dtype)
        with (
            torch.inference_mode(),
            patch.object(torch, "get_num_threads", lambda: threads),
            patch.object(decoding, "SMALL", 0),
        ):
            rows = Decoding(model, prompts, 1, 12)
            rows.prefill()
            for step in range(4):
                logits = rows.step(tokens[step])
            texts = [[*prompt, *tokens[:, row, 0].tolist()] for row, prompt in enumerate(prompts)]
            expected = torch.stack([alone(model, text) for text in texts])
        assert (logits - expected).abs().max() < limit * expected.abs().max(), config


def test_a_cache_filled_by_the_model_serves_the_step_and_the_other_way_round():
    model, text = model_of(), [1, 5, 2, 9, 4, 4, 7]
    with torch.inference_mode():
        rows = Decoding(model, [text[:3]], 1, 9)
        rows.prefill()
        for token in text[3:6]:
            rows.step(torch.tensor([[token]]))
        logits = model(torch.tensor([text[6:]]), rows.cache, 6)
    torch.testing.assert_close(logits[0, -1], alone(model, text))


def test_the_columns_before_start_may_stay_where_they_are():
    """Rows that share a prompt: only what comes after it is moved."""
    model, prompt = model_of(), [3, 1, 4]
    with torch.inference_mode():
        rows = Decoding(model, [prompt], 3, 9)
        rows.prefill()
        rows.step(torch.tensor([[5], [6], [7]]))
        rows.keep([2, 2, 0], start=3)
        logits = rows.step(torch.tensor([[8], [9], [10]]))
    expected = [alone(model, [3, 1, 4, *end]) for end in ([7, 8], [7, 9], [5, 10])]
    torch.testing.assert_close(logits, torch.stack(expected))


@pytest.mark.parametrize("growth", [1, 2, 5])
def test_a_cache_that_grows_keeps_what_is_in_it(growth: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "GROWTH", growth)
    model, texts = model_of(), [[1, 2, 3], [4]]
    with torch.inference_mode():
        rows = Decoding(model, texts, 1, 9)
        rows.prefill()
        for token in range(9):
            assert rows.filled <= rows.cache.keys.size(3) <= min(rows.filled + growth, 12)
            logits = rows.step(torch.tensor([[token], [token + 1]]))
            texts = [[*text, token + i] for i, text in enumerate(texts)]
            torch.testing.assert_close(logits, torch.stack([alone(model, text) for text in texts]))


def test_the_cache_is_no_longer_than_needed():
    model = model_of()
    with torch.inference_mode():
        rows = Decoding(model, [[1, 2, 3], [4]], 2, 5)
        assert rows.cache.keys.shape == (2, 4, 2, 3 + 5, 4)
        rows.prefill()
        for _ in range(5):
            rows.step(torch.ones(4, 1, dtype=torch.long))
        assert rows.cache.keys.shape == (2, 4, 2, 3 + 5, 4)
    assert Decoding(model, [[1] * 20], 1, 99).cache.keys.size(3) == CONFIG.context_length


@pytest.mark.parametrize("compile", [False, True])
def test_what_was_in_memory_before_never_counts(monkeypatch: pytest.MonkeyPatch, compile: bool):
    model, texts = model_of(), [[1, 2, 3], [4]]
    monkeypatch.setattr(torch, "empty", lambda shape, **options: torch.full(shape, torch.nan, **options))
    monkeypatch.setattr(decoding, "_compiled", lambda: decoding.decode_token)
    with torch.inference_mode():
        rows = Decoding(model, texts, 1, 5, compile=compile)
        rows.prefill()
        logits = rows.step(torch.tensor([[5], [6]]))
    torch.testing.assert_close(logits, torch.stack([alone(model, [*text, i]) for i, text in enumerate(texts, start=5)]))


@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("group", [1, 3])  # heads of queries that share keys and values
def test_attention_of_single_queries_is_a_weighted_mean_of_values(B: int, masked: bool, group: int):
    torch.manual_seed(0)
    q, store = torch.randn(B, 2 * group, 1, 4), torch.randn(2, B, 2, 9, 4)
    keys, values = store[..., :7, :]  # as from a cache that is not full
    mask = torch.rand(B, 1, 1, 7) < 0.5 if masked else None
    y = attend(q, keys, values, mask)
    for row in range(B):
        columns = range(7) if mask is None else [i for i in range(7) if mask[row, 0, 0, i]]
        for head in range(2 * group):
            j, member = divmod(head, group)
            weights = [math.exp(float(q[row, head, 0] @ keys[row, j, i]) / math.sqrt(4)) for i in columns]
            mean = sum(w * values[row, j, i] for w, i in zip(weights, columns, strict=True)) / sum(weights)
            torch.testing.assert_close(y[row, j, member], mean)


@pytest.mark.parametrize(("threads", "shape"), [(1, (24, 8)), (2, (4, 8, 6)), (5, (2, 8, 12)), (7, (2, 8, 12))])
@pytest.mark.parametrize(("max_new_tokens", "copied"), [(31, False), (32, True)])
def test_each_thread_has_a_part_of_the_weights_stored_by_column_for_long_texts(
    max_new_tokens: int, copied: bool, threads: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(decoding, "SMALL", 0)
    model = model_of()
    original = dict(model.named_parameters())["blocks.0.attention.qkv.weight"]
    used = Decoding(model, [[1]], 1, max_new_tokens).weights[0][1][0]
    assert used.shape == shape
    in_parts = used if used.dim() == 3 else used.t()[None]  # (parts, d_in, d_out / parts)
    assert torch.equal(in_parts.transpose(1, 2).reshape(original.shape), original)
    assert in_parts.is_contiguous() == copied
    assert (used.data_ptr() == original.data_ptr()) != copied


@pytest.mark.parametrize(("threads", "shape"), [(1, (24, 8)), (2, (2, 4, 24)), (3, (24, 8)), (12, (4, 2, 24))])
def test_of_a_weight_that_is_stored_by_column_each_thread_has_a_part_and_nothing_is_copied(
    threads: int, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(decoding, "SMALL", 0)
    model = stored_by_columns(model_of())
    original = dict(model.named_parameters())["blocks.0.attention.qkv.weight"]
    used = Decoding(model, [[1]], 1, 40).weights[0][1][0]
    assert used.shape == shape
    assert used.data_ptr() == original.data_ptr()


def test_parts_of_the_inputs_are_added_up():
    layer = torch.nn.Linear(6, 5, dtype=torch.float64)
    x = torch.randn(4, 6, dtype=torch.float64)
    for parts in (2, 3, 6):
        weight = layer.weight.t().reshape(parts, -1, 5)
        torch.testing.assert_close(product(x, weight, layer.bias), layer(x))
        torch.testing.assert_close(product(x, weight, None), layer(x) - layer.bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_product_in_parts_is_the_linear_layer(parts: int, bias: bool):
    layer = torch.nn.Linear(5, 6, bias=bias, dtype=torch.float64)
    x = torch.randn(4, 5, dtype=torch.float64)
    weight = layer.weight.view(parts, -1, 5).transpose(1, 2)
    torch.testing.assert_close(product(x, weight, layer.bias.view(parts, 1, -1) if bias else None), layer(x))
    torch.testing.assert_close(product(x, layer.weight, layer.bias), layer(x))


def test_last_logits_has_no_dropout_and_leaves_the_training_mode_alone():
    model, ids = model_of(), torch.tensor([[1, 2, 3], [4, 5, 6]])
    expected = model(ids)[:, -1]
    model.train()
    torch.testing.assert_close(last_logits(model, ids), expected)
    torch.testing.assert_close(last_logits(model, ids, KVCache(CONFIG, 4, dtype=torch.float64)), expected)
    assert model.training
    with pytest.raises(RuntimeError):
        last_logits(model, ids.float())
    assert model.training


def test_autocast_reaches_the_step():
    model, text = model_of().float(), [1, 5, 2, 9, 4]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rows = Decoding(model, [text[:-1]], 1, 9)
        rows.prefill()
        logits = rows.step(torch.tensor([text[-1:]]))
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits[0].double(), alone(model.double(), text), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("config", [CONFIG, SHAPES[-1]], ids=str)
def test_the_step_compiles_in_one_piece_and_once_for_all_lengths(config: GPTConfig, monkeypatch: pytest.MonkeyPatch):
    """torch.compile itself needs a C++ compiler, which a learner may not have: here it only traces."""
    torch._dynamo.reset()  # of another config it would remember that its sizes vary
    counter = CompileCounter()
    compile_as_asked: Any = torch.compile
    decoding._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", functools.partial(compile_as_asked, backend=counter))
    model, prompts = model_of(config), [[1, 2, 3], [4], [5, 6]]
    options: Any = {"num": 4, "seed": 2, "stop_token": 7, "temperature": 2.0}
    compiled = generate_batch(model, prompts, 20, compile=True, **options)
    assert counter.frame_count == 1
    plain = generate_batch(model, prompts, 20, **options)
    assert [[s.tokens for s in samples] for samples in compiled] == [[s.tokens for s in samples] for samples in plain]
    assert len({len(s.tokens) for samples in plain for s in samples}) > 2  # rows do stop at different steps
    generate_batch(model, [[2, 2], [1], [3]], 9, compile=True, **options)
    assert counter.frame_count == 1
    for n in range(1, 12):  # nor once for each number of rows
        assert generate(model, [1, 2], 5, num=n, seed=n, compile=True) == generate(model, [1, 2], 5, num=n, seed=n)
    assert counter.frame_count <= 3
    decoding._compiled.cache_clear()


class Tape(TorchDispatchMode):
    """A CUDA graph on the CPU: it keeps each operation with its tensors, and does it again with the same ones."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.operations.append((function, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        for function, args, kwargs, result in self.operations:
            again = function(*args, **kwargs)
            # A view or a tensor changed in place already is where it was; a new one goes to the old one's address.
            for old, new in zip(*map(torch.utils._pytree.tree_leaves, (result, again)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def test_a_recorded_step_writes_the_same_texts(monkeypatch: pytest.MonkeyPatch):
    """No GPU is needed to see that a step reads all that changes from its inputs: a recording would not see more."""
    tapes: list[Tape] = []

    def tape() -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    nothing: Any = lambda *args: nullcontext()  # noqa: E731
    monkeypatch.setattr(decoding, "records", lambda device: True)
    for name, stand_in in {
        "CUDAGraph": tape, "graph": lambda tape: tape, "device": nothing, "stream": nothing,
        "Stream": MagicMock(), "current_stream": MagicMock(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)

    def write(model: GPT) -> tuple[list[list[list[int]]], list[list[int]]]:
        prompts = [[1, 2, 3], [4], [5, 6]]
        batch = generate_batch(model, prompts, 20, num=4, seed=2, stop_token=7, temperature=2.0)
        beams = beam_search(model, [1, 2], 9, beams=3, stop_token=7)
        return [[sample.tokens for sample in samples] for samples in batch], [beam.tokens for beam in beams]

    for config in SHAPES:
        model = model_of(config)
        tapes.clear()
        texts, beams = write(model)
        assert 2 <= len(tapes) <= 8  # one for each number of rows, which falls as rows stop, and one for the beams
        with patch.object(decoding, "records", return_value=False):
            assert (texts, beams) == write(model)
