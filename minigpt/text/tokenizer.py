"""Text to token ids and back: one id per character, or byte-pair encoding (BPE).

The algorithm is in `minigpt.text.bpe`. `BPETokenizer` keeps what was learned, and encodes with tiktoken for speed.
"""

import functools
import json
import os
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import Any, Self

import numpy as np
import regex
import tiktoken

from minigpt.config import InputError
from minigpt.text.bpe import GPT2_PATTERN, Pair, encode_word, learn_merges, learn_more_merges, pre_tokenize
from minigpt.text.special_tokens import (
    END_OF_TEXT,
    check_ids,
    check_text,
    number_special_tokens,
    split_special,
    training_parts,
)

GPT2_FILES = ("vocab.bpe", "encoder.json")

PATTERNS = {
    "gpt2": GPT2_PATTERN,
    # A digit is a word of its own, and white space before one ends there, as if the text did.
    "smollm": r"""\p{N}|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+""",
}
"""How models cut a text into words. SmolLM's first takes the digits out, then cuts what is between them as GPT-2."""

FilePath = str | os.PathLike[str]


class CharTokenizer:
    """One id for each distinct character (Unicode code point), in their order; special tokens have the last ids.

    Attributes: `vocab_size`, `characters`, `special_tokens` (name to id), `end_of_text` (id of END_OF_TEXT, or None).
    """

    def __init__(self, characters: str, special_tokens: Sequence[str] = ()) -> None:
        check_text(characters)
        self.characters = characters
        self._ids = {character: i for i, character in enumerate(characters)}
        if len(self._ids) < len(characters):
            raise InputError("a character is listed twice: each has one id. CharTokenizer.train(text) collects them.")
        self.special_tokens = number_special_tokens(special_tokens, len(characters))
        self.end_of_text = self.special_tokens.get(END_OF_TEXT)
        self._tokens = [*characters, *special_tokens]
        self.vocab_size = len(self._tokens)

    @classmethod
    def train(cls, texts: str | Iterable[str], special_tokens: Sequence[str] = ()) -> Self:
        """Collect the characters of one text or many. Raises InputError if there is none."""
        characters = set[str]().union(*training_parts(texts, special_tokens))
        if not characters:
            raise InputError("the training text is empty, so no character gets an id: choose another text.")
        return cls("".join(sorted(characters)), special_tokens)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of a text; with `allow_special`, special tokens in it become their ids.

        Raises InputError for a character that the training text did not have.
        """
        ids: list[int] = []
        position = 0
        for place, part in enumerate(split_special(text, self.special_tokens if allow_special else ())):
            try:
                ids += [self.special_tokens[part]] if place % 2 else [self._ids[character] for character in part]
            except KeyError as problem:
                unknown = problem.args[0]
                raise InputError(
                    f"unknown character {unknown!r} at position {position + part.index(unknown)}: not in the training "
                    "text. Remove it, train on a text that has it, or use BPETokenizer, which knows every character."
                ) from None
            position += len(part)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Raises InputError for an id out of range."""
        return "".join([self._tokens[i] for i in check_ids(ids, self.vocab_size)])

    def contents(self) -> dict[str, Any]:
        """What `save` writes."""
        return {"kind": "char", "special_tokens": self.special_tokens, "characters": self.characters}

    def save(self, path: FilePath) -> None:
        """Write one JSON file; see `save_tokenizer`."""
        save_tokenizer(self, path)


class BPETokenizer:
    """Byte-level BPE. Ids 0 to 255 are the bytes, then come the merges as they were learned, then the special tokens.

    Special tokens that bring their ids may stand between the merges: those learned later (`with_more_merges`) follow.

    It encodes any text (half a surrogate pair is none, see `check_text`), and decode(encode(text)) == text.
    Attributes: `vocab_size`, `merges` (pair of ids to new id, in order), `special_tokens` (name to id), `end_of_text`
    (id of END_OF_TEXT, or None), `alphabet` (the bytes in the order of their ids, which in GPT-2 is not their own),
    `pattern` (one of PATTERNS).
    """

    def __init__(
        self,
        merges: Iterable[Pair],
        special_tokens: Sequence[str] | Mapping[str, int] = (),
        alphabet: bytes = bytes(range(256)),
        pattern: str = GPT2_PATTERN,
    ) -> None:
        if sorted(alphabet) != list(range(256)):
            raise InputError("the alphabet of a byte-level tokenizer has each of the 256 bytes once.")
        self.alphabet, self.pattern = alphabet, pattern
        self._byte_ids = bytes(map(alphabet.index, range(256)))  # for bytes.translate
        merges = list(merges)
        size = 256 + len(merges) + len(special_tokens)
        self.special_tokens = number_special_tokens(special_tokens, 256 + len(merges))
        names = {i: name for name, i in self.special_tokens.items()}
        if len(names) < len(special_tokens) or not all(type(i) is int and 256 <= i < size for i in names):
            raise InputError(f"the ids of special tokens must be different, and from 256 to {size - 1}.")
        self.merges: dict[Pair, int] = {}
        self._tokens = [bytes([byte]) for byte in alphabet]
        self._tokens += [names.get(i, "").encode() for i in range(256, size)]
        for new_id, (left, right) in zip((i for i in range(256, size) if i not in names), merges, strict=True):
            if not all(0 <= i < new_id and i not in names for i in (left, right)):
                raise InputError(
                    f"merge of {left} and {right} into {new_id}: it may only use ids 0 to {new_id - 1}, and no special "
                    "token."
                )
            token = self._tokens[left] + self._tokens[right]
            # Holds for all merges learned from text. Where it does not, tiktoken, which sees only bytes, would differ.
            if self._encode_word(token) != [left, right]:
                raise InputError(f"merge of {left} and {right} into {new_id}: earlier merges never leave these two.")
            self.merges[left, right] = new_id
            self._tokens[new_id] = token
        self.end_of_text = self.special_tokens.get(END_OF_TEXT)
        self.vocab_size = len(self._tokens)
        self._encoding: tiktoken.Encoding | None = None

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = (END_OF_TEXT,)) -> Self:
        """Learn merges from one text or many until there are `vocab_size` ids, bytes and special tokens included.

        A small text may run out of pairs. Then training stops early, and the tokenizer's `vocab_size` is smaller. No
        merge reaches over the end of a word, a special token or a text. Raises InputError for a `vocab_size` that
        is too small, or above 1,048,576 (`learn_merges` needs a character for each id).
        """
        smallest = 256 + len(number_special_tokens(special_tokens, 256))
        if vocab_size < smallest:
            raise InputError(
                f"vocab_size is {vocab_size}, but bytes and special tokens alone need {smallest}: raise it."
            )
        if vocab_size > 2**20:
            raise InputError(f"vocab_size is {vocab_size}; it must be at most {2**20:,}")
        word_counts: Counter[str] = Counter()
        for part in training_parts(texts, special_tokens):
            word_counts.update(pre_tokenize(part))
        return cls(learn_merges(word_counts, vocab_size - smallest), special_tokens)

    def with_more_merges(self, texts: str | Iterable[str], n_merges: int) -> Self:
        """The same tokenizer, and up to `n_merges` more, learned from one text or many as if training had gone on.

        Every id stays what it is; the new ones follow the last, also where that is a special token's. A text that
        holds no new token keeps its ids.
        """
        word_counts: Counter[str] = Counter()
        for part in training_parts(texts, self.special_tokens):
            word_counts.update(regex.findall(self.pattern, part))
        words = [self._encode_word(word.encode()) for word in word_counts]
        learned = learn_more_merges(words, list(word_counts.values()), n_merges, self.vocab_size)
        return type(self)([*self.merges, *learned], self.special_tokens, self.alphabet, self.pattern)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of a text, by tiktoken: fast, and the same as `encode_plain`.

        With `allow_special`, special tokens in the text become their ids. Without, they are text like any other: nobody
        can end a text by typing ``<|endoftext|>``. Raises InputError for half a surrogate pair.
        """
        check_text(text)
        # tiktoken crashes on a million spaces in a row; a run of 100,000 covers at least one of these blocks.
        if any(text[i : i + 50_000].isspace() for i in range(0, len(text) - 49_999, 50_000)):
            return self.encode_plain(text, allow_special=allow_special)
        if allow_special:
            return self.to_tiktoken().encode(text, allowed_special="all")
        return self.to_tiktoken().encode_ordinary(text)

    def encode_plain(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of a text, in plain Python. Arguments and errors as in `encode`."""
        check_text(text)
        ids: list[int] = []
        for place, part in enumerate(split_special(text, self.special_tokens if allow_special else ())):
            if place % 2:
                ids.append(self.special_tokens[part])
            else:
                words = regex.findall(self.pattern, part)
                ids_of = {word: self._encode_word(word.encode()) for word in set(words)}  # each word once
                ids += [i for word in words for i in ids_of[word]]
        return ids

    def _encode_word(self, word: bytes) -> list[int]:
        return encode_word(word.translate(self._byte_ids), self.merges)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8, such as half a character, become U+FFFD. Errors: `decode_bytes`."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids. Raises InputError for an id out of range."""
        return b"".join([self._tokens[i] for i in check_ids(ids, self.vocab_size)])

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one id. Raises InputError if it is out of range."""
        return self.decode_bytes([token_id])

    def to_tiktoken(self) -> tiktoken.Encoding:
        """The same tokenizer as an Encoding of tiktoken, which knows a merge by the bytes it makes."""
        if self._encoding is None:
            ranks = {self._tokens[i]: i for i in (*range(256), *self.merges.values())}
            self._encoding = tiktoken.Encoding(
                "minigpt",
                pat_str=tiktoken_pattern(self.pattern),
                mergeable_ranks=ranks,
                special_tokens=self.special_tokens,
            )
        return self._encoding

    def contents(self) -> dict[str, Any]:
        """What `save` writes: of each merge the two ids and, for human readers, the text of the new token."""
        alphabet = {} if self.alphabet == bytes(range(256)) else {"alphabet": list(self.alphabet)}
        merges = [
            [*pair, self._tokens[i].decode("utf-8", errors="backslashreplace")] for pair, i in self.merges.items()
        ]
        kind = {"kind": "bpe", "pattern": self.pattern} | alphabet
        return kind | {"special_tokens": self.special_tokens, "merges": merges}

    def save(self, path: FilePath) -> None:
        """Write one JSON file, a line for each merge; see `save_tokenizer`."""
        save_tokenizer(self, path)


def gpt2_tokenizer() -> BPETokenizer:
    """GPT-2's own tokenizer, with its own ids, from the two files that tiktoken downloads once (1.5 MB).

    tiktoken knows a merge by the bytes that it makes. Which pair it joins is what the earlier merges leave of them.

    Raises InputError when the files are neither in tiktoken's cache nor can be downloaded.
    """
    try:
        encoding = tiktoken.get_encoding("gpt2")
    except Exception as problem:  # tiktoken lets every kind of network error through
        environment = map(os.environ.get, ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"))
        folder = next(filter(None, environment), os.path.join(tempfile.gettempdir(), "data-gym-cache"))
        urls = [f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{n}" for n in GPT2_FILES]
        raise InputError(
            f"GPT-2's tokenizer is not in tiktoken's cache and could not be downloaded ({type(problem).__name__}). Go "
            "online once, or bring these files; TIKTOKEN_CACHE_DIR names a folder that lasts:"
            + "".join(f"\n  {url} as {os.path.join(folder, sha1(url.encode()).hexdigest())}" for url in urls)
        ) from None
    tokens = [encoding.decode_single_token_bytes(i) for i in range(encoding.eot_token)]
    alphabet = b"".join(tokens[:256])
    byte_ids = bytes(map(alphabet.index, range(256)))
    merges: dict[Pair, int] = {}
    for new_id, token in enumerate(tokens[256:], start=256):
        left, right = encode_word(token.translate(byte_ids), merges)
        merges[left, right] = new_id
    return BPETokenizer(merges, (END_OF_TEXT,), alphabet)


class ForeignTokenizer:
    """A byte-level BPE that somebody else has numbered: special tokens come first, bytes may have no token.

    Ids: first the special tokens, then the bytes of `alphabet`, the merges, and special tokens that were added later.
    Inside is a BPETokenizer with all 256 bytes, in whose ids `merges` and the text are encoded.

    Attributes: `vocab_size`, `special_tokens` (name to id), `end_of_text` (id, or None), `end_of_turn` (name of the
    special token that ends a turn in a chat, or None), `chat_template` (in jinja, or None).
    """

    def __init__(
        self,
        merges: Iterable[Pair],
        first: Sequence[str],
        last: Sequence[str] = (),
        alphabet: bytes = bytes(range(256)),
        *,
        cut: str = "gpt2",
        end_of_text: str | None = END_OF_TEXT,
        end_of_turn: str | None = None,
        chat_template: str | None = None,
    ) -> None:
        if cut not in PATTERNS:
            raise InputError(f"a text is cut by {cut!r}; minigpt knows {', '.join(PATTERNS)}")
        missing = bytes(byte for byte in range(256) if byte not in alphabet)
        self.plain = BPETokenizer(merges, (), alphabet + missing, PATTERNS[cut])
        self.alphabet, self.cut, self.chat_template, self.end_of_turn = alphabet, cut, chat_template, end_of_turn
        self.first, self.last = list(first), list(last)
        n = len(first)
        inner = [*range(len(alphabet)), *range(256, self.plain.vocab_size)]  # of the ids n and on
        self._ids = array("i", [-1]) * self.plain.vocab_size  # of the inside's; -1 for a byte without a token
        for place, i in enumerate(inner, start=n):
            self._ids[i] = place
        number_special_tokens([*first, *last], 0)
        self.special_tokens = number_special_tokens(first, 0) | number_special_tokens(last, n + len(inner))
        self.end_of_text = self.special_tokens.get(end_of_text or "")
        texts = [self.plain.token_bytes(i) for i in inner]
        self._tokens = [*(name.encode() for name in first), *texts, *(name.encode() for name in last)]
        self.vocab_size = len(self._tokens)
        if end_of_turn is not None and end_of_turn not in self.special_tokens:
            raise InputError(f"a turn ends with {end_of_turn!r}, which is no special token of this tokenizer")

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """The ids of a text; with `allow_special`, special tokens in it become their ids, else they are text.

        Raises InputError for half a surrogate pair, and for a byte that has no token.
        """
        check_text(text)
        ids: list[int] = []
        for place, part in enumerate(split_special(text, self.special_tokens if allow_special else ())):
            if place % 2:
                ids.append(self.special_tokens[part])
                continue
            new = [self._ids[i] for i in self.plain.encode(part)]
            if -1 in new:
                wrong = next(c for c in part if not set(c.encode()) <= set(self.alphabet))
                raise InputError(
                    f"the character {wrong!a} has a byte for which this tokenizer has no token: leave it out"
                )
            ids += new
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8, such as half a character, become U+FFFD. Errors: `decode_bytes`."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids. Raises InputError for an id out of range."""
        return b"".join([self._tokens[i] for i in check_ids(ids, self.vocab_size)])

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one id. Raises InputError if it is out of range."""
        return self.decode_bytes([token_id])

    def contents(self) -> dict[str, Any]:
        """What `save` writes."""
        names = {i: name for name, i in self.special_tokens.items()}
        merges = self.plain.contents()["merges"]
        return {
            "kind": "foreign", "cut": self.cut, "alphabet": list(self.alphabet), "first": self.first, "last": self.last,
            "special_tokens": self.special_tokens,
            "end_of_text": None if self.end_of_text is None else names[self.end_of_text],
            "end_of_turn": self.end_of_turn, "chat_template": self.chat_template, "merges": merges,
        }  # fmt: skip

    def save(self, path: FilePath) -> None:
        """Write one JSON file, a line for each merge; see `save_tokenizer`."""
        save_tokenizer(self, path)


Tokenizer = CharTokenizer | BPETokenizer | ForeignTokenizer


@functools.cache
def tiktoken_pattern(pattern: str = GPT2_PATTERN) -> str:
    """A pattern with all letters and numbers spelt out: tiktoken and `regex` know different versions of Unicode."""
    # Unicode has given no letter or number a place above these.
    every_character = np.arange(0x40000, dtype="<u4").tobytes().decode("utf-32-le", errors="surrogatepass")
    for kind in (r"\p{L}", r"\p{N}"):
        ranges = "".join(f"{run[0]}-{run[-1]}" for run in regex.findall(f"{kind}+", every_character))
        pattern = pattern.replace(kind, f"[{ranges}]")
    return pattern


def save_tokenizer(tokenizer: Tokenizer, path: FilePath) -> None:
    """Write one readable JSON file, whole or not at all: an earlier file stays until the new one is complete.

    Raises InputError if it cannot be written.
    """
    text = json.dumps(tokenizer.contents(), ensure_ascii=False, indent=2)
    text = regex.sub(r'\[\n +(\d+),\n +(\d+),\n +(".*")\n +\]', r"[\1, \2, \3]", text)  # a line for each merge
    unfinished = Path(f"{os.fspath(path)}.{os.getpid()}.tmp")
    try:
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(text + "\n", encoding="utf-8", newline="\n")
        os.replace(unfinished, path)
    except OSError as problem:
        raise InputError(f"cannot write {path}: {problem.strerror}. Choose another place.") from problem
    finally:
        with suppress(OSError):  # there is half a file after a failure, and none after success
            unfinished.unlink()


def load_tokenizer(path: FilePath) -> Tokenizer:
    """Read a tokenizer of either kind and verify it.

    Raises InputError if the file is missing, cut short, of no kind we know, or contradicts itself.
    """
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        special_tokens = list(contents["special_tokens"])
        tokenizer: Tokenizer
        if contents["kind"] == "char":
            tokenizer = CharTokenizer(contents["characters"], special_tokens)
        elif contents["kind"] == "foreign":
            merges = [(left, right) for left, right, _ in contents["merges"]]
            tokenizer = ForeignTokenizer(
                merges, contents["first"], contents["last"], bytes(contents["alphabet"]),
                **{name: contents[name] for name in ("cut", "end_of_text", "end_of_turn", "chat_template")},
            )  # fmt: skip
        else:
            merges = [(left, right) for left, right, _ in contents["merges"]]
            tokenizer = BPETokenizer(merges, contents["special_tokens"], bytes(contents.get("alphabet", range(256))))
        for key, value in tokenizer.contents().items():  # the ids of special tokens, the texts of merges, the pattern
            if contents[key] != value:
                raise InputError(f"its {key!r} is not what the rest of it says")
    except OSError as problem:
        raise InputError(f"cannot read the tokenizer {path}: {problem.strerror}. Check the path.") from problem
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise InputError(f"{path} is not a tokenizer as minigpt saves it: {problem}. Restore it.") from problem
    return tokenizer
