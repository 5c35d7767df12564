"""Textbook: a bit-sliced bank under BFV, additions only, and one key holder who sees the distances.

What a careful practitioner builds today with SEAL from Python, and the yardstick for what the other encrypted
protocols improve. Ring R_q = Z_q[X]/(X^n + 1), plaintext modulus t with n slots; [v] is an encryption of the
slot vector v under the key holder's public key.

    client      for its entries x_j in the slots that the exchange gave it: [x^(i)], i = 0..bits-1, where slot j
                of x^(i) holds bit i of x_j and every other slot 0
    exchange    c_i = sum of all clients' [x^(i)]: ciphertext i holds bit i of up to n entries of many clients
    platform    knows its query y in the clear, and |y - x| = |y| + sum_{i: y_i = 0} x_i - sum_{i: y_i = 1} x_i:
                d = sum_{y_i = 0} c_i - sum_{y_i = 1} c_i + [|y| + mask] + [0]
    key holder  decrypts d, keeps the live slots at distance <= threshold, and gives the platform an opaque
                handle a match, and the exchange the slot of each handle

`mask` is uniform mod t in slots without a live entry, 0 elsewhere, so free slots do not show |y| and withdrawn
ones no distance. The key holder keeps the list of live slots itself: a withdrawn slot stops matching when its
message arrives, whatever platforms hold. Slots are not used twice: the bits of a withdrawn entry stay inside
the bank's ciphertexts until the key is replaced. Exact, and not by luck: `parameters` bounds the noise.

An entry takes `bits` ciphertexts however few slots a client fills; `enroll` plays one client a call, so entries
enrolled in one call share them and entries enrolled one by one pay for them each. The ledger shows it.

Source: Brakerski (2012), Fan and Vercauteren (2012); SEAL 4 through TenSEAL's `sealapi`; slots after Smart and
Vercauteren (2014).

NOT protected:
- The key holder sees the distance of every query to every live entry, slot by slot, and so can find both up to
  a symmetry (distance geometry), or exactly with some entries of its own. With the exchange's ciphertexts it reads
  the whole bank; with the platform's results, all queries. It is one party with the one key.
- Noise: fresh zeros hide which ciphertexts were added only partly. Noise of `c_i` stays in the result; who knows
  it, or planted it, learns query bits from the decrypted noise. There is no noise flooding here.
- Any client can put any vector into any slot, other clients' too: nothing proves that its slots hold bits or
  that the rest is zero.
- SEAL's loader is not safe on bytes from somebody else, and there is no other way through this library. `seal`
  checks the header first, which is not a cure. Run this between parties that trust each other's programs.
- The exchange learns who enrols when, how many entries, and which cases match; the platform the size of the bank
  and which slots are live.
"""

from protocols.bfv.protocol import BFV

__all__ = ["BFV"]
