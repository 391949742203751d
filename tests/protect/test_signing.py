"""Keys are read as openssl writes them; anything else is one sentence."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from keys import write_keys

from onlymymodel.errors import UserError
from onlymymodel.protect.signing import MAKE_KEY, MAKE_PUBLIC_KEY, MISSING, is_signature, read_public_key, read_signer

# RFC 8032, section 7.1, test 2
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_the_signature_is_that_of_the_standard(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SECRET))
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    signer = read_signer(path)
    assert (signer.public_key.hex(), signer.sign(b"\x72").hex()) == (PUBLIC, SIGNATURE)
    assert is_signature(bytes.fromhex(SIGNATURE), b"\x72", bytes.fromhex(PUBLIC))
    assert not is_signature(bytes.fromhex(SIGNATURE), b"\x73", bytes.fromhex(PUBLIC))
    assert not is_signature(b"short", b"\x72", bytes.fromhex(PUBLIC))


@pytest.mark.slow
def test_the_named_commands_make_keys_that_are_read(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("NO OPENSSL: the commands that the errors name were not tried")
    for command in (MAKE_KEY, MAKE_PUBLIC_KEY):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    assert read_signer(tmp_path / "KEY").public_key == read_public_key(tmp_path / "KEY.pub")


def test_other_files_are_refused(tmp_path: Path) -> None:
    private, public = write_keys(tmp_path)
    path = tmp_path / "other.pem"
    other = X25519PrivateKey.generate()
    for data, sentence in (
        (b"", "is no private key; make one: openssl"),
        (public.read_bytes(), "is no private key; make one: openssl"),
        (other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "another kind than Ed25519"),
        (
            Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
            ),
            "is encrypted",
        ),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=sentence):
            read_signer(path)
    for data, sentence in (
        (private.read_bytes(), "is no public key; write it: openssl"),
        (other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), "another kind than Ed25519"),
    ):
        path.write_bytes(data)
        with pytest.raises(UserError, match=sentence):
            read_public_key(path)
    for read in (read_signer, read_public_key):
        with pytest.raises(UserError, match=r"nowhere\.pem cannot be read"):
            read(tmp_path / "nowhere.pem")


def test_a_key_of_openssh_is_named_as_one(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path = tmp_path / "id_ed25519"
    for data in (key, key.replace(b"bm9uZQ", b"YmNyeX")):  # the second as if it were encrypted
        path.write_bytes(data)
        with pytest.raises(UserError, match="in the format of OpenSSH, which is not read; make another: openssl"):
            read_signer(path)


def test_a_key_that_an_old_cipher_encrypts_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    for cipher in ("DES-EDE3-CBC,0011223344556677", "RC2-40-CBC,0011223344556677"):
        path.write_text(
            "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"
            f"DEK-Info: {cipher}\n\n{'A' * 64}\n-----END PRIVATE KEY-----\n"
        )
        with pytest.raises(UserError, match="is encrypted; write the key without a passphrase: openssl pkey"):
            read_signer(path)


def test_without_the_library_an_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for attempt in (
        lambda: read_signer(private),
        lambda: read_public_key(public),
        lambda: is_signature(b"", b"", bytes(32)),
    ):
        with pytest.raises(UserError, match=r"pip install 'onlymymodel\[sign\]'") as caught:
            attempt()
        assert str(caught.value) == MISSING
