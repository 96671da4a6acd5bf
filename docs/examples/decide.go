// Asks Placet's sidecar with the standard library. `go build decide.go`, then `./decide ACTION TYPE ID` prints "allow",
// or "deny CODE" with exit code 3. PLACET_CA names the sidecar's ca.pem, PLACET_TOKEN_FILE the caller's token, PLACET_URL the sidecar
// if it is elsewhere.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type result struct {
	Allow       *bool
	Reasons     []struct{ Code string }
	Obligations *[]map[string]any
	Subject     *struct{ Issuer, ID string }
	State       *string
	ExpiresAt   *string `json:"expires_at"`
}

// connect gives a client that trusts the sidecar's CA alone. Keep one for the life of the process.
func connect(ca []byte) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca) // from a file without certificates: nobody is trusted
	return &http.Client{
		Timeout:       2 * time.Second,
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}, // and no Proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// decide gives "allow", or the code of a denial. Only a whole allow allows; this caller fulfils no obligations.
func decide(client *http.Client, url, token, action, kind, id string) string {
	body, err := json.Marshal(map[string]any{"input": map[string]any{
		"identity": map[string]string{"token": token}, "action": map[string]string{"name": action},
		"resource": map[string]string{"type": kind, "id": id}, "context": struct{}{}}})
	if err != nil {
		return "request.malformed"
	}
	answer, err := client.Post(url+"/v1/data/placet/decision", "application/json", bytes.NewReader(body))
	if err != nil {
		return "sidecar.unreachable"
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20)) // what is longer is no JSON any more
	if err != nil {
		return "sidecar.unreachable"
	}
	var read struct{ Result *result }
	switch {
	// A number that OPA refuses before it evaluates anything is status 500, too.
	case answer.StatusCode == http.StatusInternalServerError && bytes.Contains(raw, []byte(`"message": "invalid number:`)),
		answer.StatusCode == http.StatusBadRequest:
		return "request.malformed"
	case answer.StatusCode == http.StatusInternalServerError:
		return "evaluation.error"
	case answer.StatusCode != http.StatusOK || json.Unmarshal(raw, &read) != nil:
		return "decision.malformed"
	case read.Result == nil:
		return "decision.undefined"
	}
	return read.Result.verdict()
}

func (r *result) verdict() string {
	if r.Allow != nil && !*r.Allow && len(r.Reasons) > 0 {
		return r.Reasons[0].Code
	}
	whole := r.Reasons != nil && r.Obligations != nil && r.Subject != nil && r.State != nil && r.ExpiresAt != nil
	if r.Allow == nil || !*r.Allow || !whole {
		return "decision.malformed"
	}
	for _, reason := range r.Reasons {
		if !strings.HasPrefix(reason.Code, "policy:") {
			return "decision.malformed"
		}
	}
	if len(*r.Obligations) > 0 {
		return "obligation.unfulfilled"
	}
	return "allow"
}

func main() {
	url := os.Getenv("PLACET_URL")
	if url == "" {
		url = "https://127.0.0.1:8181"
	}
	ca, err := os.ReadFile(os.Getenv("PLACET_CA"))
	token, failed := os.ReadFile(os.Getenv("PLACET_TOKEN_FILE"))
	if err != nil || failed != nil || len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: decide ACTION TYPE ID", err, failed)
		os.Exit(2)
	}
	text := strings.TrimSpace(string(token))
	if verdict := decide(connect(ca), url, text, os.Args[1], os.Args[2], os.Args[3]); verdict != "allow" {
		fmt.Println("deny", verdict)
		os.Exit(3)
	}
	fmt.Println("allow")
}
