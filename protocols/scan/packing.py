"""Residues and bits in the form in which they travel and rest.

A polynomial of n residues mod p < 2^45 is a (45, n/64) array of uint64: seen as 64 rows of n/64 columns, column c of
the polynomial is the bit string of words [:, c], row after row, least significant bit first. So every shift is the same
for a whole row, and packing runs in vector registers. A plaintext word of 50 bits becomes 50 bit planes of n/64 words
the same way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from protocols.ledger import MessageError, as_array
from protocols.scan.parameters import PRIMES, RESIDUE_BITS
from protocols.scan.vectors import LINE, prefetch

Words = NDArray[np.uint64]
_MASK = np.uint64((1 << RESIDUE_BITS) - 1)


_U1, _U45, _U63, _U64, _SIX, _LINE = (np.uint64(value) for value in (1, 45, 63, 64, 6, LINE))
_WHOLE = np.uint64(64 - RESIDUE_BITS)  # a residue that starts at most this far into a word lies in it whole


@njit("void(f8[:,::1], u8[:,:,:,::1], i8, i8, i8)", cache=True, nogil=True, error_model="numpy")
def pack_rows(residues: Any, words: Any, part: int, first: int, p: int) -> None:
    """Pack centred residues (count, rows * columns): rows first, first + 1, ... of polynomial `part` of each.

    words: (count, parts, 45, columns); whatever stood there is overwritten, if the rows before `first` were packed
    before. Unsigned indices keep checks for wrap-around out of the inner loops, so that they vectorise.
    """
    columns, part_ = np.uint64(words.shape[3]), np.uint64(part)
    for poly in range(len(residues)):
        for r in range(residues.shape[1] // words.shape[3]):
            bit = _U45 * np.uint64(first + r)
            word, shift, start = bit >> _SIX, bit & _U63, np.uint64(r) * columns
            if shift == 0:
                for c in range(columns):
                    value = np.int64(residues[poly, start + c])
                    words[poly, part_, word, c] = np.uint64(value + (p & (value >> 63)))
            elif shift <= _WHOLE:
                for c in range(columns):
                    value = np.int64(residues[poly, start + c])
                    words[poly, part_, word, c] |= np.uint64(value + (p & (value >> 63))) << shift
            else:
                back = _U64 - shift
                for c in range(columns):
                    value = np.int64(residues[poly, start + c])
                    canonical = np.uint64(value + (p & (value >> 63)))
                    words[poly, part_, word, c] |= canonical << shift
                    words[poly, part_, word + _U1, c] = canonical >> back


def readonly(dimensions: int) -> types.Array:
    """The numba type of a contiguous uint64 array that came as bytes; writable ones fit it too."""
    return types.Array(types.uint64, dimensions, "C", readonly=True)


@njit(
    types.boolean(readonly(4), types.float64[:, ::1], types.int64, types.int64, types.int64, types.int64),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def unpack_rows(words: Any, residues: Any, part: int, first: int, p: int, ahead: int) -> bool:
    """Undo `pack_rows`. Whether every residue is below p.

    ahead: how many words further on to fetch meanwhile what comes later; 0 where that follows in memory.
    """
    columns, part_ = np.uint64(words.shape[3]), np.uint64(part)
    half = p >> 1
    invalid = np.int64(0)
    flat, height = words.reshape(-1), np.uint64(words.shape[2])
    for poly in range(len(residues)):
        later = (np.uint64(poly) * np.uint64(words.shape[1]) + part_) * height * columns + np.uint64(ahead)
        for r in range(residues.shape[1] // words.shape[3]):
            bit = _U45 * np.uint64(first + r)
            word, shift, start = bit >> _SIX, bit & _U63, np.uint64(r) * columns
            if ahead:
                for c in range(np.uint64(0), columns, _LINE):
                    prefetch(flat, later + word * columns + c)
            if shift <= _WHOLE:
                for c in range(columns):
                    value = np.int64((words[poly, part_, word, c] >> shift) & _MASK)
                    invalid |= p - 1 - value
                    residues[poly, start + c] = np.float64(value - (p & ((half - value) >> 63)))
            else:
                back = _U64 - shift
                for c in range(columns):
                    joined = (words[poly, part_, word, c] >> shift) | (words[poly, part_, word + _U1, c] << back)
                    value = np.int64(joined & _MASK)
                    invalid |= p - 1 - value
                    residues[poly, start + c] = np.float64(value - (p & ((half - value) >> 63)))
    return bool(invalid >= 0)


def pack(residues: NDArray[np.float64], out: Words | None = None) -> Words:
    """(2, ..., n) float64 residues mod p0 and p1, |x| < p, to (2, ..., 45, n/64) uint64, canonical in [0, p).

    out: contiguous, written and returned if given.
    """
    *shape, n = residues.shape
    words = np.empty((*shape, RESIDUE_BITS, n // 64), dtype=np.uint64) if out is None else out
    for index, p in enumerate(PRIMES):
        rows = np.ascontiguousarray(residues[index]).reshape(-1, n)
        pack_rows(rows, words[index].reshape(-1, 1, RESIDUE_BITS, n // 64), 0, 0, p)
    return words


def unpack(words: Words, field: str) -> NDArray[np.float64]:
    """(2, ..., 45, n/64) uint64 to (2, ..., n) centred float64. Raises MessageError for a residue >= p."""
    *shape, _, columns = words.shape
    residues = np.empty((*shape, 64 * columns))
    for index, p in enumerate(PRIMES):
        parts = np.ascontiguousarray(words[index]).reshape(-1, 1, RESIDUE_BITS, columns)
        if not unpack_rows(parts, residues[index].reshape(-1, 64 * columns), 0, 0, p, 0):
            raise MessageError(f"{field}: a residue is not below its prime")
    return residues


@njit(types.boolean(readonly(4), types.int64, types.int64), cache=True, nogil=True, error_model="numpy")
def _below(words: Any, p0: int, p1: int) -> bool:
    parts, columns = words.shape[1], np.uint64(words.shape[3])
    invalid = np.int64(0)
    for row in range(len(words)):
        for part in range(parts):
            largest = np.int64(p0 if part < parts // 2 else p1) - 1
            for r in range(64):
                bit = _U45 * np.uint64(r)
                word, shift = bit >> _SIX, bit & _U63
                if shift <= _WHOLE:
                    for c in range(columns):
                        invalid |= largest - np.int64((words[row, part, word, c] >> shift) & _MASK)
                else:
                    back = _U64 - shift
                    for c in range(columns):
                        joined = (words[row, part, word, c] >> shift) | (words[row, part, word + _U1, c] << back)
                        invalid |= largest - np.int64(joined & _MASK)
    return bool(invalid >= 0)


def check_residues(data: memoryview, shape: tuple[int, int], n: int, field: str) -> None:
    """Raises MessageError unless `data` is (rows, 2*polynomials) packed and every residue is below its prime."""
    if not _below(as_array(data, np.uint64, (*shape, RESIDUE_BITS, n // 64), field), *PRIMES):
        raise MessageError(f"{field}: a residue is not below its prime")


_TILE = 64


@njit("void(u8[::1], u8[:,:,:,::1], i8)", cache=True, nogil=True, error_model="numpy")
def field_planes(values: Any, planes: Any, row: int) -> None:
    """Slice plaintext words (size,) into planes[:, row], (WIDTH, FIELDS, size/64): bit j of field f is bit f*WIDTH + j.

    Bit r of word c stands for value r * size/64 + c.
    """
    columns, width = planes.shape[3], planes.shape[0]
    wide = min(columns, _TILE)
    grid = np.empty((64, _TILE), dtype=np.uint64)
    for start in range(0, columns, wide):
        for r in range(64):
            for c in range(wide):
                grid[r, c] = values[r * columns + start + c]
        mask, step = np.uint64(0x00000000FFFFFFFF), 32
        while step:  # swap the off-diagonal blocks of ever smaller squares (Warren, Hacker's Delight, 7-3)
            shift = np.uint64(step)
            for upper in range(64):
                if not upper & step:
                    u, v = np.uint64(upper), np.uint64(upper + step)
                    for c in range(np.uint64(_TILE)):
                        swap = ((grid[u, c] >> shift) ^ grid[v, c]) & mask
                        grid[v, c] ^= swap
                        grid[u, c] ^= swap << shift
            step //= 2
            mask ^= mask << np.uint64(step)
        for bit in range(planes.shape[0] * planes.shape[2]):
            for c in range(wide):
                planes[bit % width, row, bit // width, start + c] = grid[bit, c]


def positions(words: Words) -> tuple[NDArray[np.int64], ...]:
    """Where bits are set in sliced rows (..., size/64): the leading indices, and which value each stands for.

    In order of the leading indices and words; fast where few are set.
    """
    *leading, column = np.unravel_index(np.flatnonzero(words != 0), words.shape)
    bits = np.unpackbits(words[(*leading, column)].view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    word, bit = np.nonzero(bits)
    return *(index[word] for index in leading), bit * words.shape[-1] + column[word]


def bit_mask(indices: NDArray[np.int64], size: int) -> Words:
    """A sliced row of size/64 words with the bits of the values `indices` set; undoes `positions`."""
    words = np.zeros(size // 64, dtype=np.uint64)
    columns = size // 64
    np.bitwise_or.at(words, indices % columns, np.uint64(1) << (indices // columns).astype(np.uint64))
    return words
