// Command timestamp-server serves Sigstore's timestamp authority from its own packages.
//
// The authority's own command always opens a second listener for metrics, on port 2112 of every
// interface, and exits when that port is taken: two stacks could not run on one machine, and one
// would be open to the network. This command differs in that alone: it serves the same handler with
// the same defaults, and no metrics.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/log"
	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

// Sigstore's own policy OID for timestamps, the default of the authority's command.
const policyOID = "1.3.6.1.4.1.57264.2"

func main() {
	host := flag.String("host", "127.0.0.1", "address to listen on")
	port := flag.Int("port", 0, "port to listen on")
	key := flag.String("key", "", "PEM file with the private key")
	chain := flag.String("chain", "", "PEM file with the certificate chain, leaf first")
	flag.Parse()

	// The authority's packages read their settings from viper.
	for name, value := range map[string]any{
		"timestamp-signer":         "file",
		"timestamp-signer-hash":    "sha256",
		"file-signer-key-path":     *key,
		"certificate-chain-path":   *chain,
		"enforce-intermediate-eku": true,
		"default-policy-oid":       policyOID,
		"accepted-policy-oids":     []string{policyOID},
		"max-request-body-size":    1 << 20,
	} {
		viper.Set(name, value)
	}
	log.ConfigureLogger("dev")

	authority := server.NewRestAPIServer(*host, *port, []string{"http"}, false, 30*time.Second, 30*time.Second)
	authority.CleanupTimeout = time.Second
	if err := authority.Serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
