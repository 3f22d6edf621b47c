"""Data: batches that depend on the step alone, evaluations that see each token once, and files that cannot be used."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.config import IGNORE, InputError
from minigpt.text import data as data_module
from minigpt.text import stories
from minigpt.text.data import StoryData, TextData, load_data, prepare_text
from minigpt.text.prepare import prepare
from minigpt.text.shards import Manifest, Shard, token_dtype, tokenizer_sha256, verify
from minigpt.text.sources import read_text
from minigpt.text.tokenizer import END_OF_TEXT, BPETokenizer, CharTokenizer
from minigpt.weights.checkpoint import load_model

CONTEXT = 400  # fits a story in the small vocabulary of these tests


@cache
def story_tokenizer() -> BPETokenizer:
    return BPETokenizer.train([stories.draw(0, i).text for i in range(200)], 600)


@pytest.fixture
def story_data() -> StoryData:
    return StoryData(story_tokenizer(), CONTEXT, held_out=20)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("MINIGPT_CACHE", str(folder))
    return folder


def text_data(
    tmp_path: Path, text: str, context_length: int, tokenizer: str = "char", vocab_size: int = 300
) -> TextData:
    (tmp_path / "text.txt").write_bytes(text.encode())
    data = load_data(str(tmp_path / "text.txt"), context_length, tokenizer, vocab_size)
    assert isinstance(data, TextData)
    return data


def distinct(length: int) -> str:
    """A text without a repeated character: a token tells where it stands."""
    return "".join(chr(0x4E00 + i) for i in range(length))


def ids_of(data: TextData, split: str) -> list[int]:
    """The ids in the files, read by nothing of ours."""
    files = [shard.file for shard in data.manifest.shards[split]]
    return [i for file in files for i in np.fromfile(data.folder / file, data.manifest.dtype).tolist()]


def shards_of(folder: Path, train: list[int], val: list[int]) -> Path:
    """A folder of shards with so many tokens each; every token occurs once, in order."""
    tokenizer = CharTokenizer("".join(map(chr, range(0x20000, 0x20000 + sum(train) + sum(val)))))
    shards: dict[str, list[Shard]] = {"train": [], "val": []}
    first = 0
    for split, lengths in (("train", train), ("val", val)):
        for i, length in enumerate(lengths):
            np.arange(first, first + length).astype(token_dtype(tokenizer)).tofile(folder / f"{split}-{i}.bin")
            shards[split].append(Shard(f"{split}-{i}.bin", 0, 0, 1, "", length, 4 * length, ""))
            first += length
    tokenizer.save(folder / "tokenizer.json")
    spec = {"tokenizer": "auto", "sha256": "of these"}
    Manifest(token_dtype(tokenizer), tokenizer_sha256(tokenizer), shards, spec).save(folder)
    return folder


# Stories.


def texts_of(inputs: torch.Tensor, targets: torch.Tensor) -> list[str]:
    """The stories of a batch, after a look at their frame: end token, story, end token, padding."""
    end = story_tokenizer().end_of_text
    texts = []
    for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        length = target.index(end) + 1
        assert row[0] == end and row[1:length] == target[: length - 1]
        assert target[length:] == [IGNORE] * (len(target) - length)
        texts.append(story_tokenizer().decode(target[: length - 1]))
    return texts


def test_a_row_is_one_training_story(story_data: StoryData) -> None:
    inputs, targets = story_data.batch_at(3, 16, seed=5)
    assert inputs.dtype == targets.dtype == torch.int64 and inputs.shape == targets.shape
    assert (targets == IGNORE).any() and not (targets == IGNORE).all(dim=0).any(), "padded to the longest and no longer"
    for text in texts_of(inputs, targets):
        assert stories.verify(text).consistent
        assert stories.split_of(text) == "train"


def test_a_batch_of_stories_depends_on_step_and_seed_alone(story_data: StoryData) -> None:
    wanted = story_data.batch_at(7, 4, seed=1)
    for step in (0, 8, 3):
        story_data.batch_at(step, 5, seed=2)
    list(story_data.batches("val", 3))
    again = StoryData(story_tokenizer(), CONTEXT).batch_at(7, 4, seed=1)
    assert torch.equal(wanted[0], again[0]) and torch.equal(wanted[1], again[1])
    assert texts_of(*wanted) != texts_of(*story_data.batch_at(8, 4, seed=1))
    assert texts_of(*wanted) != texts_of(*story_data.batch_at(7, 4, seed=2))


def test_no_story_comes_twice_and_none_is_left_out(story_data: StoryData) -> None:
    texts = [text for step in range(6) for text in texts_of(*story_data.batch_at(step, 4))]
    assert len(set(texts)) == 24
    assert texts == [text for step in range(4) for text in texts_of(*story_data.batch_at(step, 6))]


@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluation_sees_every_held_out_story_once(story_data: StoryData, split: str) -> None:
    expected = [story.text for story in story_data.held_out_stories(split)]
    assert len(set(expected)) == 20
    for batch_size in (1, 7, 64):
        seen = [text for batch in story_data.batches(split, batch_size) for text in texts_of(*batch)]
        assert seen == expected
    assert story_data.text_bytes(split) == sum(len(text.encode()) for text in expected)
    assert {stories.split_of(text) for text in expected} == {split}


def test_a_story_that_does_not_fit_is_named_with_the_limit() -> None:
    data = StoryData(story_tokenizer(), 60)
    with pytest.raises(InputError, match=r"a story of \d+ tokens does not fit into context_length 60: choose"):
        data.batch_at(0, 4)
    longest = max(
        len(story_tokenizer().encode(s.text)) for s in StoryData(story_tokenizer(), 1, 20).held_out_stories("val")
    )
    assert list(StoryData(story_tokenizer(), longest + 1, 20).batches("val", 20))[0][0].shape[1] == longest + 1
    with pytest.raises(InputError, match=f"a story of {longest} tokens does not fit into context_length {longest}:"):
        list(StoryData(story_tokenizer(), longest, 20).batches("val", 20))


def test_no_story_is_too_long_for_the_bundled_model() -> None:
    """The longest wording of each sentence with the longest word in each slot: tokens never reach over a space."""
    tokenizer, world = data_module.storyteller_tokenizer(), stories.world()

    def tokens(text: str) -> int:
        return len(tokenizer.encode(text))

    def longest(variant: list[str | stories.Slot]) -> int:
        words = [[p] if isinstance(p, str) else [p.fill(row) for row in world.all_rows(p.fact)] for p in variant]
        text = [" ", *(choices[0] for choices in words)]
        for i, choices in enumerate(words, start=1):
            text[i] = max((tokens("".join([*text[:i], word, *text[i + 1 :]])), word) for word in choices)[1]
        return tokens("".join(text))

    context_length = load_model()[0].config.context_length
    for plot, names in world.plots.items():
        assert sum(max(map(longest, world.sentences[name])) for name in names) + 1 <= context_length, plot
    seen = max(tokens(stories.draw(0, i).text) + 1 for i in range(500))
    assert 100 < seen <= context_length, "with the token that ends it"


def test_stories_need_an_end_of_text_token() -> None:
    with pytest.raises(InputError, match="end-of-text"):
        StoryData(BPETokenizer.train("abc", 260, special_tokens=()), CONTEXT)


def test_a_split_that_stories_do_not_have_is_named(story_data: StoryData) -> None:
    with pytest.raises(InputError, match="no split 'dev'; choose from train, val, test"):
        list(story_data.batches("dev", 4))


# Text.


def test_training_windows_stay_in_the_training_part_and_reach_all_of_it(tmp_path: Path) -> None:
    data = text_data(tmp_path, distinct(120), context_length=8)
    starts: list[int] = []
    train = ids_of(data, "train")
    for step in range(300):
        inputs, targets = data.batch_at(step, 5, seed=3)
        assert inputs.shape == targets.shape == (5, 8) and inputs.dtype == torch.int64
        for row, target in zip(inputs.tolist(), targets.tolist(), strict=True):
            start = train.index(row[0])
            assert [*row, target[-1]] == train[start : start + 9] and row[1:] == target[:-1]
            starts.append(start)
    assert set(starts) == set(range(len(train) - 8)), "every window of 9 tokens, and no other"
    counts = np.bincount(starts)
    expected = len(starts) / len(counts)
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_squared - (len(counts) - 1)) < 4 * (2 * (len(counts) - 1)) ** 0.5


def test_a_batch_of_text_depends_on_step_and_seed_alone(tmp_path: Path) -> None:
    data = text_data(tmp_path, distinct(2000), context_length=8)
    wanted = data.batch_at(7, 4, seed=1)
    data.batch_at(6, 9, seed=1)
    list(data.batches("val", 2))
    again = TextData(data.folder, 8).batch_at(7, 4, seed=1)
    assert torch.equal(wanted[0], again[0]) and torch.equal(wanted[1], again[1])
    assert not torch.equal(wanted[0], data.batch_at(8, 4, seed=1)[0])
    assert not torch.equal(wanted[0], data.batch_at(7, 4, seed=2)[0])
    # The same on every machine; the numbers are those of Philox with the step as the highest word of its counter.
    words = np.random.Philox(key=1).advance(7 << 192).random_raw(4)
    assert wanted[0][:, 0].tolist() == [int(w) % (1800 - 8) for w in words]


@given(length=st.integers(20, 400), context_length=st.integers(1, 40), batch_size=st.integers(1, 9))
def test_evaluation_guesses_every_token_but_the_first_once(
    tmp_path_factory: pytest.TempPathFactory, length: int, context_length: int, batch_size: int
) -> None:
    folder = tmp_path_factory.mktemp("evaluation")
    text = distinct(length)
    try:
        data = text_data(folder, text, context_length)
    except InputError as error:
        assert length - length * 9 // 10 <= context_length, error
        return
    for split, part in (("train", text[: length * 9 // 10]), ("val", text[length * 9 // 10 :])):
        seen, guessed = "", ""
        for inputs, targets in data.batches(split, batch_size):
            assert inputs.shape == targets.shape and len(inputs) <= batch_size and inputs.shape[1] == context_length
            seen += data.tokenizer.decode(inputs[targets != IGNORE].tolist())
            guessed += data.tokenizer.decode(targets[targets != IGNORE].tolist())
        assert (seen, guessed) == (part[:-1], part[1:])
        assert data.text_bytes(split) == len(part[1:].encode())


def test_bytes_of_text_are_right_where_a_token_is_a_part_of_a_character(tmp_path: Path) -> None:
    data = text_data(tmp_path, distinct(50) * 40, 8, "bpe", 256)
    tokenizer = data.tokenizer
    assert isinstance(tokenizer, BPETokenizer)
    for split in ("train", "val"):
        targets = torch.cat([t[t != IGNORE] for _, t in data.batches(split, 4)])
        assert data.text_bytes(split) == len(tokenizer.decode_bytes(targets.tolist()))


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_the_two_parts_are_the_text(tmp_path: Path, tokenizer: str) -> None:
    text = "Größe, 你好 and ca va? " * 60
    data = text_data(tmp_path, text, 8, tokenizer)
    assert isinstance(data.tokenizer, CharTokenizer if tokenizer == "char" else BPETokenizer)
    parts = [data.tokenizer.decode(ids_of(data, split)) for split in ("train", "val")]
    assert "".join(parts) == text and len(parts[0]) == len(text) * 9 // 10


def test_many_characters_need_wider_tokens(tmp_path: Path) -> None:
    text = "".join(chr(0x10000 + i) for i in range(70_000))
    data = text_data(tmp_path, text, 8)
    assert data.manifest.dtype == "uint32"
    assert data.tokenizer.decode(ids_of(data, "val")) == text[63_000:]


def test_a_text_is_tokenized_once(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = text_data(tmp_path, "to be or not to be. " * 50, 8, "bpe")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("tokenized again")

    with monkeypatch.context() as patch:
        patch.setattr(BPETokenizer, "train", refuse)
        again = text_data(tmp_path, "to be or not to be. " * 50, 8, "bpe")
        assert again.folder == first.folder and again.spec == first.spec
        with pytest.raises(AssertionError):
            text_data(tmp_path, "to be or not to be! " * 50, 8, "bpe")
        with pytest.raises(AssertionError):
            text_data(tmp_path, "to be or not to be. " * 50, 8, "bpe", vocab_size=280)
    assert [path for path in cache_folder.iterdir() if path != first.folder] == [], "nothing half-written"


def test_what_a_killed_process_left_behind_is_in_nobody_s_way(tmp_path: Path, cache_folder: Path) -> None:
    first = text_data(tmp_path, "to be or not to be. " * 50, 8)
    left = first.folder.with_suffix(f".{data_module.os.getpid()}")
    first.folder.rename(left)
    assert text_data(tmp_path, "to be or not to be. " * 50, 8).folder == first.folder
    assert list(cache_folder.iterdir()) == [first.folder]


def test_named_data_sets_and_default_tokenizers(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "First Citizen: Before we proceed any further, hear me speak. " * 40
    cache_folder.mkdir()
    (cache_folder / "tinyshakespeare.txt").write_text(text)
    monkeypatch.setattr(data_module, "SHAKESPEARE_SHA256", hashlib.sha256(text.encode()).hexdigest())
    shakespeare = load_data("shakespeare", 16)
    assert isinstance(shakespeare.tokenizer, CharTokenizer) and shakespeare.spec["name"] == "shakespeare"
    assert isinstance(text_data(tmp_path, text, 16, "auto").tokenizer, BPETokenizer)
    monkeypatch.setattr(data_module, "storyteller_tokenizer", story_tokenizer)
    assert isinstance(load_data("stories", CONTEXT), StoryData)


# Many shards.


def test_windows_are_drawn_evenly_from_all_shards_and_cross_none(tmp_path: Path) -> None:
    lengths, length = [5, 40, 9, 8, 200, 1, 77], 8  # too short, and just long enough for one window
    data = TextData(shards_of(tmp_path, lengths, [20]), length)
    ends = np.cumsum(lengths).tolist()
    possible = [start for end, n in zip(ends, lengths, strict=True) for start in range(end - n, end - length)]
    assert len(possible) == 32 + 1 + 192 + 69
    starts: list[int] = []
    for step in range(60):
        inputs, targets = data.batch_at(step, 100, seed=5)
        assert (targets == inputs + 1).all() and (inputs == inputs[:, :1] + torch.arange(length)).all()
        places = np.random.Philox(key=5).advance(step << 192).random_raw(100) % np.uint64(len(possible))
        assert inputs[:, 0].tolist() == [possible[place] for place in places]
        starts += inputs[:, 0].tolist()
    counts = np.array([starts.count(start) for start in possible])
    assert counts.sum() == len(starts), "no other start"
    chi_squared = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    halves = torch.tensor([(len(possible) - 1) / 2, chi_squared / 2], dtype=torch.float64)
    assert torch.special.gammaincc(*halves).item() > 0.01, "Pearson's test at the level of 1%"


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6), context_length=st.integers(1, 20),
    batch_size=st.integers(1, 9),
)  # fmt: skip
def test_evaluation_guesses_every_token_but_the_first_of_a_shard_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], context_length: int, batch_size: int
) -> None:
    lengths = [*lengths, 61]
    data = TextData(shards_of(tmp_path_factory.mktemp("shards"), lengths, lengths[::-1]), context_length)
    first = 0
    for split, sizes in (("train", lengths), ("val", lengths[::-1])):
        pairs: list[tuple[int, int]] = []
        for inputs, targets in data.batches(split, batch_size):
            assert inputs.shape == targets.shape == (len(inputs), context_length) and len(inputs) <= batch_size
            pairs += zip(inputs[targets != IGNORE].tolist(), targets[targets != IGNORE].tolist(), strict=True)
        expected: list[tuple[int, int]] = []
        for size in sizes:
            expected += [(i, i + 1) for i in range(first, first + size - 1)]
            first += size
        assert pairs == expected
        assert data.text_bytes(split) == 4 * len(pairs)


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    import resource  # not on Windows

    data = TextData(shards_of(tmp_path, [3] * 500, [3]), 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        seen = [row for inputs, _ in data.batches("train", 7) for row in inputs.tolist()]
        assert data.batch_at(0, 2000)[0].shape == (2000, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert seen == [[i, i + 1] for i in range(0, 1500, 3)]


def test_bytes_of_documents_are_those_of_their_text(tmp_path: Path) -> None:
    texts = [f"document {i}: Größe, 从前" for i in range(90)]
    (tmp_path / "all.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts), encoding="utf-8")
    tokenizer = BPETokenizer.train(texts, 300)
    prepare([tmp_path / "all.jsonl"], tmp_path / "shards", tokenizer, shard_bytes=1000)
    data = load_data(str(tmp_path / "shards"), 8)
    assert isinstance(data, TextData) and len(data.manifest.shards["train"]) > 3
    guessed = [
        t for s in ("train", "val") for _, targets in data.batches(s, 4) for t in targets[targets != IGNORE].tolist()
    ]
    assert tokenizer.decode(guessed).replace(END_OF_TEXT, "") == "".join(texts), "of a shard only an end is not guessed"
    assert data.text_bytes("train") + data.text_bytes("val") == sum(len(text.encode()) for text in texts)


def test_a_folder_of_shards_is_a_data_set_of_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "to be or not to be, that is the question. " * 90
    (tmp_path / "text.txt").write_text(text)
    tokenizer = BPETokenizer.train(text, 280)
    prepare([tmp_path / "text.txt"], tmp_path / "shards", tokenizer, shard_bytes=500)
    data = load_data(str(tmp_path / "shards"), 8)
    assert isinstance(data, TextData) and ids_of(data, "train") + ids_of(data, "val") == tokenizer.encode(text)
    assert data.spec["name"] == str(tmp_path / "shards") and data.spec["tokenizer"] == "auto"
    monkeypatch.chdir(tmp_path)
    again = load_data("shards/", 8)
    assert again.spec == data.spec | {"name": "shards"}
    (tmp_path / "text.txt").write_text(text.replace("question", "quest ion"))
    prepare([tmp_path / "text.txt"], tmp_path / "other", tokenizer, shard_bytes=500)
    assert load_data("other", 8).spec["sha256"] != data.spec["sha256"]


def test_shards_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = shards_of(tmp_path, [10, 17, 12], [17, 3])
    assert TextData(folder, 16).batch_at(0, 3)[0].tolist() == [list(range(10, 26))] * 3
    with pytest.raises(InputError, match="the train part of .* has 17 tokens in its longest shard, and a row needs"):
        TextData(folder, 17)
    with pytest.raises(InputError, match="tokenizer 'char' is for text files; .* has its own: --tokenizer auto"):
        load_data(str(folder), 16, "char")
    with pytest.raises(InputError, match="has no split 'test'; choose from train, val"):
        list(TextData(folder, 16).batches("test", 4))
    (folder / "train-1.bin").unlink()
    with pytest.raises(InputError, match="train-1.bin' is missing"):
        load_data(str(folder), 16)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty' is a folder; give the path of one text file, or of a folder that"):
        load_data(str(tmp_path / "empty"), 16)


def test_a_text_in_the_cache_has_hashes_too(tmp_path: Path) -> None:
    data = text_data(tmp_path, distinct(500), 8)
    assert verify(data.folder) == 2
    (data.folder / "train-00000.bin").write_bytes(b"\0" * 900)
    with pytest.raises(InputError, match="was changed since it was made. Delete the folder: it is made anew"):
        verify(data.folder)


# What cannot be used.


@pytest.mark.parametrize("tokenizer", ["char", "bpe"])
def test_a_separator_written_in_a_text_ends_a_document(tmp_path: Path, tokenizer: str) -> None:
    """As in the text files of TinyStories: it is one token, stands for no text, and a model learns to stop there."""
    documents = [f"story {i} is about a bird. " * 4 for i in range(40)]
    data = text_data(tmp_path, END_OF_TEXT.join(documents), 16, tokenizer, 280)
    end = data.tokenizer.end_of_text
    ids = [*ids_of(data, "train"), *ids_of(data, "val")]
    assert end is not None and ids.count(end) == 39
    assert data.tokenizer.decode(ids) == END_OF_TEXT.join(documents)
    shards = data.manifest.all_shards()
    assert sum(shard.text_bytes for shard in shards) == sum(map(len, documents))
    assert text_data(tmp_path, "no separator here. " * 40, 16, tokenizer, 280).tokenizer.end_of_text is None


def test_offline_without_shakespeare_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(InputError, match="could not be downloaded .ConnectionError.* put the file there"):
        load_data("shakespeare", 64)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\r\n", "is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "is not a text file: it has zero bytes"),
        ("text in another encoding".encode("utf-16"), "is not a text file: it has zero bytes"),
        ("Gr\u00fc\u00dfe".encode("latin-1"), r"is not UTF-8 text \(line 1, byte 2\); save it as plain text in UTF-8"),
        (b"x", "has 1 characters"),
        (b"xy", "has 1 tokens, and a row needs context_length .* 17: give a longer text$"),
        (b"a text that is shorter than its context", "part of .* tokens, and a row needs context_length"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    for tokenizer in ("char", "bpe"):
        with pytest.raises(InputError, match=message) as raised:
            load_data(str(path), 16, tokenizer, 300)
        assert str(path) in str(raised.value)


def test_the_shortest_text_that_works(tmp_path: Path) -> None:
    assert len(ids_of(text_data(tmp_path, distinct(161), context_length=16), "val")) == 17
    with pytest.raises(InputError, match="the val part of .* has 16 tokens, and a row needs context_length . 1 = 17"):
        text_data(tmp_path, distinct(160), context_length=16)


@pytest.mark.parametrize("name", ["storys", "no/such/file.txt", "", "x" * 5000])
def test_a_missing_file_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError, match=r"no data set and no file|cannot be read|is a folder"):
        load_data(name, 16)


def test_a_folder_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder; give the path of one text file"):
        read_text(tmp_path)
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="no file called"):
        read_text(tmp_path / "file" / "inside")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbid)
    with pytest.raises(InputError, match="secret.txt' cannot be read .Permission denied"):
        read_text(tmp_path / "secret.txt")


def test_values_out_of_range_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="context_length is 0; it must be at least 1"):
        text_data(tmp_path, distinct(100), 0)
    with pytest.raises(InputError, match="vocab_size is 65; byte pairs need at least 256"):
        text_data(tmp_path, distinct(100), 8, "bpe", 65)
    with pytest.raises(InputError, match="'char' is for text files"):
        load_data("stories", 192, "char")
    with pytest.raises(InputError, match="has no split 'test'; choose from train, val"):
        list(text_data(tmp_path, distinct(100), 8).batches("test", 4))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file")
    monkeypatch.setenv("MINIGPT_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(InputError, match="could not be written .* set MINIGPT_CACHE to another folder"):
        text_data(tmp_path, distinct(100), 8)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, cache_folder: Path) -> None:
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may grow larger: what a full disk does
    try:
        with pytest.raises(InputError, match="could not be written .*make room"):
            prepare_text({"name": "long"}, distinct(500) * 200, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache_folder.iterdir()) == []
    prepare_text({"name": "long"}, distinct(500) * 200, None)
