// Verifies the files of a folder with the JDK alone and signs a release manifest, as another implementation would.
//
//     java Verify.java FOLDER     (what the folder holds: tests/interop.rs)

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.AlgorithmParameters;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.ECParameterSpec;
import java.security.spec.ECPoint;
import java.security.spec.ECPublicKeySpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

public class Verify {
    static final Base64.Decoder URL = Base64.getUrlDecoder();
    static final Pattern BLOCK = Pattern.compile(
            "^-----BEGIN UPKEEP [A-Z ]+-----\n([A-Za-z0-9+/=\n]+)\n-----END UPKEEP [A-Z ]+-----$", Pattern.MULTILINE);

    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Map<String, PublicKey> keys = keys(Files.readString(folder.resolve("jwks.json")));
        List<Path> files;
        try (var found = Files.walk(folder.resolve("files"))) {
            files = found.filter(Files::isRegularFile).sorted().collect(Collectors.toList());
        }
        for (Path file : files) {
            String typ = file.getParent().getFileName().toString();
            String name = typ + "/" + file.getFileName().toString().replace(".txt", "");
            byte[] payload = verified(unarmoured(Files.readString(file)), typ, keys);
            System.out.println(payload == null ? "refused " + name : "accepted " + name + " " + sha256(payload));
        }
        Files.writeString(folder.resolve("made.jws"), signed(folder));
    }

    /** The payload, or null when the text is refused. */
    static byte[] verified(String text, String typ, Map<String, PublicKey> keys) throws Exception {
        String[] parts = text.split("\\.", -1);
        if (parts.length != 3) {
            return null;
        }
        try {
            String header = new String(URL.decode(parts[0]), StandardCharsets.UTF_8);
            PublicKey key = keys.get(member(header, "kid"));
            if (!"ES256".equals(member(header, "alg")) || !typ.equals(member(header, "typ")) || key == null) {
                return null;
            }
            Signature verifier = Signature.getInstance("SHA256withECDSAinP1363Format");
            verifier.initVerify(key);
            verifier.update((parts[0] + "." + parts[1]).getBytes(StandardCharsets.US_ASCII));
            return verifier.verify(URL.decode(parts[2])) ? URL.decode(parts[1]) : null;
        } catch (IllegalArgumentException | java.security.SignatureException malformed) {
            return null;
        }
    }

    static String signed(Path folder) throws Exception {
        String pem = Files.readString(folder.resolve("build.pem")).replaceAll("-----[A-Z ]+-----|\n", "");
        PrivateKey key = KeyFactory.getInstance("EC")
                .generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
        String header = "{\"typ\":\"upkeep-release+jwt\", \"alg\":\"ES256\", \"kid\":\""
                + Files.readString(folder.resolve("build.kid")) + "\"}";
        Base64.Encoder url = Base64.getUrlEncoder().withoutPadding();
        String input = url.encodeToString(header.getBytes(StandardCharsets.UTF_8)) + "."
                + url.encodeToString(Files.readAllBytes(folder.resolve("release.json")));
        Signature signer = Signature.getInstance("SHA256withECDSAinP1363Format");
        signer.initSign(key);
        signer.update(input.getBytes(StandardCharsets.US_ASCII));
        return input + "." + url.encodeToString(signer.sign());
    }

    static Map<String, PublicKey> keys(String jwks) throws Exception {
        AlgorithmParameters curve = AlgorithmParameters.getInstance("EC");
        curve.init(new ECGenParameterSpec("secp256r1"));
        ECParameterSpec p256 = curve.getParameterSpec(ECParameterSpec.class);
        Map<String, PublicKey> keys = new HashMap<>();
        Matcher each = Pattern.compile("\\{[^{}]*\"kty\"[^{}]*\\}").matcher(jwks);
        while (each.find()) {
            String jwk = each.group();
            ECPoint point = new ECPoint(
                    new BigInteger(1, URL.decode(member(jwk, "x"))), new BigInteger(1, URL.decode(member(jwk, "y"))));
            keys.put(member(jwk, "kid"), KeyFactory.getInstance("EC").generatePublic(new ECPublicKeySpec(point, p256)));
        }
        return keys;
    }

    /** A text member of a flat JSON object, or null. */
    static String member(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"\\\\]*)\"").matcher(json);
        return found.find() ? found.group(1) : null;
    }

    static String unarmoured(String text) {
        Matcher block = BLOCK.matcher(text);
        if (!block.find()) {
            throw new IllegalStateException("no block");
        }
        byte[] content = Base64.getDecoder().decode(block.group(1).replace("\n", ""));
        return new String(content, StandardCharsets.UTF_8);
    }

    static String sha256(byte[] bytes) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(bytes);
        return String.format("%064x", new BigInteger(1, digest));
    }
}
