"""Media in, fingerprints out. No cryptography, no knowledge of protocols.

HashingError
├── FingerprintError    a fingerprint's fields, or the name of an algorithm
├── UnreadableImage     not an image, a broken one, or one of a kind that is not read
├── ImageTooLarge       more memory than is allowed
└── ImageTooSmall       too few pixels to say anything
"""

from hashing.fingerprint import RULES, Fingerprint, FingerprintError, HashingError, Rule, hamming, pack, rule_for
from hashing.image import (
    ALGORITHMS,
    ImageTooLarge,
    ImageTooSmall,
    UnreadableImage,
    dihedral_fingerprints,
    hash_image,
    open_image,
)

__all__ = [
    "ALGORITHMS",
    "RULES",
    "Fingerprint",
    "FingerprintError",
    "HashingError",
    "ImageTooLarge",
    "ImageTooSmall",
    "Rule",
    "UnreadableImage",
    "dihedral_fingerprints",
    "hamming",
    "hash_image",
    "open_image",
    "pack",
    "rule_for",
]
