"""Text files as they come: which kind one is, where it may be cut, and where in it something stands.

A file is one long text or, by its suffix, documents: JSON lines, an object with a "text" in each. What looks like the
other kind is refused, because a model would learn the wrong thing without a word.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from minigpt.config import InputError
from minigpt.text.tokenizer import END_OF_TEXT

BLOCK = 2**20
"""Bytes of text that are read and tokenized at a time."""

STEP = 2**16
"""Bytes that are searched for a cut at a time."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors put in front of UTF-8; no part of the text."""

# Before the last white space of a run GPT-2's pattern ends a word, whatever stands further left or right. Not so at the
# end of the text, where the run might go on, nor before a special token. White space is Unicode's White_Space in UTF-8.
SPACE = rb"(?:[\t-\r ]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)"
CHARACTER = rb"(?:[\x00-\x7f]|[\xc0-\xdf].|[\xe0-\xef]..|[\xf0-\xff]...)"
SPECIAL = re.escape(END_OF_TEXT.encode())
TEXT_CUT = re.compile(rb"(?s)(?=%b(?!%b|%b)%b)" % (SPACE, SPACE, SPECIAL, CHARACTER))
LINE_CUT = re.compile(rb"\n")
SEEN = 3 + len(END_OF_TEXT)  # bytes that TEXT_CUT looks at, at most

Encode = Callable[[str], list[int]]


# Which kind.


def is_documents(source: Path) -> bool:
    """Whether a source is JSON lines, each with a document as "text", and not one long text."""
    return source.suffix.lower() in (".jsonl", ".ndjson", ".json")


def _looks_like_documents(beginning: bytes) -> bool:
    """Whether a file begins with a line that is a JSON object with a "text", cut off or not."""
    line, end, _ = beginning.removeprefix(BYTE_ORDER_MARK).partition(b"\n")
    if not end:  # a document may be longer than what was read
        return re.match(rb'\s*\{\s*"', line) is not None and b'"text"' in line
    with suppress(ValueError, RecursionError):
        return "text" in json.loads(line) and line.lstrip().startswith(b"{")
    return False


def check_beginning(source: Path, beginning: bytes) -> None:
    """Look at the first 100,000 bytes of a file.

    Raises:
        InputError: if it is not text, an array of JSON, or documents under the name of a text.
    """
    name = str(source)
    text = beginning.removeprefix(BYTE_ORDER_MARK)
    if b"\0" in text:
        raise InputError(f"{name!r} is not a text file: it has zero bytes; save it as plain text in UTF-8")
    if re.match(rb"\s*\[\s*\{" if is_documents(source) else rb'\s*\[\s*\{\s*"', text):
        lines = str(source.with_suffix(".jsonl" if source.suffix != ".jsonl" else ".lines.jsonl"))
        raise InputError(
            f"{name!r} is one array of JSON, which cannot be read in parts. Write each document on a line of its own:\n"
            f"  python -c \"import json; open(r'{lines}', 'w').writelines(json.dumps(d) + '\\n' for d in "
            f"json.load(open(r'{name}', encoding='utf-8-sig')))\""
        )
    if not is_documents(source) and _looks_like_documents(text):
        raise InputError(
            f'{name!r} begins with a JSON object that has a "text", so a model would learn to write JSON. Are these '
            "documents? Then call the file .jsonl and give it to `minigpt data prepare`. If it is one text, put an "
            "empty line before it"
        )


# Where a source may be cut.


def measure(source: Path) -> tuple[int, int]:
    """Where the text of a source begins, and how many bytes the source has.

    Raises:
        InputError: when it cannot be read or is empty, or as `check_beginning`.
    """
    try:
        with source.open("rb") as file:
            beginning = file.read(100_000)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise InputError(
            f"{str(source)!r} cannot be read ({error.strerror}); give the paths of .txt or .jsonl files in UTF-8"
        ) from None
    if not beginning:
        raise InputError(f"{str(source)!r} is empty; leave it out")
    check_beginning(source, beginning)
    return len(BYTE_ORDER_MARK) * beginning.startswith(BYTE_ORDER_MARK), size


def cut(source: Path, file: BinaryIO, start: int, end: int) -> int:
    """The first place from `start` on where the source may be cut, or `end` if there is none before."""
    documents = is_documents(source)
    file.seek(start)
    block = b""  # what was read and may still hold a cut, from `start` on
    while start < end:
        new = file.read(STEP)
        block += new
        match = (LINE_CUT if documents else TEXT_CUT).search(block)
        if match and (documents or not new or len(block) - match.start() >= SEEN):
            return min(start + match.end(), end)
        if not new:
            break
        start += max(0, len(block) - SEEN)
        block = block[-SEEN:]  # where a cut may begin that ends in what comes next
    return end


def pieces(source: Path, file: BinaryIO, start: int, end: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a part of a source into equal pieces of about `most` bytes or less, never of more than twice that.

    Raises:
        InputError: where there is no place to cut.
    """
    parts = -(-(end - start) // most)
    begin = start
    for part in range(1, parts + 1):
        place = max(begin, start + (end - start) * part // parts)
        limit = min(place + most, end)
        stop = cut(source, file, place, limit)
        if stop == limit < end:
            raise InputError(
                f"{str(source)!r} cannot be cut between bytes {place} and {limit}: there is no "
                f"{'end of a line' if is_documents(source) else 'white space'}. Give a larger --shard-mb"
            )
        if stop > begin:
            yield begin, stop
        begin = stop


def read_blocks(source: Path, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """A piece of a source as blocks of about BLOCK bytes, each with its place, cut like the pieces themselves."""
    with source.open("rb") as file:
        while start < end:
            stop = cut(source, file, min(start + BLOCK, end), end)
            file.seek(start)
            block = file.read(stop - start)
            if len(block) < stop - start:
                raise InputError(f"{str(source)!r} has become shorter while it was read: bring the old text back")
            yield start, block
            start = stop


# What stands in it.


def where(source: Path, byte: int) -> str:
    """A place that an editor can go to. The line is counted from the beginning, which is only done for a message."""
    line, left = 1, byte
    with suppress(OSError), source.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK, left))):
            line += block.count(b"\n")
            left -= len(block)
    return f"{str(source)!r}, line {line} (byte {byte})"


def json_of(line: bytes) -> Any:
    """What a line of JSON says. Raises InputError with the reason why it says nothing."""
    text = _line(line)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this line is not JSON ({error})") from None


Found = TypeVar("Found")


def use_lines(path: Path, use: Callable[[bytes], Found]) -> Iterator[Found | InputError]:
    """What `use` makes of each line of a file that is not empty, or what is wrong with it, with its number.

    Args:
        path: the file, in UTF-8, with or without a byte-order mark.
        use: raises InputError for a line that it cannot use.

    Raises:
        InputError: when the file cannot be read.
    """
    try:
        lines = path.read_bytes().removeprefix(BYTE_ORDER_MARK).split(b"\n")
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror}); give the path of a file of JSON lines"
        ) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield use(line)
        except InputError as error:
            yield InputError(f"{str(path)!r}, line {number}: {str(error).rstrip('.')}")


def read_lines(
    path: Path, use: Callable[[bytes], Found], *, needs: tuple[str, str], skip_bad: bool = False
) -> tuple[list[Found], list[str]]:
    """All that `use` makes of the lines of a file.

    Args:
        path: of the file.
        use: as for `use_lines`.
        needs: what at least one line must hold, and a line that does.
        skip_bad: leave out lines that cannot be used; else the first is refused.

    Returns:
        what was made, and for each line that was left out one message, with its number.

    Raises:
        InputError: when the file cannot be read or has nothing that is needed, and for a bad line, with its number.
    """
    found: list[Found] = []
    left_out: list[str] = []
    for made in use_lines(path, use):
        if not isinstance(made, InputError):
            found.append(made)
        elif skip_bad:
            left_out.append(str(made))
        else:
            raise InputError(f"{made}. Mend it, or leave every such line out with --skip-bad, which counts them")
    if not found:
        why = f"{len(left_out)} lines were left out; {left_out[0]}. " if left_out else ""
        raise InputError(f"{str(path)!r} has no {needs[0]}. {why}A line for each is needed: {needs[1]}")
    return found, left_out


def _document(line: bytes) -> str:
    """The text of a line of JSON. Raises InputError with the reason why there is none."""
    document = json_of(line)
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise InputError('this line is no JSON object with a string called "text"')
    text: str = document["text"]
    return text


def _line(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} of it is not UTF-8; save it as plain UTF-8") from None


def texts_in(
    source: Path, place: int, block: bytes, encode: Encode, left_out: list[int] | None = None
) -> Iterator[tuple[str, list[int]]]:
    """What stands in a block, the whole text or each document, with its ids.

    Args:
        source: the file.
        place: where the block begins in it.
        block: its bytes.
        encode: makes the ids.
        left_out: receives the places of documents and lines that cannot be used; None refuses them.

    Raises:
        InputError: naming the line of what is no UTF-8, no document, or nothing that `encode` can take.
    """
    documents = is_documents(source)
    if not documents:
        with suppress(InputError):  # of a text with a fault, which of its lines has it?
            text = _line(block)
            ids = encode(text)
            yield text, ids
            return
    good = []
    for line in block.split(b"\n") if documents else block.splitlines(keepends=True):
        try:
            if documents and line.strip():
                text = _document(line)
                yield text, encode(text)
            elif not documents:
                encode(_line(line))
                good.append(line)
        except InputError as error:
            if left_out is None:
                what = "document" if documents else "line"
                raise InputError(
                    f"{where(source, place)}: {str(error).rstrip('.')}. Mend it, or leave every such {what} out with "
                    "--skip-bad, which counts them"
                ) from None
            left_out.append(place)
        place += len(line) + documents
    if good:
        text = b"".join(good).decode()
        yield text, encode(text)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"there is no data set and no file called {str(path)!r}; named data sets: stories, shakespeare. "
            "`minigpt data prepare FILE... --out FOLDER` makes token shards of large texts (FineWeb-Edu's .jsonl)"
        ) from None
    except IsADirectoryError:
        raise InputError(f"{str(path)!r} is a folder; give the path of one text file") from None
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read ({error.strerror}); give the path of a text file") from None
    if not content.removeprefix(BYTE_ORDER_MARK).strip():
        raise InputError(f"{str(path)!r} is empty; a model needs at least a few thousand characters to learn from")
    check_beginning(path, content[:100_000])
    return content.removeprefix(BYTE_ORDER_MARK)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte-order mark.

    Raises:
        InputError: for a file that is missing, a folder, empty, not text, or documents.
    """
    content = _content(path)
    if is_documents(path):
        raise InputError(
            f"{str(path)!r} has documents, a JSON object in each line, and is no single text: first "
            f'`minigpt data prepare "{path}" --out tokens`, then --data tokens'
        )
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{str(path)!r} is not UTF-8 text (line {line}, byte {error.start}); save it as plain text in UTF-8"
        ) from None


def read_texts(path: Path) -> list[str]:
    """The documents of a file, or its one text.

    Raises:
        InputError: as `read_text`, and naming the line that is no document.
    """
    if not is_documents(path):
        return [read_text(path)]
    content = _content(path)
    offset = path.stat().st_size - len(content)
    return [text for text, _ in texts_in(path, offset, content, lambda text: [])]
