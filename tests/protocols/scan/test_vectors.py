"""Test vectors: tests/vectors/scan/*.json are made again and compared, value by value.

`python -m tests.protocols.scan.test_vectors` writes them anew: only when the protocol's version changes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3

from protocols.scan import entries
from protocols.scan.comparison import Comparison, corrections, gates, rounds
from protocols.scan.encryption import PublicKey, common_polynomial
from protocols.scan.keys import MEMBERS, KeyDealing, KeyShare, half_unit
from protocols.scan.packing import field_planes, pack, unpack
from protocols.scan.parameters import (
    ETA,
    FIELDS,
    PRIMES,
    PROTOCOL_VERSION,
    RESIDUE_BITS,
    T_BITS,
    WIDTH,
    Parameters,
    largest_safe_threshold,
)
from protocols.scan.product import query_constants, scan_block
from protocols.scan.ring import ring_of
from protocols.scan.sampling import Stream, derive
from protocols.scan.slots import BlockSlots
from tests.protocols.scan.test_ring import seal_order

FOLDER = Path(__file__).parents[2] / "vectors" / "scan"
SIZES = (256, 4096)
P = Parameters("INSECURE_TINY", lanes=2)


def seed(name):
    """32 bytes that anybody can make again: SHA-256 of the name."""
    return hashlib.sha256(b"hushmatch-scan test vector " + name.encode()).digest()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def canonical(residues):
    """Residues (2, ...) in [0, p) as little-endian 8-byte numbers: all mod p0, then all mod p1."""
    return np.stack([residues[i].astype(np.int64) % p for i, p in enumerate(PRIMES)]).astype("<u8")


def told(residues):
    """A digest of residues, and the first four mod each prime."""
    values = canonical(residues)
    heads = [values[i].reshape(-1)[:4].tolist() for i in range(2)]
    return {"sha256": sha(values.tobytes()), "first": heads}


def words(values):
    """A digest of uint64 numbers, and the first four."""
    flat = np.ascontiguousarray(values).reshape(-1).astype("<u8")
    return {"sha256": sha(flat.tobytes()), "first": flat[:4].tolist()}


def parameters():
    safe = {str(bits): largest_safe_threshold(bits) for bits in (64, 256)}
    aligned = [
        {"bits": bits, "threshold": t, "kappa": p.kappa, "alignment": p.alignment}
        for bits, t in [(256, 0), (256, 1), (256, 31), (256, 32), (256, 71), (64, 5)]
        for p in [Parameters(bits=bits, threshold=t)]
    ]
    constants = {"protocol": PROTOCOL_VERSION, "primes": list(PRIMES), "t_bits": T_BITS, "eta": ETA}
    layout = {"fields": FIELDS, "width": WIDTH, "residue_bits": RESIDUE_BITS}
    bounds = {name: Parameters(name).noise_bound() for name in ("N4096", "INSECURE_TINY")}
    return constants | layout | {"largest_safe_threshold": safe, "aligned": aligned, "noise_bound": bounds}


def sampling():
    s = seed("sampling")
    draws = {
        "words": words(Stream(s).words(100)),
        "uniform": told(Stream(s).uniform(100)),
        "ternary": Stream(s).ternary(64).astype(int).tolist(),
        "binomial": Stream(s).binomial(64).astype(int).tolist(),
    }
    stream = Stream(s)
    in_order = {
        "ternary": stream.ternary(10).astype(int).tolist(),
        "binomial": stream.binomial(2, 5).astype(int).tolist(),
        "uniform": told(stream.uniform(2, 7)),
        "words": words(stream.words(3)),
    }
    derived = [
        {"label": label, "context": [c.hex() for c in context], "seed": derive(s, label, *context).hex()}
        for label, context in [("rho", [b"\x00"]), ("chunk", [b"\x00\x00\x00\x01"]), ("x", []), ("x", [b"a", b"bc"])]
    ]
    return {"seed": s.hex(), "from_the_start": draws, "one_after_another": in_order, "derive": derived}


def ring():
    out = []
    for n in SIZES:
        r = ring_of(n)
        x = Stream(seed(f"ring {n}")).uniform(n)
        transformed = r.forward(x)
        small = Stream(seed(f"ternary {n}")).ternary(n)
        product = r.multiply(transformed[:, None].copy(), np.stack([small, small]))
        message = Stream(seed(f"message {n}")).words(n) >> np.uint64(64 - T_BITS)
        message[:4] = 0, 1, (1 << T_BITS) - 1, 1 << (T_BITS - 1)
        name = "N4096" if n == 4096 else "INSECURE_TINY"
        out.append(
            {
                "n": n,
                "psi": [int(field._tables[0][0][1 << (n.bit_length() - 2)]) % field.p for field in r.fields],
                "x_seed": seed(f"ring {n}").hex(),
                "x": told(x),
                "transform_seal_order": told(transformed[:, seal_order(n)]),
                "transform_own_order": told(transformed),
                "own_order_of_seal_order": seal_order(n)[:20].tolist(),
                "y_seed": seed(f"ternary {n}").hex(),
                "x_times_y": told(product),
                "message_seed": seed(f"message {n}").hex(),
                "scale_up": told(r.scale_up(message)),
                "scale_down_of_x": words(r.scale_down(x)),
                "half_unit": told(half_unit(n, 1)),
                "packed_x": words(pack(x)),
                "common_polynomial": told(common_polynomial(Parameters(name), 1, b"manifest")),
            }
        )
    planes = np.zeros((WIDTH, 1, FIELDS, 4), dtype=np.uint64)
    values = Stream(seed("planes")).words(256) >> np.uint64(64 - T_BITS)
    field_planes(values, planes, 0)
    return {"rings": out, "planes_seed": seed("planes").hex(), "planes_of_256_words": words(planes[None, :, 0])}


def shares_of(bits, name):
    first, second = seed(f"{name} x1"), seed(f"{name} x2")
    third = bits.astype(np.uint64) - entries.expand(1, first, len(bits)) - entries.expand(2, second, len(bits))
    return {1: first, 2: second, 3: third.astype("<u8").tobytes()}


def entry_shares():
    rows = [bytes(32), b"\xff" * 32, seed("fingerprint")]
    toss, out, held = seed("toss"), [], {member: [] for member in MEMBERS}
    for number, row in enumerate(rows):
        raw = shares_of(np.unpackbits(np.frombuffer(row, np.uint8)), f"entry {number}")
        entry = seed(f"entry {number}")[:16]
        openings = {share: seed(f"entry {number} r{share}") for share in MEMBERS}
        commitments = {share: entries._commitment(entry, share, openings[share], raw[share]).hex() for share in MEMBERS}
        for member in MEMBERS:
            held[member].append(b"".join(raw[share] for share in entries.held_by(member)))
        out.append(
            {
                "fingerprint": row.hex(),
                "entry": entry.hex(),
                "x1_seed": raw[1].hex(),
                "x2_seed": raw[2].hex(),
                "x3": words(np.frombuffer(raw[3], "<u8")),
                "openings": [openings[share].hex() for share in MEMBERS],
                "commitments": [commitments[share] for share in MEMBERS],
                "context": [
                    sha(entries._context(P, 1, entry, m, bytes.fromhex("".join(commitments[s] for s in MEMBERS))))
                    for m in MEMBERS
                ],
            }
        )
    sums = {str(m): entries.check_sums(m, held[m], 256, toss).tolist() for m in MEMBERS}
    bad = np.zeros(256, dtype=np.uint64)
    bad[9] = 2
    raw = shares_of(bad, "bad")
    bad_held = {m: [b"".join(raw[share] for share in entries.held_by(m))] for m in MEMBERS}
    total = sum(entries.check_sums(m, bad_held[m], 256, toss) for m in MEMBERS)
    return {
        "parameter_set": P.name,
        "epoch": 1,
        "entries": out,
        "check_seed": toss.hex(),
        "check_sums": sums,
        "number_2_at_bit_9": {"x1_seed": raw[1].hex(), "x2_seed": raw[2].hex(), "total": total.tolist()},
    }


def comparison():
    out = []
    for threshold in (0, 31, 71):
        p = Parameters("INSECURE_TINY", 1, 256, threshold)
        count = 128
        value = np.arange(count, dtype=np.uint64) * np.uint64(4) % np.uint64(512)
        y_b = Stream(seed(f"y_b {threshold}")).words(count) & np.uint64((1 << WIDTH) - 1)
        carry = Stream(seed(f"carry {threshold}")).words(count) & np.uint64(1)
        y_a = (2 * value + carry + y_b) & np.uint64((1 << WIDTH) - 1)
        seeds = seed(f"deal a {threshold}"), seed(f"deal b {threshold}")
        corrected = corrections(*seeds, np.empty((gates(p), count // 64), dtype=np.uint64))
        a = Comparison(p, sliced(y_a), True, seeds[0], None)
        b = Comparison(p, sliced(y_b), False, seeds[1], corrected)
        transcript = []
        for _ in rounds(p):
            mine, theirs = a.opening(), b.opening()
            transcript.append({"a": sha(mine.astype("<u8").tobytes()), "b": sha(theirs.astype("<u8").tobytes())})
            a.receive(theirs.data.cast("B"))
            b.receive(mine.data.cast("B"))
        bits = a.result() ^ b.result()
        assert np.array_equal(np.unpackbits(bits.view(np.uint8), bitorder="little"), value < 1 << p.kappa)
        out.append(
            {
                "threshold": threshold,
                "kappa": p.kappa,
                "rounds": rounds(p),
                "y_a": y_a.tolist(),
                "y_b": y_b.tolist(),
                "seed_a": seeds[0].hex(),
                "seed_b": seeds[1].hex(),
                "corrections": words(corrected),
                "openings": transcript,
                "result_a": a.result().tolist(),
                "result_b": b.result().tolist(),
                "matches": bits.tolist(),
            }
        )
    return {"comparisons": out}


def sliced(values):
    bits = (values[None] >> np.arange(WIDTH, dtype=np.uint64)[:, None]) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8), axis=1, bitorder="little").view(np.uint64)


def scan():
    """Keys, a block of four entries, two queries, and what members 1 (as A) and 3 (as B) make of the results."""
    r, n = ring_of(P.n), P.n
    manifest = b"manifest of the test vector"
    a = common_polynomial(P, 1, manifest)
    dealings = [KeyDealing(P, a, Stream(seed(f"dealer {m}"))) for m in MEMBERS]
    b, dealt = dealings[0].b.copy(), {m: dealings[0].share(m).copy() for m in MEMBERS}
    for dealing in dealings[1:]:
        r.add(b, dealing.b)
        for m in MEMBERS:
            r.add(dealt[m], dealing.share(m))
    key, keys = PublicKey(a, b), {m: KeyShare(m, dealt[m]) for m in MEMBERS}

    rows = [bytes(32), b"\xff" * 32, seed("fingerprint"), bytes(30) + b"\xff\xff"]
    places = [0, 1, 1284, 2559]  # the last is withdrawn
    total = np.zeros((P.bits, 2, P.lanes + 1, n))
    planes = {}
    for share in MEMBERS:
        messages = np.zeros((P.bits, P.lanes * n), dtype=np.uint64)
        for number, (row, slot) in enumerate(zip(rows, places, strict=True)):
            raw = shares_of(np.unpackbits(np.frombuffer(row, np.uint8)), f"scan {number}")
            values = entries.expand(share, raw[share], P.bits)
            messages[:, slot // FIELDS] += values << np.uint64(1 + WIDTH * (slot % FIELDS))
        messages &= np.uint64((1 << T_BITS) - 1)
        stream = Stream(seed(f"planes {share}"))
        encrypted = np.stack([key.encrypt(m.reshape(P.lanes, n), stream) for m in messages])
        planes[str(share)] = words(np.stack([pack(one) for one in encrypted]))
        for into, one in zip(total, encrypted, strict=True):
            r.add(into, one)
    block = np.stack([pack(one).reshape(-1, RESIDUE_BITS, n // 64) for one in total])

    queries = np.frombuffer(bytes(32) + rows[2][:-1] + bytes([rows[2][-1] ^ 1]), np.uint8).reshape(2, 32)
    stream = Stream(seed("zeros"))
    zeros = np.empty((len(queries), 2, P.lanes + 1, n))
    for zero in zeros:
        key.encrypt_zero(zero, stream)
    c1, c0 = scan_block(block, queries, zeros, P)

    ids = np.arange(2 * len(places), dtype=np.uint64).reshape(-1, 2)
    slots = BlockSlots(P.lanes, 1, ids, np.array(places), P)
    slots.withdraw({ids[3].tobytes()})
    weights = np.uint64(2 * (P.threshold + 1)) << (np.uint64(WIDTH) * np.arange(FIELDS, dtype=np.uint64))
    tombstones = (slots.tombstones().astype(np.uint64) @ weights).reshape(P.lanes, n)
    added = r.add(r.scale_up(tombstones), half_unit(n, P.lanes))
    answers, mu = [], Stream(seed("mu"))
    for row, query in enumerate(queries):
        half = unpack(c1[row], "c1")
        masked, y_b = keys[3].mask(1, half, P.lanes, mu)
        first = r.add(unpack(c0[row].reshape(2, P.lanes, RESIDUE_BITS, n // 64), "c0"), added)
        y_a = keys[1].unmask(3, half, first, masked)
        difference = (y_a - y_b) & np.uint64((1 << T_BITS) - 1)
        fields = (difference[..., None] >> (np.uint64(WIDTH) * np.arange(FIELDS, dtype=np.uint64))) & np.uint64(1023)
        near = np.flatnonzero((fields >> np.uint64(1)).reshape(-1) < 1 << P.kappa)
        distances = [int(np.bitwise_count(np.frombuffer(one, np.uint8) ^ query).sum()) for one in rows]
        assert near.tolist() == [s for s, d in list(zip(places, distances, strict=True))[:3] if d <= P.threshold]
        partial, one, two = words(pack(masked)), words(y_a), words(y_b)
        answers.append(
            {"partial": partial, "y_a": one, "y_b": two, "distances": distances, "matching_slots": near.tolist()}
        )
    return {
        "parameters": {"set": P.name, "lanes": P.lanes, "bits": P.bits, "threshold": P.threshold},
        "epoch": 1,
        "manifest": manifest.hex(),
        "a": told(a),
        "dealer_seeds": [seed(f"dealer {m}").hex() for m in MEMBERS],
        "b": told(b),
        "key_shares": {str(m): told(dealt[m]) for m in MEMBERS},
        "fingerprints": [row.hex() for row in rows],
        "share_seeds": [{str(s): seed(f"scan {k} x{s}").hex() for s in (1, 2)} for k in range(len(rows))],
        "slots": places,
        "withdrawn_slots": places[3:],
        "plane_seeds": {str(share): seed(f"planes {share}").hex() for share in MEMBERS},
        "planes": planes,
        "block_digest": blake3(b"hushmatch-scan block\0" + block.tobytes()).hexdigest(),
        "queries": [query.tobytes().hex() for query in queries],
        "query_constants": canonical(query_constants(queries, P)).tolist(),
        "zero_seed": seed("zeros").hex(),
        "c1": words(c1),
        "c0": words(c0),
        "tombstones": words(tombstones),
        "pair": [1, 3],
        "mu_seed": seed("mu").hex(),
        "answers": answers,
    }


FILES = {
    "parameters": parameters,
    "sampling": sampling,
    "ring": ring,
    "entries": entry_shares,
    "comparison": comparison,
    "scan": scan,
}


@pytest.mark.parametrize("name", FILES)
def test_made_again_they_are_the_same(name):
    assert json.loads((FOLDER / f"{name}.json").read_text()) == json.loads(json.dumps(FILES[name]()))


def test_every_file_is_explained():
    text = (FOLDER / "README.md").read_text()
    assert {path.stem for path in FOLDER.glob("*.json")} == set(FILES)
    for name, make in FILES.items():
        assert f"`{name}.json`" in text
        assert all(f"`{field}`" in text for field in make()), name


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")
