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
# # 5. What privacy costs
#
# **Question: how much more time, traffic and storage does it take to compare hashes that nobody may see?**
#
# A comparison is one upload against one entry of the bank. In the clear it is an XOR and a population count. The ladder
# goes from the first thing that one would write with a homomorphic library, one pair at a time, down to what platforms run
# today, all measured in one run on one machine, one thread, all roles added up, each at its cheapest point of the grid. `scan` was
# measured without its proofs.

# %%
from experiments.notebook import figure, recorded, source, table

cost = recorded("cost")
figure(cost, "ladder")

# %% [markdown]
# Every step down is one idea. *One pair* to `bfv`: put thousands of entries into one ciphertext and share the work. `bfv` to
# `scan`: let a whole batch of uploads be one matrix product, and never let anybody see a distance. What remains between
# `scan` and `plaintext` is the price of privacy for an exact answer. `blind` is not on the ladder: it does not compare, it looks
# tokens up, so it costs some 50 ms an upload whatever the bank's size. Its recall is lower.
#
# Costs depend on how many entries there are and how many uploads are checked together:

# %%
figure(cost, "grid", 900)

# %% [markdown]
# Time is not all. What is sent, and what a platform stores:

# %%
figure(cost, "wire", 760)

# %% [markdown]
# And who does the work:

# %%
figure(cost, "roles")

# %% [markdown]
# ## A large platform
#
# A model with four coefficients (a batch, an entry, an upload, a comparison) is fitted to these measurements and predicts a
# point that it has not seen (`held_back_error`). ThreatExchange's open-source matcher states a target of 4,000 look-ups a second
# over 10 million hashes. What would that need?

# %%
scale = recorded("scale")
table(scale.rows("needs", entries=10_000_000, uploads_a_second=4_000))

# %%
figure(scale, "needs", 760)

# %%
table(scale.rows("models"), ["method", "points", "held_back_entries", "held_back_batch", "held_back_error"])

# %% [markdown]
# The ladder has `scan` at 25 times plaintext, the model at 17 times. The ladder takes each method's cheapest measured point, which for `scan` is
# one block of five lanes, not quite full; the model predicts ten million entries from the coefficient of a comparison alone. `blind` has no
# held-back point: that its cost stays the same up to ten million entries is unchecked here.
#
# ## The answer
#
# To compare hashes that nobody may see, exactly, takes 17 to 25 times the CPU time of comparing them in the clear and 16 bytes of traffic a comparison where
# plaintext sends none. A thousand cores can be had. The network, not the CPU, is the obstacle: `scan` at the target needs some
# 5,100 Gbit/s between the roles. So it fits banks and rates about a thousand times smaller, such as 100,000 entries at
# 400 look-ups a second (5 Gbit/s). `blind` needs 200 cores and half a Gbit/s at the target and finds less, but a key answers 2⁴⁰ evaluations
# in its life: at that rate it is used up within 25 days, and then everybody has to enrol again.

# %% [markdown]
# ## Try next
#
# - Your machine: `python -m experiments cost` and then `python -m experiments scale`.
# - Halve the bank or the rate: needs are proportional to both, for everything but an index.

# %%
source(cost)
