"""The encrypted scan: exact, and nobody sees a distance. docs/scan.md tells the protocol and its proofs."""

from protocols.scan.protocol import Scan

__all__ = ["Scan"]
