"""TLS: both sides show a certificate."""

import shutil
import ssl
import subprocess

import pytest
from tests.node.made_node import SOCKETS, sending

from medley.errors import MedleyError
from medley.node.network import client_context
from medley.node.receiver import Receiver
from medley.node.settings import Tls

pytestmark = [SOCKETS, pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")]


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path):
    """Settings of TLS for "us" and "them", signed by the same authority, and "stranger", signed by another."""
    made = {}
    for authority, names in (("good", ("us", "them")), ("bad", ("stranger",))):
        root = tmp_path / authority
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        openssl("req", "-x509", *key, "-keyout", f"{root}.key", "-out", f"{root}.pem", "-subj", f"/CN={authority}")
        for name in names:
            one = tmp_path / name
            openssl("req", *key, "-keyout", f"{one}.key", "-out", f"{one}.csr", "-subj", f"/CN={name}")
            (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1")
            openssl(
                "x509", "-req", "-in", f"{one}.csr", "-CA", f"{root}.pem", "-CAkey", f"{root}.key",
                "-CAcreateserial", "-out", f"{one}.pem", "-extfile", tmp_path / "names",
            )  # fmt: skip
            made[name] = {"certificate": f"{one}.pem", "key": f"{one}.key", "authorities": str(tmp_path / "good.pem")}
    return made


def test_a_peer_with_a_certificate_is_accepted_and_others_are_not(make_node, certificates):
    node = make_node(tls=certificates["us"])
    with Receiver(node.intake):
        with sending(node, tls=(client_context(Tls(**certificates["them"])), "127.0.0.1")) as association:
            assert association.send_c_echo().Status == 0
        with sending(node, tls=(client_context(Tls(**certificates["stranger"])), "127.0.0.1")) as association:
            assert not association.is_established
        anonymous = ssl.create_default_context(cafile=certificates["us"]["authorities"])
        with sending(node, tls=(anonymous, "127.0.0.1")) as association:
            assert not association.is_established
        with sending(node) as association:
            assert not association.is_established
        with sending(node, tls=(client_context(Tls(**certificates["them"])), "127.0.0.1")) as association:
            assert association.is_established


def test_certificates_that_cannot_be_used_are_one_sentence(certificates, tmp_path):
    with pytest.raises(MedleyError, match=r"cannot be used: .*expected PEM files"):
        client_context(Tls(**{**certificates["us"], "key": str(tmp_path / "absent.key")}))
