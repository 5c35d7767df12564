"""Media in, fingerprints out. No cryptography, no knowledge of protocols."""

from hashing.fingerprint import RULES, Fingerprint, FingerprintError, HashingError, Rule, hamming, pack, rule_for

__all__ = ["RULES", "Fingerprint", "FingerprintError", "HashingError", "Rule", "hamming", "pack", "rule_for"]
