// Command provider serves zitadel/oidc, a certified OpenID Connect provider, from its own packages: its login page,
// its authorization and token endpoints, its keys.
//
// What is ours says who may ask it and for what: Sigstore's clients, which are native applications with PKCE (RFC 8252),
// and which hand Fulcio an identity token with an e-mail address.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// clientID is the audience that Fulcio asks for.
const clientID = "sigstore"

// sigstoreStorage gives Sigstore's client an e-mail address in its identity tokens.
type sigstoreStorage struct {
	*storage.Storage
}

// sigstoreClient is a native client whose identity tokens say who somebody is: Fulcio asks nowhere else.
type sigstoreClient struct {
	op.Client
}

func (sigstoreClient) IDTokenUserinfoClaimsAssertion() bool { return true }

func (s sigstoreStorage) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return sigstoreClient{client}, nil
}

// Arguments: the address to listen at, such as 127.0.0.1:7570, and the file of its users.
func main() {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if len(os.Args) != 3 {
		logger.Error("usage: provider ADDRESS USERS.json")
		os.Exit(2)
	}
	users, err := storage.StoreFromFile(os.Args[2])
	if err != nil {
		logger.Error("cannot read the users", "error", err)
		os.Exit(1)
	}
	storage.RegisterClients(storage.NativeClient(
		clientID, "http://localhost/auth/callback", "urn:ietf:wg:oauth:2.0:oob",
	))
	issuer := "http://" + os.Args[1]
	router := exampleop.SetupServer(issuer, sigstoreStorage{storage.NewStorage(users)}, logger, false)
	if err := http.ListenAndServe(os.Args[1], router); err != nil {
		logger.Error("the provider ended", "error", err)
		os.Exit(1)
	}
}
