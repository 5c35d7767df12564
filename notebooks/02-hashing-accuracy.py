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
# # 2. What hashes find and what they miss
#
# **Question: which edits does a copy survive, how often do unrelated photos match, and does encryption change any answer?**
#
# Nothing in this project can find a copy that the hash itself misses, so this comes first. PDQ is the 256-bit hash that
# platforms use; two photos match when their hashes differ in at most 31 bits.

# %%
from experiments.notebook import figure, recorded, source, table

accuracy = recorded("accuracy")
figure(accuracy, "recall")

# %% [markdown]
# Black dots are today's rule. Compression, resizing, greyscale: found. Crops of a few per cent, small rotations, a caption, a
# frame: mostly missed, and a mirrored or turned copy is never found, unless the other orientations' hashes are enrolled too (green),
# which costs eight entries instead of one.
#
# A higher threshold (orange, light blue) brings some of them back. What would it cost?

# %%
figure(accuracy, "distances")

# %% [markdown]
# Unrelated photos lie around 128 bits apart, like coin flips, and far from the rule. So 63 looks safe on photos of different things.
# Two cautions. The bars show this many pairs, and a platform sees billions. And photos of one room in one pose are
# not unrelated to a hash: such pairs come much nearer. Look at the lowest distance on photos like yours before raising it.

# %%
table([{"number": key, "value": value} for key, value in accuracy.headline.items() if key.startswith("pdq")])

# %%
figure(accuracy, "roc")

# %% [markdown]
# The other hashes here have 64 bits. Each has its own rule, chosen so that random hashes practically never match:

# %%
figure(accuracy, "hashes", 520)

# %% [markdown]
# ## Does encryption change any answer?
#
# Every protocol that can run is asked the same questions as plaintext matching. `disagreements` counts pairs that one reports and
# the other does not. Those that claim to be exact must have none; the others may miss pairs, never invent one.

# %%
table(accuracy.rows("agreement"))

# %% [markdown]
# ## Try next
#
# - Your photos: `python -m experiments accuracy --photos DIR`; also Copydays or DISC21 folders as unpacked.
# - Your edit: one line in `experiments/edits.py`.

# %%
source(accuracy)
