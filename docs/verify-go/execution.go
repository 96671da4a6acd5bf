package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"unicode"
)

// links gives the forms of an execution's links, by kind, and that of the file that holds them and their decisions.
// Materials stand by name, so a template can say their order.
func links() (forms map[string]*regexp.Regexp, file, decision *regexp.Regexp) {
	text := `(?:[^"\\\x00-\x1f]|\\["\\bfnrt]|\\u00(?:0[0-7be-f]|1[0-9a-f]))`
	kinds["text"], kinds["artifact"] = text+"*", `artifact/`+text+"+"
	kinds["run"], kinds["decided"], kinds["label"] = `[A-Za-z0-9_-]{16,64}`, `[A-Za-z0-9-]{1,64}`, `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`
	kinds["code"], kinds["jti"], kinds["steps"] = `[a-z]+\.[a-z_]+`, `[A-Za-z0-9_-]{1,64}`, `0|[1-9][0-9]{0,2}|1000`
	thing := func(name string) string { return `{"digest":{"sha256":"<hash>"},"name":"` + name + `"}` }
	for kind, name := range map[string]string{"product": "<artifact>", "judged": "decision/<decided>", "warrant": "warrant/<jti>",
		"approval": "approval/<jti>", "parent": "link/parent"} {
		form(kind, thing(name))
		kinds[kind+"s"] = "(?:" + kinds[kind] + ",)*"     // before others
		kinds["then_"+kind] = "(?:," + kinds[kind] + ")*" // after others
	}
	form("unresolved", `"<decided>"`)
	form("argument", `"<text>"`)
	form("fact", `"<label>":"<text>"`)

	link := func(name, said, command, materials, products string) *regexp.Regexp {
		return form("link", `{"_type":"https://in-toto.io/Statement/v1","predicate":{"byproducts":{`+said+`},"command":[`+command+`],
			"environment":{"at":"<time>","instance":"<instance=word>","number":"<number=number>","previous":‹"<digest>"¦null›,
			"sidecar":"<sidecar=spiffe>"},"materials":[`+materials+`],"name":"execution/`+name+`"},
			"predicateType":"https://in-toto.io/attestation/link/v0.3","subject":[{"digest":{"sha256":"<subject=hash>"},
			"name":"execution/<about=run>"}`+products+`]}`)
	}
	before := `{"digest":{"sha256":"<before=hash>"},"name":"link/execution/‹start¦step›"}`
	forms = map[string]*regexp.Regexp{
		"start": link("start", `"action":"<text>","execution":"<run=run>","resource":{"id":"<text>","type":"<text>"},
			"subject":{"id":"<text>","issuer":"<text>"},"unresolved":[<unresolved=unresolved*>]«,"workflow":"«<label>»"»`, ``,
			`<approvals=approvals>«<decisions=judged>,»{"digest":{"sha256":"<library=hash>"},"name":"library"},«`+before+`,»«`+thing("link/release/enforce")+`,»
			{"digest":{"sha256":"<policy=hash>"},"name":"policy"},{"digest":{"sha256":"<state=hash>"},"name":"state"}<warrants=then_warrant>`, ``),
		"step": link("step", `"execution":"<run=run>","facts":{<facts=fact*>},"step":"<label>","steps":"<steps=steps>",
			"unresolved":[<unresolved=unresolved*>]`, `<argument*>`,
			`<took=products><decisions=judgeds>`+before+`<parents=then_parent>`, `<made=then_product>`),
		"end": link("end", `"execution":"<run=run>","outcome":"‹<completed=completed>¦<failed=failed>¦<stopped=stopped>›",
			"reason":‹"<reason=code>"¦null›,"steps":"<steps=steps>"`, ``, before+`«,{"digest":{"sha256":"<by=hash>"},"name":"state"}»`, ``),
	}
	decision = form("decision", `{"batch":<batch=bundle>,<rest=rest>,"release":‹"<digest=digest>"¦null›,"salt":<salt=salt>}`)
	form("release", `"<digest>":[<bundle*>]`)
	file = form("execution", `{"decisions":[<decisions=decision*>],"format":"https://placet.dev/execution-proof/v1",
		"links":[<links=bundle*>],"releases":{<releases=release*>}}`)
	return forms, file, decision
}

// proveExecution demands that the proof of an execution holds, and says what it proves.
func proveExecution(raw []byte, sidecar string, sidecars, releases signer) map[string]any {
	kinds["completed"], kinds["failed"], kinds["stopped"] = "completed", "failed", "stopped"
	form("rest", `"index":"<number>","leaf":"<hash>","path":[<hashes*>],"record":‹"<base64>"¦null›`)
	form("salt", `‹"<base64>"¦null›`)
	forms, fileForm, decisionForm := links()
	demand(len(raw) <= 64<<20, "the proof is longer than 64 MiB")
	file := match(fileForm, raw, "the proof")

	// The links: one sidecar's and one execution's, each naming the one before it.
	named, steps, last := map[string]string{}, uint64(0), uint64(0)
	var start, says func(string) []byte
	var starts []func(string) []byte
	var previous []byte
	var result map[string]any
	pieces := regexp.MustCompile(kinds["bundle"]).FindAll(file("links"), -1)
	demand(1 <= len(pieces) && len(pieces) <= 1002, "an execution has a start, at most 1000 steps and an end")
	for at, piece := range pieces {
		entry := match(bundleForm, piece, "a link")
		payload, kind := unbase64(entry("payload")), "start"
		if at > 0 && !forms["start"].Match(payload) { // a start may have been tried again
			kind = "step"
			if at == len(pieces)-1 && forms["end"].Match(payload) {
				kind = "end"
			}
		}
		says = match(forms[kind], payload, "the statement of a link")
		if at == 0 {
			start = says
		}
		if kind == "start" {
			starts = append(starts, says)
		}
		about := sha256.Sum256([]byte(sidecar + "\n" + string(says("instance")) + "\n" + string(says("run"))))
		signed := sidecars(piece, string(says("subject")))
		demand(string(says("sidecar")) == sidecar && bytes.Equal(says("instance"), start("instance")) &&
			bytes.Equal(says("run"), start("run")) && bytes.Equal(says("about"), says("run")) &&
			string(says("subject")) == hex.EncodeToString(about[:]), "a link is of another execution")
		demand(string(says("before")) == hex.EncodeToString(previous), "a link names another one before it")
		demand(at == 0 || number(says("number")) > last, "a link's number is not a later one")
		last = number(says("number"))
		if kind == "step" {
			steps++
		}
		demand(kind == "start" || number(says("steps")) == steps, "steps are not counted one by one")
		decisions(says, kind, named)
		hash := sha256.Sum256(payload)
		previous = hash[:]
		result = map[string]any{"sidecar": sidecar, "sidecar_issuer": signed.Signature.Certificate.Extensions.Issuer, "instance": string(says("instance")), "execution": string(says("run")),
			"steps": steps, "not_after": signed.VerifiedTimestamps[0].Timestamp.UTC(), "outcome": outcome(says, kind), "log": logged(entry)}
	}

	// The decisions: those that the links name, each as a proof of its own.
	evidence, digests := map[string][]byte{}, []string{}
	release := regexp.MustCompile(`"(` + kinds["digest"] + `)":(\[(?:` + kinds["bundle"] + `(?:,` + kinds["bundle"] + `)*)?\])`)
	for _, found := range release.FindAllSubmatch(file("releases"), -1) {
		digests = append(digests, string(found[1]))
		evidence[string(found[1])] = found[2]
	}
	used, leaves, shown := map[string]bool{}, []string{}, map[string]any{}
	for _, one := range regexp.MustCompile(kinds["decision"]).FindAll(file("decisions"), -1) {
		part := match(decisionForm, one, "a decision's proof")
		signed, digest := []byte("null"), string(part("digest"))
		if digest != "" {
			demand(evidence[digest] != nil, "there is no such release")
			signed, used[digest] = slices.Concat([]byte(`{"digest":"`+digest+`","evidence":`), evidence[digest], []byte("}")), true
		}
		whole := bytes.Join([][]byte{[]byte(`{"batch":`), part("batch"), []byte(`,"format":"https://placet.dev/proof/v1",`), part("rest"),
			[]byte(`,"release":`), signed, []byte(`,"salt":`), part("salt"), []byte("}")}, nil)
		proven, leaf := prove(whole, sidecar, sidecars, releases), string(match(proofForm, whole, "the proof")("leaf"))
		id, there := named[leaf]
		demand(there, "no link names this decision")
		demand(proven["instance"] == result["instance"], "a decision is of another instance")
		var said string
		_ = json.Unmarshal(proven["decision_id"].(json.RawMessage), &said)
		demand(proven["erased"] == true || said == id, "the record is another decision's")
		var within string
		_ = json.Unmarshal(proven["execution"].(json.RawMessage), &within)
		demand(proven["erased"] == true || within == result["execution"], "the decision was not made in this execution")
		for _, start := range starts {
			if leaf != leafOf(start("decisions")) {
				continue
			}
			policy, _ := proven["policy"].(string)
			made := map[string][]byte{"policy": []byte(`"` + policy + `"`), "library": proven["library"].(json.RawMessage),
				"state": proven["state"].(json.RawMessage)}
			for place, digest := range made {
				demand(!quoted.Match(digest) || string(digest) == `"sha256:`+string(start(place))+`"`, "the start names another %s", place)
			}
		}
		if digest != "" {
			shown[digest] = proven["release"]
		}
		leaves = append(leaves, leaf)
	}
	demand(ascending(leaves) && len(leaves) == len(named), "a decision that a link names is not proved, or one stands twice")
	demand(len(used) == len(digests) && len(digests) <= 64 && ascending(digests), "the releases are not those of the decisions")
	result["decisions"], result["releases"] = len(leaves), shown
	return result
}

// decisions notes what a link names, by leaf hash, and demands that names stand in their order.
func decisions(says func(string) []byte, kind string, named map[string]string) {
	if kind == "end" {
		return
	}
	inOrder(says, "unresolved", `"([^"]+)"`, 64)
	for _, found := range regexp.MustCompile(`"sha256":"([0-9a-f]{64})"},"name":"decision/([A-Za-z0-9-]+)"`).FindAllSubmatch(says("decisions"), -1) {
		named[string(found[1])] = string(found[2])
	}
	for _, lost := range regexp.MustCompile(`"[^"]+"`).FindAllString(string(says("unresolved")), -1) {
		demand(!bytes.Contains(says("decisions"), []byte(`"decision/`+lost[1:])), "a decision is named and unresolved")
	}
	if kind == "start" { // which has no artifacts
		inOrder(says, "warrants", `"name":"(warrant/[^"]+)"`, 16)
		for _, one := range inOrder(says, "approvals", `"name":"approval/([^"]+)"`, 16) {
			demand(bytes.Contains(says("warrants"), []byte(`"warrant/`+one+`"`)), "an approval is of a warrant that is not among them")
		}
		lost := len(regexp.MustCompile(`"[^"]+"`).FindAll(says("unresolved"), -1))
		demand((lost == 0) != (says("decisions") == nil) && lost <= 1, "an execution starts by one decision")
		return
	}
	inOrder(says, "parents", `"sha256":"([^"]+)"`, 16)
	inOrder(says, "facts", `(?:^|",)"([^"\\]+)":"`, 16)
	for _, place := range []string{"took", "made", "decisions"} {
		var things []struct{ Name string }
		must(0, json.Unmarshal(slices.Concat([]byte("["), bytes.Trim(says(place), ","), []byte("]")), &things))
		var names []string
		for _, thing := range things {
			for _, letter := range thing.Name {
				demand(unicode.IsPrint(letter), "a name holds what a terminal would obey")
			}
			names = append(names, thing.Name)
		}
		demand(ascending(names) && len(names) <= 64, "%s: not by name, or one stands twice", place)
	}
}

// inOrder demands that what stands at a place is sorted, each once, and not too many.
func inOrder(says func(string) []byte, place, of string, most int) []string {
	var found []string
	for _, one := range regexp.MustCompile(of).FindAllSubmatch(says(place), -1) {
		found = append(found, string(one[1]))
	}
	demand(ascending(found) && len(found) <= most, "%s are not sorted, or too many", place)
	return found
}

func outcome(says func(string) []byte, kind string) any {
	if kind != "end" {
		return nil
	}
	for _, one := range []string{"completed", "failed", "stopped"} {
		if says(one) != nil {
			demand((one != "completed" || says("reason") == nil) && (one != "stopped" || says("reason") != nil) &&
				(one == "stopped" || says("by") == nil), "the end contradicts itself")
			return one
		}
	}
	return nil
}

func leafOf(named []byte) string { return regexp.MustCompile(`[0-9a-f]{64}`).FindString(string(named)) }

func ascending(values []string) bool {
	return slices.Equal(values, slices.Compact(slices.Sorted(slices.Values(values))))
}
