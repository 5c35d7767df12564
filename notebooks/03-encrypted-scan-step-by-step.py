# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. The encrypted scan, step by step
#
# **Question: how can an upload be compared with sealed fingerprints so that nobody sees a fingerprint, an upload or a distance,
# and the answer is still exact?**
#
# Roles: *clients* seal fingerprints; the *exchange* keeps the sealed bank; a *platform* checks its uploads; a *committee* of three
# non-profits holds the key, and any two can decrypt together while one alone learns nothing. The maths is in `docs/scan.md`. Platforms
# prove that what they send is the published scan, and members check that before they decrypt: `docs/prove.md`.

# %%
import numpy as np

from experiments.attacks.common import case_at, random_hashes, remember_shares, shares_at
from experiments.notebook import table
from hashing import hamming
from protocols import create
from protocols.scan.entries import expand
from protocols.scan.sampling import fresh_seed

rng = np.random.default_rng(1)
bank = random_hashes(rng, 50)
uploads = random_hashes(rng, 5)
uploads[0] = bank[7]
uploads[0, :3] ^= 0b10101010  # 12 bits from entry 7
hamming(uploads, bank).min(axis=1)

# %% [markdown]
# ## 1. A distance is linear in the entry
#
# With the upload q in the clear and the entry's bits b unknown, the Hamming distance is
# popcount(q) + Σ (1 − 2 qᵢ) bᵢ: a sum of unknown bits with signs + and − that the platform knows. So it can be computed under an
# encryption that only knows how to add, for all entries at once, and for many uploads as one matrix product.

# %%
q, b = np.unpackbits(uploads[0]).astype(int), np.unpackbits(bank[7]).astype(int)
int(q.sum() + ((1 - 2 * q) * b).sum())

# %% [markdown]
# ## 2. A client splits its entry
#
# Each bit becomes three numbers mod 2⁶⁴ that add up to it. Two are pure randomness, the third is the rest, and each member
# gets two of the three: two members can rebuild the entry together, one has nothing but noise. Nothing homomorphic runs at the
# client, so a phone can do it. Before use, the members check on their shares that the entry is made of bits and nothing else.

# %%
first, second = (expand(1, fresh_seed(), 256) for _ in range(2))
third = b.astype(np.uint64) - first - second
bool(np.array_equal(first + second + third, b)), third[:3]

# %% [markdown]
# ## 3. The whole protocol, with every message recorded
#
# All roles run in this process, but what one gives another is encoded to bytes and decoded again.

# %%
protocol = create("scan", lanes=1, record=True, workers=1)
seen_by_a = remember_shares(protocol._members[1])
protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
protocol.match(uploads)

# %% [markdown]
# Upload 0 matches case 7, and that is all that comes out. What crossed on the way, while matching:

# %%
kinds = protocol.ledger.bytes_by_kind("match")
meaning = {(m.kind.__name__, m.sender, m.receiver): m.function_of for m in protocol.messages}
table(
    [
        {"message": k[0], "from": k[1], "to": k[2], "count": n, "bytes": size, "function of": meaning[k]}
        for k, (n, size) in kinds.items()
    ]
)

# %% [markdown]
# ## 4. What a member sees
#
# Decryption does not end in a number. Member B adds a one-time pad before member A decrypts, so A holds the padded value and B
# the pad. Here is what A holds where entry 7 stands, for each of the five uploads, and again after asking a second time.
# Upload 0 is a near copy and the others are strangers; nothing tells.

# %%
protocol.match(uploads)
slots = protocol._members[1].custody.blocks[0].slots
slot = slots[case_at(protocol, slots.tolist()).index("case-7")]
held = shares_at(seen_by_a, np.array([slot]))
held.reshape(2, -1)[:, :5]

# %% [markdown]
# ## 5. Comparing without seeing
#
# A and B now hold shares of every distance. With triples dealt by the third member they evaluate "is it at most 31?" bit by
# bit on shares: a few rounds of masked bits, and only the last bit, match or no match, is opened. Both sign what they opened; the
# exchange turns slots into cases and gives the platform a random handle.
#
# ## 6. The same answers as plaintext

# %%
plaintext = create("plaintext")
plaintext.enroll([f"case-{number}" for number in range(len(bank))], bank)
protocol.match(uploads) == plaintext.match(uploads)

# %% [markdown]
# A withdrawn case stops matching at the members, at once, whatever tables platforms still have:

# %%
protocol.withdraw("case-7")
protocol.match(uploads)

# %% [markdown]
# ## Try next
#
# - Change `uploads[0]` until it no longer matches: the border is exactly 31 bits.
# - What happens to a platform that sends something else: notebook [6](06-leakage-and-attacks.ipynb), "Chosen results", without proofs and with them.
