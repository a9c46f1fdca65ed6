// Verifies the files of a folder with jose and signs a release manifest, as another implementation would.
//
//     node verify.mjs FOLDER NODE_MODULES     (what the folder holds: tests/interop.rs)
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, modules] = process.argv.slice(2);
const jose = await import(pathToFileURL(createRequire(join(modules, "..", "here.js")).resolve("jose")));
const read = (...path) => readFileSync(join(folder, ...path), "utf8");
const keys = jose.createLocalJWKSet(JSON.parse(read("jwks.json")));
// The vectors are as old as the project, so the clock is theirs.
const currentDate = new Date(1770000200 * 1000);

function unarmoured(text) {
  const blocks = [...text.matchAll(/^-----BEGIN UPKEEP [A-Z ]+-----\n([A-Za-z0-9+/=\n]+)\n-----END UPKEEP [A-Z ]+-----$/gm)];
  if (blocks.length !== 1) throw new Error("blocks");
  return Buffer.from(blocks[0][1], "base64").toString();
}

for (const typ of readdirSync(join(folder, "files")).sort()) {
  for (const file of readdirSync(join(folder, "files", typ)).sort()) {
    const name = `${typ}/${file.replace(/\.txt$/, "")}`;
    const text = unarmoured(read("files", typ, file));
    try {
      await jose.jwtVerify(text, keys, { algorithms: ["ES256"], typ, currentDate });
    } catch (error) {
      if (!(error instanceof jose.errors.JOSEError)) throw error;
      console.log("refused", name);
      continue;
    }
    const payload = Buffer.from(text.split(".")[1], "base64url");
    console.log("accepted", name, createHash("sha256").update(payload).digest("hex"));
  }
}

const key = await jose.importPKCS8(read("build.pem"), "ES256");
const header = { typ: "upkeep-release+jwt", kid: read("build.kid"), alg: "ES256" };
const signed = await new jose.SignJWT(JSON.parse(read("release.json"))).setProtectedHeader(header).sign(key);
writeFileSync(join(folder, "made.jws"), signed);
