"""Weights in blocks of 32, each with a scale of its own: how GGUF files hold matrices in 8 and 4 bits.

Written out by hand for the two kinds in the file of SmolLM2; the `gguf` library knows the others. A block's scale is
a float16. Per-block scales keep one large number from taking the digits of a whole row (Dettmers et al. 2022,
«8-bit Optimizers via Block-wise Quantization», section 2.1).
"""

from typing import Any

import numpy as np

from minigpt.config import InputError

BLOCK = 32
"""Numbers in a block."""

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]


def _scales(raw: Bytes) -> Floats:
    """The float16 numbers at the beginning of each block. Raises InputError where one is infinite or not a number."""
    scales = raw.copy().view("<f2").astype(np.float32)
    if not np.isfinite(scales).all():
        raise InputError("the scale of a block is infinite or not a number: the file is damaged, fetch it again")
    return scales


def decode_q8_0(blocks: Bytes) -> Floats:
    """Q8_0, (n, 34) bytes to (n, 32) numbers: a scale d, then 32 whole numbers q from -127 to 127. Each is d q."""
    d = _scales(blocks[:, :2])  # (n, 1)
    numbers = blocks[:, 2:].view(np.int8).astype(np.float32)
    numbers *= d
    return numbers


def decode_q4_1(blocks: Bytes) -> Floats:
    """Q4_1, (n, 20) bytes to (n, 32) numbers: a scale d, a smallest number m, 32 whole numbers q from 0 to 15.

    Each is d q + m. Byte i of the sixteen holds number i in its lower half, number i + 16 in its upper half.
    """
    scales = _scales(blocks[:, :4])  # (n, 2)
    numbers = np.empty((len(blocks), BLOCK), np.float32)
    numbers[:, :16] = blocks[:, 4:] & 15
    numbers[:, 16:] = blocks[:, 4:] >> 4
    numbers *= scales[:, :1]
    numbers += scales[:, 1:]
    return numbers


BY_HAND = {"Q8_0": (34, decode_q8_0), "Q4_1": (20, decode_q4_1)}
"""For each kind, the bytes of a block and who decodes it."""


def decode(raw: Bytes, kind: str) -> Floats:
    """Rows of bytes (d_out, bytes of a row) as numbers (d_out, d_in), in float32.

    Args:
        raw: as in the file.
        kind: as the `gguf` library calls it: F32, F16, BF16, Q8_0, Q4_1, Q4_K, …

    Raises:
        InputError: for a kind that neither we nor the library can decode, or a scale that is not finite.
    """
    rows = len(raw)
    if kind in BY_HAND:
        n_bytes, decoder = BY_HAND[kind]
        return decoder(raw.reshape(-1, n_bytes)).reshape(rows, -1)
    if kind in ("F32", "F16", "F64"):
        return raw.view({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[kind]).astype(np.float32)
    import gguf

    try:
        with np.errstate(invalid="ignore", over="ignore"):
            numbers: Floats = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])
    except (NotImplementedError, KeyError):
        raise InputError(
            f"blocks of the kind {kind} are not known here; convert the file to {', '.join(BY_HAND)} or F32 with "
            "llama.cpp's llama-quantize"
        ) from None
    return numbers.astype(np.float32, copy=False)
