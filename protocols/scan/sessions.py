"""A member's sessions: which batches of results it takes, whom it does not serve any more, what is given up.

`Session` has the steps of one batch. A session's id serves once, whatever became of it.
"""

from __future__ import annotations

import threading
import time

from protocols.base import IntegrityError, MessageError, ProofRefused, ReplayError, StaleVersion
from protocols.ledger import decode, role_of
from protocols.scan.blocks import BlockStore
from protocols.scan.budgets import Budgets
from protocols.scan.custody import Custody
from protocols.scan.dealing import Stock
from protocols.scan.encryption import PublicKey
from protocols.scan.keys import MEMBERS, KeyShare
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import (
    GateOpening,
    HeaderDigest,
    MatchBits,
    PartialDecryption,
    ScanHeader,
    ScanResults,
    SignedHeader,
    SignedMatchCounts,
    SignedMatchList,
)
from protocols.scan.packing import check_residues
from protocols.scan.parameters import RESIDUE_BITS, Parameters
from protocols.scan.proof_messages import (
    ProofClosing,
    ProofDeal,
    ProofOpening,
    ProofRefusal,
    ProofToss,
    SignedRefusal,
)
from protocols.scan.sealing import Identity, digest, same
from protocols.scan.session import Session
from protocols.scan.standing import Standings
from protocols.scan.store import Store, Tables
from protocols.scan.verification import proof_of


class Sessions:
    """Member `member`'s sessions, triples in stock, and budgets. Thread-safe by session."""

    def __init__(
        self,
        member: int,
        identity: Identity,
        pinned: Pinned,
        parameters: Parameters,
        custody: Custody,
        store: Tables | None = None,
        unfinished: int = 0,
    ) -> None:
        """store: what was seen, asked for and refused. unfinished: challenged batches a platform may leave a day.

        Each of those is one more try to pass the checks by luck (docs/prove.md has the odds).
        """
        store = store or Store()
        self._refused = store.table("refused")
        self._budgets = Budgets(pinned.manifest, store.table("asked"), unfinished)
        self._member = member
        self._identity = identity
        self._pinned = pinned
        self._parameters = parameters
        self._custody = custody
        self._sessions: dict[bytes, Session] = {}
        self._seen = store.table("sessions")
        self._standings = Standings(custody.blocks, parameters)
        self.stock = Stock(parameters, store.table("deals"))
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Sessions of member-{self._member}>"

    def use_bank(self, bank: BlockStore) -> None:
        """The published blocks, which proofs are about."""
        self._bank = bank

    def use_keys(self, key_share: KeyShare, pair_keys: dict[int, bytes], public_key: PublicKey) -> None:
        """What the ceremony gave."""
        self._key_share, self._pair_keys, self._public_key = key_share, pair_keys, public_key

    # What is taken -----------------------------------------------------------------------------------------------

    def receive_results(self, platform: str, message: ScanResults) -> HeaderDigest:
        """A batch of results from a platform; what to tell the other member of the pair.

        Raises IntegrityError for a signature or digest that does not verify, StaleVersion, ReplayError, MessageError,
        BudgetExceeded.
        """
        if platform not in self._pinned.parties or role_of(platform) != "platform":
            raise IntegrityError(f"{platform} is no platform of the manifest")
        if platform.encode() in self._refused:
            raise IntegrityError(f"{platform} is not served: a proof of it was refused, or not finished: reinstate it")
        header = self._pinned.parties[platform].verify(message.header, ScanHeader)
        first = self._check_header(header, platform)
        lanes = self._custody.blocks[header.block].lanes
        size = 2 * header.batch * RESIDUE_BITS * self._parameters.n // 8
        if len(message.c1) != size or len(message.c0) != (size * lanes if first else 0):
            raise MessageError(f"results of {platform}: c1 or c0 has the wrong length")
        if not same(digest("c1", message.c1), header.c1_digest) or (
            first and not same(digest("c0", message.c0), header.c0_digest)
        ):
            raise IntegrityError(f"results of {platform}: not the ones that its header is about")
        n, batch = self._parameters.n, header.batch  # range: checked now, as failing after the toss would be a failure
        check_residues(message.c1, (batch, 2), n, "c1")
        if first:
            check_residues(message.c0, (batch, 2 * lanes), n, "c0")
        proof = None
        if self._pinned.manifest.proofs:
            proof = proof_of(message, header, self._member, self._identity, self._parameters, lanes)
        with self._lock:
            if header.session in self._seen:
                raise ReplayError(f"results of {platform}: the session was seen before")
            self._budgets.spend(platform, header.batch)
            self._seen[header.session] = b""
            agreed_on = digest("header", message.header.body)
            self._sessions[header.session] = Session(
                self._member,
                self._parameters,
                self._standings,
                header,
                agreed_on,
                lanes,
                message.c1,
                message.c0,
                proof,
            )
        return HeaderDigest(header.session, agreed_on, b"" if proof is None else proof.commitment)

    def _check_header(self, header: ScanHeader, platform: str) -> bool:
        if header.platform != platform or header.batch != self._pinned.manifest.batch:
            raise MessageError(f"header of {platform}: names another platform, or a batch of another size")
        if len(header.session) != 16 or len(header.pair) != 2 or self._member not in header.pair:
            raise MessageError(f"header of {platform}: not for member-{self._member}")
        if len(set(header.pair)) != 2 or not set(header.pair) <= set(MEMBERS):
            raise MessageError(f"header of {platform}: {header.pair} is no pair of members")
        slots = self._custody.blocks.get(header.block)
        current = self._custody.block_digests.get(header.block)
        if header.epoch != self._pinned.manifest.epoch or slots is None or header.version != slots.version:
            raise StaleVersion(
                f"header of {platform}: epoch {header.epoch}, block {header.block}, version {header.version} is not"
                " what members serve; sync and scan again"
            )
        if current is None or not same(header.block_digest, current):
            raise StaleVersion(f"header of {platform}: block {header.block} is not the one that was signed")
        return header.pair[0] == self._member

    # Steps of one batch ------------------------------------------------------------------------------------------

    def receive_header(self, sender: int, message: HeaderDigest) -> None:
        """What the other member was given. Raises IntegrityError if it differs."""
        self._session(message.session).receive_header(sender, message)

    def use_deal(self, session_id: bytes, deal_id: bytes) -> ProofDeal:
        """Take the deal that a batch is checked and compared with; what to tell the other. Raises ReplayError."""
        return self._session(session_id).use_deal(self.stock, deal_id)

    def receive_deal(self, sender: int, message: ProofDeal) -> None:
        """Raises IntegrityError, before anything is tossed, if the other member was told of another deal."""
        self._session(message.session).receive_deal(sender, message)

    def toss(self, session_id: bytes) -> ProofToss:
        """This member's seed of the challenge, told once. Raises ReplayError."""
        return self._session(session_id).verification().toss()

    def receive_toss(self, sender: int, message: ProofToss) -> ProofOpening:
        """The other member's seed; what to open. Raises IntegrityError, ProofRefused, ReplayError, StaleVersion."""
        return self._session(message.session).receive_toss(sender, message, self._bank, self._public_key)

    def receive_opening(self, sender: int, message: ProofOpening) -> ProofClosing:
        """The other member's opening; the second round's. Raises ProofRefused, MessageError, ReplayError."""
        return self._session(message.session).verification().receive_opening(sender, message)

    def receive_closing(self, sender: int, message: ProofClosing) -> None:
        """The other member's sign sums: the batch is accepted, or refused. Raises ProofRefused, MessageError."""
        self._session(message.session).verification().receive_closing(sender, message)

    def partial(self, session_id: bytes) -> PartialDecryption:
        """As B. A second call gives the bytes of the first. Raises ReplayError out of turn."""
        return self._session(session_id).partial(self._key_share)

    def receive_partial(self, sender: int, message: PartialDecryption) -> None:
        """As A. Raises MessageError, ReplayError."""
        self._session(message.session).receive_partial(sender, message, self._key_share)

    def start_comparison(self, session_id: bytes, deal_id: bytes) -> None:
        """Spend a deal on a session whose shares are ready; one that was proved has its own. Raises ReplayError."""
        self._session(session_id).start_comparison(self.stock, deal_id)

    def gate_opening(self, session_id: bytes, chunk: int, round_: int) -> GateOpening:
        """Raises ReplayError out of turn."""
        return self._session(session_id).gate_opening(chunk, round_)

    def next_gates(self, sender: int, message: GateOpening) -> GateOpening | None:
        """Take the other's opening; this one's of the chunk's next round, None after the last.

        Raises ReplayError, MessageError.
        """
        return self._session(message.session).next_gates(sender, message)

    def match_bits(self, session_id: bytes) -> MatchBits:
        """This member's share of the match bits. Raises ReplayError before the last round."""
        return self._session(session_id).match_bits()

    def receive_match_bits(self, sender: int, message: MatchBits) -> None:
        """Combine, drop slots that are not live, apply the cap. Raises ReplayError, MessageError, StaleVersion."""
        session = self._session(message.session)
        session.receive_match_bits(sender, message, self._pinned.manifest.match_cap, self._pair_keys[session.other])
        with self._lock:
            self._budgets.note_matches(session.header.platform, len(session.matches))

    def answer(self, session_id: bytes) -> tuple[SignedMatchList, SignedMatchCounts]:
        """The signed list for the exchange and counts for the platform; the session ends. Raises ReplayError."""
        match_list, match_counts = self._session(session_id).answer(self._identity.name)
        del self._sessions[session_id]
        return self._identity.sign(match_list, SignedMatchList), self._identity.sign(match_counts, SignedMatchCounts)

    # Ends --------------------------------------------------------------------------------------------------------

    def refuse(self, session_id: bytes, refused: ProofRefused) -> SignedRefusal:
        """End a session whose proof failed; its platform is not served any more. For the exchange: who and why."""
        self.abandon(session_id)
        self._refused[refused.party.encode()] = refused.check.encode()
        name = self._identity.name
        evidence = decode(refused.evidence, SignedHeader)
        told = ProofRefusal(name, refused.party, session_id, refused.check, evidence)
        return self._identity.sign(told, SignedRefusal)

    def reinstate(self, platform: str) -> None:
        """Serve a platform again whose proof was refused, or not finished."""
        self._refused.pop(platform.encode(), None)

    def abandon(self, session_id: bytes) -> None:
        """Forget a session that failed. It is not answered any more, and its id stays used.

        A batch that was challenged and not accepted counts as failed, or a platform could try its luck: with more of
        them a day than are allowed, it is not served until it is reinstated. Without a signed refusal, as others may
        have caused it.
        """
        session = self._sessions.pop(session_id, None)
        if session is not None and session.proof is not None and session.proof.challenged:
            platform = session.header.platform
            if not self._budgets.note_unfinished(platform):
                self._refused[platform.encode()] = b"unfinished"

    def expire(self, seconds: float) -> int:
        """Give up sessions that were begun longer ago than this. How many they were."""
        before = time.monotonic() - seconds
        late = [key for key, session in list(self._sessions.items()) if session.begun < before]
        for key in late:
            self.abandon(key)
        return len(late)

    @property
    def open(self) -> int:
        """How many sessions are under way."""
        return len(self._sessions)

    def open_of(self, platform: str) -> int:
        """How many of a platform's sessions are under way."""
        return sum(session.header.platform == platform for session in list(self._sessions.values()))

    def platform_of(self, session_id: bytes) -> str:
        """Whose session it is. Raises ReplayError."""
        return self._session(session_id).header.platform

    def other_of(self, session_id: bytes) -> int:
        """The other member of a session's pair. Raises ReplayError."""
        return self._session(session_id).other

    def _session(self, session_id: bytes) -> Session:
        session = self._sessions.get(session_id)
        if session is None:
            raise ReplayError("the session is unknown, or ended already")
        return session
