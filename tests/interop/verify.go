// Verifies the files of a folder with Go's standard library and signs a release manifest, as another implementation would.
//
//	go run verify.go FOLDER     (what the folder holds: tests/interop.rs)
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	block = regexp.MustCompile(`(?m)^-----BEGIN UPKEEP [A-Z ]+-----\n([A-Za-z0-9+/=\n]+)\n-----END UPKEEP [A-Z ]+-----$`)
	// Without stray bits in the last symbol.
	b64url = base64.RawURLEncoding.Strict()
)

type header struct {
	Alg string `json:"alg"`
	Kid string `json:"kid"`
	Typ string `json:"typ"`
}

func main() {
	folder := os.Args[1]
	keys := readKeys(filepath.Join(folder, "jwks.json"))
	files, err := filepath.Glob(filepath.Join(folder, "files", "*", "*.txt"))
	check(err)
	for _, file := range files {
		typ := filepath.Base(filepath.Dir(file))
		name := typ + "/" + strings.TrimSuffix(filepath.Base(file), ".txt")
		payload, ok := verified(unarmoured(read(file)), typ, keys)
		if !ok {
			fmt.Println("refused", name)
			continue
		}
		digest := sha256.Sum256(payload)
		fmt.Println("accepted", name, hex.EncodeToString(digest[:]))
	}
	check(os.WriteFile(filepath.Join(folder, "made.jws"), []byte(signed(folder)), 0o600))
}

func verified(text, typ string, keys map[string]*ecdsa.PublicKey) ([]byte, bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, false
	}
	var head header
	raw, err := b64url.DecodeString(parts[0])
	if err != nil || json.Unmarshal(raw, &head) != nil {
		return nil, false
	}
	key, known := keys[head.Kid]
	signature, err := b64url.DecodeString(parts[2])
	if head.Alg != "ES256" || head.Typ != typ || !known || err != nil || len(signature) != 64 {
		return nil, false
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	payload, err := b64url.DecodeString(parts[1])
	return payload, err == nil && ecdsa.Verify(key, digest[:], r, s)
}

func signed(folder string) string {
	der, _ := pem.Decode(read(filepath.Join(folder, "build.pem")))
	key, err := x509.ParsePKCS8PrivateKey(der.Bytes)
	check(err)
	head, err := json.Marshal(header{"ES256", string(read(filepath.Join(folder, "build.kid"))), "upkeep-release+jwt"})
	check(err)
	input := b64url.EncodeToString(head) + "." + b64url.EncodeToString(read(filepath.Join(folder, "release.json")))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), digest[:])
	check(err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + b64url.EncodeToString(signature)
}

func readKeys(path string) map[string]*ecdsa.PublicKey {
	var set struct {
		Keys []struct{ Kid, X, Y string }
	}
	check(json.Unmarshal(read(path), &set))
	keys := make(map[string]*ecdsa.PublicKey)
	for _, key := range set.Keys {
		keys[key.Kid] = &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(key.X), Y: number(key.Y)}
	}
	return keys
}

func number(text string) *big.Int {
	bytes, err := b64url.DecodeString(text)
	check(err)
	return new(big.Int).SetBytes(bytes)
}

func unarmoured(file []byte) string {
	blocks := block.FindAllSubmatch(file, -1)
	if len(blocks) != 1 {
		panic("blocks")
	}
	text, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(blocks[0][1]), "\n", ""))
	check(err)
	return string(text)
}

func read(path string) []byte {
	bytes, err := os.ReadFile(path)
	check(err)
	return bytes
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
