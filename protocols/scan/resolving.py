"""What comes of answered batches at the exchange: handles of matches, and proofs that members refused.

It learns which cases matched, when, and on which platform; platforms get handles that tell them nothing.
"""

from __future__ import annotations

import secrets

from protocols.base import IntegrityError, ReplayError, StaleVersion
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import MatchHandles, MatchList, ScanHeader, SignedMatchList
from protocols.scan.proof_messages import ProofRefusal, SignedRefusal
from protocols.scan.slots import BlockSlots
from protocols.scan.store import Table


class Resolver:
    """Match lists into handles, each session's once."""

    def __init__(
        self, pinned: Pinned, blocks: dict[int, BlockSlots], case_of: dict[bytes, str], resolved: Table
    ) -> None:
        """blocks, case_of: the exchange's, of each entry; looked into at every use. resolved: sessions that were."""
        self.refusals: list[ProofRefusal] = []
        self._pinned = pinned
        self._blocks = blocks
        self._case_of = case_of
        self._resolved = resolved
        self._handles: dict[bytes, str] = {}

    def resolve(self, signed: tuple[SignedMatchList, SignedMatchList], pair: tuple[int, int]) -> MatchHandles:
        """Handles for the matches that both members of a pair list alike.

        Raises IntegrityError; StaleVersion for another version, or where what one of them lists was withdrawn, which
        the other may know already; ReplayError for a session that was resolved before.
        """
        if len(set(pair)) != 2:
            raise IntegrityError(f"match lists: {pair} is no pair of members")
        lists = []
        for one, member in zip(signed, pair, strict=True):
            told = self._pinned.parties[f"member-{member}"].verify(one, MatchList)
            if told.member != f"member-{member}":
                raise IntegrityError(f"match list: member-{member} signs for {told.member}")
            lists.append(told)
        a, b = lists
        differ = f"match lists of member-{pair[0]} and member-{pair[1]} differ"
        if (a.session, a.platform, a.version, a.block) != (b.session, b.platform, b.version, b.block):
            raise IntegrityError(differ)
        slots = self._blocks.get(a.block)
        if slots is None or slots.version != a.version:
            raise StaleVersion(f"match list: block {a.block}, version {a.version} is not served")
        if a.session in self._resolved:
            raise ReplayError("match lists: the session was resolved before")
        if slots.withdrawn_at(a.slots + b.slots):
            raise StaleVersion("match lists: an entry was withdrawn meanwhile; scan again")
        if (a.queries, a.slots, a.many) != (b.queries, b.slots, b.many):
            raise IntegrityError(differ)
        cases = [self._case_of[entry] for entry in slots.entries_at(a.slots)]
        handles = [secrets.token_bytes(16) for _ in cases]
        self._resolved[a.session] = b""
        self._handles |= dict(zip(handles, cases, strict=True))
        return MatchHandles(a.session, a.queries, handles, a.many)

    def case_of(self, handle: bytes) -> str:
        """Whose match a handle stands for: what the exchange tells the person."""
        return self._handles[handle]

    def forget(self, handles: list[bytes]) -> None:
        """Drop handles that are kept elsewhere."""
        for handle in handles:
            self._handles.pop(handle, None)

    def receive_refusal(self, signed: SignedRefusal) -> None:
        """A member refused a platform's proof: kept, with what that platform signed, as evidence for anybody.

        Raises IntegrityError, MessageError.
        """
        member, told = self._pinned.verify_member(signed, ProofRefusal)
        if told.member != f"member-{member}":
            raise IntegrityError(f"refusal: member-{member} signs for {told.member}")
        if told.platform not in self._pinned.parties:
            raise IntegrityError(f"refusal: {told.platform} is not in the manifest")
        header = self._pinned.parties[told.platform].verify(told.header, ScanHeader)
        if (header.platform, header.session) != (told.platform, told.session):
            raise IntegrityError(f"refusal of member-{member}: the header is not {told.platform}'s of that session")
        self.refusals.append(told)
