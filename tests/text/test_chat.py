"""Conversations: ids and masks against ones written by hand, typed tokens that stay text, files that cannot be used."""

import json
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.config import IGNORE, GPTConfig, InputError
from minigpt.model.gpt import GPT, next_token_loss
from minigpt.text.chat import (
    CHAT_TOKENS,
    END_OF_TURN,
    ROLES,
    Message,
    add_chat_tokens,
    check_messages,
    encode_answer,
    encode_chat,
    encode_prompt,
    pack_chats,
    read_answer,
    read_chats,
    special_id,
)
from minigpt.text.data import storyteller_tokenizer
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer

BYTES = add_chat_tokens(BPETokenizer([]))  # an id for each byte: 256 <|endoftext|>, 257, 258, 259 roles, 260 <|end|>
TOKENIZERS = [BYTES, add_chat_tokens(storyteller_tokenizer())]
ASK, ANSWER = Message("user", "Hi"), Message("assistant", "Yo!")


def test_new_tokens_get_the_next_free_ids_and_no_id_changes():
    assert BYTES.special_tokens == {
        "<|endoftext|>": 256, "<|system|>": 257, "<|user|>": 258, "<|assistant|>": 259, "<|end|>": 260
    }  # fmt: skip
    plain = storyteller_tokenizer()
    chatty = add_chat_tokens(plain)
    assert plain.end_of_text == chatty.end_of_text == 1860 and plain.vocab_size == 1861
    assert [chatty.special_tokens[name] for name in CHAT_TOKENS] == [1860, 1861, 1862, 1863, 1864]
    text = "Once upon a time, there was a shy fox named Mia."
    assert chatty.encode(text) == plain.encode(text)
    assert add_chat_tokens(chatty).special_tokens == chatty.special_tokens
    letters = add_chat_tokens(CharTokenizer("ab", ["<|user|>", "<|mine|>"]))  # one is there, with its own id
    assert letters.special_tokens == {
        "<|user|>": 2, "<|mine|>": 3, "<|endoftext|>": 4, "<|system|>": 5, "<|assistant|>": 6, "<|end|>": 7
    }  # fmt: skip


def test_the_new_tokenizer_comes_back_from_its_file(tmp_path):
    TOKENIZERS[1].save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").special_tokens == TOKENIZERS[1].special_tokens


def test_ids_and_mask_against_a_conversation_written_by_hand():
    messages = [Message("system", "S"), ASK, ANSWER, Message("user", "?"), Message("assistant", " ok")]
    by_hand = [
        (256, 0),
        (257, 0), (ord("S"), 0), (260, 0),
        (258, 0), (ord("H"), 0), (ord("i"), 0), (260, 0),
        (259, 0), (ord(" "), 1), (ord("Y"), 1), (ord("o"), 1), (ord("!"), 1), (260, 1),
        (258, 0), (ord("?"), 0), (260, 0),
        (259, 0), (ord(" "), 1), (ord(" "), 1), (ord("o"), 1), (ord("k"), 1), (260, 1),
    ]  # fmt: skip
    chat = encode_chat(BYTES, messages)
    assert list(zip(chat.ids, chat.learned, strict=True)) == by_hand
    assert encode_prompt(BYTES, messages[:-1]) == chat.ids[:-5]
    assert read_answer(BYTES, chat.ids[-5:-1]) == " ok"
    letters = add_chat_tokens(CharTokenizer("HiYo!"))
    assert letters.decode(encode_chat(letters, [ASK, ANSWER]).ids) == (
        "<|endoftext|><|user|>Hi<|end|><|assistant|>Yo!<|end|>"
    ), "a character is the same with a space in front and without"


def test_a_batch_learns_answers_and_ends_and_never_padding():
    chats = [encode_chat(BYTES, [ASK, ANSWER]), encode_chat(BYTES, [ASK, Message("assistant", "Y")])]
    inputs, targets = pack_chats(BYTES, chats)
    x, s, y, o = IGNORE, ord(" "), ord("Y"), ord("o")
    assert targets.tolist() == [
        [x, x, x, x, x, s, y, o, ord("!"), 260],
        [x, x, x, x, x, s, y, 260, x, x],
    ]
    assert inputs.tolist() == [
        [256, 258, ord("H"), ord("i"), 260, 259, s, y, o, ord("!")],
        [256, 258, ord("H"), ord("i"), 260, 259, s, y, 256, 256],  # two of padding: an end is a target only
    ]


def test_the_end_gets_a_gradient_and_padding_gets_none():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=BYTES.vocab_size, context_length=17, n_layers=1, n_heads=2, d_model=8))
    chats = [encode_chat(BYTES, [ASK, Message("assistant", answer)]) for answer in ("a long one", "Y")]
    inputs, targets = pack_chats(BYTES, chats)
    logits = model(inputs)
    logits.retain_grad()
    next_token_loss(logits, targets).backward()
    assert logits.grad is not None
    learned = logits.grad.abs().sum(-1) > 0  # (B, T)
    assert learned.sum(1).tolist() == [len(" a long one") + 1, 3]
    assert not learned[1, 8:].any() and learned[1, 7]
    assert logits.grad[1, 7, special_id(BYTES, END_OF_TURN)] < 0, "its odds are raised"
    assert (logits.grad[:, :, special_id(BYTES, END_OF_TEXT)] >= 0).all(), "nothing raises those of padding"
    together = next_token_loss(model(inputs), targets).item()
    alone = [next_token_loss(model(i), t, 1).item() for i, t in (pack_chats(BYTES, [chat]) for chat in chats)]
    assert together == pytest.approx(sum(alone) / (12 + 3), rel=1e-5), "padding changes no loss"


PIECES = ["<|", "|>", "end", "user", "assistant", "\n", " ", "a", "é", "的", "👩", *CHAT_TOKENS]
WORDS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join).filter(str.strip)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    system = [Message("system", draw(WORDS))] if draw(st.booleans()) else []
    turns = draw(st.integers(1, 3))
    return system + [Message(role, draw(WORDS)) for _ in range(turns) for role in ("user", "assistant")]


def decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids)


@given(conversations(), st.sampled_from(TOKENIZERS))
def test_the_messages_can_be_read_back_and_typed_tokens_are_text(messages, tokenizer):
    chat = encode_chat(tokenizer, messages)
    names = {i: name for name, i in tokenizer.special_tokens.items()}
    roles = {name: role for role, name in ROLES.items()}
    assert [names[i] for i in chat.ids if i in names] == [
        END_OF_TEXT, *(name for m in messages for name in (ROLES[m.role], END_OF_TURN))
    ], "the template's tokens and no others, whatever was typed"  # fmt: skip
    read: list[Message] = []
    content: list[int] = []
    learned = [False]
    for i in chat.ids[1:]:
        name = names.get(i)
        if name in roles:
            role, content = roles[name], []
            learned.append(False)
            continue
        learned.append(role == "assistant")
        if name == END_OF_TURN:
            read.append(Message(role, (read_answer if role == "assistant" else decode)(tokenizer, content)))
        else:
            content.append(i)
    assert read == messages and chat.learned == learned


@given(conversations(), st.sampled_from(TOKENIZERS))
def test_every_prompt_is_the_beginning_of_the_conversation(messages, tokenizer):
    ids = encode_chat(tokenizer, messages).ids
    for n, message in enumerate(messages):
        if message.role == "assistant":
            prompt = encode_prompt(tokenizer, messages[:n])
            assert ids[: len(prompt)] == prompt and prompt[-1] == special_id(tokenizer, "<|assistant|>")
            rest = [*encode_answer(tokenizer, message.content), special_id(tokenizer, END_OF_TURN)]
            assert ids[len(prompt) :][: len(rest)] == rest, "what the model is to write comes right after the prompt"


BAD = [
    ([], "conversation of 0 messages has no answer"),
    ([("user", "a")], "conversation of 1 message has no answer"),
    ([("system", "a")], "has no answer"),
    ([("bot", "a")], "message 1 has the role 'bot'; choose from system, user, assistant"),
    ([("assistant", "a")], "message 1 is the assistant's, where the system or user should speak"),
    ([("user", "a"), ("user", "b"), ("assistant", "c")], "message 2 is the user's, where the assistant should"),
    ([("user", "a"), ("assistant", "b"), ("assistant", "c")], "message 3 is the assistant's, where the user should"),
    ([("user", "a"), ("assistant", "b"), ("system", "c")], "message 3 is the system's"),
    ([("system", "a"), ("system", "c")], "message 2 is the system's, where the user should"),
    ([("user", " \n"), ("assistant", "b")], "message 1, the user's, is empty"),
    ([("user", "a"), ("assistant", "")], "message 2, the assistant's, is empty"),
]


@pytest.mark.parametrize(("turns", "problem"), BAD)
def test_what_is_no_conversation_is_told(turns, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        encode_chat(BYTES, [Message(*turn) for turn in turns])


def test_a_prompt_ends_with_a_question():
    with pytest.raises(InputError, match="this conversation of 2 messages asks nothing"):
        encode_prompt(BYTES, [ASK, ANSWER])
    check_messages([ASK], last="user")


def test_a_tokenizer_without_chat_tokens_is_told():
    with pytest.raises(InputError, match=re.escape("has no token <|end|>, so its model cannot chat")):
        encode_chat(storyteller_tokenizer(), [Message("system", "a"), ASK, ANSWER])


# Files.


def line(*turns: tuple[str, str], **more: object) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]} | more)


GOOD = line(("user", "Hi"), ("assistant", "Yo!"))


def write(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_bytes(b"\n".join(one.encode() if isinstance(one, str) else one for one in lines))
    return path


def test_a_file_is_read_as_it_comes(tmp_path):
    other = line(("system", "S"), ("user", "的"), ("assistant", "Y"), source="somewhere")
    found = read_chats(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode(), "", other + "\r", ""), BYTES, 100)
    assert found.left_out == []
    assert found.chats == [
        encode_chat(BYTES, [ASK, ANSWER]),
        encode_chat(BYTES, [Message("system", "S"), Message("user", "的"), Message("assistant", "Y")]),
    ]


BAD_LINES = [
    *((line(*turns), problem) for turns, problem in BAD),
    ('{"messages": [', "this line is not JSON"),
    ("[" * 100_000, "this line is not JSON"),
    (b'{"messages": "\xff"}', "byte 14 of it is not UTF-8"),
    ("[]", 'no JSON object with a list called "messages"'),
    ('{"text": "a"}', 'no JSON object with a list called "messages"'),
    ('{"messages": {}}', 'no JSON object with a list called "messages"'),
    ('{"messages": ["Hi"]}', 'message 1 must be an object with "role" and "content" and nothing else'),
    ('{"messages": [{"role": "user"}]}', "message 1 must be an object"),
    ('{"messages": [{"role": "user", "content": "a", "weight": 0}]}', "message 1 must be an object"),
    ('{"messages": [{"role": "user", "content": null}]}', 'the "content" of message 1 is no string'),
    ('{"messages": [{"role": 1, "content": "a"}]}', 'the "role" of message 1 is no string'),
    (line(("user", "\ud800"), ("assistant", "a")), "half a surrogate pair"),
    (line(("user", "Hi"), ("assistant", "Yo" * 50)), "needs 107 tokens of context and the model has 10"),
]


@pytest.mark.parametrize(("bad", "problem"), BAD_LINES)
def test_a_bad_line_is_refused_with_its_number_or_left_out_and_counted(tmp_path, bad, problem):
    path = write(tmp_path, GOOD, "", bad, GOOD)
    with pytest.raises(InputError, match=f"chats.jsonl', line 3: .*{re.escape(problem)}"):
        read_chats(path, BYTES, 10)
    found = read_chats(path, BYTES, 10, skip_bad=True)
    assert len(found.chats) == 2 and len(found.left_out) == 1
    assert "line 3: " in found.left_out[0] and problem in found.left_out[0]


def test_what_just_fits_is_taken_whole_and_one_token_more_is_not_cut(tmp_path):
    path = write(tmp_path, GOOD)  # 11 ids: the first ten are inputs
    assert read_chats(path, BYTES, 10).chats[0].ids[-1] == special_id(BYTES, END_OF_TURN)
    with pytest.raises(InputError, match="needs 10 tokens of context and the model has 9: shorten it"):
        read_chats(path, BYTES, 9)


def test_a_file_without_a_conversation_is_refused(tmp_path):
    for lines in ([], ["", " "]):
        with pytest.raises(InputError, match="chats.jsonl' has no conversation. A line for each is needed: {"):
            read_chats(write(tmp_path, *lines), BYTES, 9)
    with pytest.raises(InputError, match=r"has no conversation. 2 lines were left out; .*line 1: this"):
        read_chats(write(tmp_path, "a", "b"), BYTES, 9, skip_bad=True)
    with pytest.raises(InputError, match="nowhere.jsonl' cannot be read"):
        read_chats(tmp_path / "nowhere.jsonl", BYTES, 9)
    with pytest.raises(InputError, match="cannot be read"):
        read_chats(tmp_path, BYTES, 9)


def test_a_tokenizer_without_chat_tokens_is_no_fault_of_a_line(tmp_path):
    with pytest.raises(InputError, match="^this tokenizer has no token"):
        read_chats(write(tmp_path, GOOD), storyteller_tokenizer(), 9, skip_bad=True)


def test_a_character_that_the_tokenizer_lacks_is_told_with_the_line(tmp_path):
    with pytest.raises(InputError, match="line 1: unknown character 'Y'"):
        read_chats(write(tmp_path, GOOD), add_chat_tokens(CharTokenizer("Hi")), 9)
