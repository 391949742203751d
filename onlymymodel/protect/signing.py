"""Ed25519 signatures, by the library cryptography; the keys are PEM files, as openssl writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onlymymodel.errors import UserError

MAX_KEY_BYTES = 1 << 16
MAKE_KEY = "openssl genpkey -algorithm ed25519 -out KEY"
MAKE_PUBLIC_KEY = "openssl pkey -in KEY -pubout -out KEY.pub"
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
MISSING = "signatures need cryptography: pip install 'onlymymodel[sign]'"


@dataclass(frozen=True)
class Signer:
    """A private key.

    Attributes:
        public_key: the 32 bytes that belong to it.
        sign: returns the 64 bytes of the signature of a message.
    """

    public_key: bytes
    sign: Callable[[bytes], bytes]


def read_signer(path: Path) -> Signer:
    """Return the private key in a PEM file (PKCS 8, not encrypted).

    Raises:
        UserError: it is no such file, or cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise UserError(MISSING) from error
    data = _read(path)
    if OPENSSH in data:
        raise UserError(f"{path} is a key in the format of OpenSSH, which is not read; make another: {MAKE_KEY}")
    if any(mark in data for mark in ENCRYPTED):  # before it is parsed: old ciphers raise other errors
        raise UserError(f"{path} is encrypted; write the key without a passphrase: openssl pkey -in KEY")
    try:
        key = load_pem_private_key(data, password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path} is no private key; make one: {MAKE_KEY}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path} is a key of another kind than Ed25519; make one: {MAKE_KEY}")
    return Signer(key.public_key().public_bytes_raw(), key.sign)


def read_public_key(path: Path) -> bytes:
    """Return the 32 bytes of the public key in a PEM file.

    Raises:
        UserError: it is no such file, or cryptography is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise UserError(MISSING) from error
    data = _read(path)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(f"{path} is no public key; write it: {MAKE_PUBLIC_KEY}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path} is a key of another kind than Ed25519; make one: {MAKE_KEY}")
    return key.public_bytes_raw()


def is_signature(signature: bytes, message: bytes, public_key: bytes) -> bool:
    """Return whether a signature of a message was made with the private key of a public one of 32 bytes.

    Raises:
        UserError: cryptography is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise UserError(MISSING) from error
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_KEY_BYTES)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
