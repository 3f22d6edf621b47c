"""Models from GGUF files: equal to transformers layer by layer, ids as llama.cpp's, one message for what is wrong."""

from pathlib import Path
from typing import Any

import gguf as library
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, GgufConfig

from minigpt import runtime
from minigpt.config import InputError
from minigpt.text.chat import Message, encode_chat, encode_prompt, end_of_turn
from minigpt.text.tokenizer import load_tokenizer
from minigpt.weights.gguf import load_gguf, tokenizer_in, unpermuted
from tests.weights.llama_files import MERGES, SIZES, SPECIAL, TEXT, TOKENS, WITHOUT, small_tensors, write_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")


def their_model(path: Path) -> Any:
    quantization = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, quantization_config=quantization)
    return model.float().eval()


@pytest.mark.parametrize(("kinds", "tied"), [(("Q4_1", "Q8_0"), True), (("F32", "F32"), False)])
def test_layer_by_layer_it_is_transformers(kinds: tuple[str, str], tied: bool, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", small_tensors(1, tied), kinds)
    ours, tokenizer = load_gguf(path)
    ids = torch.randint(len(TOKENS), (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = their_model(path)(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        x = ours.token_embedding(ids)
        for layer, block in enumerate(ours.blocks):
            torch.testing.assert_close(x, theirs.hidden_states[layer], rtol=1e-4, atol=1e-4)
            x = block(x)
        torch.testing.assert_close(ours.final_norm(x), theirs.hidden_states[-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(ours(ids), theirs.logits, rtol=1e-4, atol=1e-4)
    assert ours.config.tie_embeddings == tied and not ours.training and ours.config.rope_base == 5000
    assert ours.config.vocab_size == tokenizer.vocab_size == len(TOKENS) and ours.config.norm_epsilon == 1e-5
    assert (ours.output_head.weight is ours.token_embedding.weight) == tied
    assert all(parameter.t().is_contiguous() for parameter in ours.parameters())


def test_the_rows_of_queries_and_keys_are_put_back() -> None:
    """Rows 0, 2, 1, 3 of a head of four in the file are 0, 1, 2, 3: numbers 0 and 2 turn together."""
    rows = torch.arange(8.0).view(2, 2, 2).transpose(1, 2).reshape(8, 1).numpy()  # what llama.cpp's converter does
    assert rows[:4, 0].tolist() == [0, 2, 1, 3]
    assert unpermuted(rows, 2)[:, 0].tolist() == list(range(8))


@pytest.fixture(scope="module")
def theirs() -> Tokenizer:
    """The same tokenizer in Hugging Face's library: every digit by itself, then GPT-2's splitting."""
    vocabulary = {token: i for i, token in enumerate(TOKENS)}
    merges: Any = [tuple(merge.split(" ")) for merge in MERGES]
    made: Any = Tokenizer(models.BPE(vocabulary, merges))
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    made.pre_tokenizer = pre_tokenizers.Sequence(steps)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    return made


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x01") | st.sampled_from(" \n\t0123456789ae'sx."), max_size=60))  # fmt: skip  # noqa: E501
def test_ids_are_those_of_tokenizers(file: Path, theirs: Tokenizer, text: str) -> None:
    if set(text.encode()) & set(WITHOUT):
        return
    tokenizer = tokenizer_in(file) if _kept.get("path") != file else _kept["tokenizer"]
    _kept.update(path=file, tokenizer=tokenizer)
    ids = tokenizer.encode(text)
    assert ids == theirs.encode(text).ids
    assert tokenizer.decode(ids) == text and all(i >= len(SPECIAL) for i in ids)


_kept: dict[str, Any] = {}  # reading it for each example would take most of the time


def test_special_tokens_have_their_ids_only_where_they_are_asked_for(file: Path, theirs: Tokenizer) -> None:
    tokenizer, text = tokenizer_in(file), f"{SPECIAL[1]}user\n2 + 2{SPECIAL[2]}"
    assert tokenizer.encode(text, allow_special=True) == theirs.encode(text).ids
    assert tokenizer.decode(tokenizer.encode(text)) == text and not {1, 2} & set(tokenizer.encode(text))
    assert tokenizer.special_tokens == {name: i for i, name in enumerate(SPECIAL)}
    assert tokenizer.end_of_text == 0 and end_of_turn(tokenizer) == 2
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode("Größe"))) == "Größe".encode()


def test_a_byte_without_a_token_is_named(file: Path) -> None:
    with pytest.raises(InputError, match=r"the character '\\x01' has a byte for which this tokenizer has no token"):
        tokenizer_in(file).encode("a\x01b")


def test_the_tokenizer_is_saved_and_read(file: Path, tmp_path: Path) -> None:
    tokenizer = tokenizer_in(file)
    tokenizer.save(tmp_path / "t.json")
    again = load_tokenizer(tmp_path / "t.json")
    assert again.contents() == tokenizer.contents() and again.encode(TEXT) == tokenizer.encode(TEXT)
    text = (tmp_path / "t.json").read_text().replace('"<|im_end|>": 2', '"<|im_end|>": 5')
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(InputError, match="'special_tokens' is not what the rest of it says"):
        load_tokenizer(tmp_path / "t.json")


def test_a_conversation_is_encoded_as_its_template_says(file: Path) -> None:
    tokenizer = tokenizer_in(file)
    messages = [Message("user", "What is 2 + 2?"), Message("assistant", "4"), Message("user", "And  it's 3?")]
    text = (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4"
        "<|im_end|>\n<|im_start|>user\nAnd  it's 3?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert encode_prompt(tokenizer, messages) == tokenizer.encode(text, allow_special=True)


def test_only_answers_are_learned_and_a_prompt_is_where_they_begin(file: Path) -> None:
    """Also of an answer that begins with white space, which encoded in one piece would melt with the line's end."""
    tokenizer = tokenizer_in(file)
    messages = [Message("user", "Hi"), Message("assistant", "    return 1<|im_end|>")]
    chat = encode_chat(tokenizer, messages)
    prompt = encode_prompt(tokenizer, messages[:1])
    answer = [*tokenizer.encode(messages[1].content), 2]
    assert chat.ids == prompt + answer + tokenizer.encode("\n")
    assert chat.learned == [False] * len(prompt) + [True] * len(answer) + [False]
    assert chat.ids.count(2) == 3, "the one that was typed is text"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"general.architecture": "mamba"}, "its architecture is 'mamba', and minigpt reads 'llama'"),
        ({"llama.block_count": 3}, r"model\.layers\.2\..* is missing"),
        ({"llama.block_count": 1}, r"model\.layers\.1\..* is extra"),
        ({"llama.block_count": 10**6}, "n_layers is 1000000; it must be at most 1000"),
        ({"llama.block_count": None}, "has no value 'llama.block_count'"),
        ({"llama.embedding_length": 128}, "llama.rope.dimension_count is 16"),
        ({"llama.feed_forward_length": 97}, r"gate_proj\.weight is \(96, 64\), not \(97, 64\)"),
        ({"llama.embedding_length": "x"}, "llama.embedding_length is 'x', which is no int"),
        ({"llama.attention.head_count": 0}, "n_heads is 0"),
        ({"llama.attention.head_count_kv": 3}, "not divisible by n_kv_heads 3"),
        ({"llama.vocab_size": 7}, "llama.vocab_size is 7"),
        ({"llama.rope.scaling.type": "linear"}, "llama.rope.scaling.type is 'linear'"),
        ({"llama.expert_count": 8}, "llama.expert_count is 8"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer is of the kind 'llama'"),
        ({"tokenizer.ggml.pre": "qwen2"}, "cuts a text as 'qwen2'; minigpt has 'gpt2' with gpt-2, smollm"),
        ({"tokenizer.ggml.tokens": TOKENS[:-1]}, "they contradict each other"),
        ({"tokenizer.ggml.tokens": [*TOKENS[1:], TOKENS[0]]}, "are not in the order|it must have as many"),
        ({"tokenizer.ggml.merges": ["q z", *MERGES[1:]]}, "are not in the order"),
    ],
)
def test_what_a_file_says_wrongly_is_named(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "wrong.gguf", values=values)
    with pytest.raises(InputError, match=said) as problem:
        load_gguf(path)
    assert "wrong.gguf" in str(problem.value)


def test_a_tensor_too_many_and_an_unknown_kind_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = small_tensors()
    path = write_gguf(tmp_path / "m.gguf", tensors | {"rope_freqs.weight": tensors["output_norm.weight"]})
    with pytest.raises(InputError, match=r"rope_freqs\.weight is extra"):
        load_gguf(path)
    path = write_gguf(tmp_path / "q.gguf", tensors, ("Q4_0", "Q8_0"))

    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(library.quants, "dequantize", refuse)  # as for a kind that is newer than the library
    with pytest.raises(InputError, match=r"tensor 'blk\.0\.attn_q\.weight': blocks of the kind Q4_0"):
        load_gguf(path)


def test_too_little_memory_is_told_before_it_is_taken(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minigpt.weights.gguf.available_memory", lambda: 10**5)
    monkeypatch.setattr("minigpt.weights.gguf.numbers_of", lambda *_: pytest.fail("it reads the weights"))
    with pytest.raises(InputError, match=r"need 0\.00 GB of memory in float32 and 0\.00 GB are free"):
        load_gguf(file)
    assert (runtime.available_memory() or 10**9) > 10**6


def test_without_a_template_it_writes_and_does_not_chat(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", values={"tokenizer.chat_template": None, "tokenizer.ggml.pre": "gpt-2"})
    tokenizer = tokenizer_in(path)
    assert tokenizer.encode("a\n  1") != []
    with pytest.raises(InputError, match="no chat template, so nobody knows how a conversation with it looks"):
        encode_prompt(tokenizer, [Message("user", "Hi")])


def test_sizes_of_the_test_are_those_of_the_file() -> None:
    assert SIZES["d"] % 32 == 0 and SIZES["d_ff"] % 32 == 0, "rows are whole blocks"
