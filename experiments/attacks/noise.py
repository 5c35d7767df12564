"""Attack 7: in `bfv` the decrypted noise betrays the query.

A result is c = sum_i w_i * c_i + [0], w_i = +1 or -1 by query bit i, and its noise is the same signed sum of the
ciphertexts' noises. A client that colludes with the key holder marks its ciphertexts: a legal encryption with
2^20 * X^i added to c0 of ciphertext i, far above honest noise and far below what spoils a distance. Coefficient i
of a result's noise then has the sign w_i: one decryption reads all 256 bits of an upload. Nothing flags it. In `scan`
decryption ends in one-time-padded shares, so that nobody ever holds a result's noise.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments import plots
from experiments.attacks.common import Config, random_hashes, remember, runnable, verdict
from experiments.lab import Lab
from experiments.results import Findings, Result
from protocols import create
from protocols.bfv import seal
from protocols.bfv.parameters import STANDARD

MARK = 1 << 20
_HEADER = struct.Struct("<HBBBBHQ")


def run(config: Config, lab: Lab) -> Findings:
    """Read ten uploads from the noise of marked, and of honest, ciphertexts."""
    findings = Findings(tables={"noise": [], "verdicts": []})
    if "bfv" not in runnable():
        return findings
    rng = np.random.default_rng(config.seed)
    entry, uploads = random_hashes(rng, 1), random_hashes(rng, 10)
    truth = np.unpackbits(uploads, axis=1)
    for marked in (False, True):
        noise = _noise_of_results(entry, uploads, marked)
        guess = (noise[:, :256] < 0).astype(np.uint8)
        right = float(np.mean(guess == truth))
        findings.tables["noise"] += [
            {"marked": marked, "coefficient": index, "noise": int(value), "query_bit": int(bit)}
            for index, (value, bit) in enumerate(zip(noise[0], truth[0], strict=False))
        ]
        what = "marked ciphertexts" if marked else "honest ciphertexts"
        findings.tables["verdicts"].append(
            verdict(f"7 noise ({what})", "bfv", "none", "query bits right", right, right > 0.99, 0.5)
        )
    findings.headline = {"noise_query_bits_right": right}
    return findings


def _noise_of_results(entry: NDArray[np.uint8], uploads: NDArray[np.uint8], marked: bool) -> NDArray[np.int64]:
    """(Q, n): the noise in each upload's result, as the key holder computes it."""
    protocol: Any = create("bfv")
    seen, add = remember(protocol._platform, "scan"), protocol._exchange.add

    def marking(deposit: Any) -> Any:
        fresh = seal.ciphertexts(STANDARD, deposit.ciphertexts, 256, "client's ciphertexts")
        return add(type(deposit)(deposit.first, deposit.cases, [_marked(c, i) for i, c in enumerate(fresh)]))

    if marked:
        protocol._exchange.add = marking
    protocol.enroll(["case"], entry)
    protocol.match(uploads)
    opened = seal.ciphertexts(STANDARD, seen[0].ciphertexts, len(uploads), "results")
    secret = _secret(protocol._keyholder, opened[0])
    return np.array([_noise(protocol._keyholder, secret, each) for each in opened])


def _marked(ciphertext: Any, index: int) -> bytes:
    words = _words(ciphertext)
    words[index] = (words[index] + MARK) % _modulus()
    return _serialized(ciphertext, words)


def _noise(keyholder: Any, secret: NDArray[np.int64], ciphertext: Any) -> NDArray[np.int64]:
    """c0 + c1 * s - round(q * m / t), centred: (n,) int64."""
    q, t, n = _modulus(), STANDARD.t, STANDARD.n
    c0, c1 = np.split(np.array(_words(ciphertext), dtype=np.int64), 2)
    phase = np.zeros(n, dtype=object)
    for shift, part in ((0, c1 & 0x7FFFFFF), (27, c1 >> 27)):  # halves, so that int64 convolution cannot overflow
        product = np.convolve(part, secret)
        phase += (product[:n] - np.append(product[n:], 0)).astype(object) << shift
    phase += c0.astype(object)
    plain = seal.sealapi.Plaintext()
    keyholder._decryptor.decrypt(ciphertext, plain)
    message = _coefficients(plain, n)
    noise = [(int(p) - (int(m) * q + t // 2) // t) % q for p, m in zip(phase, message, strict=True)]
    return np.array([value - q if value > q // 2 else value for value in noise], dtype=np.int64)


def _secret(keyholder: Any, like: Any) -> NDArray[np.int64]:
    """The key holder's own s, -1, 0 and 1: what (c0, c1) = (0, q/t) decrypts to."""
    words = [0] * (2 * STANDARD.n)
    words[STANDARD.n] = round(_modulus() / STANDARD.t)
    (probe,) = seal.ciphertexts(STANDARD, [_serialized(like, words)], 1, "probe")
    plain = seal.sealapi.Plaintext()
    keyholder._decryptor.decrypt(probe, plain)
    values = _coefficients(plain, STANDARD.n)
    return np.where(values > 1, values - STANDARD.t, values)


def _coefficients(plain: Any, n: int) -> NDArray[np.int64]:
    values = np.zeros(n, dtype=np.int64)
    values[: plain.coeff_count()] = [plain.data(index) for index in range(plain.coeff_count())]
    return values


def _words(ciphertext: Any) -> list[int]:
    array = ciphertext.dyn_array()
    return [array.at(index) for index in range(array.size())]


def _modulus() -> int:
    (prime,) = seal.sealapi.CoeffModulus.BFVDefault(STANDARD.n, seal.sealapi.SEC_LEVEL_TYPE.TC128)
    return prime.value()


def _serialized(like: Any, words: list[int]) -> bytes:
    """A ciphertext of two polynomials in SEAL 4.3's format, uncompressed, with the parameters of `like`."""

    def wrapped(body: bytes) -> bytes:
        return _HEADER.pack(0xA15E, _HEADER.size, 4, 3, 0, 0, _HEADER.size + len(body)) + body

    data = wrapped(struct.pack("<Q", len(words)) + np.array(words, dtype="<u8").tobytes())
    shape = struct.pack("<4QBQQQdQ", *like.parms_id(), 0, 2, len(words) // 2, 1, 1.0, 1)
    return wrapped(shape + data)


def figure(result: Result) -> Figure:
    """The noise of one result, coefficient by coefficient, with the query's bits."""
    figure, axes = plots.new(2, 1, (6.4, 4.2), sharex=True)
    for axis, marked in zip(axes, (False, True), strict=True):
        for bit, colour, marker in ((0, plots.BLUE, "o"), (1, plots.RED, "x")):
            rows = [row for row in result.rows("noise", marked=marked, query_bit=bit)]
            axis.plot(
                [r["coefficient"] for r in rows],
                [r["noise"] for r in rows],
                marker,
                color=colour,
                markersize=4,
                label=f"query bit {bit}",
            )
        axis.set_title(f"{'marked' if marked else 'honest'} ciphertexts", fontsize=10)
        axis.set_ylabel("noise")
    axes[1].set(xlabel="coefficient of one result that the key holder decrypts", xlim=(-2, 258))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
