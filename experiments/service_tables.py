"""The service's messages for THREAT_MODEL.md: every endpoint of every role, and what it carries is a function of.

Endpoints come from the roles' own tables; what they carry is told here. One that is told nothing of fails the table.
"""

from __future__ import annotations

from protocols.base import ConfigurationError
from service.checker import PlatformRole
from service.exchange import ExchangeRole
from service.member import MemberRole
from service.role import Role

ROLES: dict[str, type[Role]] = {"exchange": ExchangeRole, "member": MemberRole, "platform": PlatformRole}

_MANIFEST = ("nothing", "everybody's public keys, parameters, limits; signed by the members")
_NOTHING = "nothing"
_STATUS = (
    "how many entries wait, were accepted, refused; per platform its last search, how many uploads match and what"
    " it did; the members' receipts"
)
TOLD: dict[tuple[str, str], tuple[str, str]] = {
    ("exchange", "GET /manifest"): _MANIFEST,
    ("exchange", "GET /manifests"): (_NOTHING, "every such manifest so far"),
    ("exchange", "POST /cases"): (
        "case number and scrypt of the PIN; that the person is an adult; shares of bits, sealed to the members;"
        " how many entries",
        _STATUS,
    ),
    ("exchange", "POST /cases/status"): ("case number and scrypt of the PIN", _STATUS),
    ("exchange", "POST /cases/withdraw"): (
        "case number and scrypt of the PIN",
        _STATUS + "; the receipt of the erasure",
    ),
    ("exchange", "GET /key"): (_NOTHING, "the committee's public key"),
    ("exchange", "GET /bank"): (_NOTHING, "versions and digests of the encrypted blocks"),
    ("exchange", "GET /bank/{block}/{version}"): ("which block is missing, from where on", "encryptions of the bits"),
    ("exchange", "POST /matches"): (
        "letters of two members to the exchange: which slots match which queries",
        "which queries match; a random handle a match",
    ),
    ("exchange", "POST /sightings"): (
        "which handles belong to one upload, those of an earlier check of it too; whether it is a video, how many"
        " frames were compared",
        "a random handle for each case that an upload shows",
    ),
    ("exchange", "POST /verdicts"): ("what was done about which sighting", _NOTHING),
    ("member", "GET /manifest"): _MANIFEST,
    ("member", "POST /steps/{step}"): (
        "the scan's messages, table above; what another member said is in a letter",
        "the scan's messages, table above; what is for another party is in a letter to it",
    ),
    ("member", "POST /planes"): ("which block and share", "encryptions of a random share of the bits"),
    ("member", "GET /state"): (
        _NOTHING,
        "whether it has a key; versions of the bank; how many entries and withdrawals it has; which platforms' proofs"
        " failed, and which check",
    ),
    ("member", "POST /told"): ("that it was told every withdrawal", _NOTHING),
    ("member", "POST /ceremony"): (_NOTHING, _NOTHING),
    ("member", "GET /key"): (_NOTHING, "the committee's public key"),
    ("platform", "GET /manifest"): _MANIFEST,
    ("platform", "POST /check"): ("paths of files on its own disk", "which of them match, under which sighting handle"),
    ("platform", "POST /upload"): ("the upload itself, from its own tools", "under which sighting handle it matches"),
    ("platform", "POST /sync"): (_NOTHING, "how many blocks were new"),
    ("platform", "POST /verdicts"): ("what was done about which sighting", _NOTHING),
}
_COLUMNS = "| at | request | from | function of | answer: function of |\n|---|---|---|---|---|\n"


def service_table() -> str:
    """Every role's endpoints. Raises ConfigurationError for one that is told nothing of, or told of in vain."""
    rows, seen = [], set()
    for name, role in ROLES.items():
        for endpoint in role.endpoints(object.__new__(role)):
            key = name, f"{endpoint.method} {endpoint.template}"
            if key not in TOLD:
                raise ConfigurationError(f"{name}: {key[1]} is in no table; say in {__name__} what it is a function of")
            seen.add(key)
            callers = ", ".join(sorted(set(endpoint.callers) - {"steward"}))
            rows.append(f"| {name} | `{key[1]}` | {callers} | {TOLD[key][0]} | {TOLD[key][1]} |\n")
    if missing := TOLD.keys() - seen:
        raise ConfigurationError(f"{missing}: there are no such endpoints any more")
    return _COLUMNS + "".join(rows)
