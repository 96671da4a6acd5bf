// Command verify-go verifies a proof file of Placet, of a decision or of an execution. It needs that file, a trusted root
// and the names of who may have signed; no server and no network. It shares no code with Placet: sigstore-go does the
// cryptography, and what that lets pass is refused here. Exit code 0: the proof holds; 2: wrong usage; 3: it does not hold.
package main

import (
	"bytes"
	"cmp"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/certificate-transparency-go/x509util"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// RFC 8785 leaves JSON one spelling, so a template says byte by byte what a document must be: no member is unknown,
// missing or there twice, and no number, hex or base64 is spelled in a second way. In a template <kind> is a place for
// a value, <kind*> for the items of a list, <name=…> for what is read; «…» may be missing, ‹…¦…› is either.
const base64Kind = `(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?`

var (
	hole   = regexp.MustCompile(`<(?:(\w+)=)?(\w+)(\\\*)?>`)
	syntax = strings.NewReplacer("\n", "", "\t", "", "«", "(?:", "»", ")?", "‹", "(?:", "¦", "|", "›", ")")
	kinds  = map[string]string{
		"number":     `0|[1-9][0-9]{0,17}`,
		"hash":       `[0-9a-f]{64}`,
		"digest":     `sha256:[0-9a-f]{64}`,
		"base64":     base64Kind,
		"word":       `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`,
		"spiffe":     `spiffe://[a-z0-9._-]{1,255}/sidecar(?:/[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?){2}`,
		"time":       `[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])T(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}Z`,
		"parts":      `[0-9a-f:() ]*?`,
		"line":       `[^"\\\x00-\x1f]+`,
		"lines":      `(?:[^"\\\x00-\x1f]+\\n)*`,
		"signatures": `(?:— [^"\\\x00-\x20]+ ` + base64Kind + `\\n)+`,
	}
	quoted, _, _ = form("digests", `"<digest>"`), form("hashes", `"<hash>"`), form("base64s", `"<base64>"`)

	// A Sigstore bundle v0.3 of an in-toto statement in a log of Rekor v2, which has no clock and promises nothing.
	bundleForm = form("bundle", `{"dsseEnvelope":{"payload":"<payload=base64>","payloadType":"application/vnd.in-toto+json",
		"signatures":[{«"keyid":"",»"sig":"<base64>"}]},"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial":{"certificate":{"rawBytes":"<base64>"},
		"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"<base64>"}]},"tlogEntries":[{
		"canonicalizedBody":"<base64>","inclusionProof":{"checkpoint":{"envelope":"<origin=line>\n<lines>\n<signatures>"},
		«"hashes":[<base64s*>],»«"logIndex":"<number>",»"rootHash":"<base64>","treeSize":"<size=number>"},«"integratedTime":"0",»
		"kindVersion":{"kind":"hashedrekord","version":"0.0.2"},"logId":{"keyId":"<base64>"},"logIndex":"<place=number>"}]}}`)
	proofForm = form("proof", `{"batch":<batch=bundle>,"format":"https://placet.dev/proof/v1","index":"<index=number>",
		"leaf":"<leaf=hash>","path":[<path=hashes*>],"record":‹"<record=base64>"¦null›,"release":‹{"digest":"<digest=digest>",
		"evidence":[<evidence=bundle*>]}¦null›,"salt":‹"<salt=base64>"¦null›}`)
	batchForm = form("statement", `{"_type":"https://in-toto.io/Statement/v1","predicate":{"allows":"<allows=number>",
		"bytes":{"first":"<begin=number>","last":"<end=number>"},"closed_at":"<time>","denials":"<denials=number>",
		"dropped":"<number>","entries":{"count":"<count=number>","first":"<first=number>"},"file":"<word>",
		"instance":"<instance=word>","libraries":[<libraries=digests*>],"opa":"<digest>","others":"<others=number>",
		"policies":[<policies=digests*>],"previous":‹"<previous=digest>"¦null›,"root":"<root=hash>",
		"sidecar":"<sidecar=spiffe>","states":[<states=digests*>]},"predicateType":"https://placet.dev/decision-batch/v1",
		"subject":[{"digest":{"sha256":"<subject=hash>"},"name":"decision-batch"}]}`)

	// A timestamp of RFC 3161 as `dump` shows it: of its parts that nobody signs, each is what it must be.
	timestampForm = form("timestamp", `30(30(02:00 )30(06:2a864886f70d010702 a0(30(02:03 31(30(<digests=parts>))
		30(06:2a864886f70d0109100104 a0(04:<parts>))<parts>31(30(02:01 30(<parts>)30(<digest=parts>)a0(<parts>)<parts>))))))`)
)

// form compiles a template, and makes it a kind for the templates after it.
func form(kind, template string) *regexp.Regexp {
	pattern := hole.ReplaceAllStringFunc(syntax.Replace(regexp.QuoteMeta(template)), func(found string) string {
		parts := hole.FindStringSubmatch(found)
		value := "(?:" + kinds[parts[2]] + ")"
		if parts[3] != "" {
			value = "(?:" + value + "(?:," + value + ")*)?"
		}
		if parts[1] != "" {
			value = "(?P<" + parts[1] + ">" + value + ")"
		}
		return value
	})
	kinds[kind] = regexp.MustCompile(`\?P<\w+>`).ReplaceAllString(pattern, "?:")
	return regexp.MustCompile("^(?:" + pattern + ")$")
}

// match demands that raw is of a form, and gives what stands at the places that it names, nil where nothing does.
func match(form *regexp.Regexp, raw []byte, what string) func(place string) []byte {
	found := form.FindSubmatch(raw)
	demand(found != nil, "%s is not of the form that it must have, byte by byte", what)
	return func(place string) []byte { return found[form.SubexpIndex(place)] }
}

// signer is who may have signed: it demands that a bundle is theirs, and about a subject (SHA-256 in hex).
type signer func(raw []byte, subject string) *verify.VerificationResult

func newSigner(identity, issuer, trustedRoot string) signer {
	raw := must(os.ReadFile(trustedRoot))
	var config struct{ TrustedRoot json.RawMessage }
	if json.Unmarshal(raw, &config) == nil && config.TrustedRoot != nil { // a ClientTrustConfig
		raw = config.TrustedRoot
	}
	instances := must(root.NewTrustedRootProtobuf(raw))
	trust := must(root.NewTrustedRootFromProtobuf(instances))
	demand(len(trust.RekorLogs()) == len(instances.Tlogs) && len(trust.CTLogs()) == len(instances.Ctlogs), "a log is there twice")
	verifier := must(verify.NewVerifier(trust, verify.WithTransparencyLog(1), verify.WithSignedTimestamps(1),
		verify.WithSignedCertificateTimestamps(1)))
	exactly := verify.WithCertificateIdentity(must(verify.NewShortCertificateIdentity(issuer, "", identity, "")))

	return func(raw []byte, subject string) *verify.VerificationResult {
		var signed bundle.Bundle
		must(0, signed.UnmarshalJSON(raw))
		result := must(verifier.Verify(&signed, verify.NewPolicy(verify.WithArtifactDigest("sha256", unhex(subject)), exactly)))

		// sigstore-go does not look at what the entry says of its place beside the checkpoint.
		entry := signed.VerificationMaterial.TlogEntries[0]
		proof, log := entry.InclusionProof, trust.RekorLogs()[hex.EncodeToString(entry.LogId.KeyId)]
		place := fmt.Sprintf("%s\n%d\n%s\n", must(url.Parse(log.BaseURL)).Hostname(), proof.TreeSize,
			base64.StdEncoding.EncodeToString(proof.RootHash))
		demand(strings.HasPrefix(proof.Checkpoint.Envelope, place), "origin, size or root is not the checkpoint's")
		demand(entry.LogIndex == proof.LogIndex, "logIndex is not that of the inclusion proof")
		must(0, merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(proof.LogIndex), uint64(proof.TreeSize),
			rfc6962.DefaultHasher.HashLeaf(entry.CanonicalizedBody), proof.Hashes, proof.RootHash))

		// Nor what nobody signs of the timestamp, nor how long the keys of the transparency log and of CT logs are trusted.
		der := must(signed.Timestamps())[0]
		demand(len(der) <= 1<<16, "the timestamp is longer than 64 KiB")
		stamp := match(timestampForm, []byte(dump(der)), "the timestamp")
		demand(bytes.Equal(stamp("digest"), stamp("digests")), "the timestamp names two digests")
		when, keys := result.VerifiedTimestamps[0].Timestamp, []*root.TransparencyLog{log}
		for _, stamp := range must(x509util.ParseSCTsFromCertificate(signed.VerificationMaterial.GetCertificate().RawBytes)) {
			keys = append(keys, trust.CTLogs()[hex.EncodeToString(stamp.LogID.KeyID[:])])
		}
		for _, key := range keys {
			demand(key != nil && !when.Before(key.ValidityPeriodStart) && (key.ValidityPeriodEnd.IsZero() ||
				!when.After(key.ValidityPeriodEnd)), "a log's key was not trusted when this was signed")
		}
		return result
	}
}

// prove demands that a proof holds, and says what it proves.
func prove(raw []byte, sidecar string, sidecars, releases signer) map[string]any {
	proof := match(proofForm, raw, "the proof")
	batch := match(bundleForm, proof("batch"), "the batch")
	says := match(batchForm, unbase64(batch("payload")), "the batch's statement")
	signed := sidecars(proof("batch"), string(says("root")))
	count, first, begin, end := number(says("count")), number(says("first")), number(says("begin")), number(says("end"))
	demand(string(says("sidecar")) == sidecar && bytes.Equal(says("root"), says("subject")) && 1 <= count && count <= 1000 &&
		begin+count <= end && (count == 1 || end-begin <= 2<<20) && (says("previous") == nil) == (first == 0) &&
		number(says("allows"))+number(says("denials"))+number(says("others")) == count, "the batch contradicts itself")
	for _, place := range []string{"libraries", "policies", "states"} {
		digests := regexp.MustCompile(kinds["digest"]).FindAllString(string(says(place)), -1)
		demand(slices.Equal(digests, slices.Compact(slices.Sorted(slices.Values(digests)))), "%s are not sorted", place)
	}

	var path [][]byte
	for _, hash := range regexp.MustCompile(kinds["hash"]).FindAllString(string(proof("path")), -1) {
		path = append(path, unhex(hash))
	}
	index, leaf, erased := number(proof("index")), unhex(string(proof("leaf"))), proof("record") == nil
	must(0, merkle.VerifyInclusion(rfc6962.DefaultHasher, index, count, leaf, path, unhex(string(says("root")))))
	salt, record := unbase64(proof("salt")), unbase64(proof("record"))
	demand((proof("salt") == nil) == erased && (erased || len(salt) == 16 &&
		bytes.Equal(rfc6962.DefaultHasher.HashLeaf(slices.Concat(salt, record)), leaf)), "the leaf is not that of salt and record")

	decision, counted, policy := at(record, "result"), "others", ""
	if started := at(decision, "decision"); at(decision, "allow") == nil && bytes.HasPrefix(started, []byte("{")) {
		decision = started // of an execution
	}
	if string(at(record, "type")) == `"openpolicyagent.org/decision_logs"` {
		counted = map[bool]string{true: "allows", false: "denials"}[string(at(decision, "allow")) == "true"]
		policy = strings.Trim(quoted.FindString(string(at(decision, "bundles", "policy"))), `"`)
		for place, named := range map[string][]byte{"policies": at(decision, "bundles", "policy"),
			"libraries": at(decision, "bundles", "library"), "states": at(decision, "state")} {
			demand(!quoted.Match(named) || bytes.Contains(says(place), named), "the batch names no such %s", place)
		}
	}
	demand(erased || number(says(counted)) > 0, "the batch counts no such record")
	demand(string(proof("digest")) == policy && (policy != "" || counted != "allows"), "the release is not that of the record's policy")

	demand(!erased || !testsPassed && sources == nil, "release: the record was erased, so that nothing can be demanded of it")
	var statements []*verify.VerificationResult
	for _, piece := range regexp.MustCompile(kinds["bundle"]).FindAll(proof("evidence"), -1) {
		statements = append(statements, releases(piece, policy))
	}
	release := judge(policy, statements)
	by := signed.Signature.Certificate
	return map[string]any{"sidecar": by.SubjectAlternativeName, "sidecar_issuer": by.Extensions.Issuer,
		"instance": string(says("instance")), "sequence": first + index,
		"not_after": signed.VerifiedTimestamps[0].Timestamp.UTC(), "erased": erased, "policy": policy, "release": release,
		"log": logged(batch), "decision_id": at(record, "decision_id"), "allow": at(decision, "allow"), "library": at(decision, "bundles", "library"),
		"state": at(decision, "state"), "execution": at(decision, "execution")}
}

// dump shows DER: a tag and its content, which for what is made of parts is these.
func dump(der []byte) (parts string) {
	for len(der) > 0 {
		var part asn1.RawValue
		der = must(asn1.Unmarshal(der, &part))
		if part.IsCompound {
			parts += fmt.Sprintf("%02x(%s)", part.FullBytes[0], dump(part.Bytes))
		} else {
			parts += fmt.Sprintf("%02x:%x ", part.FullBytes[0], part.Bytes)
		}
	}
	return parts
}

// at gives the JSON that stands at a path of member names, nil where nothing does.
func at(raw json.RawMessage, path ...string) json.RawMessage {
	for _, name := range path {
		var members map[string]json.RawMessage
		_ = json.Unmarshal(raw, &members) // what is no object has no members
		raw = members[name]
	}
	return raw
}

func number(text []byte) uint64   { return must(strconv.ParseUint(string(text), 10, 64)) }
func unbase64(text []byte) []byte { return must(base64.StdEncoding.DecodeString(string(text))) }
func unhex(text string) []byte    { return must(hex.DecodeString(strings.TrimPrefix(text, "sha256:"))) }

func must[T any](value T, err error) T {
	demand(err == nil, "%v", err)
	return value
}

func demand(holds bool, format string, arguments ...any) {
	if !holds {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func main() {
	var trusted, lineage, sidecar, sidecarIssuer, release, releaseIssuer string
	flag.StringVar(&trusted, "trusted-root", "", "`file` of the trusted root, or ClientTrustConfig")
	flag.StringVar(&lineage, "lineage-trusted-root", "", "`file` of the one that vouches for batches, if it is another")
	flag.StringVar(&sidecar, "sidecar-identity", "", "the SPIFFE `ID` of the sidecar that signed the batch")
	flag.StringVar(&sidecarIssuer, "sidecar-issuer", "", "`URL` of who vouched for the sidecar")
	flag.StringVar(&release, "release-identity", "", "`who` signed the release of the policy")
	flag.StringVar(&releaseIssuer, "release-issuer", "", "`URL` of who vouched for that")
	flag.BoolVar(&testsPassed, "tests-passed", false, "demand that the tests of the release passed")
	flag.Func("source", "demand that the release was built from `git+URL`, or that with @COMMIT; repeat it for several", addSource)
	flag.Parse()
	code := 2
	defer func() {
		if why := recover(); why != nil { // one line, whatever is wrong
			fmt.Fprintln(os.Stderr, "verify-go:", strings.Join(strings.Fields(fmt.Sprint(why)), " "))
			os.Exit(code)
		}
	}()
	demand(flag.NArg() == 1, "give one proof file; -help lists the options")
	raw, releases := must(os.ReadFile(flag.Arg(0))), newSigner(release, releaseIssuer, trusted)
	sidecars := newSigner(sidecar, sidecarIssuer, cmp.Or(lineage, trusted))
	code = 3
	check := prove
	if at(raw, "links") != nil {
		check = proveExecution
	}
	must(0, json.NewEncoder(os.Stdout).Encode(check(raw, sidecar, sidecars, releases)))
}
