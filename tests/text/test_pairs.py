"""Pairs of answers: as a model reads them, from a file, and what is wrong with a line."""

import json
from pathlib import Path

import pytest

from minigpt.config import IGNORE, InputError
from minigpt.text.chat import END_OF_TURN, Message, add_chat_tokens, encode_chat
from minigpt.text.pairs import PairData, encode_pair, line_of, pack_answers
from minigpt.text.tokenizer import END_OF_TEXT, CharTokenizer

PLAIN = CharTokenizer("abcdefgh ", [END_OF_TEXT])
CHAT = add_chat_tokens(PLAIN)
END = PLAIN.special_tokens[END_OF_TEXT]
LINES = [line_of("ab", letter, letter * 2) for letter in "abcdefgh"]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_pair_of_texts_and_a_pair_of_a_chat() -> None:
    pair = encode_pair(PLAIN, "ab", "c", "de")
    assert pair.prompt == [END, 0, 1] and pair.chosen == [2, END] and pair.rejected == [3, 4, END]
    question = [Message("user", "ab")]
    pair = encode_pair(CHAT, question, "c", "de")
    whole = encode_chat(CHAT, [*question, Message("assistant", "c")])
    assert pair.prompt + pair.chosen == whole.ids and pair.chosen[-1] == CHAT.special_tokens[END_OF_TURN]
    assert whole.learned == [False] * len(pair.prompt) + [True] * len(pair.chosen)


def test_answers_are_packed_with_their_own_tokens_as_targets() -> None:
    inputs, targets = pack_answers([([9, 1], [2, 3, 9]), ([9], [4])])
    assert inputs.tolist() == [[9, 1, 2, 3], [9, 0, 0, 0]]
    assert targets.tolist() == [[IGNORE, 2, 3, 9], [4, IGNORE, IGNORE, IGNORE]]


def test_a_file_is_split_and_dealt_anew_in_each_epoch(tmp_path: Path) -> None:
    chat = line_of([Message("user", "a"), Message("assistant", "b"), Message("user", "c")], "d", "e")
    data = PairData(write(tmp_path / "pairs.jsonl", [*LINES, "", chat]), CHAT, 20)
    assert (len(data.train), len(data.val), data.left_out) == (8, 1, [])
    assert sorted(data.pairs_at(0, 8)) == sorted(data.pairs_at(1, 8)) == list(range(8))
    assert data.pairs_at(0, 8) != data.pairs_at(1, 8) and data.pairs_at(3, 2) == data.pairs_at(0, 8)[6:]
    ((inputs, targets),) = data.batches("val", 64)
    assert len(inputs) == 1 and data.text_bytes("val") == 1
    assert int((targets != IGNORE).sum()) == 2, "the answer and its end"
    with pytest.raises(InputError, match="no split 'test'; choose from train, val"):
        data.text_bytes("test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "this line is not JSON"),
        ("[]", 'no JSON object with "prompt", "chosen" and "rejected"'),
        (json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "weight": 1}), "and nothing else"),
        (json.dumps({"prompt": "a", "chosen": "b", "rejected": 1}), "an answer is no string"),
        (json.dumps({"prompt": 1, "chosen": "b", "rejected": "c"}), "neither a string nor a list of messages"),
        (json.dumps({"prompt": [{"role": "user"}], "chosen": "b", "rejected": "c"}), "neither a string nor a list"),
        (line_of("a", "b", "b"), "the chosen and the rejected answer are equal"),
        (line_of("a", "Z", "b"), "unknown character 'Z'"),
        (line_of("a" * 15, "b", "cdefg"), "this pair needs 21 tokens of context and the model has 20"),
        (line_of([Message("user", "a")], "b", " "), "an answer is empty"),
        (line_of([Message("assistant", "a")], "b", "c"), "message 1 is the assistant's"),
    ],
)
def test_a_bad_line_is_named_or_left_out(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "pairs.jsonl", [*LINES, line])
    with pytest.raises(InputError, match="line 9: ") as error:
        PairData(path, CHAT, 20)
    assert message in str(error.value)
    data = PairData(path, CHAT, 20, skip_bad=True)
    assert len(data.train) + len(data.val) == 8 and len(data.left_out) == 1 and message in data.left_out[0]


def test_one_pair_is_not_enough_and_a_chat_needs_its_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one pair only: at least two are needed"):
        PairData(write(tmp_path / "one.jsonl", LINES[:1]), PLAIN, 20)
    with pytest.raises(InputError, match="has no pair of answers. A line for each is needed: {"):
        PairData(write(tmp_path / "none.jsonl", []), PLAIN, 20)
    with pytest.raises(InputError, match="no end-of-text token"):
        encode_pair(CharTokenizer("ab"), "a", "b", "a")
    with pytest.raises(InputError, match="this tokenizer has no token"):
        encode_pair(PLAIN, [Message("user", "a")], "b", "a")
