"""What make.py is written with: tpm2-tools and openssl as subprocesses, TPM structures as bytes. Standard library only."""

import hashlib
import os
import struct
import subprocess

SHA1, SHA256, SHA384, NULL = 0x0004, 0x000B, 0x000C, 0x0010
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LOG = []


def run(*command, stdin=None, env=None, log=True):
    """Runs a command, notes it for the README, and gives what it wrote."""
    if log:
        LOG.append(" ".join(str(part) for part in command))
    done = subprocess.run([str(part) for part in command], input=stdin, env=env, capture_output=True)
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def sized(data):
    return struct.pack(">H", len(data)) + data


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def name_of(public):
    return b"\x00\x0b" + sha256(public)


def policy_nv(nv_name, value, offset=0, operation=0):
    """PolicyNV from a zero digest. operation: 0 is EQ, 9 is UNSIGNED_GE (TPM_EO)."""
    arguments = sha256(value.to_bytes(8, "big"), struct.pack(">HH", offset, operation))
    return sha256(bytes(32), struct.pack(">I", 0x149), arguments, nv_name)


def ecc(attributes, x, y, policy=b"", scheme=(0x0018, SHA256), name_alg=SHA256, curve=3, kdf=NULL, symmetric=b"\x00\x10"):
    scheme = struct.pack(f">{len(scheme)}H", *scheme)
    return (struct.pack(">HHI", 0x23, name_alg, attributes) + sized(policy) + symmetric + scheme
            + struct.pack(">HH", curve, kdf) + sized(x) + sized(y))


def rsa(attributes, modulus, policy=b"", scheme=(0x0014, SHA256), bits=None, exponent=0):
    scheme = struct.pack(f">{len(scheme)}H", *scheme)
    return (struct.pack(">HHI", 1, SHA256, attributes) + sized(policy) + b"\x00\x10" + scheme
            + struct.pack(">HI", bits or len(modulus) * 8, exponent) + sized(modulus))


def nv_public(index=0x01800001, attributes=0x22060016, policy=b"", size=8, name_alg=SHA256):
    return struct.pack(">IHI", index, name_alg, attributes) + sized(policy) + struct.pack(">H", size)


def attest(kind, body, extra, signer, magic=0xFF544347, clock=(123456, 3, 1, 1), firmware=0x2019102300163636):
    return (struct.pack(">IH", magic, kind) + sized(signer) + sized(extra)
            + struct.pack(">QIIB", *clock) + struct.pack(">Q", firmware) + body)


def certify_body(name, qualified=bytes(34)):
    return sized(name) + sized(qualified)


def nv_body(name, contents, offset=0):
    return sized(name) + struct.pack(">H", offset) + sized(contents)


class Key:
    """A software key: what an attacker has who dresses it as a TPM's."""

    def __init__(self, work, name, *algorithm):
        self.path = os.path.join(work, f"{name}.pem")
        run("openssl", "genpkey", "-out", self.path, *algorithm)

    def spki(self):
        return run("openssl", "pkey", "-in", self.path, "-pubout", "-outform", "DER", log=False)

    def point(self):
        """x and y, of a curve whose numbers are full bytes."""
        bits = self.spki()
        half = {91: 32, 120: 48, 158: 66, 88: 32}[len(bits)]
        return bits[-2 * half:-half], bits[-half:]

    def modulus(self):
        text = run("openssl", "rsa", "-in", self.path, "-noout", "-modulus", log=False).decode()
        return bytes.fromhex(text.strip().split("=")[1])

    def ecdsa(self, message, digest="sha256", high_s=None):
        """TPMT_SIGNATURE by ECDSA; with high_s, s is in that half of the range."""
        der = run("openssl", "dgst", f"-{digest}", "-sign", self.path, stdin=message, log=False)
        r, s = der_integers(der)
        if high_s is not None and (s > P256_ORDER // 2) != high_s:
            s = P256_ORDER - s
        hash_id = {"sha1": SHA1, "sha256": SHA256, "sha384": SHA384}[digest]
        return ecdsa(r, s, hash_id)

    def rsassa(self, message, digest="sha256", pss=False):
        options = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if pss else []
        signature = run("openssl", "dgst", f"-{digest}", "-sign", self.path, *options, stdin=message, log=False)
        hash_id = {"sha1": SHA1, "sha256": SHA256}[digest]
        return struct.pack(">HH", 0x16 if pss else 0x14, hash_id) + sized(signature)


def der_integers(der):
    """The two numbers of an ECDSA-Sig-Value."""
    numbers, at = [], 2
    while at < len(der):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size], "big"))
        at += 2 + size
    return numbers


def ecdsa(r, s, hash_id=SHA256):
    return struct.pack(">HH", 0x18, hash_id) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))


class Tpm:
    """One software TPM, spoken to by tpm2-tools alone."""

    def __init__(self, work, name):
        self.work, self.name, self.count = work, name, 0
        self.env = dict(os.environ, TPM2TOOLS_TCTI=f"swtpm:path={work}/{name}.sock")

    def tool(self, *command, stdin=None):
        out = run(*command, stdin=stdin, env=self.env)
        run("tpm2_flushcontext", "-t", env=self.env, log=False)
        return out

    def file(self, kind):
        self.count += 1
        return os.path.join(self.work, f"{self.name}-{kind}-{self.count}")

    def read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def primary(self, hierarchy, algorithm, attributes):
        """A primary key: its context and its TPMT_PUBLIC."""
        context, public = self.file("ctx"), self.file("pub")
        self.tool("tpm2_createprimary", "-Q", "-C", hierarchy, "-G", algorithm, "-a", attributes, "-c", context, "-f", "tpmt", "-o", public)
        return context, self.read(public)

    def child(self, parent, attributes, policy=None, algorithm="ecc256:ecdsa-sha256"):
        """A key under `parent`: its context and its TPMT_PUBLIC."""
        context, public, private, tpmt = self.file("ctx"), self.file("pub"), self.file("priv"), self.file("tpmt")
        options = []
        if policy is not None:
            path = self.file("policy")
            with open(path, "wb") as file:
                file.write(policy)
            options = ["-L", path]
        self.tool("tpm2_create", "-Q", "-C", parent, "-G", algorithm, "-a", attributes, "-u", public, "-r", private, *options)
        self.tool("tpm2_load", "-Q", "-C", parent, "-u", public, "-r", private, "-c", context)
        self.tool("tpm2_readpublic", "-Q", "-c", context, "-f", "tpmt", "-o", tpmt)
        return context, self.read(tpmt)

    def policy_nv(self, index, value):
        """The policy that the TPM itself computes."""
        session, policy = self.file("session"), self.file("policy")
        self.tool("tpm2_startauthsession", "-S", session)
        self.tool("tpm2_policynv", "-Q", "-S", session, "-C", "o", "-L", policy, "-i", "-", hex(index), "eq", stdin=value.to_bytes(8, "big"))
        self.tool("tpm2_flushcontext", session)
        return self.read(policy)

    def define(self, index, attributes, size=8, start=1):
        """A counter that was incremented, or another index that was written."""
        self.tool("tpm2_nvdefine", "-Q", "-C", "o", "-s", size, "-a", attributes, hex(index))
        if "counter" in attributes:
            for _ in range(start):
                self.tool("tpm2_nvincrement", "-Q", "-C", "o", hex(index))
        elif "bits" in attributes:
            self.tool("tpm2_nvsetbits", "-Q", "-C", "o", "-i", hex(start), hex(index))
        else:
            self.tool("tpm2_nvwrite", "-Q", "-C", "o", "-i", "-", hex(index), stdin=start.to_bytes(size, "big"))

    def nv_certify(self, ak, index, extra, size=8, offset=0, scheme=()):
        attested, signature = self.file("attest"), self.file("sig")
        self.tool("tpm2_nvcertify", "-C", ak, "-c", "o", "--size", size, "--offset", offset, "-q", extra.hex(), *scheme,
                  "-o", signature, "--attestation", attested, hex(index))
        return self.read(attested), self.read(signature)

    def certify_by_tool(self, ak, device):
        """tpm2_certify; it always takes the qualifying data 00ff55aa."""
        attested, signature = self.file("attest"), self.file("sig")
        self.tool("tpm2_certify", "-Q", "-C", ak, "-c", device, "-g", "sha256", "-o", attested, "-s", signature)
        return self.read(attested), self.read(signature)

    def certify(self, ak, device, extra):
        """TPM2_Certify with our own qualifying data, sent raw by tpm2_send; both keys have to be persistent for it."""
        for context, handle in ((device, 0x81000010), (ak, 0x81000011)):
            self.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", context, hex(handle))
        empty = struct.pack(">IHBH", 0x40000009, 0, 0, 0)
        body = struct.pack(">III", 0x81000010, 0x81000011, 2 * len(empty)) + 2 * empty + sized(extra) + struct.pack(">H", NULL)
        answer = self.tool("tpm2_send", stdin=struct.pack(">HII", 0x8002, 10 + len(body), 0x148) + body)
        code = struct.unpack(">I", answer[6:10])[0]
        for handle in (0x81000010, 0x81000011):
            self.tool("tpm2_evictcontrol", "-Q", "-C", "o", "-c", hex(handle))
        if code:
            raise SystemExit(f"TPM2_Certify: {code:#x}")
        parameters = answer[14:14 + struct.unpack(">I", answer[10:14])[0]]
        count = struct.unpack(">H", parameters[:2])[0]
        return parameters[2:2 + count], parameters[2 + count:]

    def nv_read(self, index):
        path = self.file("nv")
        self.tool("tpm2_nvread", "-Q", "-C", "o", "-o", path, hex(index))
        data = self.read(path)
        return data[:4 + int.from_bytes(data[2:4], "big")]
