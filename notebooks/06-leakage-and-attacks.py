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
# # 6. What leaks, and what breaks
#
# **Question: what does each role see, and what can it make of that?**
#
# Encryption only moves trust. Here every message of every protocol is recorded and searched, and then
# each leak that we know of is used in earnest, with the defence beside it.

# %%
from experiments.notebook import figure, recorded, source, table

leakage, attacks = recorded("leakage"), recorded("attacks")
figure(leakage, "messages", 760)

# %% [markdown]
# Orange means that eight consecutive bytes of somebody's fingerprint stand in a message. In plaintext matching that is every
# message about an entry. The other protocols send more, and none of it contains one. The messages, and what each is computed from:

# %%
table(leakage.rows("messages"), ["protocol", "kind", "sender", "receiver", "messages", "bytes", "function_of"])

# %% [markdown]
# ## All attacks at a glance

# %%
table(attacks.rows("verdicts"))

# %% [markdown]
# ### Distances are as good as fingerprints
#
# In `bfv` one role, the key holder, decrypts distances. With 257 uploads of its own it reads any entry; with nothing but other
# people's uploads it finds the whole bank up to one symmetry, and a handful of known photos fixes that.

# %%
figure(attacks, "oracle")

# %%
figure(attacks, "geometry")

# %% [markdown]
# The answer alone, yes or no, is enough too: from a near-duplicate some 280 questions give the entry's exact bits. That is
# a property of the question, not of a protocol, and only budgets slow it. `blind` needs no walk: the platform opens the entry with the
# near-duplicate itself, in one query.
#
# ### Chosen results
#
# A member cannot tell from a ciphertext what it was computed from. Without proofs a platform that sends something else than the scan reads
# entries, and then the key, out of the match bits that it is told. With proofs (`docs/prove.md`, the default) members check first, and decrypt nothing
# of a batch that is not the published scan. Attack 5, both ways:

# %%
figure(attacks, "chosen")

# %%
table(attacks.rows("chosen"), ["way", "proofs", "who", "measure", "right", "results", "results_answered"])

# %% [markdown]
# ### Decrypted noise is a message too
#
# Ciphertexts carry noise, and adding ciphertexts adds noise. A client that marks its noise lets the key holder of `bfv` read an
# upload's bits from it, one by one:

# %%
figure(attacks, "noise")

# %% [markdown]
# ### An index gives itself away, slowly or fast
#
# The blinded index reveals an entry to who uploads something that agrees with it in one band of k bits. By accident this happens
# all the time for small k:

# %%
figure(attacks, "harvest")

# %% [markdown]
# ## Try next
#
# - Write your own attack: a module in `experiments/attacks/` with `run` and `figure`.
# - `THREAT_MODEL.md` says in words, role by role, what follows from all this, and what is out of scope.

# %%
source(attacks)
