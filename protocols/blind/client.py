"""The client: makes the tokens of its fingerprints with the committee's help, and seals the fingerprints under them.

The members see random elements; the exchange gets sealed entries with the case number. NOT protected: a client may
enrol whatever fingerprint it likes, as with every protocol here, and tokens that open nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from numpy.typing import NDArray

from protocols.base import Hashes, Margins
from protocols.blind import bands, entries
from protocols.blind.group import Rows
from protocols.blind.messages import BlindedElements, EvaluatedElements, Manifest, SealedEntries
from protocols.blind.parameters import Parameters
from protocols.blind.requester import Pending, Requester


@dataclass(frozen=True, slots=True, eq=False)
class Enrolment:
    """What the client keeps of a request until the answers are in."""

    pending: Pending
    hashes: Hashes = field(repr=False)
    bands: NDArray = field(repr=False)


class Client:
    """A person's device."""

    def __init__(self, parameters: Parameters, manifests: Mapping[int, Manifest]) -> None:
        """manifests: by the member that sent it. Raises IntegrityError or ElementError if they are not good."""
        self._parameters = parameters
        self._requester = Requester(parameters, manifests)

    def request(self, hashes: Hashes, margins: Margins | None) -> tuple[Enrolment, BlindedElements]:
        """For hashes (N, bits/8) and their margins (N, bits): what to keep, and what to ask the members."""
        count = self._parameters.entry_tokens
        texts, chosen, _ = bands.inputs(hashes, margins, count, self._parameters)
        pending, request = self._requester.request(texts)
        return Enrolment(pending, hashes, chosen), request

    def seal(self, enrolment: Enrolment, answers: dict[int, EvaluatedElements], cases: list[str]) -> SealedEntries:
        """The entries for the exchange. Raises IntegrityError, which names a member that answered wrongly."""
        tokens: Rows = self._requester.finish(enrolment.pending, answers)
        sealed = entries.seal(enrolment.hashes, tokens, enrolment.bands, self._requester.epoch)
        return SealedEntries(cases, *(part.tobytes() for part in sealed))
