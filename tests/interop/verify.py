"""Verifies the files of a folder with PyJWT and signs a release manifest, as another implementation would.

    python verify.py FOLDER     (what the folder holds: tests/interop.rs)
"""
import base64, hashlib, json, pathlib, re, sys

import jwt

folder = pathlib.Path(sys.argv[1])
keys = jwt.PyJWKSet.from_json((folder / "jwks.json").read_text())
# The vectors are as old as the project, so no clock is asked.
options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}


def unarmoured(text):
    blocks = re.findall(r"^-----BEGIN UPKEEP [A-Z ]+-----\n([A-Za-z0-9+/=\n]+)\n-----END UPKEEP [A-Z ]+-----$", text, re.M)
    assert len(blocks) == 1
    return base64.b64decode(blocks[0].replace("\n", ""), validate=True).decode()


def verified(text, typ):
    header = jwt.get_unverified_header(text)
    if header.get("typ") != typ:
        raise jwt.InvalidTokenError("typ")
    found = jwt.decode_complete(text, keys[header["kid"]], algorithms=["ES256"], options=options)
    assert found["header"] == header
    return text.split(".")[1]


for path in sorted(folder.glob("files/*/*.txt")):
    name = f"{path.parent.name}/{path.stem}"
    text = unarmoured(path.read_text())
    try:
        payload = verified(text, path.parent.name)
    except (jwt.InvalidTokenError, KeyError):
        print("refused", name)
        continue
    payload = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    print("accepted", name, hashlib.sha256(payload).hexdigest())

claims = json.loads((folder / "release.json").read_text())
header = {"kid": (folder / "build.kid").read_text(), "typ": "upkeep-release+jwt"}
signed = jwt.encode(claims, (folder / "build.pem").read_text(), algorithm="ES256", headers=header)
(folder / "made.jws").write_text(signed)
