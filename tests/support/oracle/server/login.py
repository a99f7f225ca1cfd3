"""The password verifier that a server since 12c offers.

seerdb offers thin clients the older one of 11g. Oracle's Rust driver, which the stand-in for the client library is built
on, does not look at the flag and knows the newer one only.
"""

import threading

from seerdb.common import tns
from seerdb.common.crypto import VFR_12C_SHA2
from seerdb.common.tns_consts import FIELD_VERSION_12_1
from seerdb.server import session

_encoding = threading.Lock()


def offer_sha512() -> None:
    """Makes every login use the verifier of 12c, and say so."""
    make_challenge, encode_challenge = session.make_challenge, tns.encode_challenge

    def newer_challenge(password, **options):
        if options.get('field_version', 0) >= FIELD_VERSION_12_1:
            options.setdefault('verifier_type', VFR_12C_SHA2)
        return make_challenge(password, **options)

    def flagged_challenge(challenge):
        # The encoder writes a constant of its module where the verifier's type belongs.
        with _encoding:
            constant, tns.VFR_11G_SHA1 = tns.VFR_11G_SHA1, challenge.verifier_type
            try:
                return encode_challenge(challenge)
            finally:
                tns.VFR_11G_SHA1 = constant

    session.make_challenge = newer_challenge
    session.encode_challenge = flagged_challenge
