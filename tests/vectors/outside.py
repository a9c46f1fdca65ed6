#!/usr/bin/env python3
"""Vectors made without this project's code: Python's standard library and the openssl program only.

    python3 tests/vectors/outside.py > tests/vectors/outside.json

Signatures are random: another run gives other ones, as good. The keys are worthless: their secrets are hashes of their names.
"""
import base64, hashlib, json, os, subprocess, sys, tempfile


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def openssl(*arguments, stdin=b""):
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def thumbprint(x, y):
    """RFC 7638 section 3.2: the required members of an EC key in lexicographic order."""
    jwk = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"), sort_keys=True)
    return b64(hashlib.sha256(jwk.encode()).digest())


def spki(seed):
    """The public key of a secret number, computed by openssl (RFC 5915 in, SubjectPublicKeyInfo out)."""
    ec_private = b"\x30\x31\x02\x01\x01\x04\x20" + seed + b"\xa0\x0a\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
    return ec_private, openssl("ec", "-inform", "DER", "-pubout", "-outform", "DER", stdin=ec_private)


def sign(ec_private, message):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "key.der")
        with open(path, "wb") as file:
            file.write(ec_private)
        der = openssl("dgst", "-sha256", "-sign", path, "-keyform", "DER", stdin=message)
    assert der[0] == 0x30 and der[2] == 0x02
    r = der[4 : 4 + der[3]]
    s = der[6 + der[3] :]
    return int.from_bytes(r, "big").to_bytes(32, "big") + int.from_bytes(s, "big").to_bytes(32, "big")


def b(tag, *fields):
    """B(tag, field...): u32 big-endian length and bytes, after the domain."""
    text = b"upkeep/v1\0"
    for field in (tag.encode(), *fields):
        text += len(field).to_bytes(4, "big") + field
    return hashlib.sha256(text).hexdigest()


def code(mac):
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    number = int.from_bytes(mac[:15], "big")
    symbols = [number >> 5 * index & 31 for index in reversed(range(24))]
    total, factor = 0, 2
    for symbol in reversed(symbols):
        total += sum(divmod(symbol * factor, 32))
        factor = 3 - factor
    symbols.append(-total % 32)
    text = "".join(alphabet[symbol] for symbol in symbols)
    return "-".join(text[index : index + 5] for index in range(0, 25, 5))


def keys():
    for name in ["server", "server_before", "build", "device", "other_device", "stranger", "root"]:
        seed = hashlib.sha256(f"upkeep test key: {name}".encode()).digest()
        ec_private, der = spki(seed)
        pkcs8 = openssl("pkcs8", "-topk8", "-nocrypt", "-inform", "DER", "-outform", "DER", stdin=ec_private)
        x, y = b64(der[-64:-32]), b64(der[-32:])
        message = f"signed by {name}".encode()
        yield {
            "name": name, "seed_hex": seed.hex(), "spki_hex": der.hex(), "x": x, "y": y, "thumbprint": thumbprint(x, y),
            "pkcs8_base64": base64.b64encode(pkcs8).decode(), "message": message.decode(), "signature_hex": sign(ec_private, message).hex(),
        }


def bindings():
    challenge, nonce = bytes(range(32)), b"\xa5" * 32
    activation, request = b"0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11", b"0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a13"
    upgrade = b"0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a12"
    serial, product = b"NSP-0042", b"label-studio"
    yield "enroll", b("enroll", challenge, serial, product, b"\x01", b"client 0.1.0 (linux)")
    yield "activate", b("activate", challenge, request, serial, product, b"10.2.1", b"\x00")
    yield "verify", b("verify", challenge, request, activation)
    yield "begin_deactivation", b("begin-deactivation", challenge, request, activation)
    yield "redeem", b("redeem", challenge, request, upgrade)
    yield "deactivate", b("deactivate", activation, nonce)
    yield "deactivate_offline", b("deactivate-offline", activation)


# The public examples: keys of RFC 7515 appendix A.3 and RFC 7517 appendix A.1.
RFC7515 = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")
RFC7517 = ("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM")
MACS = [bytes(32), b"\xff" * 32, hashlib.sha256(b"a code").digest(), bytes(range(32))]

json.dump(
    {
        "made_by": "python3 tests/vectors/outside.py, Python " + sys.version.split()[0] + ", "
        + openssl("version").decode().split("(")[0].strip(),
        "rfc_keys": [
            {"source": source, "x": x, "y": y, "thumbprint": thumbprint(x, y)}
            for source, (x, y) in [("RFC 7515 A.3", RFC7515), ("RFC 7517 A.1", RFC7517)]
        ],
        "keys": list(keys()),
        "bindings": dict(bindings()),
        "codes": [{"mac_hex": mac.hex(), "code": code(mac)} for mac in MACS],
    },
    sys.stdout,
    indent=1,
)
print()
