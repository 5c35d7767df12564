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
# # 4. The blinded index
#
# **Question: can an upload be looked up at a cost that does not grow with the bank, and what does one give up for that?**
#
# The scan compares an upload with every entry. For very large banks one would rather look it up. A *band* is a public
# choice of 64 of the 256 bit positions; near copies agree on some bands completely. So each fingerprint gets a *token*
# a band: its bits there, put through a function that only the committee's members can evaluate together, and they evaluate
# it *blinded*: they do not see what they evaluate, and whoever asks does not learn the key (an oblivious pseudorandom function,
# RFC 9497, the key shared two of three). Equal bits give equal tokens; anything else looks random.

# %%
import numpy as np

from experiments.attacks.common import random_hashes
from experiments.notebook import figure, recorded, source, table
from protocols import create

rng = np.random.default_rng(1)
bank = random_hashes(rng, 20)
protocol = create("blind", threads=1)
protocol.enroll([f"case-{number}" for number in range(len(bank))], bank)
len(bank), protocol.parameters.k, protocol.parameters.entry_tokens


# %% [markdown]
# ## Near copies are found, far ones less and less
#
# Copies of each entry with 0 to 40 bits turned at random. The rule takes all of them up to 31; the index finds those that agree with
# their entry on at least one band:


# %%
def turned(row, distance):
    bits = np.unpackbits(row)
    bits[rng.choice(256, distance, replace=False)] ^= 1
    return np.packbits(bits)


rows = []
for distance in (0, 2, 4, 8, 16, 31):
    copies = np.array([turned(row, distance) for row in bank])
    found = {match.query for match in protocol.match(copies) if match.case == f"case-{match.query}"}
    rows.append({"bits turned at random": distance, "copies": len(bank), "found": len(found)})
table(rows)

# %% [markdown]
# Random bits are the worst case. In a recompressed photo the bits that turn are the ones that were nearly undecided, and PDQ knows
# which these are; client and platform choose bands with reliable bits first, if they are given the margins. On photos the
# index finds this share of what plaintext finds, and never a false pair:

# %%
accuracy = recorded("accuracy")
table(accuracy.rows("agreement", protocol="blind"))

# %% [markdown]
# ## What it gives up
#
# A platform that hits a band may open the entry's fingerprint, to compare and report only true matches. So it learns the
# fingerprints of entries near to what was uploaded, and bands must be wide enough that strangers never agree on one:

# %%
attacks = recorded("attacks")
figure(attacks, "harvest")

# %%
table(attacks.rows("harvest"))

# %% [markdown]
# Withdrawal is weaker than the scan's as well: a platform that keeps an old table keeps what it could open with it.
#
# ## Try next
#
# - `create("blind", k=48, allow_unsafe_k=True)` finds more and gives away more; the attack above says how much more.
# - Ask for many uploads with `protocol.match` and look at `protocol.ledger.cpu_seconds`: members work a constant amount each.

# %%
source(attacks)
