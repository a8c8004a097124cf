"""Keys made for one run: of a curve each, and of kinds that sign no bundle."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

MAKERS = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "other": lambda: ec.generate_private_key(ec.SECP256R1()),
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}
PASSPHRASE = b"correct horse"


def write_keys(folder: Path) -> Path:
    """Write a pair of PEM files of each kind into `folder`, and one that needs a passphrase."""
    for name, make in MAKERS.items():
        private = make()
        _write(folder / f"{name}.pem", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pub.pem").write_bytes(public)
    locked = BestAvailableEncryption(PASSPHRASE)
    private = MAKERS["p256"]()
    _write(folder / "locked.pem", private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))
    return folder


def _write(path: Path, pem: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(pem)


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> Path:
    """A folder of PEM files: NAME.pem, which its owner alone may read, and NAME.pub.pem."""
    return write_keys(tmp_path_factory.mktemp("keys"))
