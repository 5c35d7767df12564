"""Microsoft SEAL decrypts our ciphertexts, and we decrypt SEAL's: the same scheme, bit for bit.

SEAL 4 writes a 16-byte header, then for a ciphertext parms_id (4 u64), whether it is transformed (u8), the numbers of
polynomials, coefficients and primes (u64 each), scale (f64), correction factor (u64), and the residues under a header
of their own; for a plaintext, which a secret key is, parms_id, coefficients (u64), scale (f64), and the same.
"""

import struct

import numpy as np
import pytest

from protocols.scan.encryption import PublicKey
from protocols.scan.keys import KeyDealing, KeyShare, half_unit
from protocols.scan.parameters import PRIMES, T_BITS, Parameters
from protocols.scan.ring import Field, ring_of, small
from protocols.scan.sampling import Stream
from tests.protocols.scan.test_ring import seal_order

sealapi = pytest.importorskip("tenseal.sealapi")

N, LANES = 4096, 2
SPECIAL = 188_417  # 18 bits, 1 mod 8192: SEAL's key-switching prime, of no use here
RING = ring_of(N)
ORDER = seal_order(N)
HEADER = struct.Struct("<HBBBBHQ")


def blob(data):
    return HEADER.pack(0xA15E, HEADER.size, 4, 3, 0, 0, HEADER.size + len(data)) + data


def words_blob(words):
    return blob(struct.pack("<Q", words.size) + words.astype("<u8").tobytes())


@pytest.fixture(scope="module")
def context():
    settings = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.BFV)
    settings.set_poly_modulus_degree(N)
    settings.set_coeff_modulus([sealapi.Modulus(p) for p in (*PRIMES, SPECIAL)])
    settings.set_plain_modulus(sealapi.Modulus(1 << T_BITS))
    context = sealapi.SEALContext(settings, True, sealapi.SEC_LEVEL_TYPE.TC128)
    assert context.parameters_set(), context.parameters_error_name()  # SEAL's own check of 128 bits
    return context


@pytest.fixture(scope="module")
def key():
    """A key dealt by one dealer: its secret (lanes, n), the public key, two members' shares."""
    parameters = Parameters(lanes=LANES)
    a = Stream(b"a" * 32).uniform(N)
    dealing = KeyDealing(parameters, a, Stream(b"k" * 32))
    secret = Stream(b"k" * 32).ternary(LANES, N)
    shares = {member: KeyShare(member, dealing.share(member)) for member in (1, 3)}
    return secret, PublicKey(a, dealing.b), shares


def load(tmp_path, item, context, data):
    path = tmp_path / "seal"
    path.write_bytes(data)
    item.load(context, str(path))
    return item


def seal_key(tmp_path, context, secret):
    """One lane's secret as SEAL keeps it: transformed, under all three primes."""
    rows = []
    for p in (*PRIMES, SPECIAL):
        row = secret[None].copy()
        Field(p, N).forward(row)
        rows.append(row[0].astype(np.int64)[ORDER] % p)
    words = np.concatenate(rows)
    body = struct.pack("<4QQd", *context.key_parms_id(), words.size, 1.0) + words_blob(words)
    return load(tmp_path, sealapi.SecretKey(), context, blob(body))


def canonical(x):
    """(2, n) centred residues as SEAL keeps a polynomial: below each prime, one after the other."""
    return np.concatenate([x[i].astype(np.int64) % p for i, p in enumerate(PRIMES)])


def coefficients(plaintext):
    out = np.zeros(N, dtype=np.uint64)
    count = plaintext.coeff_count()
    out[:count] = [plaintext[i] for i in range(count)]
    return out


@pytest.mark.parametrize("lane", range(LANES))
def test_seal_decrypts_ours(tmp_path, context, key, lane):
    secret, public_key, _ = key
    message = np.random.default_rng(lane).integers(0, 1 << T_BITS, (LANES, N), dtype=np.uint64)
    message[lane, :3] = 0, 1, (1 << T_BITS) - 1
    ciphertext = public_key.encrypt(message, Stream())
    words = np.concatenate([canonical(ciphertext[:, part]) for part in (1 + lane, 0)])
    head = struct.pack("<4QBQQQdQ", *context.first_parms_id(), 0, 2, N, 2, 1.0, 1)
    loaded = load(tmp_path, sealapi.Ciphertext(), context, blob(head + words_blob(words)))
    decryptor = sealapi.Decryptor(context, seal_key(tmp_path, context, secret[lane]))
    plaintext = sealapi.Plaintext()
    decryptor.decrypt(loaded, plaintext)
    assert np.array_equal(coefficients(plaintext), message[lane])
    assert decryptor.invariant_noise_budget(loaded) >= 20


@pytest.mark.parametrize("pair", [(1, 3), (3, 1)])
def test_we_decrypt_seals(tmp_path, context, key, pair):
    secret, _, shares = key
    lane = 0
    encryptor = sealapi.Encryptor(context, seal_key(tmp_path, context, secret[lane]))
    message = np.random.default_rng(9).integers(0, 1 << T_BITS, N, dtype=np.uint64)
    plaintext = sealapi.Plaintext(N)
    body = struct.pack("<4QQd", 0, 0, 0, 0, N, 1.0) + words_blob(message)
    load(tmp_path, plaintext, context, blob(body))
    ciphertext = sealapi.Ciphertext()
    encryptor.encrypt_symmetric(plaintext, ciphertext)
    array = ciphertext.dyn_array()
    words = np.array([array.at(i) for i in range(4 * N)], dtype=np.uint64).reshape(2, 2, N)
    centred = [[np.where(w > p // 2, w.astype(np.int64) - p, w) for w, p in zip(x, PRIMES, strict=True)] for x in words]
    c0, c1 = np.array(centred, dtype=np.float64)
    first, second = shares[pair[0]], shares[pair[1]]
    masked, theirs = second.mask(pair[0], c1, 1, Stream())
    mine = first.unmask(pair[1], c1, RING.add(c0[:, None].copy(), half_unit(N, 1)), masked)
    assert np.isin((mine - theirs - message) & np.uint64((1 << T_BITS) - 1), (0, 1)).all()


def test_seal_transforms_as_we_do(context):
    """The order in which the cross-check reads SEAL's transform is the one that SEAL uses."""
    generator = sealapi.KeyGenerator(context)
    key = generator.secret_key()
    plain = key.data().dyn_array()
    stored = np.array([plain.at(i) for i in range(2 * N)], dtype=np.int64).reshape(2, N)
    out = np.empty((2, 1, N))
    for index, p in enumerate(PRIMES):
        out[index, 0, ORDER] = np.where(stored[index] > p // 2, stored[index] - p, stored[index])
    secret = RING.inverse(out)
    assert np.array_equal(secret[0], secret[1])
    assert set(np.unique(secret)) == {-1.0, 0.0, 1.0}
    assert np.array_equal(RING.forward(small(secret[0, 0]))[0, ORDER].astype(np.int64) % PRIMES[0], stored[0])
