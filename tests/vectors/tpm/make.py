"""Writes the vector set: evidence of three software TPMs, and mutants that are signed again, so that each breaks one rule.

Run by make.sh: make.py WORK OUT. Standard library only. A mutant's attestation key is a software key dressed as a TPM's: the verifier's
functions can't tell (credential activation does), so the mutant is refused for what is wrong with it and not for its signature.
"""

import hashlib
import json
import os
import shutil
import sys

import certificates
from tools import (LOG, NULL, P256_ORDER, SHA1, SHA384, Key, Tpm, attest, certify_body, ecc, ecdsa, name_of, nv_body, nv_public,
                   policy_nv, rsa, run, sha256, sized)

COUNTER = "ownerread|ownerwrite|authread|authwrite|no_da|nt=counter"
AK = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign"
DEVICE = "fixedtpm|fixedparent|sensitivedataorigin|noda|sign"
SRK = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
AK_BITS, DEVICE_BITS = 0x00050472, 0x00040432
BITS = {"fixedtpm": 1 << 1, "fixedparent": 1 << 4, "sensitivedataorigin": 1 << 5, "restricted": 1 << 16, "sign": 1 << 18}
CERTIFY, NV, NV_DIGEST = 0x8017, 0x8014, 0x801C
INDEX = 0x01800001
Q = sha256(b"what the server asked")


class Cases:
    """The cases and their files."""

    def __init__(self, out):
        self.out, self.list = out, []
        shutil.rmtree(os.path.join(out, "files"), ignore_errors=True)
        os.makedirs(os.path.join(out, "files"))

    def add(self, name, kind, expect, reason, files, inputs=None, level="must"):
        assert all(case["id"] != name for case in self.list), name
        paths = {}
        for key, data in files.items():
            if isinstance(data, list):
                paths[key] = [self.store(key, one) for one in data]
            else:
                paths[key] = self.store(key, data)
        self.list.append({"id": name, "kind": kind, "expect": expect, "level": level, "reason": reason, "files": paths, "inputs": inputs or {}})

    def store(self, key, data):
        """A file of its own for each content: most cases share most of theirs."""
        ending = "der" if key in ("ek_cert", "intermediates", "roots", "slot_cert", "f9_cert", "device_spki") else "bin"
        path = f"files/{key}-{hashlib.sha256(data).hexdigest()[:16]}.{ending}"
        with open(os.path.join(self.out, path), "wb") as file:
            file.write(data)
        return path

    def write(self):
        with open(os.path.join(self.out, "manifest.json"), "w", encoding="ascii") as file:
            notes = "made by make.sh; commands.txt has what the TPMs were told"
            file.write(f'{{"format": 1, "notes": "{notes}", "cases": [\n')
            file.write(",\n".join(json.dumps(case) for case in self.list))
            file.write("\n]}\n")


class Ek(Tpm):
    """A TPM of this set."""

    def ek_p256_spki(self):
        context, public = self.file("ek"), self.file("ekpub")
        self.tool("tpm2_createek", "-Q", "-G", "ecc", "-c", context, "-f", "der", "-u", public)
        return self.read(public)


def ak_public(cases, work, real):
    """real: TPMT_PUBLIC by name."""
    key, large = Key(work, "ak", *EC), Key(work, "akrsa", *RSA)
    x, y = key.point()
    modulus = large.modulus()

    def good(name, reason, public, level="must"):
        cases.add(f"ak-{name}", "ak_public", "accept", reason, {"ak": public}, level=level)

    def bad(name, reason, public, level="must"):
        cases.add(f"ak-{name}", "ak_public", "reject", reason, {"ak": public}, level=level)

    for name, (public, level) in real.items():
        good(name, f"{name}, made by tpm2_createprimary", public, level)
    base = ecc(AK_BITS, x, y)
    good("dressed", "a software key dressed as an attestation key: only credential activation tells", base)
    good("no-noda", "noDA clear", ecc(AK_BITS & ~(1 << 10), x, y))
    good("policy", "userWithAuth clear and a policy", ecc(AK_BITS & ~(1 << 6), x, y, policy=Q))
    for name, bit in BITS.items():
        bad(f"no-{name}", f"{name} is clear", ecc(AK_BITS & ~bit, x, y))
    bad("decrypt", "it decrypts too", ecc(AK_BITS | 1 << 17, x, y))
    bad("decrypt-only", "it decrypts instead of signing", ecc(AK_BITS & ~(1 << 18) | 1 << 17, x, y))
    for bit in (0, 3, 13, 31):
        bad(f"reserved-{bit}", f"the reserved attribute bit {bit} is set", ecc(AK_BITS | 1 << bit, x, y))
    bad("no-scheme", "no scheme of its own", ecc(AK_BITS, x, y, scheme=(NULL,)))
    bad("sha1", "ECDSA with SHA-1", ecc(AK_BITS, x, y, scheme=(0x18, SHA1)))
    bad("sha384", "ECDSA with SHA-384", ecc(AK_BITS, x, y, scheme=(0x18, SHA384)))
    bad("ecdaa", "ECDAA", ecc(AK_BITS, x, y, scheme=(0x1A, 0x0B, 0)))
    bad("name-sha1", "a Name by SHA-1", ecc(AK_BITS, x, y, name_alg=SHA1))
    bad("name-sha384", "a Name by SHA-384", ecc(AK_BITS, x, y, name_alg=SHA384))
    bad("kdf", "a key derivation scheme", ecc(AK_BITS, x, y, kdf=0x20))
    wide = Key(work, "akp384", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384").point()
    bad("p384", "P-384", ecc(AK_BITS, *wide, curve=4))
    bad("curve-none", "no curve", ecc(AK_BITS, x, y, curve=0))
    bad("curve-lies", "a point of P-384 said to be of P-256", ecc(AK_BITS, *wide))
    bad("off-curve", "a point that is not on the curve", ecc(AK_BITS, x, y[:-1] + bytes([y[-1] ^ 1])))
    bad("zero-point", "the coordinates zero", ecc(AK_BITS, bytes(32), bytes(32)))
    bad("empty-point", "no coordinates", ecc(AK_BITS, b"", b""))
    bad("long-point", "a coordinate of 33 bytes", ecc(AK_BITS, b"\0" + x, y), level="should")
    bad("unreduced-point", "a coordinate not below the prime", ecc(AK_BITS, b"\xff" * 32, y))
    bad("trailing", "a byte behind the public area", base + b"\0")
    bad("truncated", "the public area without its last byte", base[:-1])
    bad("prefixed", "a TPM2B instead of a TPMT", sized(base))
    bad("empty", "nothing", b"")
    bad("huge-policy", "a policy said to have 65535 bytes", base[:8] + b"\xff\xff" + base[10:])
    bad("symcipher", "a symmetric key", b"\x00\x25" + base[2:])
    bad("huge", "more than a TPM ever says", base + bytes(1 << 14))
    pairs = {"rsassa": 0x14, "rsapss": 0x16}
    for name, scheme in pairs.items():
        good(f"dressed-{name}", f"RSA-2048 with {name}", rsa(AK_BITS, modulus, scheme=(scheme, 0x0B)), level="optional")
        bad(f"{name}-sha1", f"{name} with SHA-1", rsa(AK_BITS, modulus, scheme=(scheme, SHA1)))
    bad("rsa-no-scheme", "RSA without a scheme of its own", rsa(AK_BITS, modulus, scheme=(NULL,)))
    bad("rsa-1024", "RSA-1024", rsa(AK_BITS, Key(work, "small", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024").modulus()))
    bad("rsa-exponent", "the exponent 3", rsa(AK_BITS, modulus, exponent=3))
    bad("rsa-exponent-1", "the exponent 1", rsa(AK_BITS, modulus, exponent=1))
    bad("rsa-bits", "2048 bits said and 1024 given", rsa(AK_BITS, modulus[:128], bits=2048))
    bad("rsa-no-modulus", "no modulus", rsa(AK_BITS, b"", bits=2048))
    bad("rsa-decrypt", "an RSA key that decrypts too", rsa(AK_BITS | 1 << 17, modulus))
    bad("rsa-unrestricted", "an RSA key that signs anything", rsa(AK_BITS & ~(1 << 16), modulus))


class Dressed:
    """A software key dressed as an attestation key, and the counter and device key that it vouches for."""

    def __init__(self, work):
        self.key, self.device = Key(work, "dressed", *EC), Key(work, "dresseddevice", *EC)
        self.public = ecc(AK_BITS, *self.key.point())
        self.signer = name_of(self.public)
        self.nv = nv_public()
        self.policy = policy_nv(name_of(self.nv), 1)

    def device_public(self, attributes=DEVICE_BITS, policy=None, **more):
        return ecc(attributes, *self.device.point(), policy=self.policy if policy is None else policy, **more)

    def case(self, cases, name, kind, expect, reason, files, inputs, level="must"):
        files = {"ak": self.public, **files}
        if "signature" not in files:
            files["signature"] = self.key.ecdsa(files["attest"])
        cases.add(name, kind, expect, reason, files, inputs, level)


def key_certify(cases, dressed, real):
    """real: (name, reason, expect, level, ak, device, nv, attest, signature, q, value) captured from the TPMs."""
    for name, reason, expect, level, *files, q, value in real:
        keys = ("ak", "device", "nv_public", "attest", "signature")
        cases.add(f"key-{name}", "key_certify", expect, reason, dict(zip(keys, files)), {"qualifying_data": q.hex(), "policy_counter_value": value}, level)
    good_device = dressed.device_public()

    def case(name, expect, reason, device=good_device, statement=None, q=Q, value=1, level="must", kind=CERTIFY, extra=Q, magic=0xFF544347, nv=None,
             about=None, signature=None, **clock):
        if statement is None:
            statement = attest(kind, certify_body(about or name_of(device)), extra, dressed.signer, magic, **clock)
        files = {"device": device, "nv_public": nv or dressed.nv, "attest": statement}
        if signature is not None:
            files["signature"] = signature(statement)
        dressed.case(cases, f"key-{name}", "key_certify", expect, reason, files, {"qualifying_data": q.hex(), "policy_counter_value": value}, level)

    def good(name, reason, **options):
        case(name, "accept", reason, **options)

    def bad(name, reason, **options):
        case(name, "reject", reason, **options)

    good("dressed", "the very evidence that the mutants below are made from")
    good("high-s", "a signature with the greater of its two s", signature=lambda data: dressed.key.ecdsa(data, high_s=True))
    good("low-s", "a signature with the lesser of its two s", signature=lambda data: dressed.key.ecdsa(data, high_s=False))
    good("unsafe-clock", "clockInfo.safe is clear, as after a power cut", clock=(123456, 3, 1, 0))
    good("no-noda", "noDA clear on the device key", device=dressed.device_public(DEVICE_BITS & ~(1 << 10)))
    good("large-value", "a counter near its end", device=dressed.device_public(policy=policy_nv(name_of(dressed.nv), 2 ** 64 - 1)), value=2 ** 64 - 1)
    bad("wrong-q", "the answer to another question", q=sha256(b"another"))
    bad("empty-q", "no question was asked", q=b"", extra=b"")
    bad("short-q", "the first 31 bytes of the question", extra=Q[:31])
    bad("long-q", "the question and a byte more", extra=Q + b"\0")
    bad("prefix-q", "the expected question is the first half of the answer's", q=Q[:16])
    bad("magic", "no TPM made it: a signature over bytes that do not begin with TPM_GENERATED", magic=0x58544347)
    for name, kind in (("quote", 0x8018), ("nv", NV), ("creation", 0x801A), ("time", 0x8019), ("session-audit", 0x8016), ("zero", 0)):
        bad(f"type-{name}", f"the type of a statement of the kind {name}", kind=kind)
    whole = attest(CERTIFY, certify_body(name_of(good_device)), Q, dressed.signer)
    bad("trailing", "a byte behind the statement", statement=whole + b"\0")
    bad("truncated", "the statement without its last byte", statement=whole[:-1])
    bad("empty", "no statement", statement=b"")
    bad("safe-2", "clockInfo.safe is 2", clock=(123456, 3, 1, 2))
    bad("huge-signer", "a qualifiedSigner said to have 65535 bytes", statement=whole[:6] + b"\xff\xff" + whole[8:])
    bad("other-name", "a statement about another key", about=name_of(b"another"))
    bad("empty-name", "a statement about no key", statement=attest(CERTIFY, certify_body(b""), Q, dressed.signer))
    bad("name-alg", "the right digest as a SHA-384 Name", about=b"\x00\x0c" + name_of(good_device)[2:])
    bad("signed-half", "only the first half is signed", signature=lambda data: dressed.key.ecdsa(data[:70]))
    bad("sha1-signature", "a signature with SHA-1", signature=lambda data: dressed.key.ecdsa(data, "sha1"))
    bad("sha384-signature", "a signature with SHA-384", signature=lambda data: dressed.key.ecdsa(data, "sha384"))
    bad("other-signer", "signed by the device key", signature=lambda data: dressed.device.ecdsa(data))
    bad("swapped-rs", "r and s swapped", signature=lambda data: ecdsa(*reversed(numbers(dressed.key.ecdsa(data)))))
    bad("zero-r", "r is zero", signature=lambda data: ecdsa(0, numbers(dressed.key.ecdsa(data))[1]))
    bad("zero-s", "s is zero", signature=lambda data: ecdsa(numbers(dressed.key.ecdsa(data))[0], 0))
    bad("order-s", "s is the order", signature=lambda data: ecdsa(numbers(dressed.key.ecdsa(data))[0], P256_ORDER))
    bad("null-signature", "TPM_ALG_NULL instead of a signature", signature=lambda data: b"\x00\x10")
    bad("no-signature", "nothing instead of a signature", signature=lambda data: b"")
    bad("signature-trailing", "a byte behind the signature", signature=lambda data: dressed.key.ecdsa(data) + b"\0")
    bad("der-signature", "an ECDSA-Sig-Value instead of a TPMT_SIGNATURE",
        signature=lambda data: run("openssl", "dgst", "-sha256", "-sign", dressed.key.path, stdin=data, log=False))
    bad("rsassa-header", "an ECDSA signature said to be RSASSA", signature=lambda data: b"\x00\x14" + dressed.key.ecdsa(data)[2:])
    for name, bit in BITS.items():
        if name != "restricted":
            bad(f"no-{name}", f"{name} is clear on the device key", device=dressed.device_public(DEVICE_BITS & ~bit))
    bad("user-with-auth", "userWithAuth: the empty password goes round the policy", device=dressed.device_public(DEVICE_BITS | 1 << 6))
    bad("restricted", "a restricted device key", device=dressed.device_public(DEVICE_BITS | 1 << 16))
    bad("decrypt", "a device key that decrypts", device=dressed.device_public(DEVICE_BITS | 1 << 17))
    bad("reserved", "a reserved attribute bit", device=dressed.device_public(DEVICE_BITS | 1 << 3))
    bad("device-sha1", "a device key with ECDSA and SHA-1", device=dressed.device_public(scheme=(0x18, SHA1)))
    bad("device-name-sha1", "a device key with a Name by SHA-1", device=dressed.device_public(name_alg=SHA1))
    x, y = dressed.device.point()
    bad("device-off-curve", "a device key that is not on its curve", device=ecc(DEVICE_BITS, x, y[:-1] + bytes([y[-1] ^ 1]), dressed.policy))
    bad("device-trailing", "a byte behind the device key", device=good_device + b"\0")
    bad("policy-empty", "no policy", device=dressed.device_public(policy=b""))
    bad("policy-short", "the first 31 bytes of the policy", device=dressed.device_public(policy=dressed.policy[:31]))
    name = name_of(dressed.nv)
    bad("policy-next", "the policy of the next value: it wakes up when it should die", device=dressed.device_public(policy=policy_nv(name, 2)))
    bad("policy-ge", "not equal but greater or equal", device=dressed.device_public(policy=policy_nv(name, 1, operation=9)))
    bad("policy-neq", "not equal but unequal", device=dressed.device_public(policy=policy_nv(name, 1, operation=1)))
    bad("policy-offset", "compared at offset 1", device=dressed.device_public(policy=policy_nv(name, 1, offset=1)))
    bad("policy-index", "another index", device=dressed.device_public(policy=policy_nv(name_of(nv_public(INDEX + 1)), 1)))
    unwritten = nv_public(attributes=0x02060016)
    bad("policy-unwritten", "the Name of the index before it was written", device=dressed.device_public(policy=policy_nv(name_of(unwritten), 1)))
    bad("nv-unwritten", "an index that was not written, policy and all", nv=unwritten,
        device=dressed.device_public(policy=policy_nv(name_of(unwritten), 1)))
    for kind, attributes in (("bits", 0x22060026), ("ordinary", 0x22060006), ("orderly", 0x26060016), ("clear-stclear", 0x2A060016)):
        nv = nv_public(attributes=attributes)
        bad(f"nv-{kind}", f"bound to an index that can go back: {kind}", nv=nv, device=dressed.device_public(policy=policy_nv(name_of(nv), 1)))
    bad("value", "another value than the policy's", value=2)
    bad("nv-other", "the public area of another index", nv=nv_public(INDEX + 1))
    other = rsa(DEVICE_BITS, Key(os.path.dirname(dressed.key.path), "rsadevice", *RSA).modulus(), dressed.policy, scheme=(NULL,))
    bad("rsa-device", "an RSA device key", device=other, level="should")


def nv_certify(cases, dressed, real):
    """real: (name, reason, expect, level, ak, nv, attest, signature, inputs) captured from the TPMs."""
    for name, reason, expect, level, ak, nv, statement, signature, inputs in real:
        files = {"ak": ak, "nv_public": nv, "attest": statement, "signature": signature}
        cases.add(f"nv-{name}", "nv_certify", expect, reason, files, inputs, level)

    def case(name, expect, reason, contents=7, relation="eq", value=7, statement=None, nv=None, extra=Q, q=Q, kind=NV, offset=0, magic=0xFF544347,
             about=None, signature=None, level="must", **clock):
        nv = nv or dressed.nv
        if isinstance(contents, int):
            contents = contents.to_bytes(8, "big")
        if statement is None:
            statement = attest(kind, nv_body(name_of(nv) if about is None else about, contents, offset), extra, dressed.signer, magic, **clock)
        files = {"nv_public": nv, "attest": statement}
        if signature is not None:
            files["signature"] = signature(statement)
        inputs = {"qualifying_data": q.hex(), "relation": relation, "value": value}
        if expect == "accept":
            inputs["counter"] = int.from_bytes(contents, "big")
        dressed.case(cases, f"nv-{name}", "nv_certify", expect, reason, files, inputs, level)

    def good(name, reason, **options):
        case(name, "accept", reason, **options)

    def bad(name, reason, **options):
        case(name, "reject", reason, **options)

    good("dressed-eq", "the value asked for")
    good("dressed-gt", "a greater value", contents=8, relation="gt")
    good("dressed-ge", "a greater value where as great a one will do", contents=8, relation="ge")
    good("dressed-ge-equal", "as great a value", relation="ge")
    good("dressed-high", "all 64 bits count", contents=2 ** 64 - 1, relation="gt", value=2 ** 63)
    good("dressed-unsafe", "clockInfo.safe is clear, as after a power cut", clock=(1, 2, 3, 0))
    good("high-s", "a signature with the greater of its two s", signature=lambda data: dressed.key.ecdsa(data, high_s=True))
    bad("gt-equal", "the counter still stands at the value: nothing was deactivated", relation="gt")
    bad("gt-less", "a lesser value where a greater is asked", contents=6, relation="gt")
    bad("ge-less", "a lesser value where as great a one is asked", contents=6, relation="ge")
    bad("eq-greater", "a greater value where the same is asked", contents=8)
    bad("eq-less", "a lesser value where the same is asked", contents=6)
    bad("gt-signed", "2^63 is greater than 7, but not the other way round", contents=7, relation="gt", value=2 ** 63)
    bad("wrong-q", "the answer to another question", q=sha256(b"another"))
    bad("empty-q", "no question was asked", q=b"", extra=b"")
    bad("long-q", "the question and a byte more", extra=Q + b"\0")
    bad("magic", "no TPM made it", magic=0x58544347)
    bad("type-certify", "the type of a certified key", kind=CERTIFY)
    bad("type-digest", "the type of an NV digest", kind=NV_DIGEST)
    bad("offset-1", "an offset", offset=1)
    bad("offset-8", "an offset past the counter", offset=8)
    bad("contents-7", "7 bytes", contents=bytes(6) + b"\x07")
    bad("contents-9", "9 bytes", contents=bytes(8) + b"\x07")
    bad("contents-0", "no bytes", contents=b"", value=0)
    bad("contents-4", "the lower half", contents=b"\0\0\0\x07")
    whole = attest(NV, nv_body(name_of(dressed.nv), (7).to_bytes(8, "big")), Q, dressed.signer)
    bad("trailing", "a byte behind the statement", statement=whole + b"\0")
    bad("truncated", "the statement without its last byte", statement=whole[:-1])
    bad("cut", "cut inside the clock", statement=whole[:80])
    bad("other-index", "a statement about another index", about=name_of(nv_public(INDEX + 1)))
    bad("empty-name", "a statement about no index", about=b"")
    unwritten = nv_public(attributes=0x02060016)
    bad("unwritten", "an index that was not written", nv=unwritten)
    bad("unwritten-name", "the Name of the index before it was written", about=name_of(unwritten))
    bad("other-signer", "signed by another key", signature=lambda data: dressed.device.ecdsa(data))
    bad("sha1-signature", "a signature with SHA-1", signature=lambda data: dressed.key.ecdsa(data, "sha1"))
    # Everything that lets an index go back, jump or stand still (TPMA_NV).
    for name, attributes, size in (
        ("bits", 0x22060026, 8), ("ordinary", 0x22060006, 8), ("extend", 0x22060046, 32), ("pin-fail", 0x22060086, 8), ("orderly", 0x26060016, 8),
        ("clear-stclear", 0x2A060016, 8), ("writelocked", 0x22060816, 8), ("write-stclear", 0x22064016, 8), ("readlocked", 0x32060016, 8),
        ("platform", 0x62060016, 8), ("ppwrite", 0x22060017, 8), ("policy-delete", 0x62060416, 8), ("reserved", 0x22060116, 8), ("size-4", 0x22060016, 4),
    ):
        bad(f"attr-{name}", f"an index that is no mere counter: {name}", nv=nv_public(attributes=attributes, size=size))
    bad("attr-name-sha1", "an index with a Name by SHA-1", nv=nv_public(name_alg=SHA1))
    bad("nv-trailing", "a byte behind the public area", nv=dressed.nv + b"\0", about=name_of(dressed.nv))
    bad("nv-handle", "the handle of a key", nv=nv_public(index=0x81800001))


def numbers(signature):
    return int.from_bytes(signature[6:38], "big"), int.from_bytes(signature[40:72], "big")


def capture(work):
    """What the TPMs say: cases of ak_public, key_certify and nv_certify, and the TPMs."""
    one, two, three = tpms = [Ek(work, name) for name in ("tpm1", "tpm2", "tpm3")]
    aks, keys, counters = {}, [], []
    ak = {tpm: tpm.primary("e", "ecc256:ecdsa-sha256:null", AK) for tpm in tpms}
    for tpm in tpms:
        aks[f"{tpm.name}-ecdsa"] = (ak[tpm][1], "must")
    schemes = {"rsassa": two.primary("e", "rsa2048:rsassa-sha256:null", AK), "rsapss": two.primary("e", "rsa2048:rsapss-sha256:null", AK)}
    for name, (_, public) in schemes.items():
        aks[f"tpm2-{name}"] = (public, "optional")
    nv = nv_public()
    nv_name = name_of(nv)

    def nv_inputs(relation, value, counter=None, q=Q):
        more = {} if counter is None else {"counter": counter}
        return {"qualifying_data": q.hex(), "relation": relation, "value": value, **more}

    # The same index in each TPM, and so the same Name, with values of their own.
    for tpm in tpms:
        tpm.define(INDEX, COUNTER)
    srk = {tpm: tpm.primary("o", "ecc256:aes128cfb", SRK)[0] for tpm in tpms}
    for tpm in tpms:
        policy = tpm.policy_nv(INDEX, 1)
        assert policy == policy_nv(nv_name, 1), "the TPM computes the policy that this script does"
        device = tpm.child(srk[tpm], DEVICE, policy)
        statement = tpm.certify(ak[tpm][0], device[0], Q)
        keys.append((f"{tpm.name}", f"a device key of {tpm.name}", "accept", "must", ak[tpm][1], device[1], nv, *statement, Q, 1))
        if tpm is one:
            foreign = (device, statement)
            tooled = tpm.certify_by_tool(ak[tpm][0], device[0])
            q = bytes.fromhex("00ff55aa")
            keys.append(("tpm1-tool", "captured with tpm2_certify alone, which asks 00ff55aa", "accept", "must", ak[tpm][1], device[1], nv, *tooled, q, 1))
        else:
            (device1, statement1), public = foreign, ak[tpm][1]
            keys.append((f"{tpm.name}-signer", f"tpm1's evidence under the attestation key of {tpm.name}", "reject", "must", public, device1[1], nv,
                         *statement1, Q, 1))
    for name, (context, public) in schemes.items():
        device = two.child(srk[two], DEVICE, policy_nv(nv_name, 1))
        keys.append((f"tpm2-{name}", f"signed by {name}", "accept", "optional", public, device[1], nv, *two.certify(context, device[0], Q), Q, 1))
    halves = (keys[0][7], keys[1][8])
    keys.append(("swapped", "the statement of tpm1 with a signature of another", "reject", "must", keys[0][4], keys[0][5], nv, *halves, Q, 1))
    for name, reason, attributes, policy in (
        ("tpm1-user-with-auth", "the TPM made it: userWithAuth set", DEVICE + "|userwithauth", policy_nv(nv_name, 1)),
        ("tpm1-next", "the TPM made it: the policy of the next value", DEVICE, policy_nv(nv_name, 2)),
        ("tpm1-ge", "the TPM made it: greater or equal", DEVICE, policy_nv(nv_name, 1, operation=9)),
        ("tpm1-migratable", "the TPM made it: neither fixedTPM nor fixedParent", DEVICE.replace("fixedtpm|fixedparent|", ""), policy_nv(nv_name, 1)),
    ):
        device = one.child(srk[one], attributes, policy)
        keys.append((name, reason, "reject", "must", ak[one][1], device[1], nv, *one.certify(ak[one][0], device[0], Q), Q, 1))

    # TPM2_NV_Certify by tpm2_nvcertify alone: the outside witness.
    for tpm in tpms:
        statement = tpm.nv_certify(ak[tpm][0], INDEX, Q)
        counters.append((f"{tpm.name}-eq", f"tpm2_nvcertify in {tpm.name}, at the activation's value", "accept", "must", ak[tpm][1], nv, *statement,
                         nv_inputs("eq", 1, 1)))
        counters.append((f"{tpm.name}-alive", f"the counter of {tpm.name} has not moved", "reject", "must", ak[tpm][1], nv, *statement, nv_inputs("gt", 1)))
        tpm.tool("tpm2_nvincrement", "-Q", "-C", "o", hex(INDEX))
        moved = tpm.nv_certify(ak[tpm][0], INDEX, Q)
        counters.append((f"{tpm.name}-gt", f"tpm2_nvcertify in {tpm.name} after an increment: deactivated", "accept", "must", ak[tpm][1], nv, *moved,
                         nv_inputs("gt", 1, 2)))
        counters.append((f"{tpm.name}-dead", f"the counter of {tpm.name} has moved on", "reject", "must", ak[tpm][1], nv, *moved, nv_inputs("eq", 1)))
    counters.append(("tpm2-same-name", "tpm2's counter of the same Name, under tpm1's attestation key", "reject", "must", ak[one][1], nv,
                     *counters[4][6:8], nv_inputs("eq", 1)))
    for name, (context, public) in schemes.items():
        statement = two.nv_certify(context, INDEX, Q, scheme=("-g", "sha256", "-s", name))
        counters.append((f"tpm2-{name}", f"signed by {name}", "accept", "optional", public, nv, *statement, nv_inputs("eq", 2, 2)))
        broken = statement[1][:-1] + bytes([statement[1][-1] ^ 1])
        counters.append((f"tpm2-{name}-bit", f"one bit of a signature by {name} differs", "reject", "must", public, nv, statement[0], broken,
                         nv_inputs("eq", 2)))
    # Undefined and defined again: the counter goes on, the Name is the same.
    one.tool("tpm2_nvundefine", "-C", "o", hex(INDEX))
    one.define(INDEX, COUNTER)
    again = one.nv_certify(ak[one][0], INDEX, Q)
    counters.append(("tpm1-redefined", "undefined and defined again: it goes on from where it was", "accept", "must", ak[one][1], nv, *again,
                     nv_inputs("gt", 2, int.from_bytes(again[0][-8:], "big"))))
    base = COUNTER.replace("|nt=counter", "")
    for name, index, attributes, public in (
        ("bits", INDEX + 1, base + "|nt=bits", 0x22060026), ("ordinary", INDEX + 2, base, 0x22060006),
        ("orderly", INDEX + 3, COUNTER + "|orderly", 0x26060016),
    ):
        one.define(index, attributes)
        statement = one.nv_certify(ak[one][0], index, Q)
        counters.append((f"tpm1-{name}", f"the TPM made it: an index of the kind {name}", "reject", "must", ak[one][1], nv_public(index, public), *statement,
                         nv_inputs("ge", 1)))
        counters.append((f"tpm1-{name}-as-counter", f"the same, shown with the public area of the counter ({name})", "reject", "must", ak[one][1], nv,
                         *statement, nv_inputs("ge", 1)))
    lower = one.nv_certify(ak[one][0], INDEX, Q, size=4, offset=4)
    counters.append(("tpm1-lower-half", "the TPM made it: 4 bytes at offset 4", "reject", "must", ak[one][1], nv, *lower, nv_inputs("ge", 1)))
    upper = one.nv_certify(ak[one][0], INDEX, Q, size=7)
    counters.append(("tpm1-upper-part", "the TPM made it: 7 bytes", "reject", "must", ak[one][1], nv, *upper, nv_inputs("ge", 0)))
    digest = one.nv_certify(ak[one][0], INDEX, Q, size=0)
    assert digest[0][4:6] == b"\x80\x1c"
    counters.append(("tpm1-digest", "the TPM made it: the digest form that size 0 gives", "reject", "must", ak[one][1], nv, *digest, nv_inputs("ge", 1)))
    # An unrestricted key of the same TPM signs anything.
    free = one.primary("e", "ecc256:ecdsa-sha256", AK.replace("|restricted", ""))
    statement = one.nv_certify(free[0], INDEX, Q)
    counters.append(("tpm1-unrestricted", "by a key of the TPM that signs anything", "reject", "must", free[1], nv, *statement, nv_inputs("ge", 1)))
    return tpms, aks, keys, counters


def main():
    work, out = sys.argv[1:]
    cases = Cases(out)
    tpms, aks, keys, counters = capture(work)
    commands = list(LOG)
    certificates.ek_chain(cases, work, tpms)
    ak_public(cases, work, aks)
    dressed = Dressed(work)
    key_certify(cases, dressed, keys)
    nv_certify(cases, dressed, counters)
    certificates.piv(cases, work)
    cases.write()
    counts = {kind: sum(case["kind"] == kind for case in cases.list) for kind in sorted({case["kind"] for case in cases.list})}
    with open(os.path.join(out, "commands.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(line.replace(work, "$WORK") for line in commands) + "\n")
    print(len(cases.list), counts)


EC = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")

if __name__ == "__main__":
    main()
