"""A GGUF file as it stands on the disk: named values, then named tensors, whose bytes stay where they are.

The format is llama.cpp's (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). The `gguf` library's own reader
makes an object for each of 98,000 strings in SmolLM2's file, which takes 20 times as long as this one, and does not
notice that a file ends within an array. What types there are, and how large their blocks, the library tells.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.config import InputError

MAGIC = b"GGUF"
FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""Types of single values, by number, as `struct` writes them."""
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class RawTensor:
    """A tensor of the file: its shape as torch has it, the kind of its blocks, and its bytes, one row each."""

    shape: tuple[int, ...]
    kind: str
    raw: np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class GGUFFile:
    """What a file holds."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, RawTensor]


class _Cursor:
    """A place in the bytes that moves on as they are read, and knows where they end."""

    def __init__(self, data: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        self.data, self.at = memoryview(data), 0  # type: ignore[arg-type]

    def need(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise InputError(
                f"it is cut short, or damaged: {count:,} bytes should follow byte {self.at:,}, and it ends at "
                f"{len(self.data):,}"
            )

    def one(self, form: str) -> Any:
        size = struct.calcsize("<" + form)
        self.need(size)
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return value

    def string(self) -> str:
        length = self.one("Q")
        self.need(length)
        text = bytes(self.data[self.at : self.at + length])
        self.at += length
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise InputError(f"it is damaged: the text before byte {self.at:,} is not UTF-8") from None

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind in FORMATS:
            return self.one(FORMATS[kind])
        if kind != ARRAY:
            raise InputError(f"it is damaged: a value before byte {self.at:,} has the unknown type {kind}")
        kind, count = self.one("I"), self.one("Q")
        if kind == STRING:
            self.need(8 * count)  # told before so long a list is begun
            return [self.string() for _ in range(count)]
        if kind not in FORMATS:
            raise InputError(f"a list before byte {self.at:,} holds the type {kind}, which minigpt does not read")
        size = struct.calcsize("<" + FORMATS[kind])
        self.need(count * size)
        values = struct.unpack_from(f"<{count}{FORMATS[kind]}", self.data, self.at)
        self.at += count * size
        return list(values)


def read_gguf(path: str | Path) -> GGUFFile:
    """What stands in a file. Of the tensors nothing is read yet: their bytes are mapped into memory.

    Raises:
        InputError: for a file that is missing, cut short, damaged, or no GGUF of version 2 or 3.
    """
    path = Path(path)
    try:
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
        return _read(path, data)
    except OSError as problem:
        raise InputError(f"{str(path)!r} cannot be read ({problem.strerror or problem})") from None
    except InputError as problem:
        raise InputError(f"{str(path)!r} cannot be used: {problem}") from None


def _read(path: Path, data: np.ndarray[Any, np.dtype[np.uint8]]) -> GGUFFile:
    import gguf

    cursor = _Cursor(data)
    if bytes(data[:4]) != MAGIC:
        raise InputError("it does not begin with GGUF, as such files do")
    cursor.at = 4
    version = cursor.one("I")
    if version not in (2, 3):
        raise InputError(f"it is GGUF of version {version}, and minigpt reads 2 and 3, little-endian")
    n_tensors, n_values = cursor.one("Q"), cursor.one("Q")
    values: dict[str, Any] = {}
    for _ in range(n_values):
        name = cursor.string()
        if name in values:
            raise InputError(f"it is damaged: it has the value {name!r} more than once")
        values[name] = cursor.value(cursor.one("I"))
    found: list[tuple[str, list[int], str, int, int]] = []
    for _ in range(n_tensors):
        name, n_dimensions = cursor.string(), cursor.one("I")
        cursor.need(8 * n_dimensions)
        sizes = [cursor.one("Q") for _ in range(n_dimensions)]
        number, offset = cursor.one("I"), cursor.one("Q")
        try:
            kind = gguf.GGMLQuantizationType(number)
        except ValueError:
            raise InputError(f"tensor {name!r} has blocks of the unknown type {number}") from None
        numbers, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        if not 1 <= n_dimensions <= 4 or min(sizes) < 1 or sizes[0] % numbers:
            raise InputError(
                f"tensor {name!r} has the sizes {sizes}: they contradict blocks of {numbers} numbers ({kind.name})"
            )
        found.append((name, sizes, kind.name, offset, sizes[0] // numbers * n_bytes))
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise InputError(f"general.alignment is {alignment!r}; it must be a power of two")
    start = -(-cursor.at // alignment) * alignment
    tensors: dict[str, RawTensor] = {}
    for name, sizes, kind_name, offset, row in found:
        rows = math.prod(sizes[1:])
        cursor.at = min(start + offset, len(data))
        try:
            cursor.need(rows * row + max(0, start + offset - len(data)))
        except InputError as problem:
            raise InputError(f"{problem}, within tensor {name!r}") from None
        if name in tensors:
            raise InputError(f"it is damaged: it has the tensor {name!r} more than once")
        raw = data[start + offset : start + offset + rows * row].reshape(rows, row)
        tensors[name] = RawTensor(tuple(reversed(sizes)), kind_name, raw)
    return GGUFFile(path, values, tensors)
