"""Which kind of text a file is, where it may be cut, and where in it something stands."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minigpt.config import InputError
from minigpt.text import sources
from minigpt.text.bpe import pre_tokenize
from minigpt.text.prepare import prepare
from minigpt.text.sources import LINE_CUT, SPACE, TEXT_CUT, cut, measure, read_blocks, read_text, read_texts, texts_in
from minigpt.text.tokenizer import END_OF_TEXT
from tests.text.samples import STORIES, TEXT, WORDS, tokenizer


def test_white_space_in_bytes_is_that_of_the_pattern() -> None:
    every = "".join(chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000)
    found = [character.decode() for character in re.findall(SPACE, every.encode())]
    assert found == regex.findall(r"\s", every) and len(found) == 25


@given(TEXT)
@example("a \n b")
@example("it's\n\n\n x  ")
@settings(max_examples=200)
def test_words_and_tokens_are_the_same_on_both_sides_of_a_cut(text: str) -> None:
    content = text.encode()
    cuts = [match.start() for match in TEXT_CUT.finditer(content)]
    assert len(cuts) == len(regex.findall(r"\s(?=\S)", text)), "as often as white space ends"
    for place in cuts:
        left, right = content[:place].decode(), content[place:].decode()
        assert pre_tokenize(left) + pre_tokenize(right) == pre_tokenize(text)
        assert tokenizer().encode(left) + tokenizer().encode(right) == tokenizer().encode(text)


SEPARATED = st.lists(st.sampled_from([*WORDS, END_OF_TEXT, "<|end"]), max_size=60).map("".join)


@given(SEPARATED)
@example(f"a.\n\n{END_OF_TEXT}\n\nb")
@settings(max_examples=200)
def test_special_tokens_are_the_same_on_both_sides_of_a_cut(text: str) -> None:
    def encode(part: str) -> list[int]:
        return tokenizer().encode(part, allow_special=True)

    content = text.encode()
    cuts = [match.start() for match in TEXT_CUT.finditer(content)]
    assert len(cuts) == len(regex.findall(rf"\s(?=\S)(?!{re.escape(END_OF_TEXT)})", text))
    for place in cuts:
        assert encode(content[:place].decode()) + encode(content[place:].decode()) == encode(text)


@given(SEPARATED, st.integers(1, 9), st.sampled_from(["a.txt", "a.jsonl"]))
@example("\u3000👩", 6, "a.txt")
def test_the_first_cut_is_found_however_the_file_is_read(text: str, step: int, name: str) -> None:
    content, pattern = text.encode(), LINE_CUT if name == "a.jsonl" else TEXT_CUT
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "STEP", step)
        for end in (len(content), len(content) // 2):
            for start in range(end + 1):
                match = pattern.search(content, start)
                expected = min(match.end(), end) if match else end
                assert cut(Path(name), io.BytesIO(content), start, end) == expected


def test_a_line_too_deep_for_json_is_named() -> None:
    with pytest.raises(InputError, match="'a.jsonl', line 1 .byte 12.: this line is not JSON .maximum recursion"):
        list(texts_in(Path("a.jsonl"), 10, b"\n\n" + b"[" * 100_000, lambda text: []))


def test_a_source_that_becomes_shorter_is_named(tmp_path: Path) -> None:
    (tmp_path / "stories.txt").write_bytes(STORIES.encode())
    blocks = read_blocks(tmp_path / "stories.txt", 0, len(STORIES) + 1)
    with pytest.raises(InputError, match="stories.txt' has become shorter while it was read"):
        list(blocks)


def test_separators_of_a_text_become_end_of_text_tokens_and_those_of_a_document_stay_text(tmp_path: Path) -> None:
    documents = [f"story {i} is about a bird.\n\n" * 3 for i in range(40)]
    (tmp_path / "a.txt").write_text(f"{END_OF_TEXT}\n".join(documents), encoding="utf-8")
    manifest, _ = prepare([tmp_path / "a.txt"], tmp_path / "text", tokenizer(), shard_bytes=400)
    assert len(manifest.all_shards()) > 5
    expected = tokenizer().encode(f"{END_OF_TEXT}\n".join(documents), allow_special=True)
    assert sum(shard.tokens for shard in manifest.all_shards()) == len(expected)
    assert sum(s.text_bytes for s in manifest.all_shards()) == len("\n".join(documents))
    (tmp_path / "a.jsonl").write_text('{"text": "one <|endoftext|> two"}\n' * 20, encoding="utf-8")
    manifest, _ = prepare([tmp_path / "a.jsonl"], tmp_path / "lines", tokenizer())
    assert sum(s.tokens for s in manifest.all_shards()) == 20 * (1 + len(tokenizer().encode("one <|endoftext|> two")))


# Texts that look like something else.

DOCUMENTS = [f"document {i}, «{'so ' * i}»" for i in range(30)]
LINES = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in DOCUMENTS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.NDJSON", "a.json", "a.Json"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_documents_are_known_by_every_suffix_they_have(tmp_path: Path, name: str, mark: bytes) -> None:
    (tmp_path / name).write_bytes(mark + LINES.encode())
    manifest, _ = prepare([tmp_path / name], tmp_path / "tokens", tokenizer())
    expected = [i for text in DOCUMENTS for i in (tokenizer().end_of_text, *tokenizer().encode(text))]
    assert sum(shard.tokens for shard in manifest.all_shards()) == len(expected)
    assert read_texts(tmp_path / name) == DOCUMENTS
    with pytest.raises(InputError, match=r"has documents, .*first `minigpt data prepare .* then --data tokens"):
        read_text(tmp_path / name)


READERS: list[Callable[[Path], object]] = [read_text, read_texts, measure]


@pytest.mark.parametrize("read", READERS, ids=["read_text", "read_texts", "measure"])
@pytest.mark.parametrize("beginning", ["", "\ufeff", "  "])
@pytest.mark.parametrize("line", ['{"text": "a"}', '{"id": 3, "text": "a"}', '{"text": "' + "long " * 40_000 + '"}'])
def test_documents_under_the_name_of_a_text_are_refused(
    tmp_path: Path, read: Callable[[Path], object], beginning: str, line: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text(beginning + f"{line}\n" * 3, encoding="utf-8")
    with pytest.raises(InputError, match="begins with a JSON object that has a .text.*call the file .jsonl"):
        read(path)
    path.write_text(f"\n{line}\n" * 3, encoding="utf-8")  # the way out that the message names
    read(path)


@pytest.mark.parametrize("text", ['{"name": "of a program"}\n', "{ text }\n", "[1, 2]\n", "[{not JSON}]", '"text": {'])
def test_texts_that_only_resemble_documents_are_texts(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    assert read_text(tmp_path / "a.txt") == text


@pytest.mark.parametrize("name", ["array.json", "array.jsonl", "array.txt"])
def test_an_array_of_json_is_refused_with_a_remedy_that_works(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps([{"text": text} for text in DOCUMENTS], indent=1), encoding="utf-8")
    for read in READERS:
        with pytest.raises(InputError, match="is one array of JSON") as raised:
            read(path)
    command = str(raised.value).splitlines()[-1].strip()
    subprocess.run(command.replace("python", sys.executable, 1), shell=True, check=True)
    (made,) = [each for each in tmp_path.iterdir() if each != path]
    assert read_texts(made) == DOCUMENTS


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(STORIES, encoding="utf-8-sig")
    assert read_text(path) == STORIES and read_texts(path) == [STORIES]
    marked, _ = prepare([path], tmp_path / "marked", tokenizer())
    path.write_text(STORIES, encoding="utf-8")
    plain, _ = prepare([path], tmp_path / "plain", tokenizer())
    assert sum(s.tokens for s in marked.all_shards()) == sum(s.tokens for s in plain.all_shards())
    assert sum(s.text_bytes for s in marked.all_shards()) == len(STORIES.encode())


# What cannot be used: refused by its line, or left out and counted.


@pytest.mark.parametrize("bad", [b"{", b'{"text": 3}', b'{"text": "\xff"}', b'{"text": "\\ud83d"}', b'["text"]'])
def test_one_bad_document_is_named_by_its_line_or_left_out(tmp_path: Path, bad: bytes) -> None:
    lines = LINES.encode().splitlines()
    lines[20:20] = [bad]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    byte = len(b"\n".join(lines[:20])) + 1
    with pytest.raises(InputError, match=rf"a.jsonl', line 21 \(byte {byte}\): .* leave every such document out"):
        prepare([path], tmp_path / "refused", tokenizer(), shard_bytes=300)
    manifest, _ = prepare([path], tmp_path / "tokens", tokenizer(), shard_bytes=300, skip_bad=True)
    assert sum(shard.left_out for shard in manifest.all_shards()) == 1
    (place,) = (shard.first_left_out for shard in manifest.all_shards() if shard.left_out)
    assert place.endswith(f"a.jsonl', line 21 (byte {byte})")
    expected = sum(1 + len(tokenizer().encode(text)) for text in DOCUMENTS)
    assert sum(shard.tokens for shard in manifest.all_shards()) == expected


def test_a_bad_line_of_a_text_is_named_or_left_out(tmp_path: Path) -> None:
    lines = [f"line {i}, whole\n".encode() for i in range(40)]
    path = tmp_path / "a.txt"
    path.write_bytes(b"".join([*lines[:7], b"Gr\xfc\xdfe\n", *lines[7:]]))
    with pytest.raises(InputError, match=r"a.txt', line 8 \(byte 98\): byte 2 of it is not UTF-8.*--skip-bad"):
        prepare([path], tmp_path / "refused", tokenizer())
    manifest, _ = prepare([path], tmp_path / "tokens", tokenizer(), skip_bad=True)
    assert [shard.left_out for shard in manifest.all_shards()] == [1, 0]
    text = b"".join(lines).decode()
    assert sum(shard.tokens for shard in manifest.all_shards()) == len(tokenizer().encode(text))
