"""Secure comparison of A's and B's plaintext shares, bit-sliced, 64 comparisons a word.

Field by field (Y_A - Y_B) mod 2^w is 2*v + carry, v the aligned value; the entry matches iff v < 2^kappa, i.e. iff bits
kappa+1 .. w-1 of the difference are zero. With x, y the bits of Y_A, Y_B and c the borrow into a bit,

    difference = x ^ y ^ c,    borrow out = maj(~x, y, c) = c ^ ((~x ^ c) & (y ^ c)),

so one AND a bit for the borrows, then a tree of ANDs over the complemented high bits of the difference: GMW with
XOR-shared Beaver triples (Beaver 1991; Goldreich, Micali, Wigderson 1987). x is known to A alone and y to B alone, so
sharing them costs nothing.

The dealer gives A a seed for (a_A, b_A, c_A) and B a seed for (a_B, b_B) with c_B = (a_A^a_B)&(b_A^b_B) ^ c_A, a gate
after the other; a deal serves once. Words of gate inputs are masked by a and b before they are opened: what crosses is
uniform.

NOT protected: the dealer together with A or B sees everything that the other of the two puts in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from protocols.base import ReplayError
from protocols.ledger import as_array
from protocols.scan.packing import Words, readonly
from protocols.scan.parameters import WIDTH, Parameters
from protocols.scan.sampling import Stream


def gates(parameters: Parameters) -> int:
    """AND gates a comparison."""
    return (WIDTH - 1) + (WIDTH - 1 - parameters.kappa) - 1


def rounds(parameters: Parameters) -> list[int]:
    """Gates opened in each round: the borrows one after another, then the tree."""
    sizes = [1] * (WIDTH - 1)
    left = WIDTH - 1 - parameters.kappa
    while left > 1:
        sizes.append(left // 2)
        left -= left // 2
    return sizes


@njit("void(u8[::1], u8[::1], u8[::1], u8[::1], u8[::1])", cache=True, nogil=True)
def _correct(a_a: Any, b_a: Any, c_a: Any, b_words: Any, out: Any) -> None:
    words = len(out)
    for i in range(words):
        out[i] = ((a_a[i] ^ b_words[i]) & (b_a[i] ^ b_words[words + i])) ^ c_a[i]


def corrections(seed_a: bytes, seed_b: bytes, out: Words) -> Words:
    """The dealer's corrections c_B, written to `out` (gates, words) and returned."""
    stream_a, stream_b = Stream(seed_a), Stream(seed_b)
    shares_a, shares_b = np.empty((3, out.shape[1]), dtype=np.uint64), np.empty(2 * out.shape[1], dtype=np.uint64)
    for corrected in out:
        a, b, c = stream_a.fill(shares_a)
        _correct(a, b, c, stream_b.fill(shares_b), corrected)
    return out


@njit("void(u8[::1], u8[::1], u8[:,::1], u8[:,::1])", cache=True, nogil=True)
def _mask(x: Any, y: Any, masks: Any, out: Any) -> None:
    for i in range(len(x)):
        out[0, i] = x[i] ^ masks[0, i]
        out[1, i] = y[i] ^ masks[1, i]


_WORDS = types.uint64[::1]
_ROWS = types.uint64[:, ::1]


@njit(types.void(_ROWS, readonly(2), _ROWS, readonly(1), types.uint64, _WORDS), cache=True, nogil=True)
def _multiply(mine: Any, theirs: Any, masks: Any, c: Any, first: Any, out: Any) -> None:
    """This side's share of a gate whose masked inputs both have opened."""
    for i in range(len(out)):
        d, e = mine[0, i] ^ theirs[0, i], mine[1, i] ^ theirs[1, i]
        out[i] = (d & e & first) ^ (d & masks[1, i]) ^ (e & masks[0, i]) ^ c[i]


@njit(types.void(_ROWS, readonly(2), _ROWS, readonly(1), types.uint64, _WORDS, _WORDS, _WORDS), cache=True, nogil=True)
def _carry(mine: Any, theirs: Any, masks: Any, c: Any, first: Any, plane: Any, borrow: Any, difference: Any) -> None:
    """A borrow's gate, its borrow out in place of the one in, and the next bit's difference, complemented at A."""
    for i in range(len(borrow)):
        d, e = mine[0, i] ^ theirs[0, i], mine[1, i] ^ theirs[1, i]
        borrow[i] ^= (d & e & first) ^ (d & masks[1, i]) ^ (e & masks[0, i]) ^ c[i]
        difference[i] = plane[i] ^ borrow[i] ^ first


class Comparison:
    """One side of one comparison: opens round after round, then its share of the match bits.

    Call `opening()` and `receive(theirs)` alternately, once for each of `rounds`; then `result()`. `round` counts those
    that are done.
    """

    def __init__(
        self, parameters: Parameters, planes: Words, first: bool, seed: bytes, corrected: Words | None
    ) -> None:
        """planes: (WIDTH, words) bit planes of this side's shares, lowest first, each contiguous. first: if this is A.

        seed, corrected: this side's deal; `corrected` (gates, words) is B's, None for A.
        """
        self._ones = np.uint64(2**64 - 1 if first else 0)
        self._planes = planes
        self._stream = Stream(seed)
        self._corrected = corrected
        self.round = 0
        self._gate = 0
        self._kappa = parameters.kappa
        self._bit = 0
        self._borrow, self._difference = np.zeros_like(planes[0]), planes[0] ^ self._ones
        self._level: list[Words] = []
        self._inputs: list[tuple[Words, Words]] = []
        self._open: list[tuple[Words, Words, Words]] = []
        self._prepare()

    def __repr__(self) -> str:
        return "<Comparison>"

    def opening(self) -> Words:
        """What to open this round, (gates, 2, words) uint64. Raises ReplayError out of turn."""
        if self._open or not self._inputs:
            raise ReplayError("comparison: no round is due to be opened")
        words = self._planes.shape[1]
        out = np.empty((len(self._inputs), 2, words), dtype=np.uint64)
        for index, (x, y) in enumerate(self._inputs):
            if self._corrected is None:
                masks = self._stream.words(3, words)
                c = masks[2]
            else:
                masks = self._stream.words(2, words)
                c = self._corrected[self._gate]
            self._gate += 1
            _mask(x, y, masks, out[index])
            self._open.append((out[index], masks, c))
        return out

    def receive(self, theirs: memoryview) -> None:
        """Take the other side's opening of this round. Raises ReplayError, MessageError."""
        if not self._open:
            raise ReplayError("comparison: an opening came out of turn")
        shape = (len(self._open), 2, self._planes.shape[1])
        opened = as_array(theirs, np.uint64, shape, "gate openings")
        if self._bit < WIDTH - 1:
            self._bit += 1
            self._difference = np.empty_like(self._borrow)
            (mine, masks, c), plane = self._open[0], self._planes[self._bit]
            _carry(mine, opened[0], masks, c, self._ones, plane, self._borrow, self._difference)
            if self._bit > self._kappa:
                self._level.append(self._difference)
        else:
            outputs = []
            for (mine, masks, c), other in zip(self._open, opened, strict=True):
                out = np.empty_like(self._borrow)
                _multiply(mine, other, masks, c, self._ones, out)
                outputs.append(out)
            self._level = outputs + self._level[2 * len(outputs) :]
        self._open = []
        self.round += 1
        self._prepare()

    def result(self) -> Words:
        """This side's XOR share of the match bits, (words,). Raises ReplayError before the last round."""
        if self._inputs or self._open:
            raise ReplayError("comparison: the result is not ready")
        return self._level[0]

    def _prepare(self) -> None:
        """Inputs of the next round's gates; none after the last round."""
        if self._bit < WIDTH - 1:
            x_y = self._difference, self._borrow
            self._inputs = [x_y if self._ones else x_y[::-1]]
        else:
            pairs = len(self._level) // 2
            self._inputs = [(self._level[2 * i], self._level[2 * i + 1]) for i in range(pairs)]
