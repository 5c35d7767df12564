"""RFC 9497's test vectors, and proofs that must not pass."""

import json
from pathlib import Path

import numpy as np
import pytest

from protocols.base import IntegrityError
from protocols.blind import group, oprf
from protocols.blind.group import ElementError, ScalarError
from protocols.blind.oprf import Mode

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/blind/rfc9497-ristretto255-sha512.json").read_text())
CASES = [
    pytest.param(mode, vector, id=f"{mode['mode']}-{number}")
    for mode in VECTORS["modes"]
    for number, vector in enumerate(mode["vectors"], 1)
]


def many(text):
    return [bytes.fromhex(part) for part in text.split(",")]


def rows(text):
    return np.frombuffer(b"".join(many(text)), np.uint8).reshape(-1, 32)


@pytest.mark.parametrize("mode", VECTORS["modes"], ids=lambda mode: mode["mode"])
def test_key_derivation_of_rfc_9497(mode):
    key, public = oprf.derive_key_pair(*map(bytes.fromhex, (VECTORS["Seed"], VECTORS["KeyInfo"])), Mode[mode["mode"]])
    assert key.hex() == mode["skSm"]
    assert public.hex() == mode.get("pkSm", public.hex())


@pytest.mark.parametrize(("mode", "vector"), CASES)
def test_evaluation_of_rfc_9497(mode, vector):
    kind, key = Mode[mode["mode"]], bytes.fromhex(mode["skSm"])
    inputs = many(vector["Input"])
    blinds, blinded = oprf.blind(inputs, kind, rows(vector["Blind"]))
    assert (blinded == rows(vector["BlindedElement"])).all()
    evaluated = oprf.blind_evaluate(key, blinded)
    assert (evaluated == rows(vector["EvaluationElement"])).all()
    assert [row.tobytes() for row in oprf.finalize(inputs, blinds, evaluated)] == many(vector["Output"])


@pytest.mark.parametrize(("mode", "vector"), [case for case in CASES if "Proof" in case.values[1]])
def test_proofs_of_rfc_9497(mode, vector):
    key, public = bytes.fromhex(mode["skSm"]), bytes.fromhex(mode["pkSm"])
    blinded, evaluated = rows(vector["BlindedElement"]), rows(vector["EvaluationElement"])
    nonce = bytes.fromhex(vector["ProofRandomScalar"])
    proof = oprf.generate_proof(key, public, blinded, evaluated, Mode.VOPRF, nonce)
    assert proof.hex() == vector["Proof"]
    oprf.verify_proof(public, blinded, evaluated, proof, Mode.VOPRF)


@pytest.fixture
def proved():
    key = group.random_scalars(1).tobytes()
    _, blinded = oprf.blind([b"a", b"b", b"c"], Mode.VOPRF)
    evaluated = oprf.blind_evaluate(key, blinded)
    public = oprf.public_key(key)
    return public, blinded, evaluated, oprf.generate_proof(key, public, blinded, evaluated, Mode.VOPRF)


def test_a_proof_holds_for_nothing_else(proved):
    public, blinded, evaluated, proof = proved
    oprf.verify_proof(public, blinded, evaluated, proof, Mode.VOPRF)
    other = oprf.public_key(group.random_scalars(1).tobytes())
    for wrong in (
        (other, blinded, evaluated, proof, Mode.VOPRF),
        (public, blinded[::-1], evaluated, proof, Mode.VOPRF),
        (public, blinded, evaluated[[0, 0, 2]], proof, Mode.VOPRF),
        (public, blinded[:2], evaluated[:2], proof, Mode.VOPRF),
        (public, blinded, evaluated, proof, Mode.OPRF),
        (public, blinded, evaluated, proof[32:] + proof[:32], Mode.VOPRF),
    ):
        with pytest.raises(IntegrityError, match="does not verify"):
            oprf.verify_proof(*wrong)


def test_proofs_of_one_statement_differ():
    """The nonce: used twice, or guessed, it gives the key away."""
    key = group.random_scalars(1).tobytes()
    _, blinded = oprf.blind([b"a"], Mode.VOPRF)
    statement = key, oprf.public_key(key), blinded, oprf.blind_evaluate(key, blinded), Mode.VOPRF
    proofs = {oprf.generate_proof(*statement) for _ in range(8)}
    assert len(proofs) == 8
    nonces = {group.scalar_add(p[32:], group.scalar_mul(p[:32], key)) for p in proofs}  # r = s + c k
    assert len(nonces) == 8


def test_one_element_evaluated_under_another_key_spoils_the_batch(proved):
    public, blinded, evaluated, _ = proved
    key = group.random_scalars(1).tobytes()
    forged = evaluated.copy()
    forged[1] = oprf.blind_evaluate(key, blinded[1:2])[0]
    proof = oprf.generate_proof(key, public, blinded, forged, Mode.VOPRF)
    with pytest.raises(IntegrityError):
        oprf.verify_proof(public, blinded, forged, proof, Mode.VOPRF)


def test_malformed_proofs_and_batches_are_refused_by_name(proved):
    public, blinded, evaluated, proof = proved
    for bad in (proof[:63], b"", bytes(32) + proof[32:], proof[:32] + bytes(32), proof[:32] + b"\xff" * 32):
        with pytest.raises(ScalarError, match="proof"):
            oprf.verify_proof(public, blinded, evaluated, bad, Mode.VOPRF)
    with pytest.raises(ElementError):
        oprf.verify_proof(public, blinded, evaluated[:2], proof, Mode.VOPRF)
    off = evaluated.copy()
    off[2] = 255
    with pytest.raises(ElementError):
        oprf.verify_proof(public, blinded, off, proof, Mode.VOPRF)


def test_blinds_are_fresh_and_modes_are_apart():
    first, second = (oprf.blind([b"same"], Mode.VOPRF) for _ in range(2))
    assert (first[0] != second[0]).any()
    assert (first[1] != second[1]).any()
    blinds, blinded = oprf.blind([b"same"] * 3, Mode.VOPRF)
    assert len({row.tobytes() for row in blinds}) == len({row.tobytes() for row in blinded}) == 3
    key = group.random_scalars(1).tobytes()
    tokens = {
        mode: oprf.finalize([b"x"], blinds, oprf.blind_evaluate(key, blinded)).tobytes()
        for mode in Mode
        for blinds, blinded in [oprf.blind([b"x"], mode)]
    }
    assert tokens[Mode.OPRF] != tokens[Mode.VOPRF]
