"""Media in, fingerprints out. No cryptography, no knowledge of protocols.

HashingError
├── FingerprintError    a fingerprint's fields, or the name of an algorithm
├── UnreadableImage     not an image, a broken one, or one of a kind that is not read
├── ImageTooLarge       more memory than is allowed
├── ImageTooSmall       too few pixels to say anything
├── ListError           a fingerprint list, or a row of it
└── VariantsError       the name of a set of variants
"""

from hashing.fingerprint import (
    RULES,
    Fingerprint,
    FingerprintError,
    HashingError,
    Rule,
    hamming,
    pack,
    pack_margins,
    rule_for,
)
from hashing.image import (
    ALGORITHMS,
    ImageTooLarge,
    ImageTooSmall,
    UnreadableImage,
    dihedral_fingerprints,
    hash_image,
    open_image,
)
from hashing.lists import ListError, read_list, write_list
from hashing.variants import Variants, VariantsError, fingerprints_to_enroll, fingerprints_to_query

__all__ = [
    "ALGORITHMS",
    "RULES",
    "Fingerprint",
    "FingerprintError",
    "HashingError",
    "ImageTooLarge",
    "ImageTooSmall",
    "ListError",
    "Rule",
    "UnreadableImage",
    "Variants",
    "VariantsError",
    "dihedral_fingerprints",
    "fingerprints_to_enroll",
    "fingerprints_to_query",
    "hamming",
    "hash_image",
    "open_image",
    "pack",
    "pack_margins",
    "read_list",
    "rule_for",
    "write_list",
]
