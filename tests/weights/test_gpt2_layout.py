"""GPT-2's names, shapes and tokenizer files against transformers' own; what does not fit is refused by name."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from minigpt.config import GPTConfig, InputError
from minigpt.model.gpt import GPT
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer
from minigpt.weights.gpt2_layout import (
    byte_characters,
    from_gpt2,
    from_gpt2_config,
    from_gpt2_tokenizer,
    gpt2_names,
    to_gpt2,
    to_gpt2_config,
    to_gpt2_tokenizer,
)
from minigpt.weights.pretrained import read_tokenizer

SMALL = GPTConfig(vocab_size=23, context_length=11, n_layers=2, n_heads=3, d_model=12)
UNTIED = replace(SMALL, d_ff=17, tie_embeddings=False, dropout=0.25)
NO_BIAS = replace(SMALL, bias=False)
TEXT = "Größe, naïve 你好 hello hello world world 's they're 12345 123   \n\n🪁 Жила-была " * 5
GPT2_ALPHABET = bytes(
    [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100), *range(0x21), *range(0x7F, 0xA1), 0xAD]
)


def random_model(config: GPTConfig) -> GPT:
    """In float64, with biases and LayerNorms that matter."""
    torch.manual_seed(1)
    model = GPT(config).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.05, std=0.3)
    return model.eval()


# The config.


@settings(max_examples=30)
@given(
    st.builds(
        GPTConfig,
        vocab_size=st.integers(1, 99),
        context_length=st.integers(1, 99),
        n_layers=st.integers(1, 9),
        n_heads=st.just(3),
        d_model=st.integers(1, 9).map(lambda n: 3 * n),
        d_ff=st.integers(0, 99),
        dropout=st.floats(0, 1, exclude_max=True),
        tie_embeddings=st.booleans(),
        norm_epsilon=st.sampled_from([1e-5, 1e-6, 0.1]),
    )
)
def test_a_config_means_the_same_to_transformers_and_comes_back(config: GPTConfig) -> None:
    fields = json.loads(json.dumps(to_gpt2_config(config, None)))
    assert from_gpt2_config(fields) == config
    theirs = GPT2Config(**fields)
    assert theirs.layer_norm_epsilon == config.norm_epsilon
    assert (theirs.n_inner or 4 * theirs.n_embd) == config.feed_forward_size
    assert (theirs.resid_pdrop, theirs.embd_pdrop, theirs.attn_pdrop) == (config.dropout,) * 3
    assert from_gpt2_config(theirs.to_dict()) == config


def test_absent_fields_mean_what_they_mean_to_transformers() -> None:
    assert from_gpt2_config({"model_type": "gpt2"}) == from_gpt2_config(GPT2Config().to_dict())
    assert from_gpt2_config(GPT2Config().to_dict()) == GPTConfig(dropout=0.1)


@pytest.mark.parametrize(
    ("change", "complaints"),
    [
        ({"model_type": "llama"}, ["model_type is 'llama', and minigpt has only 'gpt2'"]),
        ({"activation_function": "relu"}, ["activation_function is 'relu', and minigpt has only 'gelu_new' or"]),
        ({"layer_norm_epsilon": "1e-5"}, ["layer_norm_epsilon is '1e-5', which is not a number"]),
        ({"layer_norm_epsilon": 0}, ["norm_epsilon is 0; it must be above 0"]),
        ({"scale_attn_weights": False}, ["scale_attn_weights is False"]),
        ({"scale_attn_by_inverse_layer_idx": True}, ["scale_attn_by_inverse_layer_idx is True"]),
        ({"add_cross_attention": True}, ["add_cross_attention is True"]),
        ({"attn_pdrop": "0.1"}, ["attn_pdrop is '0.1', which is not a number"]),
        ({"n_embd": "768", "n_layer": True}, ["n_embd is '768', which is not a whole", "n_layer is True"]),
        ({"tie_word_embeddings": "no"}, ["tie_word_embeddings is 'no'"]),
        ({"n_head": 7}, ["d_model 768 is not divisible by n_heads 7"]),
        ({"activation_function": None, "n_positions": 1.5}, ["activation_function is None", "n_positions is 1.5"]),
    ],
)
def test_what_our_model_cannot_do_is_refused_by_name(change: dict[str, Any], complaints: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        from_gpt2_config(GPT2Config().to_dict() | change)
    for complaint in complaints:
        assert complaint in str(raised.value)


def test_another_name_of_the_same_gelu() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    from transformers.activations import ACT2FN

    torch.testing.assert_close(ACT2FN["gelu_new"](x), ACT2FN["gelu_pytorch_tanh"](x), rtol=1e-12, atol=1e-12)
    assert from_gpt2_config({"model_type": "gpt2", "activation_function": "gelu_pytorch_tanh"}).n_layers == 12


# The tensors.


@pytest.mark.parametrize("config", [SMALL, UNTIED, NO_BIAS], ids=["small", "untied", "no bias"])
def test_names_and_shapes_are_those_of_transformers(config: GPTConfig) -> None:
    theirs = GPT2LMHeadModel(GPT2Config(**to_gpt2_config(config, None))).state_dict()
    if config.tie_embeddings:
        del theirs["lm_head.weight"]
    ours = to_gpt2(random_model(config))
    assert {name: tensor.shape for name, tensor in ours.items()} == {n: tensor.shape for n, tensor in theirs.items()}
    assert list(gpt2_names(config).values()) == list(ours)
    assert all(tensor.is_contiguous() for tensor in ours.values())


@pytest.mark.parametrize("config", [SMALL, UNTIED], ids=["small", "untied"])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_the_way_there_and_back_is_exact(config: GPTConfig, prefix: str) -> None:
    model = random_model(config)
    tensors: dict[str, Any] = {name.replace("transformer.", prefix): t for name, t in to_gpt2(model).items()}
    for i in range(2):  # what older files hold beside the weights
        tensors[f"{prefix}h.{i}.attn.bias"] = torch.ones(11, 11, dtype=torch.uint8).tril()
        tensors[f"{prefix}h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    if config.tie_embeddings:
        tensors["lm_head.weight"] = tensors[f"{prefix}wte.weight"].clone()
    state = from_gpt2(tensors, config)
    expected = {name: t for name, t in model.state_dict().items() if name in gpt2_names(config)}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) and state[name].is_contiguous() for name in expected)


def test_missing_biases_are_zeros() -> None:
    model = random_model(NO_BIAS)
    state = from_gpt2(to_gpt2(model), SMALL)
    for name, tensor in state.items():
        assert not tensor.any() if name.endswith("bias") else torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("stored", "loaded"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_precision_is_never_lost(stored: torch.dtype, loaded: torch.dtype) -> None:
    tensors: dict[str, Any] = {name: t.to(stored) for name, t in to_gpt2(random_model(SMALL)).items()}
    tensors["transformer.ln_f.bias"] = tensors["transformer.ln_f.bias"].float()  # some files mix
    state = from_gpt2(tensors, SMALL)
    assert {t.dtype for t in state.values()} == {loaded}
    assert torch.equal(state["token_embedding.weight"].to(stored), tensors["transformer.wte.weight"])


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_every_tensor_that_does_not_fit_is_named(prefix: str) -> None:
    tensors: dict[str, Any] = {
        name.replace("transformer.", prefix): t for name, t in to_gpt2(random_model(SMALL)).items()
    }
    del tensors[f"{prefix}h.1.ln_2.bias"], tensors[f"{prefix}wpe.weight"]
    tensors[f"{prefix}h.2.ln_1.weight"] = torch.ones(12)
    tensors["score.weight"] = torch.ones(2)
    tensors[f"{prefix}h.0.attn.c_attn.weight"] = tensors[f"{prefix}h.0.attn.c_attn.weight"].T
    tensors[f"{prefix}ln_f.weight"] = tensors[f"{prefix}ln_f.weight"].long()
    tensors[f"{prefix}ln_f.bias"] = {"a": 1}
    tensors[f"{prefix}h.0.ln_1.bias"] = torch.empty(12, device="meta")
    with pytest.raises(InputError) as raised:
        from_gpt2(tensors, SMALL)
    assert sorted(str(raised.value).split("; ")) == sorted(
        [
            "score.weight is extra: a model of this config has none",
            f"{prefix}h.2.ln_1.weight is extra: a model of this config has none",
            f"{prefix}wpe.weight is missing: its shape should be (11, 12)",
            f"{prefix}h.1.ln_2.bias is missing: its shape should be (12,)",
            f"{prefix}h.0.attn.c_attn.weight is (36, 12), not (12, 36)",
            f"{prefix}ln_f.weight is torch.int64, not float32",
            f"{prefix}ln_f.bias is dict, not float32",
            f"{prefix}h.0.ln_1.bias has a shape but no numbers",
        ]
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"positions": "rope"}, "the model's positions are 'rope', and GPT-2 has a vector for each place. It"),
        ({"norm": "rmsnorm"}, "the model's norm is 'rmsnorm', and GPT-2's is 'layernorm'. It"),
        ({"feed_forward": "swiglu"}, "the model's feed_forward is 'swiglu', and GPT-2's is 'gelu'. It"),
        (
            {"n_kv_heads": 1},
            "the model's n_kv_heads is 1, and GPT-2 has as many heads of keys and values as of queries",
        ),
        ({"positions": "rope", "norm": "rmsnorm"}, "for each place; its norm is 'rmsnorm', and GPT-2's is"),
    ],
)
def test_what_has_no_place_in_the_layout_is_named(change: dict[str, Any], complaint: str) -> None:
    model = GPT(replace(SMALL, **change))
    for attempt in (lambda: to_gpt2(model), lambda: to_gpt2_config(model.config, None)):
        with pytest.raises(InputError, match=re.escape(complaint)):
            attempt()


def test_as_many_heads_of_keys_and_values_as_of_queries_may_be_said_or_not() -> None:
    assert to_gpt2_config(replace(SMALL, n_kv_heads=SMALL.n_heads), None) == to_gpt2_config(SMALL, None)


@pytest.mark.parametrize(
    "head", [torch.zeros(23, 12), torch.zeros(23, 12).double(), torch.zeros(12), torch.zeros(23, 12).long(), "head"]
)
def test_a_tied_head_that_is_not_tied_is_refused(head: Any) -> None:
    with pytest.raises(InputError, match=r"^lm_head\.weight is not the token embedding, though tie_word_embeddings"):
        from_gpt2(to_gpt2(random_model(SMALL)) | {"lm_head.weight": head}, SMALL)


def test_an_untied_head_is_needed() -> None:
    with pytest.raises(InputError, match=r"^lm_head\.weight is missing: its shape should be \(23, 12\)$"):
        from_gpt2(to_gpt2(random_model(SMALL)), replace(SMALL, tie_embeddings=False))


# The tokenizer.


def write(folder: Path, tokenizer: BPETokenizer) -> Path:
    for name, text in to_gpt2_tokenizer(tokenizer, 64).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


TOKENIZERS = [
    BPETokenizer.train(TEXT, 340),
    BPETokenizer.train(TEXT, 300, special_tokens=()),
    BPETokenizer.train(TEXT, 300, special_tokens=("<|user|>", END_OF_TEXT, " 终 x")),
    BPETokenizer.train(TEXT, 290, special_tokens=("<|user|>", END_OF_TEXT)).with_more_merges("终终 终x 风雨", 20),
]
# As GPT-2 has it: the same merges, and the bytes in another order.
TOKENIZERS.append(
    BPETokenizer(
        [
            tuple(GPT2_ALPHABET.index(i) if i < 256 else i for i in pair)  # type: ignore[misc]
            for pair in TOKENIZERS[0].merges
        ],
        (END_OF_TEXT,),
        GPT2_ALPHABET,
    )
)
CHARACTERS = st.one_of(
    st.sampled_from("aehlorw '123\n\t\u00a0\u3000"),
    # Newer characters than Python's own are cut in another way by libraries that do not know them yet.
    st.characters(codec="utf-8", exclude_categories=["Cn"]),
)


def test_the_characters_of_bytes_are_gpt2s() -> None:
    assert dict(enumerate(byte_characters())) == bytes_to_unicode()
    assert bytes(map(byte_characters().index, bytes_to_unicode().values())) == GPT2_ALPHABET


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> list[GPT2Tokenizer]:
    return [GPT2Tokenizer.from_pretrained(write(tmp_path_factory.mktemp("t"), t)) for t in TOKENIZERS]


@given(text=st.lists(st.one_of(CHARACTERS, st.sampled_from([END_OF_TEXT, "<|user|>", " 终 x", " hello"]))).map("".join))
@example(text=TEXT)
@example(text="   <|user|>  <|endoftext|>\n 终 x 终x ")
def test_every_text_has_the_same_ids_in_transformers(theirs: list[GPT2Tokenizer], text: str) -> None:
    for ours, other in zip(TOKENIZERS, theirs, strict=True):
        ids = ours.encode(text, allow_special=True)
        assert other(text)["input_ids"] == ids
        assert other.decode(ids) == text


def test_transformers_knows_the_special_tokens(theirs: list[GPT2Tokenizer]) -> None:
    for ours, other in zip(TOKENIZERS, theirs, strict=True):
        assert len(other) == ours.vocab_size and other.model_max_length == 64
        assert other.bos_token_id == other.eos_token_id == ours.end_of_text
        for name, i in ours.special_tokens.items():
            assert other.convert_tokens_to_ids(name) == i and other.decode([i, 104], skip_special_tokens=True) != name


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_tokenizer_comes_back(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    found = read_tokenizer(write(tmp_path, tokenizer))
    assert found is not None and found.contents() == tokenizer.contents()
    files = to_gpt2_tokenizer(tokenizer, 64)
    header, *lines, end = files["merges.txt"].split("\n")
    assert (header, end) == ("#version: 0.2", "")
    merges = [line.split(" ") for line in lines]
    again = from_gpt2_tokenizer(json.loads(files["vocab.json"]), merges, tokenizer.special_tokens)
    assert again.contents() == tokenizer.contents()


@pytest.mark.parametrize("name", ["Ġ", "é", "Ġhello"])  # a space, the byte 0xE9, and " hello"
def test_a_special_token_that_is_written_like_another_is_refused(name: str) -> None:
    tokenizer = BPETokenizer.train(TEXT, 300, (name,))
    with pytest.raises(InputError, match=f"special token '{name}' and an ordinary token are written alike"):
        to_gpt2_tokenizer(tokenizer, 9)


def swap(vocabulary: dict[str, int], one: str, other: str) -> dict[str, int]:
    return vocabulary | {one: vocabulary[other], other: vocabulary[one]}


@pytest.mark.parametrize(
    "change",
    [
        lambda v, m: (swap(v, END_OF_TEXT, "a"), m),  # special tokens first, as some libraries number them
        lambda v, m: (swap(v, "".join(m[0]), "".join(m[1])), m),
        lambda v, m: (v, m[1:]),
        lambda v, m: (v, m[::-1]),
        lambda v, m: (v | {"x y": len(v) + 1}, m),  # a gap
        lambda v, m: (v | {"x y": 5}, m),
        lambda v, m: ({token: i for token, i in v.items() if token != "a"}, m),
        lambda v, m: ({}, []),
    ],
)
def test_another_order_of_ids_is_refused(change: Any) -> None:
    files = to_gpt2_tokenizer(TOKENIZERS[0], 64)
    merges = [line.split(" ") for line in files["merges.txt"].split("\n")[1:-1]]
    with pytest.raises(InputError, match="not in GPT-2's order: 256 bytes, then the merges, then special tokens"):
        from_gpt2_tokenizer(*change(json.loads(files["vocab.json"]), merges))
