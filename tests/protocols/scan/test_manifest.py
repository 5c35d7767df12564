"""The manifest: three signatures, two of the members before, every key once, parameters that members agreed to."""

import numpy as np
import pytest

from protocols.base import ConfigurationError, IntegrityError, MessageError, UnsafeThreshold
from protocols.ledger import encode
from protocols.scan import manifest as module
from protocols.scan.founding_messages import Manifest, SignedManifest, SignedManifestPart
from protocols.scan.manifest import Pinned
from protocols.scan.matching_messages import ScanHeader
from protocols.scan.member import Member
from protocols.scan.parameters import PROTOCOL_VERSION, Parameters
from protocols.scan.sealing import Identity, PublicKeys, Verifier, digest
from tests.protocols.scan.parties import changed, flipped, scan, tampered

P = Parameters("INSECURE_TINY", lanes=1)
NAMES = ("member-1", "member-2", "member-3")


def identities():
    return {name: Identity(name) for name in NAMES}


def draft(parties, **fields):
    base = Manifest(PROTOCOL_VERSION, P.name, P.lanes, P.bits, P.threshold, 1, parties, 8, None, None, None)
    return changed(base, **fields)


def signed(manifest, signers):
    return SignedManifest(encode(manifest), [one.sign(manifest, SignedManifestPart).signature for one in signers])


def pinned(message, before=None):
    return Pinned(message, digest("manifest", message.manifest), before, allow_insecure=True)


def test_three_signatures_and_no_fewer(monkeypatch):
    who = identities()
    manifest = draft([one.public for one in who.values()])
    assert pinned(signed(manifest, who.values())).manifest == manifest
    first, second, third = who.values()
    for signers in ((), (first,), (first, second), (first, second, second), (first, second, Identity("member-3"))):
        with pytest.raises(IntegrityError, match=r"[012] of the members' signatures verify; 3 are needed"):
            pinned(signed(manifest, signers))
    message = signed(manifest, (first, second))
    monkeypatch.setattr(module, "_check_signatures", lambda *arguments, **options: None)
    assert pinned(message)  # with the check off, two members bind the third
    assert third


def test_a_manifest_other_than_pinned_is_refused():
    who = identities()
    manifest = draft([one.public for one in who.values()])
    message = signed(manifest, who.values())
    with pytest.raises(IntegrityError, match="not the one that is pinned"):
        Pinned(message, bytes(32))
    altered = SignedManifest(encode(changed(manifest, threshold=71)), message.signatures)
    with pytest.raises(IntegrityError, match="signatures verify"):
        pinned(altered)


def test_a_replacement_needs_two_of_the_keys_before_and_a_later_epoch(monkeypatch):
    old, new = identities(), identities()
    before = pinned(signed(draft([one.public for one in old.values()]), old.values()))

    def replacement(kept, epoch=2):
        who = [*list(old.values())[:kept], *list(new.values())[kept:]]
        manifest = draft([one.public for one in who], epoch=epoch)
        return SignedManifest(encode(manifest), [w.sign(manifest, SignedManifestPart).signature for w in who])

    assert pinned(replacement(2), before).manifest.epoch == 2
    for kept in (0, 1):
        with pytest.raises(IntegrityError, match=rf"{kept} of the members' signatures verify; 2 are needed"):
            pinned(replacement(kept), before)
    for epoch in (0, 1):
        with pytest.raises(IntegrityError, match="does not follow"):
            pinned(replacement(3, epoch), before)
    fresh = draft([one.public for one in new.values()], epoch=2)
    extra = [who.sign(fresh, SignedManifestPart).signature for who in (*new.values(), *list(old.values())[:2])]
    assert pinned(SignedManifest(encode(fresh), extra), before)  # two old members vouch for all-new keys
    check = module._check_signatures
    monkeypatch.setattr(module, "_check_signatures", lambda s, p, needed: check(s, p, needed) if needed == 3 else None)
    assert pinned(replacement(0), before)  # with the check off, whoever makes new keys takes over


def test_no_name_or_key_stands_twice_and_why(monkeypatch):
    """The exchange names member-1 twice: the real keys, which member-1 looks for, then its own."""
    who, exchange = identities(), Identity("member-1")
    member = Member(1)
    parties = [member.identity.public, who["member-2"].public, who["member-3"].public, exchange.public]
    manifest = draft(parties)
    message = signed(manifest, (exchange, who["member-2"], who["member-3"]))
    with pytest.raises(MessageError, match="same name"):
        member.sign_manifest(manifest, manifest)
    with pytest.raises(MessageError, match="same name"):
        pinned(message)
    first, second, third = (one.public for one in who.values())
    for parties in (
        [first, second, PublicKeys("member-3", first.seal, third.verify)],
        [first, second, PublicKeys("member-3", third.seal, first.verify)],
    ):
        with pytest.raises(MessageError, match=r"same (seal|verify)"):
            pinned(signed(draft(parties), who.values()))
    monkeypatch.setattr(module, "distinct", lambda parties: parties)
    monkeypatch.setattr("protocols.scan.member.distinct", lambda parties: parties)
    member.sign_manifest(manifest, manifest)  # with the check off: member-1 signs,
    taken = pinned(message).parties["member-1"]  # and everybody seals to the exchange in its name
    assert exchange.open(taken.seal(b"secret", b""), b"") == b"secret"


def test_a_member_signs_only_with_its_own_keys_in_it():
    member, who = Member(1), identities()
    with pytest.raises(IntegrityError, match="member-1's keys are not in it"):
        member.sign_manifest(*[draft([one.public for one in who.values()])] * 2)


@pytest.mark.parametrize(
    ("fields", "error", "word"),
    [
        ({"threshold": 72}, UnsafeThreshold, "72"),
        ({"threshold": 127}, UnsafeThreshold, "127"),
        ({"threshold": 30}, IntegrityError, "not the ones agreed on"),
        ({"lanes": 2}, IntegrityError, "not the ones agreed on"),
        ({"bits": 64, "threshold": 5}, IntegrityError, "not the ones agreed on"),
        ({"parameter_set": "N4096"}, IntegrityError, "not the ones agreed on"),
        ({"protocol": "hushmatch-scan-0"}, MessageError, "protocol is"),
    ],
)
def test_members_take_the_threshold_and_all_parameters_from_the_manifest_and_refuse_unsafe_ones(fields, error, word):
    member, others = Member(1), [Identity(name) for name in NAMES[1:]]
    manifest = draft([member.identity.public, *(one.public for one in others)], **fields)
    signatures = [member.sign_manifest(manifest, manifest).signature]
    signatures += [one.sign(manifest, SignedManifestPart).signature for one in others]
    with pytest.raises(error, match=word):
        member.pin(SignedManifest(encode(manifest), signatures), P)


def test_with_the_limit_lifted_random_queries_read_the_bank():
    """T = 127 matches nearly half of everything: each answer is about a bit of every entry."""
    rng = np.random.default_rng(0)
    protocol = scan(threshold=127, allow_unsafe_threshold=True, batch=64)
    protocol.enroll(["a"], rng.integers(0, 256, (1, 32), dtype=np.uint8))
    found = protocol.match(rng.integers(0, 256, (64, 32), dtype=np.uint8))
    assert 10 < len(found) < 54


def test_a_missing_member_or_keys_that_are_none_are_refused():
    who = identities()
    keys = [one.public for one in who.values()]
    with pytest.raises(MessageError, match="member-3 is missing"):
        pinned(signed(draft(keys[:2]), who.values()))
    for seal, verify in ((b"", keys[0].verify), (keys[0].seal, b"x"), (b"\xff" * 1216, keys[0].verify)):
        with pytest.raises(MessageError, match="keys of member-1"):
            Verifier(PublicKeys("member-1", seal, verify))


def test_signatures_are_for_one_kind_of_message():
    """A signed manifest is no signed header, whatever its bytes."""
    one = Identity("member-1")
    manifest = draft([one.public])
    signed_part = one.sign(manifest, SignedManifestPart)
    with pytest.raises(IntegrityError, match="ScanHeader: the signature"):
        Verifier(one.public).verify(signed_part, ScanHeader)
    with pytest.raises(IntegrityError):
        Verifier(one.public).verify(changed(signed_part, body=flipped(signed_part.body)), Manifest)


def test_signatures_are_for_one_manifest():
    """What was signed in one epoch is nothing in the next, though the keys are the same."""
    one = Identity("member-1")
    manifest = draft([one.public])
    for under, against in ((b"one", b"two"), (b"one", b""), (b"", b"two")):
        message = one.under(under).sign(manifest, SignedManifestPart)
        assert Verifier(one.public, under).verify(message, Manifest) == manifest
        with pytest.raises(IntegrityError, match="does not verify"):
            Verifier(one.public, against).verify(message, Manifest)


def test_sealing_is_for_one_party_and_context():
    one, two = Identity("member-1"), Identity("member-2")
    sealed = Verifier(one.public).seal(b"plain", b"context")
    assert one.open(sealed, b"context") == b"plain"
    assert len(sealed) == len(b"plain") + 1136
    for who, data, info in (
        (two, sealed, b"context"),
        (one, sealed, b"other"),
        (one, flipped(sealed), b"context"),
        (one, flipped(sealed, 0), b"context"),
        (one, flipped(sealed, 1100), b"context"),
        (one, sealed[:-1], b"context"),
        (one, b"", b"context"),
    ):
        with pytest.raises(IntegrityError, match="do not open"):
            who.open(data, info)
    assert "Identity of member-1" in repr(one)


def test_a_manifest_altered_on_the_way_stops_the_set_up():
    def alter(message):
        return changed(message, signatures=message.signatures[:2])

    protocol = scan()
    with tampered(protocol, SignedManifest, alter), pytest.raises(IntegrityError, match="3 are needed"):
        protocol._set_up(changed(protocol._client._pinned.manifest, parties=[]), None)


# What a member signs -------------------------------------------------------------------------------------------------


def agreement():
    member, others = Member(1), [Identity(name) for name in NAMES[1:]]
    return member, draft([member.identity.public, *(one.public for one in others)])


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"threshold": 127}, "threshold"),
        ({"proofs": False}, "proofs"),
        ({"epoch": 2}, "epoch"),
        ({"lanes": 2, "bits": 64}, "lanes, bits"),
        ({"parameter_set": "N4096"}, "parameter_set"),
        ({"daily_results": 10**9}, "daily_results"),
    ],
)
def test_a_member_signs_only_what_was_agreed_on(fields, word):
    member, agreed = agreement()
    agreed = changed(agreed, proofs=True)
    with pytest.raises(IntegrityError, match=f"manifest: {word}: not the ones agreed on"):
        member.sign_manifest(changed(agreed, **fields), agreed)
    platform = Identity("platform-1").public
    assert member.sign_manifest(changed(agreed, parties=[*agreed.parties, platform]), agreed)


@pytest.mark.parametrize("replaced", [2, 3])
def test_a_member_signs_no_keys_of_another_member_that_were_not_compared(replaced):
    """The exchange puts keys of its own in a member's place: with one corrupted member it would be the majority."""
    member, agreed = agreement()
    name = f"member-{replaced}"
    parties = [keys if keys.name != name else Identity(name).public for keys in agreed.parties]
    with pytest.raises(IntegrityError, match=f"the keys of {name} are not the ones agreed on"):
        member.sign_manifest(changed(agreed, parties=parties), agreed)
    with pytest.raises(MessageError, match="compare the keys of all three"):
        member.sign_manifest(agreed, changed(agreed, parties=agreed.parties[:2]))


def test_a_member_signs_an_epoch_once_and_epochs_in_order():
    member, agreed = agreement()
    member.sign_manifest(agreed, agreed)
    other = changed(agreed, daily_results=5)
    with pytest.raises(IntegrityError, match="epoch 1 does not follow"):
        member.sign_manifest(other, other)
    who = {name: Identity(name) for name in NAMES}
    before = pinned(signed(draft([one.public for one in who.values()], epoch=7), who.values()))
    for epoch in (2, 7):
        late = changed(agreed, epoch=epoch)
        with pytest.raises(IntegrityError, match="does not follow"):
            member.sign_manifest(late, late, before)
    later = changed(agreed, epoch=8)
    assert member.sign_manifest(later, later, before)


def test_insecure_sets_and_unsafe_thresholds_are_pinned_only_where_allowed():
    who = identities()
    keys = [one.public for one in who.values()]
    message = signed(draft(keys), who.values())
    with pytest.raises(ConfigurationError, match="for tests"):
        Pinned(message, digest("manifest", message.manifest))
    message = signed(draft(keys, threshold=127), who.values())
    with pytest.raises(UnsafeThreshold):
        pinned(message)
    assert Pinned(
        message, digest("manifest", message.manifest), allow_insecure=True, allow_unsafe_threshold=True
    ).parameters.allow_unsafe_threshold
