"""The two encoders against each other, tokenizers and tiktoken; characters by hand; files; every misuse."""

import errno
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import regex
import requests
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tokenizers import ByteLevelBPETokenizer

from minigpt.config import InputError
from minigpt.text.bpe import GPT2_PATTERN, Pair
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer, Tokenizer, gpt2_tokenizer, load_tokenizer
from tests.text.samples import ENGLISH, MIXED, TEXTS

# Training.


def test_texts_come_one_by_one():
    whole = BPETokenizer.train([ENGLISH, MIXED], 600)
    assert BPETokenizer.train((text for text in [MIXED, ENGLISH]), 600).merges == whole.merges
    # The end of a text is the end of a word: (b, c) is no pair.
    assert list(BPETokenizer.train(["ab", "cd"], 300).merges) == [(97, 98), (99, 100)]


def test_nothing_to_merge():
    for tokenizer in (BPETokenizer.train(ENGLISH, 257), BPETokenizer.train("", 5000), BPETokenizer.train([], 5000)):
        assert tokenizer.vocab_size == 257 and tokenizer.end_of_text == 256
        assert tokenizer.encode(MIXED) == tokenizer.encode_plain(MIXED) == list(MIXED.encode())


def test_more_merges_follow_the_special_tokens_and_change_no_old_id():
    begun = BPETokenizer.train(ENGLISH, 400, special_tokens=(END_OF_TEXT, "<|user|>"))
    grown = begun.with_more_merges(["风风", "风雨<|user|>雨", "a<|user|>b"], 99)
    # 风 is e9 a3 8e, 雨 is e9 9b a8; of equally frequent pairs the smaller goes first, and 398 and 399 are taken.
    new = list(grown.merges)[142:]
    assert new == [(0xA3, 0x8E), (0xE9, 400), (0x9B, 0xA8), (0xE9, 402), (401, 401), (401, 403)]
    assert grown.special_tokens == begun.special_tokens == {END_OF_TEXT: 398, "<|user|>": 399}
    assert [grown.decode([i]) for i in (401, 403, 404, 405)] == ["风", "雨", "风风", "风雨"]
    assert grown.encode("风风雨<|user|>", allow_special=True) == [404, 403, 399] and grown.vocab_size == 406
    for text in (ENGLISH, "<|user|>é€", MIXED.replace("风", "").replace("雨", "")):
        assert grown.encode(text, allow_special=True) == begun.encode(text, allow_special=True)
    assert all(grown.token_bytes(i) == begun.token_bytes(i) for i in range(400))
    assert begun.vocab_size == 400 and begun.encode("风") == [0xE9, 0xA3, 0x8E], "it is a copy that has grown"


def test_nothing_more_to_merge():
    begun = BPETokenizer.train("low", 300)
    assert begun.with_more_merges("low", 9).contents() == begun.with_more_merges([], 9).contents() == begun.contents()


# Encoding and decoding.

TRAINED = [
    BPETokenizer.train(ENGLISH, 800, special_tokens=(END_OF_TEXT, "<|user|>", "é", " end")),
    BPETokenizer.train(MIXED * 3, 700),
    BPETokenizer.train("a" * 999 + " " * 999 + "x" + "\n" * 999, 300),
    BPETokenizer.train("", 257),
    BPETokenizer.train(ENGLISH, 400, special_tokens=(END_OF_TEXT, "<|user|>")).with_more_merges(MIXED * 3, 200),
]
PIECES = st.one_of(
    st.text(max_size=8),  # any Unicode character, unassigned and private ones included
    st.text(st.characters(max_codepoint=0xFF), max_size=8),  # control characters, ASCII and Latin
    st.sampled_from(
        [END_OF_TEXT, "<|user|>", " end", "<|endoftext", "|>", "'ll", "'s", " ", "\n", "\r\n", "👩‍👩‍👧", "小女孩"]
    ),
    st.builds(lambda letter, n: letter * n, st.sampled_from("a \n!1é风"), st.integers(1, 700)),
    st.integers(0, len(ENGLISH) - 50).map(lambda i: ENGLISH[i : i + 50]),
)
RICH_TEXT = st.lists(PIECES, max_size=8).map("".join)


@given(RICH_TEXT, st.sampled_from(TRAINED), st.booleans())
@example("", TRAINED[0], True)
@settings(max_examples=400)
def test_both_encoders_agree_and_decode_to_the_text(text: str, tokenizer: BPETokenizer, allow_special: bool):
    ids = tokenizer.encode(text, allow_special=allow_special)
    assert ids == tokenizer.encode_plain(text, allow_special=allow_special)
    assert tokenizer.decode(ids) == text
    assert tokenizer.to_tiktoken().decode(ids) == text


@given(RICH_TEXT, st.text(st.sampled_from("ab c"), max_size=60))
def test_both_encoders_agree_after_any_training(training_text: str, text: str):
    tokenizer = BPETokenizer.train(training_text + text, 320)
    for each in (training_text, text, text + training_text, text * 20):
        assert tokenizer.encode(each) == tokenizer.encode_plain(each)


def test_both_encoders_agree_on_every_character():
    # tiktoken may know an older Unicode than `regex`, and take a new letter for a sign. These merges join an "a" or "!"
    # to the first byte of any character that follows in the same word, so the ids show where words end.
    first_bytes = sorted({chr(i).encode()[0] for i in range(0x110000) if not 0xD800 <= i < 0xE000})
    tokenizer = BPETokenizer([(ord(before), byte) for byte in first_bytes for before in "a!"])
    every = [*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 16)]
    for start in range(0, len(every), 10_000):
        text = "".join(f"a{chr(i)}!{chr(i)} " for i in every[start : start + 10_000])
        assert tokenizer.encode(text) == tokenizer.encode_plain(text)


def test_unicode_has_no_letter_or_number_where_the_pattern_does_not_look():
    assert not regex.search(r"\p{L}|\p{N}", "".join(map(chr, range(0x40000, 0x110000))))


@pytest.mark.parametrize("character", ["a", " ", "\n", "!", "风"])
def test_long_runs(character: str):
    tokenizer = TRAINED[2]
    for n in (99_999, 1_100_000):  # tiktoken alone crashes on a million spaces
        text = "x" + character * n + "x"
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        if n < 100_000 or character.isspace():
            assert ids == tokenizer.encode_plain(text)


@given(st.binary(max_size=40), st.sampled_from(TRAINED))
def test_lone_bytes_decode(data: bytes, tokenizer: BPETokenizer):
    assert tokenizer.decode_bytes(list(data)) == data
    assert tokenizer.decode(list(data)) == data.decode(errors="replace")


def test_half_a_character_decodes_to_the_replacement_character():
    ids = TRAINED[0].encode("a👩")  # no merge has these bytes
    assert [TRAINED[0].decode(ids[:n]) for n in range(6)] == ["", "a", "a\ufffd", "a\ufffd", "a\ufffd", "a👩"]


def test_to_tiktoken():
    tokenizer = TRAINED[0]
    encoding = tokenizer.to_tiktoken()
    assert encoding.n_vocab == tokenizer.vocab_size
    assert encoding.special_tokens_set == set(tokenizer.special_tokens)
    assert [encoding.decode_single_token_bytes(i) for i in range(encoding.n_vocab)] == [
        tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)
    ]
    assert encoding.encode(ENGLISH, disallowed_special=()) == tokenizer.encode_plain(ENGLISH)


# GPT-2's tokenizer, whose ids of bytes are in an order of their own.


def test_gpt2_s_ids_are_those_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Files in GPT-2's format, but small: tokenizers learns and writes them, tiktoken reads them.
    oracle = ByteLevelBPETokenizer()
    oracle.train_from_iterator([ENGLISH, MIXED], vocab_size=900, show_progress=False)
    oracle.save_model(str(tmp_path))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # no copies of these files
    ranks = data_gym_to_mergeable_bpe_ranks(str(tmp_path / "merges.txt"), str(tmp_path / "vocab.json"))
    special = {END_OF_TEXT: len(ranks)}
    encoding = tiktoken.Encoding("gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special)
    monkeypatch.setattr(tiktoken, "get_encoding", {"gpt2": encoding}.__getitem__)
    tokenizer = gpt2_tokenizer()
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (901, 900)
    assert tokenizer.encode("!~ ") == [0, 93, 220] and tokenizer.token_bytes(220) == b" ", "as in GPT-2"
    tokenizer.save(tmp_path / "tokenizer.json")
    for each in (tokenizer, load_tokenizer(tmp_path / "tokenizer.json")):
        for text in (*TEXTS.values(), "".join(map(chr, range(0x20, 0x250)))):
            assert each.encode(text) == oracle.encode(text).ids
            assert isinstance(each, BPETokenizer) and each.encode_plain(text) == each.encode(text)
            assert each.decode(each.encode(text)) == text


def test_gpt2_offline_says_which_files_to_bring_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def offline(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(requests, "get", offline)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})  # what this process has loaded already
    for variables, folder in (
        ({"TIKTOKEN_CACHE_DIR": str(tmp_path / "a")}, tmp_path / "a"),
        ({"DATA_GYM_CACHE_DIR": str(tmp_path / "b")}, tmp_path / "b"),
        ({}, tmp_path / "data-gym-cache"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(tmp_path))
            for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
                patch.delenv(name, raising=False)
            for name, value in variables.items():
                patch.setenv(name, value)
            with pytest.raises(InputError, match="could not be downloaded .ConnectionError.. Go online once") as raised:
                gpt2_tokenizer()
            for file in re.findall(r"as (.+)$", str(raised.value), re.MULTILINE):
                folder.mkdir(exist_ok=True)
                Path(file).write_text("not GPT-2's file")
            with pytest.raises(InputError, match="could not be downloaded"):
                gpt2_tokenizer()
            # tiktoken looked for it there, saw that it is another file, and wanted to download it.
            assert len(list(folder.iterdir())) == 1 and "vocab.bpe" in str(raised.value)


@pytest.mark.parametrize("alphabet", [bytes(256), bytes(range(255)), bytes([*range(256), 0])])
def test_an_alphabet_has_every_byte_once(alphabet: bytes):
    with pytest.raises(InputError, match="has each of the 256 bytes once"):
        BPETokenizer([], alphabet=alphabet)


# Special tokens.


@pytest.mark.parametrize("encoder", [BPETokenizer.encode, BPETokenizer.encode_plain])
def test_special_tokens_are_whole_if_allowed(encoder: Any):
    tokenizer = TRAINED[0]
    first = 800 - 4
    assert tokenizer.special_tokens == {END_OF_TEXT: first, "<|user|>": first + 1, "é": first + 2, " end": first + 3}
    text = f"{END_OF_TEXT}{END_OF_TEXT} class<|user|>é the end"
    ids = encoder(tokenizer, text, allow_special=True)
    words = [*encoder(tokenizer, " class"), first + 1, first + 2, *encoder(tokenizer, " the"), first + 3]
    assert ids == [first, first, *words]
    assert tokenizer.decode(ids) == text
    typed = encoder(tokenizer, text)
    assert max(typed) < first and tokenizer.decode(typed) == text


def test_special_tokens_are_not_learned():
    texts = ["ab ab", "ab", "cab"]
    assert BPETokenizer.train(END_OF_TEXT.join(texts), 300).merges == BPETokenizer.train(texts, 300).merges
    assert list(BPETokenizer.train(END_OF_TEXT * 100, 300).merges) == []
    assert len(BPETokenizer.train(END_OF_TEXT * 100, 300, special_tokens=()).merges) > 0


def test_no_special_tokens():
    tokenizer = BPETokenizer.train(ENGLISH, 300, special_tokens=())
    assert (tokenizer.vocab_size, tokenizer.special_tokens, tokenizer.end_of_text) == (300, {}, None)
    text = "a" + END_OF_TEXT
    assert tokenizer.encode(text, allow_special=True) == tokenizer.encode_plain(text, allow_special=True)
    assert tokenizer.encode(text, allow_special=True) == tokenizer.encode(text)


@pytest.mark.parametrize("train", [CharTokenizer.train, lambda text, names: BPETokenizer.train(text, 300, names)])
@pytest.mark.parametrize(
    ("names", "complaint"),
    [(("",), "empty"), (("<a>", "<a>"), "starts with"), (("<a>b", "<a>"), "'<a>b' starts with special token '<a>'")],
)
def test_bad_special_tokens(train: Any, names: tuple[str, ...], complaint: str):
    with pytest.raises(InputError, match=complaint):
        train("text", names)


# One id per character.


def test_characters_by_hand():
    tokenizer = CharTokenizer.train(["b\na", "ab中"], special_tokens=(END_OF_TEXT,))
    assert tokenizer.characters == "\nab中" and tokenizer.vocab_size == 5
    assert tokenizer.special_tokens == {END_OF_TEXT: 4} and tokenizer.end_of_text == 4
    assert tokenizer.encode("ab\n中") == [1, 2, 0, 3]
    assert tokenizer.encode(f"a{END_OF_TEXT}b", allow_special=True) == [1, 4, 2]
    assert tokenizer.decode([1, 4, 2]) == f"a{END_OF_TEXT}b"
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    assert CharTokenizer.train("ab").end_of_text is None


def test_characters_of_special_tokens_are_not_learned():
    assert CharTokenizer.train(f"a{END_OF_TEXT}b", special_tokens=(END_OF_TEXT,)).characters == "ab"


@given(st.text(min_size=1))
def test_characters_round_trip(text: str):
    tokenizer = CharTokenizer.train(text)
    assert tokenizer.vocab_size == len(set(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_unknown_character():
    tokenizer = CharTokenizer.train("ab", special_tokens=("<x>",))
    with pytest.raises(InputError, match="unknown character 'é' at position 2.*BPETokenizer"):
        tokenizer.encode("abé")
    with pytest.raises(InputError, match="'x' at position 5"):
        tokenizer.encode("ab<x>xa", allow_special=True)
    with pytest.raises(InputError, match="'<' at position 2"):
        tokenizer.encode("ab<x>")


def test_no_characters():
    for texts in ("", [], ["", ""]):
        with pytest.raises(InputError, match="empty"):
            CharTokenizer.train(texts)
    with pytest.raises(InputError, match="twice"):
        CharTokenizer("aba")


# Bad input.


@pytest.mark.parametrize("tokenizer", [TRAINED[0], CharTokenizer.train("ab")])
@pytest.mark.parametrize("by", [-1, 0, 10**20])
def test_ids_out_of_range(tokenizer: Tokenizer, by: int):
    bad = tokenizer.vocab_size + by if by >= 0 else by
    with pytest.raises(InputError, match=f"id {bad} at position 1 .* ids 0 to {tokenizer.vocab_size - 1}"):
        tokenizer.decode([0, bad])
    if isinstance(tokenizer, BPETokenizer):
        with pytest.raises(InputError, match=f"id {bad} "):
            tokenizer.token_bytes(bad)


@pytest.mark.parametrize(
    "use",
    [
        TRAINED[0].encode,
        TRAINED[0].encode_plain,
        CharTokenizer.train,
        lambda text: BPETokenizer.train(text, 300),
        lambda text: BPETokenizer.train("a", 300, [text]),
    ],
)
def test_half_a_surrogate_pair(use: Any):
    with pytest.raises(InputError, match=r"'\\ud83d', at position 2.*Leave it out, or put U.FFFD there"):
        use("ab\ud83d")


@pytest.mark.parametrize(("vocab_size", "n_special"), [(-1, 0), (255, 0), (256, 1), (257, 2)])
def test_vocabulary_too_small(vocab_size: int, n_special: int):
    with pytest.raises(InputError, match=f"vocab_size is {vocab_size}, .* {256 + n_special}"):
        BPETokenizer.train("text", vocab_size, [f"<{i}>" for i in range(n_special)])


def test_vocabulary_of_more_ids_than_there_are_characters():
    with pytest.raises(InputError, match="vocab_size is 1048577; it must be at most 1,048,576"):
        BPETokenizer.train("text", 2**20 + 1)


@pytest.mark.parametrize(
    ("merges", "complaint"),
    [
        ([(97, 256)], "merge of 97 and 256 into 256"),
        ([(97, 98), (-1, 97)], "merge of -1 and 97 into 257"),
        ([(97, 98), (97, 98)], "earlier merges"),
        ([(97, 98), (98, 99), (97, 257)], "earlier merges"),  # "abc" becomes (ab)c, never a(bc)
        ([(97, 97), (97, 256)], "earlier merges"),  # "aaa" becomes (aa)a
    ],
)
def test_merges_that_no_training_makes(merges: list[Pair], complaint: str):
    with pytest.raises(InputError, match=complaint):
        BPETokenizer(merges)


@pytest.mark.parametrize(
    ("special", "complaint"),
    [
        ({"<x>": 255}, "ids of special tokens must be different, and from 256 to 258"),
        ({"<x>": 259}, "ids of special tokens must be different, and from 256 to 258"),
        ({"<x>": 257.0}, "ids of special tokens must be different, and from 256 to 258"),
        ({"<x>": 257, "<y>": 257}, "ids of special tokens must be different, and from 256 to 259"),
        ({"<x>": 256}, "merge of 256 and 99 into 258: it may only use ids 0 to 257, and no special token"),
    ],
)
def test_special_tokens_where_none_can_be(special: Any, complaint: str):
    with pytest.raises(InputError, match=complaint):
        BPETokenizer([(97, 98), (256, 99)], special)
    between = BPETokenizer([(97, 98), (256, 99)], {"<x>": 257})
    assert between.encode("abc<x>", allow_special=True) == [258, 257]


# Files.

SAVED: list[Tokenizer] = [
    *TRAINED,
    BPETokenizer.train(MIXED, 300, ("line\nbreak", '"],', "终")),
    CharTokenizer.train(MIXED + '\\"\u2028', (END_OF_TEXT,)),
    CharTokenizer.train("a"),
]


@pytest.mark.parametrize("tokenizer", SAVED)
def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "new folder" / "tokenizer.json"
    tokenizer.save(path)
    for loaded in (load_tokenizer(path), load_tokenizer(str(path))):
        assert type(loaded) is type(tokenizer)
        assert loaded.contents() == tokenizer.contents()
        assert (loaded.vocab_size, loaded.end_of_text) == (tokenizer.vocab_size, tokenizer.end_of_text)
        text = MIXED if tokenizer.vocab_size > 1 else "aaa"
        assert loaded.encode(text) == tokenizer.encode(text)
    tokenizer.save(path)  # over itself
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.json"]


def test_file_is_readable(tmp_path: Path):
    BPETokenizer.train("low low low lower é", 300).save(tmp_path / "t.json")
    assert (tmp_path / "t.json").read_text(encoding="utf-8") == (
        '{\n  "kind": "bpe",\n'
        f'  "pattern": {json.dumps(GPT2_PATTERN)},\n'
        '  "special_tokens": {\n    "<|endoftext|>": 263\n  },\n'
        '  "merges": [\n'
        '    [108, 111, "lo"],\n    [256, 119, "low"],\n    [32, 257, " low"],\n    [32, 195, " \\\\xc3"],\n'
        '    [101, 114, "er"],\n    [258, 260, " lower"],\n    [259, 169, " é"]\n'
        "  ]\n}\n"
    )


@pytest.mark.parametrize("tokenizer", [BPETokenizer.train("low lower", 300), CharTokenizer.train("low", ("<x>",))])
def test_truncated_file(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    whole = path.read_text()
    for length in range(len(whole.rstrip())):
        path.write_text(whole[:length])
        with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer .* Restore it"):
            load_tokenizer(path)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "words"},
        {"kind": "char"},
        {"kind": None},
        {"pattern": r"\S+"},
        {"special_tokens": {END_OF_TEXT: 5}},
        {"special_tokens": None},
        {"special_tokens": {"": 262}},
        {"merges": None},
        {"merges": "abc"},
        {"merges": [[108, 111]]},
        {"merges": [[108, 111, "on"]]},  # 111 is o
        {"merges": [[108, 300, "lo"]]},
        {"merges": [[108, "111", "lo"]]},
        {"merges": [[108, 111.5, "lo"]]},
        {"merges": [[108, float("nan"), "lo"]]},
        {"merges": [[108, 111, "lo"], [108, 111, "lo"]]},
    ],
)
def test_changed_file(change: dict[str, Any], tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    contents = BPETokenizer.train("low low low lower", 300).contents()
    path.write_text(json.dumps(contents))
    load_tokenizer(path)
    path.write_text(json.dumps(contents | change))
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer .* Restore it"):
        load_tokenizer(path)
    key = next(iter(change))
    path.write_text(json.dumps({k: v for k, v in contents.items() if k != key}))
    with pytest.raises(InputError, match=f"tokenizer.json is not a tokenizer .*{key}"):
        load_tokenizer(path)


@pytest.mark.parametrize("characters", ["aa", ["a", "b"], None, 3, "a\ud800"])
def test_changed_characters(characters: Any, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"kind": "char", "special_tokens": {}, "characters": characters}))
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(path)


@pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe", b"[" * 100_000, b"[]", b"null", b"3", b'"bpe"', b"low lower"])
def test_not_a_tokenizer_file(data: bytes, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(path)


def test_missing_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot read .*none\.json: No such file"):
        load_tokenizer(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot read"):
        load_tokenizer(tmp_path)


def test_save_where_it_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "tokenizer.json"):
        with pytest.raises(InputError, match=f"cannot write {path}: .* Choose another place"):
            CharTokenizer.train("ab").save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob("*.tmp"))


def test_full_disk_keeps_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "tokenizer.json"
    CharTokenizer.train("ab").save(path)
    before = path.read_bytes()

    def write_half(file: Path, text: str, **options: Any) -> int:
        file.write_bytes(text.encode()[: len(text) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write_half)
    with pytest.raises(InputError, match=r"cannot write .*tokenizer\.json: No space left"):
        CharTokenizer.train("xyz").save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
