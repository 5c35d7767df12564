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
# # 1. Why raw hashes are dangerous
#
# **Question: if platforms only ever receive a hash of a private photo, what do they know about the photo?**
#
# Someone whose intimate photos are being shared can ask platforms to block them, without handing the photos over. Today this
# works with *perceptual hashes*: the person's own device turns each photo into 256 bits, the bits go to an exchange, and
# from there to every participating platform. A platform hashes what is uploaded and looks for hashes that differ in
# at most 31 bits. Recompressed and resized copies are found, and no photo ever leaves the device.
#
# The 256 bits are not harmless. This notebook shows what is inside them.

# %%
from experiments.attacks import inversion
from experiments.datasets import bundled
from experiments.notebook import figure, recorded, source, table
from hashing import hash_image

photos = bundled()
fingerprint = hash_image(photos.originals["astronaut"])
fingerprint.hex

# %% [markdown]
# That is the hash of a portrait (a public-domain photo that comes with scikit-image). It looks like noise, as a password hash
# does. But a password hash changes completely when its input changes a little, and this one must not: copies have to
# stay near. So each bit says something about the picture: whether one coarse wave of light and dark (one DCT coefficient) is
# stronger than the median wave. Adding the waves up again, with the signs that the bits give, draws a picture:

# %%
thumbnail = inversion.from_signs(fingerprint.bits)
thumbnail.shape, round(float(thumbnail.std()), 3)

# %% [markdown]
# No training, no data, one inverse DCT. Below are the five photos that come out best, what is drawn from their raw hash, and what the same program
# draws from the bytes that the encrypted protocols of this project show to the exchange. SSIM is structural similarity: 1 is the
# same picture, 0 is nothing in common.

# %%
attacks = recorded("attacks")
figure(attacks, "inversion")

# %%
table(
    attacks.rows("inversion"),
    ["protocol", "method", "photos", "ssim_mean", "ssim_of_another_photo", "picked", "picked_by_chance"],
)

# %% [markdown]
# Read the column `picked`: given the drawn thumbnail and all the photos, how often is the nearest photo the one that the hash
# was made from? From a raw hash 15 times of 16; from what the encrypted protocols send, as often as by guessing. That is all that
# is measured here: these thumbnails are blurred, their mean SSIM is 0.10.
# But this is the least that an attacker can do. Hawkes, Weinert, Almeida and Mehrnezhad ("Perceptual Hash Inversion
# Attacks on Image-Based Sexual Abuse Removal Tools", 2024) train networks that draw far better pictures from the same bits.
#
# A raw hash is also a search key. Whoever holds it can scan photo collections, leaked archives and social
# networks for the person, and can test whether a given photo is in the bank: the list meant to protect people is a list of
# people to look for.
#
# ## What this project does instead
#
# Platforms only need one bit an upload: *does it match a case, or not?* Hushmatch computes that bit with the hashes sealed.
# The exchange never sees a raw hash. What else nobody sees depends on the protocol:
#
# - `bfv`: platforms see no entry, but the one key holder sees every upload's distance to every entry, which is as good as both;
# - `scan`: platforms see no entry and nobody sees an upload or a distance, as long as no two of three members work together and
#   proofs are on, as they are by default;
# - `blind`: a platform opens every entry that is near to one of its own uploads, and nobody else sees an upload.
#
# The notebooks that follow show that the answers stay the same ([2](02-hashing-accuracy.ipynb)), how it works ([3](03-encrypted-scan-step-by-step.ipynb),
# [4](04-blinded-index.ipynb)), what it costs ([5](05-what-privacy-costs.ipynb)), and what still leaks ([6](06-leakage-and-attacks.ipynb)).
#
# ## Try next
#
# - Draw from a photo of your own: `inversion.from_signs(hash_image("photo.jpg").bits)`, and show it with matplotlib.
# - `python -m experiments attacks --photos DIR` measures `picked` on a folder of photos; no pixel of them ends up in the result.

# %%
source(attacks)
