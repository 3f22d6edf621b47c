"""Blocks of 8 and 4 bits decoded by hand, against the gguf library and against paper."""

import struct

import gguf
import numpy as np
import pytest

from minigpt.config import InputError
from minigpt.weights.blocks import decode, decode_q4_1, decode_q8_0


def raw(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)[None].copy()


def test_a_block_of_8_bits_on_paper() -> None:
    numbers = [0, 1, -1, 127, -127, *[2] * 27]
    block = struct.pack("<e32b", 0.5, *numbers)
    assert decode_q8_0(raw(block)).tolist() == [[0.5 * number for number in numbers]]


def test_a_block_of_4_bits_on_paper() -> None:
    """Byte i holds number i below and number i + 16 above: 0x21 is 1 and, sixteen further, 2."""
    block = struct.pack("<2e16B", 0.25, -1.0, 0x21, 0xF0, *[0x88] * 14)
    low, high = [1, 0, *[8] * 14], [2, 15, *[8] * 14]
    assert decode_q4_1(raw(block)).tolist() == [[0.25 * number - 1 for number in low + high]]


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "Q4_0", "Q5_1", "F16", "BF16", "F32"])
def test_every_kind_is_as_the_library_decodes_it(kind: str) -> None:
    numbers = np.random.default_rng(0).normal(0, 3, (6, 96)).astype(np.float32)
    type_ = gguf.GGMLQuantizationType[kind]
    blocks = gguf.quants.quantize(numbers, type_)
    found = decode(np.ascontiguousarray(blocks).view(np.uint8).reshape(6, -1), kind)
    assert found.dtype == np.float32 and found.shape == numbers.shape
    np.testing.assert_array_equal(found, gguf.quants.dequantize(blocks, type_))
    assert np.abs(found - numbers).max() < {"Q4_0": 2.0, "Q4_1": 1.0}.get(kind, 0.5)


def test_random_bytes_are_numbers_to_both() -> None:
    bytes_ = np.random.default_rng(1).integers(0, 256, (50, 20), np.uint8)
    bytes_[:, [1, 3]] &= 0x3B  # scales below 1, and no infinity
    np.testing.assert_array_equal(
        decode(bytes_, "Q4_1"), gguf.quants.dequantize(bytes_, gguf.GGMLQuantizationType.Q4_1)
    )


@pytest.mark.parametrize(("kind", "n_bytes"), [("Q8_0", 34), ("Q4_1", 20)])
def test_a_scale_that_is_no_number_is_told(kind: str, n_bytes: int) -> None:
    blocks = np.zeros((3, n_bytes), np.uint8)
    blocks[1, 1] = 0x7C  # infinity
    with pytest.raises(InputError, match="the scale of a block is infinite or not a number"):
        decode(blocks, kind)


def test_a_kind_that_nobody_decodes_is_named() -> None:
    with pytest.raises(InputError, match=r"kind Q8_K are not known here; convert the file to Q8_0, Q4_1 or F32"):
        decode(np.zeros((1, 292), np.uint8), "Q8_K")
