"""Chains of endorsement keys and of dongles, by openssl. Standard library only."""

import os
import time

from tools import Key, run

# openssl drops what stands before the first dot of a field.
NAMES = "dirName:tpm"
TPM = "[tpm]\n1.2.23.133.2.1 = id:00001014\n2.2.23.133.2.2 = swtpm\n3.2.23.133.2.3 = id:20191023\n"
EK_CERTIFICATE = {
    "basicConstraints": "critical,CA:FALSE",
    "keyUsage": "critical,keyEncipherment",
    "extendedKeyUsage": "2.23.133.8.1",
    "subjectAltName": f"critical,{NAMES}",
    "authorityKeyIdentifier": "keyid",
}
AUTHORITY = {
    "basicConstraints": "critical,CA:TRUE",
    "keyUsage": "critical,keyCertSign,cRLSign",
    "subjectKeyIdentifier": "hash",
}
YEARS = 40 * 365


class Issuer:
    """A throwaway authority: a key and a certificate."""

    def __init__(self, work, name, subject, issuer=None, days=YEARS, algorithm=("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), **changes):
        self.work, self.key = work, Key(work, name, *algorithm)
        self.pem = os.path.join(work, f"{name}.crt")
        extensions = {**AUTHORITY, **changes}
        self.der = sign(work, self.key.spki(), subject, issuer or self, extensions, days=days, name=name)
        with open(self.pem, "wb") as file:
            file.write(run("openssl", "x509", "-inform", "DER", stdin=self.der, log=False))

    def issue(self, spki, subject="/CN=EK", days=YEARS, sections=TPM, digest="sha256", **changes):
        """An endorsement certificate. A change of None leaves the extension out."""
        return sign(self.work, spki, subject, self, {**EK_CERTIFICATE, **changes}, days=days, sections=sections, digest=digest)


def sign(work, spki, subject, issuer, extensions, days=YEARS, sections="", digest="sha256", name="leaf"):
    """A certificate over `spki`, DER. The request is signed by a key of its own; -force_pubkey puts ours in."""
    request_key = os.path.join(work, "request.pem")
    if not os.path.exists(request_key):
        run("openssl", "genpkey", "-out", request_key, "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", log=False)
    public, config = os.path.join(work, f"{name}.spki"), os.path.join(work, f"{name}.cnf")
    with open(public, "wb") as file:
        file.write(run("openssl", "pkey", "-pubin", "-inform", "DER", "-outform", "PEM", stdin=spki, log=False))
    with open(config, "w", encoding="ascii") as file:
        lines = [f"{key} = {value}" for key, value in extensions.items() if value is not None]
        file.write("[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = x\n[ext]\n" + "\n".join(lines) + "\n" + sections)
    request = run("openssl", "req", "-new", "-key", request_key, "-subj", subject, "-config", config, log=False)
    signer = ["-signkey", issuer.key.path] if not os.path.exists(issuer.pem) else ["-CA", issuer.pem, "-CAkey", issuer.key.path]
    serial = str(int.from_bytes(os.urandom(8), "big") >> 1)
    if signer[0] == "-signkey":
        # Self-signed: -force_pubkey is the very key that signs.
        return run("openssl", "x509", "-req", "-days", str(days), *signer, "-set_serial", serial, f"-{digest}", "-extfile", config,
                   "-extensions", "ext", "-outform", "DER", stdin=request)
    return run("openssl", "x509", "-req", "-days", str(days), *signer, "-force_pubkey", public, "-set_serial", serial, f"-{digest}",
               "-extfile", config, "-extensions", "ext", "-outform", "DER", stdin=request)


def nonminimal(der):
    """The same certificate with the outer length in one byte more than needed: BER, no DER."""
    assert der[1] == 0x82
    return der[:1] + b"\x83\x00" + der[2:]


def der_of(pem):
    return run("openssl", "x509", "-in", pem, "-outform", "DER", log=False)


def spki_of(der):
    pem = run("openssl", "x509", "-inform", "DER", "-noout", "-pubkey", stdin=der, log=False)
    return run("openssl", "pkey", "-pubin", "-outform", "DER", stdin=pem, log=False)


def ek_chain(cases, work, tpms):
    """Everything about endorsement certificates; gives nothing back but the cases."""
    now = int(time.time())
    soon, late = now + 3600, now + 3 * 86400
    roots = {ca: der_of(f"{work}/{ca}/swtpm-localca-rootca-cert.pem") for ca in ("ca1", "ca2")}
    issuers = {ca: der_of(f"{work}/{ca}/issuercert.pem") for ca in ("ca1", "ca2")}

    def case(name, expect, reason, leaf, root, between=(), at=soon, level="must"):
        files = {"ek_cert": leaf, "intermediates": list(between), "roots": root if isinstance(root, list) else [root]}
        cases.add(f"ek-{name}", "ek_chain", expect, reason, files, {"at_time": at}, level)

    def good(name, reason, *rest, **options):
        case(name, "accept", reason, *rest, **options)

    def bad(name, reason, *rest, **options):
        case(name, "reject", reason, *rest, **options)

    # As swtpm_localca made them.
    ek = {(tpm.name, kind): tpm.nv_read(index) for tpm in tpms for kind, index in (("rsa", 0x01C00002), ("p384", 0x01C00016))}
    leaf = ek["tpm1", "rsa"]
    for tpm, ca in (("tpm1", "ca1"), ("tpm2", "ca1"), ("tpm3", "ca2")):
        for kind in ("rsa", "p384"):
            good(f"{tpm}-{kind}", f"certificate of {tpm}'s {kind} EK by swtpm_localca of {ca}", ek[tpm, kind], roots[ca], [issuers[ca]])
    good("pinned-issuer", "the issuing CA itself is pinned: no intermediate needed", leaf, issuers["ca1"])
    good("many-roots", "the right root among two of the same name", leaf, [roots["ca2"], roots["ca1"]], [issuers["ca1"]])
    good("useless-intermediate", "an intermediate of no use before the right one", leaf, roots["ca1"], [issuers["ca2"], issuers["ca1"]])
    bad("same-name", "a root of the same name with another key", leaf, roots["ca2"], [issuers["ca1"]])
    bad("same-name-issuer", "an intermediate of the same name with another key", leaf, roots["ca1"], [issuers["ca2"]])
    bad("no-intermediate", "the issuing CA is neither pinned nor sent", leaf, roots["ca1"])
    bad("sent-root", "the client's own root among the intermediates pins nothing", leaf, roots["ca2"], [issuers["ca1"], roots["ca1"]])
    bad("no-roots", "nothing is pinned", leaf, [], [issuers["ca1"]])
    bad("before", "before the certificate is valid", leaf, roots["ca1"], [issuers["ca1"]], at=now - 10 * 86400)
    bad("trailing", "a byte behind the certificate", leaf + b"\0", roots["ca1"], [issuers["ca1"]])
    bad("nonminimal", "a length in more bytes than needed: BER, no DER", nonminimal(leaf), roots["ca1"], [issuers["ca1"]])
    bad("intermediate-trailing", "a byte behind the intermediate", leaf, roots["ca1"], [issuers["ca1"] + b"\0"])
    bad("truncated", "the certificate without its last byte", leaf[:-1], roots["ca1"], [issuers["ca1"]])
    bad("empty", "no certificate at all", b"", roots["ca1"], [issuers["ca1"]])
    bad("signature-bit", "one bit of the signature differs", leaf[:-1] + bytes([leaf[-1] ^ 1]), roots["ca1"], [issuers["ca1"]])
    middle = len(leaf) // 2
    bad("key-bit", "one bit of the certified key differs", leaf[:middle] + bytes([leaf[middle] ^ 1]) + leaf[middle + 1:], roots["ca1"], [issuers["ca1"]])

    # Certificates of our own over the real EKs.
    rsa, p384 = spki_of(leaf), spki_of(ek["tpm1", "p384"])
    root = Issuer(work, "root", "/CN=Root")
    between = Issuer(work, "between", "/CN=Issuing", root, basicConstraints="critical,CA:TRUE,pathlen:0")
    good("own-rsa", "RSA-2048 under an issuing CA with path length 0", between.issue(rsa), root.der, [between.der])
    good("own-p384", "P-384", between.issue(p384, keyUsage="critical,keyAgreement"), root.der, [between.der])
    p256 = tpms[0].ek_p256_spki()
    good("own-p256", "P-256, an EK made by tpm2_createek -G ecc", root.issue(p256, keyUsage="critical,keyAgreement"), root.der)
    good("san-not-critical", "the alternative name is not critical, as in many certificates of chips", root.issue(rsa, subjectAltName=NAMES), root.der)
    good("no-constraints", "a leaf without basic constraints is no CA", root.issue(rsa, basicConstraints=None), root.der)
    rsa_root = Issuer(work, "rsaroot", "/CN=RSA Root", algorithm=("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    good("rsa-root", "an RSA CA with SHA-384", rsa_root.issue(rsa, digest="sha384"), rsa_root.der)
    big = Key(work, "rsa3072", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072").spki()
    good("rsa3072", "RSA-3072", root.issue(big), root.der)

    bad("sha1", "signed with SHA-1", rsa_root.issue(rsa, digest="sha1"), rsa_root.der)
    bad("expired", "after the certificate has ended", root.issue(rsa, days=1), root.der, at=late)
    short = Issuer(work, "short", "/CN=Short", root, days=1)
    bad("expired-intermediate", "after the intermediate has ended", short.issue(rsa), root.der, [short.der], at=late)
    short_root = Issuer(work, "shortroot", "/CN=Short root", days=1)
    bad("expired-root", "after the pinned root has ended", short_root.issue(rsa), short_root.der, at=late, level="should")
    bad("ca-as-leaf", "a CA dressed as an endorsement key", root.issue(rsa, basicConstraints="critical,CA:TRUE"), root.der)
    bad("no-eku", "no extended key usage", root.issue(rsa, extendedKeyUsage=None), root.der)
    bad("ak-eku", "the extended key usage of an attestation key", root.issue(rsa, extendedKeyUsage="2.23.133.8.3"), root.der)
    bad("ek-and-ak-eku", "of both, endorsement and attestation key", root.issue(rsa, extendedKeyUsage="2.23.133.8.1,2.23.133.8.3"), root.der)
    bad("platform-eku", "of a platform certificate", root.issue(rsa, extendedKeyUsage="2.23.133.8.2"), root.der)
    bad("any-eku", "any extended key usage, but not this one", root.issue(rsa, extendedKeyUsage="anyExtendedKeyUsage"), root.der)
    bad("server-eku", "of a web server too", root.issue(rsa, extendedKeyUsage="2.23.133.8.1,serverAuth"), root.der)
    unknown = {"1.3.6.1.4.1.99999.1": "critical,DER:0500"}
    bad("critical", "an unknown critical extension", root.issue(rsa, **unknown), root.der)
    good("not-critical", "an unknown extension that is not critical", root.issue(rsa, **{"1.3.6.1.4.1.99999.1": "DER:0500"}), root.der)
    odd = Issuer(work, "odd", "/CN=Odd", root, **unknown)
    bad("intermediate-critical", "an unknown critical extension of the intermediate", odd.issue(rsa), root.der, [odd.der])
    narrow = Issuer(work, "narrow", "/CN=Narrow", basicConstraints="critical,CA:TRUE,pathlen:0")
    below = Issuer(work, "below", "/CN=Below", narrow)
    bad("path-length", "an intermediate below a root with path length 0", below.issue(rsa), narrow.der, [below.der])
    under = Issuer(work, "under", "/CN=Under", between)
    bad("path-length-intermediate", "an intermediate below one with path length 0", under.issue(rsa), root.der, [under.der, between.der])
    no_sign = Issuer(work, "nosign", "/CN=No sign", root, keyUsage="critical,cRLSign")
    bad("no-cert-sign", "an intermediate without keyCertSign", no_sign.issue(rsa), root.der, [no_sign.der])
    no_ca = Issuer(work, "noca", "/CN=No CA", root, basicConstraints="critical,CA:FALSE")
    bad("no-ca", "an intermediate that is no CA", no_ca.issue(rsa), root.der, [no_ca.der])
    silent = Issuer(work, "silent", "/CN=Silent", root, basicConstraints=None)
    bad("no-basic-constraints", "an intermediate without basic constraints", silent.issue(rsa), root.der, [silent.der])
    web = Issuer(work, "web", "/CN=Web", root, extendedKeyUsage="serverAuth")
    bad("web-ca", "an intermediate for web servers only", web.issue(rsa), root.der, [web.der], level="should")
    bad("no-san", "no alternative name", root.issue(rsa, subjectAltName=None), root.der)
    bad("dns-san", "no directory name among the alternative names", root.issue(rsa, subjectAltName="DNS:tpm.example"), root.der)
    half = "[tpm]\n2.2.23.133.2.2 = swtpm\n3.2.23.133.2.3 = id:20191023\n"
    bad("no-manufacturer", "a directory name without the manufacturer", root.issue(rsa, sections=half), root.der)
    bad("sign-usage", "a key that signs and decrypts nothing", root.issue(rsa, keyUsage="critical,digitalSignature"), root.der)
    for name, reason, algorithm in (
        ("rsa1024", "RSA-1024", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")),
        ("exponent", "the exponent 3", ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3")),
        ("p521", "P-521", ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521")),
        ("secp256k1", "secp256k1", ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1")),
        ("ed25519", "Ed25519", ("-algorithm", "ED25519",)),
    ):
        usage = "critical,keyEncipherment" if name in ("rsa1024", "exponent") else "critical,keyAgreement"
        bad(name, f"{reason} is no key of an EK", root.issue(Key(work, name, *algorithm).spki(), keyUsage=usage), root.der)
    own = Issuer(work, "own", "/CN=EK", basicConstraints="critical,CA:FALSE", keyUsage="critical,keyAgreement",
                 extendedKeyUsage="2.23.133.8.1")
    bad("self-signed", "the leaf vouches for itself", own.der, root.der)
    bad("leaf-issues", "a certificate issued by another endorsement key", own.issue(rsa), root.der, [own.der])
    return root


def piv(cases, work):
    """Chains of the shape of YubiKey PIV attestation: root, the dongle's f9, the slot."""
    now = int(time.time())
    point = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    root = Issuer(work, "pivroot", "/CN=PIV Root", algorithm=("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    narrow = Issuer(work, "pivnarrow", "/CN=U2F Root", basicConstraints="critical,CA:TRUE,pathlen:0")
    same = Issuer(work, "pivsame", "/CN=PIV Root")
    f9 = Issuer(work, "f9", "/CN=PIV Attestation", root, basicConstraints="critical,CA:TRUE,pathlen:0", keyUsage=None)
    bare = Issuer(work, "f9bare", "/CN=PIV Attestation", narrow, basicConstraints=None, keyUsage=None, subjectKeyIdentifier=None)
    alone = Issuer(work, "f9alone", "/CN=PIV Attestation")
    other = Issuer(work, "f9other", "/CN=PIV Attestation", root)
    slot = Key(work, "slot", *point).spki()
    arc = "1.3.6.1.4.1.41482.3"

    def issue(by=f9, spki=slot, firmware="050403", serial="02036ff1c4", policy="0201", form="01", days=YEARS, **more):
        """DER of the extensions is in hexadecimal; firmware, policy and form factor are bare bytes."""
        values = {f"{arc}.3": firmware, f"{arc}.7": serial, f"{arc}.8": policy, f"{arc}.9": form}
        extensions = {key: f"DER:{value}" for key, value in values.items() if value}
        return sign(work, spki, "/CN=PIV Attestation 9a", by, {**extensions, **more}, days=days)

    def case(name, expect, reason, slot_cert, f9_cert=f9, pinned=root, at=now + 3600, firmware="5.4.3", pin="once", extra=None):
        files = {"slot_cert": slot_cert, "f9_cert": f9_cert.der, "roots": [pinned.der]}
        inputs = {"at_time": at, "min_firmware": firmware, "pin_policy_at_least": pin}
        cases.add(f"piv-{name}", "piv_attestation", expect, reason, {**files, **(extra or {})}, inputs, "optional")

    case("good", "accept", "P-256, firmware 5.4.3, PIN once", issue(), extra={"device_spki": slot})
    case("pin-always", "accept", "PIN always where once is asked", issue(policy="0301"))
    case("touch", "accept", "touch cached", issue(policy="0203"))
    case("old-shape", "accept", "f9 without extensions under a root with path length 0, as of firmware 4", issue(bare, firmware="040307"),
         f9_cert=bare, pinned=narrow, firmware="4.3.0")
    case("rsa", "accept", "an RSA-2048 slot", issue(spki=Key(work, "slotrsa", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048").spki()))
    case("wrong-root", "reject", "a root of the same name with another key", issue(), pinned=same)
    case("self-signed-f9", "reject", "an f9 that vouches for itself", issue(alone), f9_cert=alone)
    case("other-f9", "reject", "the f9 of another dongle", issue(), f9_cert=other)
    case("swapped", "reject", "the slot's certificate in the place of f9's", f9.der, f9_cert=f9)
    case("low-firmware", "reject", "firmware 4.3.7 where 5.4.3 is asked", issue(firmware="040307"))
    case("low-minor", "reject", "firmware 5.3.9 where 5.4.3 is asked", issue(firmware="050309"))
    case("no-firmware", "reject", "no firmware extension", issue(firmware=None))
    case("no-serial", "accept", "a dongle that does not tell its number: attested, though no license is bound to it",
         issue(serial=None))
    case("no-policy", "reject", "no policy extension", issue(policy=None))
    case("padded-serial", "reject", "a serial with a zero in front: BER, no DER", issue(serial="0204006ff1c4"))
    case("short-firmware", "reject", "a firmware of two bytes", issue(firmware="0504"))
    case("long-policy", "reject", "a policy of three bytes", issue(policy="020101"))
    case("pin-never", "reject", "PIN never where once is asked", issue(policy="0101"))
    case("pin-once", "reject", "PIN once where always is asked", issue(policy="0201"), pin="always")
    case("pin-unknown", "reject", "an unknown PIN policy", issue(policy="7f01"))
    case("expired", "reject", "after the slot's certificate has ended", issue(days=1), at=now + 3 * 86400)
    case("critical", "reject", "an unknown critical extension", issue(**{"1.3.6.1.4.1.99999.1": "critical,DER:0500"}))
    case("trailing", "reject", "a byte behind the slot's certificate", issue() + b"\0")
