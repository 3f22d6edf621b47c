"""Files of examples: which kind one is, which labels it has, and what is held out of it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from minigpt.config import InputError
from minigpt.text.chat import add_chat_tokens
from minigpt.text.comments import COMMENT_TASKS
from minigpt.text.example_files import choose_held_out, format_of, label_file_data, read_labels
from minigpt.text.finetuning import ChatData, finetuning_data, is_task
from minigpt.text.labels import LabelData
from minigpt.text.tasks import TASKS
from minigpt.text.tokenizer import BPETokenizer

BYTES = add_chat_tokens(BPETokenizer([]))
CHAT = '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}'


def write(tmp_path: Path, *lines: str) -> str:
    (tmp_path / "f.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(tmp_path / "f.jsonl")


def labelled(text: str, label: str) -> str:
    return json.dumps({"text": text, "label": label})


def test_the_kind_of_a_task_and_of_a_file(tmp_path):
    assert {format_of(task) for task in TASKS} == {"chats"} and {format_of(task) for task in COMMENT_TASKS} == {
        "labels"
    }
    assert format_of(write(tmp_path, "", "damaged", CHAT)) == "chats"
    assert format_of(write(tmp_path, labelled("a", "b"))) == "labels"
    assert format_of(write(tmp_path, labelled("a", "b"), CHAT)) == "labels", "the first that is one or the other"
    assert format_of(write(tmp_path, CHAT, labelled("a", "b"))) == "chats"
    for lines in ([], ["3"], ['{"text": "only"}']):
        with pytest.raises(InputError, match="has no conversation and no labelled text: in each line"):
            format_of(write(tmp_path, *lines))
    with pytest.raises(InputError, match="cannot be read"):
        format_of(str(tmp_path))


def test_a_tenth_is_held_out_and_at_least_one_whatever_the_order():
    texts = [f"text {i}" for i in range(50)]
    held = choose_held_out(texts)
    assert len(held) == 5 and held == choose_held_out(texts[::-1] * 3)
    assert len(choose_held_out(texts[:7])) == 1
    assert [choose_held_out(texts[i : i + 25]) != choose_held_out(texts) for i in range(3)] == [True] * 3


def test_labels_are_read_with_their_texts_and_bad_lines_named(tmp_path):
    path = Path(write(tmp_path, "\ufeff" + labelled("说", "好"), "", labelled("b", "x"), '{"text": 3, "label": "x"}'))
    with pytest.raises(InputError, match="line 4: this line is no JSON object with two strings"):
        read_labels(path, BYTES, 9)
    found = read_labels(path, BYTES, 9, skip_bad=True)
    assert found.texts == [("说", "好"), ("b", "x")] and len(found.left_out) == 1 and "line 4" in found.left_out[0]


def test_a_text_that_just_fits_is_taken_and_one_token_more_is_not(tmp_path):
    path = Path(write(tmp_path, labelled("abcd", "x")))
    assert read_labels(path, BYTES, 5).texts == [("abcd", "x")]
    with pytest.raises(InputError, match="line 1: this text needs 5 tokens of context and the model has 4"):
        read_labels(path, BYTES, 4)


def test_each_label_is_on_both_sides_and_no_text_is(tmp_path):
    lines = [labelled(f"{label} {i}", label) for label, count in (("a", 60), ("b", 12), ("c", 2)) for i in range(count)]
    data = label_file_data(write(tmp_path, *lines, *lines[:5]), BYTES, 20)
    assert data.labels == ["a", "b", "c"] and data.spec["labels"] == data.labels
    assert Counter(label for _, label in data.splits["val"]).keys() == {"a", "b", "c"}
    assert 6 + 1 + 1 <= data.size("val") <= 6 + 1 + 1 + 5, "and lines that are there twice"
    assert {text for text, _ in data.splits["val"]}.isdisjoint(text for text, _ in data.splits["train"])
    assert data.size("train") + data.size("val") == data.size("all") == len(lines) + 5
    turned = label_file_data(write(tmp_path, *lines[::-1]), BYTES, 20)
    assert set(turned.splits["val"]) == set(data.splits["val"])


def test_a_text_with_two_labels_is_on_one_side_only(tmp_path):
    lines = [labelled(f"{i}", label) for i in range(20) for label in ("a", "b")]
    with pytest.raises(InputError, match="one text only with the label 'b'"):
        label_file_data(write(tmp_path, *lines), BYTES, 20)
    lines += [labelled(f"b{i}", "b") for i in range(20)]
    data = label_file_data(write(tmp_path, *lines), BYTES, 20)
    assert {text for text, _ in data.splits["val"]}.isdisjoint(text for text, _ in data.splits["train"])


def test_another_file_is_measured_with_the_labels_of_the_model(tmp_path):
    data = label_file_data(write(tmp_path, labelled("x", "b")), BYTES, 20, labels=["a", "b"])
    assert list(data.splits) == ["all"] and data.targets("all").tolist() == [1]
    with pytest.raises(InputError, match="has the label 'c', which this model does not tell: it tells a, b"):
        label_file_data(write(tmp_path, labelled("x", "c")), BYTES, 20, labels=["a", "b"])


def test_data_by_name(tmp_path):
    assert isinstance(finetuning_data(write(tmp_path, CHAT, CHAT.replace("Hi", "Ho")), BYTES, 20), ChatData)
    data = finetuning_data(write(tmp_path, *(labelled(f"{i}", "ab"[i % 2]) for i in range(9))), BYTES, 20)
    assert isinstance(data, LabelData) and is_task(data.spec)
    assert is_task({"name": "mood", "format": "chats"}) and not is_task({"name": "stories"})
