"""The reader of GGUF files, against the gguf library's, and with every kind of damage that it must survive."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from minigpt.config import InputError
from minigpt.weights.gguf_file import read_gguf
from tests.weights.llama_files import write_gguf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "small.gguf")


def test_it_reads_what_the_library_reads(file: Path) -> None:
    theirs, ours = gguf.GGUFReader(file), read_gguf(file)
    values = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert ours.values == values and len(values) > 15
    assert [*ours.tensors] == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        found = ours.tensors[tensor.name]
        assert found.shape == tuple(reversed(tensor.shape.tolist())) and found.kind == tensor.tensor_type.name
        assert found.raw.tobytes() == tensor.data.tobytes()


def test_every_type_of_value_is_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "x")
    expected = {
        "uint8": 200, "int8": -5, "uint16": 60000, "int16": -300, "uint32": 2**32 - 1, "int32": -70000,
        "uint64": 2**63, "int64": -(2**40), "float32": 0.5, "float64": 0.1, "bool": True, "string": "ä",
    }  # fmt: skip
    for kind, value in expected.items():
        getattr(writer, f"add_{kind}")(f"a.{kind}", value)
    writer.add_array("a.list", [1.5, -2.5])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_gguf(tmp_path / "v.gguf").values
    assert {name: found[f"a.{name}"] for name in expected} == expected and found["a.list"] == [1.5, -2.5]


def header(n_tensors: int = 0, n_values: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_values)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def tensor(name: bytes, sizes: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


A_LIST_WITHOUT_END = header(0, 1) + string(b"a") + struct.pack("<IIQ", 9, 4, 2**63)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "does not begin with GGUF"),
        (b"PK\3\4" + bytes(50), "does not begin with GGUF"),
        (b"GGUF", "is cut short, or damaged: 4 bytes should follow byte 4"),
        (header(version=1), "version 1, and minigpt reads 2 and 3"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "little-endian"),
        (header(0, 2**60), "cut short"),
        (header(2**60, 0), "cut short"),
        (header(0, 1) + struct.pack("<Q", 2**62) + b"abc", "cut short"),
        (A_LIST_WITHOUT_END, "36,893,488,147,419,103,232 bytes should follow"),
        (header(0, 1) + string(b"a") + struct.pack("<IIQ", 9, 8, 2**62), "cut short"),
        (header(0, 1) + string(b"a") + struct.pack("<IIQ", 9, 9, 1) + bytes(40), "holds the type 9"),
        (header(0, 1) + string(b"a") + struct.pack("<I", 77), "unknown type 77"),
        (header(0, 1) + string(b"\xff\xfe") + bytes(8), "is not UTF-8"),
        (header(0, 2) + 2 * (string(b"a") + struct.pack("<IB", 0, 7)), "has the value 'a' more than once"),
        (header(1) + tensor(b"w", [4], kind=999), "tensor 'w' has blocks of the unknown type 999"),
        (header(1) + tensor(b"w", [33, 2], kind=8) + bytes(99), r"sizes \[33, 2\]: they contradict blocks of 32"),
        (header(1) + tensor(b"w", [0, 2]) + bytes(99), r"sizes \[0, 2\]"),
        (header(1) + tensor(b"w", [2] * 5) + bytes(999), r"sizes \[2, 2, 2, 2, 2\]"),
        (header(1) + tensor(b"w", [2**40, 2**40]) + bytes(99), "cut short.* within tensor 'w'"),
        (header(1) + tensor(b"w", [4], offset=2**50) + bytes(99), "cut short.* within tensor 'w'"),
        (header(2) + 2 * tensor(b"w", [4]) + bytes(99), "has the tensor 'w' more than once"),
        (
            header(0, 1) + string(b"general.alignment") + struct.pack("<II", 4, 24),
            "alignment is 24; it must be a power",
        ),
    ],
)
def test_damage_is_one_message(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(InputError, match=said) as problem:
        read_gguf(tmp_path / "x.gguf")
    assert "x.gguf" in str(problem.value)


def test_cut_anywhere_it_says_so(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for place in [*range(4, 5000, 371), *np.linspace(5000, len(whole) - 1, 30, dtype=int).tolist()]:
        (tmp_path / "cut.gguf").write_bytes(whole[:place])
        with pytest.raises(InputError, match=r"cut\.gguf.*cut short"):
            read_gguf(tmp_path / "cut.gguf")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no.gguf", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_gguf(path)
