"""The blinded index: a query costs the same whatever the bank's size. See protocol.py and docs/blind.md."""

from protocols.blind.protocol import Blind

__all__ = ["Blind"]
