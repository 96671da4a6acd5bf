// Command registry serves CNCF Distribution, the reference registry of the OCI distribution specification, from its
// own packages.
//
// The project's own command brings the clients of every cloud's object storage. This one has what a test needs: blobs
// in a directory, and the two ways in which registries ask for a login, htpasswd and tokens.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}
