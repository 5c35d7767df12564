"""Media in, fingerprints out. No cryptography, no knowledge of protocols.

HashingError
├── FingerprintError    a fingerprint's fields, or the name of an algorithm
├── UnreadableImage     not an image, a broken one, or one of a kind that is not read
├── ImageTooLarge       more memory than is allowed
├── ImageTooSmall       too few pixels to say anything
├── UnreadableVideo     not a video, a broken one, or one of a kind that is not read
├── VideoTooLarge       longer or larger than is allowed
├── VideoUnavailable    PyAV is not installed
├── ListError           a fingerprint list, or a row of it
└── VariantsError       the name of a set of variants
"""

from hashing.decoding import Limits, UnreadableVideo, VideoTooLarge, VideoUnavailable, is_video
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
from hashing.video import VIDEO_RULE, Frame, Video, VideoRule, hash_video, video_to_enroll, video_to_query

__all__ = [
    "ALGORITHMS",
    "RULES",
    "VIDEO_RULE",
    "Fingerprint",
    "FingerprintError",
    "Frame",
    "HashingError",
    "ImageTooLarge",
    "ImageTooSmall",
    "Limits",
    "ListError",
    "Rule",
    "UnreadableImage",
    "UnreadableVideo",
    "Variants",
    "VariantsError",
    "Video",
    "VideoRule",
    "VideoTooLarge",
    "VideoUnavailable",
    "dihedral_fingerprints",
    "fingerprints_to_enroll",
    "fingerprints_to_query",
    "hamming",
    "hash_image",
    "hash_video",
    "is_video",
    "open_image",
    "pack",
    "pack_margins",
    "read_list",
    "rule_for",
    "video_to_enroll",
    "video_to_query",
    "write_list",
]
