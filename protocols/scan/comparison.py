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


@njit(inline="always")
def _gate(mine: Any, theirs: Any, masks: Any, c: Any, first: Any, i: Any) -> Any:
    """This side's share of word i of a gate whose masked inputs both have opened."""
    d, e = mine[0, i] ^ theirs[0, i], mine[1, i] ^ theirs[1, i]
    return (d & e & first) ^ (d & masks[1, i]) ^ (e & masks[0, i]) ^ c[i]


_WORDS = types.uint64[::1]
_ROWS = types.uint64[:, ::1]
_OPENED = (_ROWS, readonly(2), _ROWS, readonly(1), types.uint64)


@njit(types.void(*_OPENED, _WORDS), cache=True, nogil=True)
def _multiply(mine: Any, theirs: Any, masks: Any, c: Any, first: Any, out: Any) -> None:
    for i in range(len(out)):
        out[i] = _gate(mine, theirs, masks, c, first, i)


@njit(types.void(*_OPENED, _WORDS, _WORDS, _WORDS, _ROWS, _ROWS), cache=True, nogil=True)
def _carry(
    mine: Any,
    theirs: Any,
    masks: Any,
    c: Any,
    first: Any,
    plane: Any,
    borrow: Any,
    difference: Any,
    after: Any,
    out: Any,
) -> None:
    """A borrow's gate, its borrow out in place of the one in, the next bit's difference, complemented at A; and both,
    which are that bit's inputs, masked by `after`. In one pass: memory takes the time here, not arithmetic.
    """
    at = 0 if first else 1
    for i in range(len(borrow)):
        borrow[i] ^= _gate(mine, theirs, masks, c, first, i)
        difference[i] = plane[i] ^ borrow[i] ^ first
        out[at, i] = difference[i] ^ after[at, i]
        out[1 - at, i] = borrow[i] ^ after[1 - at, i]


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
        self._kappa = parameters.kappa
        self._stream = Stream(seed)
        self._corrected = corrected
        self._rounds = len(rounds(parameters))
        self.round = 0
        self._awaiting = False  # whether the other side's opening is due
        self._drawn = 0  # gates
        self._level: list[Words] = []  # what is left to be ANDed
        self._gates: list[tuple[Words, Words]]  # of this round: masks, and this side's share of their AND
        self._masked: Words  # their inputs, as they are opened
        self._borrow, self._difference = np.zeros_like(planes[0]), planes[0] ^ self._ones
        x_y = self._difference, self._borrow
        self._prepare([x_y if first else x_y[::-1]])

    def __repr__(self) -> str:
        return "<Comparison>"

    def opening(self) -> Words:
        """What to open this round, (gates, 2, words) uint64. Raises ReplayError out of turn."""
        if self._awaiting or self.round == self._rounds:
            raise ReplayError("comparison: no round is due to be opened")
        self._awaiting = True
        return self._masked

    def receive(self, theirs: memoryview) -> None:
        """Take the other side's opening of this round. Raises ReplayError, MessageError."""
        if not self._awaiting:
            raise ReplayError("comparison: an opening came out of turn")
        opened = as_array(theirs, np.uint64, self._masked.shape, "gate openings")
        self._awaiting = False
        self.round += 1
        if self.round < WIDTH - 1:
            self._next_bit(opened[0])
            return
        outputs = [np.empty_like(self._borrow) for _ in self._gates]
        for out, mine, other, (masks, c) in zip(outputs, self._masked, opened, self._gates, strict=True):
            _multiply(mine, other, masks, c, self._ones, out)
        if self.round == WIDTH - 1:
            self._borrow ^= outputs[0]
            self._level.append(self._planes[-1] ^ self._borrow ^ self._ones)
        else:
            self._level = outputs + self._level[2 * len(outputs) :]
        self._gates = []
        if self.round < self._rounds:
            self._prepare(list(zip(self._level[:-1:2], self._level[1::2], strict=True)))

    def result(self) -> Words:
        """This side's XOR share of the match bits, (words,). Raises ReplayError before the last round."""
        if self.round < self._rounds:
            raise ReplayError("comparison: the result is not ready")
        return self._level[0]

    def _next_bit(self, opened: Words) -> None:
        """From one borrow to the next."""
        mine, (masks, c), plane = self._masked[0], self._gates[0], self._planes[self.round]
        self._masked, self._gates = np.empty_like(self._masked), [self._draw()]
        if self.round > self._kappa:
            self._difference = np.empty_like(self._borrow)
            self._level.append(self._difference)
        after = self._gates[0][0]
        _carry(mine, opened, masks, c, self._ones, plane, self._borrow, self._difference, after, self._masked[0])

    def _prepare(self, inputs: list[tuple[Words, Words]]) -> None:
        """The next round's gates, whose inputs lie ready."""
        self._masked = np.empty((len(inputs), 2, self._planes.shape[1]), dtype=np.uint64)
        self._gates = [self._draw() for _ in inputs]
        for (x, y), (masks, _), out in zip(inputs, self._gates, self._masked, strict=True):
            _mask(x, y, masks, out)

    def _draw(self) -> tuple[Words, Words]:
        """The next gate's masks, (2, words), and this side's share of their AND."""
        self._drawn += 1
        words = self._planes.shape[1]
        if self._corrected is None:
            drawn = self._stream.words(3, words)
            return drawn[:2], drawn[2]
        return self._stream.words(2, words), self._corrected[self._drawn - 1]
