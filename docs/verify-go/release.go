package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/verify"
)

const provenance = "https://slsa.dev/provenance/v1"

// A source is named as Placet builds from it: a repository, which has a path, with or without a commit.
var (
	sourceForm  = regexp.MustCompile(`^(git\+(?:[a-z]+://[^\s/@]+/[^\s@]+|[\w.-]+@[\w.-]+:[^\s@]+))(?:@([0-9a-f]{40}|[0-9a-f]{64}))?$`)
	commitForm  = regexp.MustCompile(`^(?:[0-9a-f]{40}|[0-9a-f]{64})$`)
	testsPassed bool       // demanded by an option, as are
	sources     [][]string // of which each is a repository and a commit, that may be empty
)

func addSource(text string) error {
	found := sourceForm.FindStringSubmatch(text)
	if found == nil {
		return fmt.Errorf("a source is git+https://HOST/PATH, or that with @ and a commit's whole hash")
	}
	sources = append(sources, found[1:])
	return nil
}

// judge says who signed a policy, from which commits it was built and how its tests ended, by all that is signed about it,
// and demands what the options demand: of every statement of a type, and not of one of them.
func judge(policy string, signed []*verify.VerificationResult) map[string]any {
	if policy == "" {
		return nil
	}
	types, commits, tests := []string{}, []map[string]any{}, []map[string]any{} // JSON has lists, even if nothing is known
	for number, one := range signed {
		step, before := fmt.Sprintf("release.evidence[%d]", number), len(commits)
		demand(one.Statement.Type == "https://in-toto.io/Statement/v1" && one.Statement.Predicate != nil, "%s: not an in-toto statement", step)
		said := one.Statement.Predicate.AsMap()
		types = append(types, one.Statement.PredicateType)
		switch types[number] {
		case provenance:
			named, _ := member(said, "buildDefinition", "resolvedDependencies").([]any)
			for _, dependency := range named {
				digests, _ := member(dependency, "digest").(map[string]any)
				if hash, there := digests["gitCommit"]; there {
					commits = append(commits, commit(dependency, text(hash), step))
				}
			}
			demand(sources == nil || len(commits) > before, "%s: the provenance names no commit", step)
		case "https://in-toto.io/attestation/test-result/v0.1":
			failed, listed := said["failedTests"].([]any)
			passed := said["result"] == "PASSED" && len(failed) == 0 && (listed || said["failedTests"] == nil)
			demand(passed || !testsPassed, "%s: the tests did not pass: %v", step, said["result"])
			tests = append(tests, map[string]any{"result": said["result"], "passed": passed, "coverage": said["coverage"]})
		}
	}
	demand(0 < len(types) && len(types) <= 65 && types[0] == provenance, "the release is not signed with its provenance")
	demand(!testsPassed || len(tests) > 0, "release: no result of tests")
	who := signed[0].Signature.Certificate
	return map[string]any{"signer": who.SubjectAlternativeName, "issuer": who.Extensions.Issuer, "statements": types,
		"sources": commits, "tests": tests}
}

// commit demands that a commit is of one of the sources, and that nothing else was built.
func commit(dependency any, hash, step string) map[string]any {
	named := member(dependency, "uri")
	if named == nil || named == "" { // what is no text names nothing, and no name stands in for it
		named = member(dependency, "name")
	}
	place := text(named)
	noted, _ := member(dependency, "annotations").(map[string]any)
	dirty, there := noted["dirty"]
	changed := there && dirty != false
	demand(sources == nil || !changed && commitForm.MatchString(hash) && slices.ContainsFunc(sources, func(wanted []string) bool {
		return (place == wanted[0] || strings.HasPrefix(place, wanted[0]+"@")) && (wanted[1] == "" || wanted[1] == hash)
	}), "%s: built from %s at %s, which is not one of the sources, or was changed", step, place, hash)
	return map[string]any{"uri": place, "commit": hash, "changed": changed}
}

func text(value any) string {
	said, _ := value.(string)
	return said
}

// member gives what stands at a path of member names, nil where nothing does.
func member(value any, path ...string) any {
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	return value
}

// logged says where a bundle's entry stands, and in a log of which size.
func logged(bundle func(string) []byte) map[string]any {
	return map[string]any{"origin": string(bundle("origin")), "index": number(bundle("place")), "size": number(bundle("size"))}
}
