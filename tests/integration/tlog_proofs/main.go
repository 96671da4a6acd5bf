// Prints proofs that Tessera's own client builds from a log's directory, for comparison with app/core/log_tiles.py.
// Arguments: the directory, the tree's size, and the smaller sizes and indexes to prove.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"strconv"

	"github.com/transparency-dev/tessera/client"
)

type proofs struct {
	Inclusion   map[string][][]byte `json:"inclusion"`
	Consistency map[string][][]byte `json:"consistency"`
}

func main() {
	ctx := context.Background()
	files := client.FileFetcher{Root: os.Args[1]}
	size := number(os.Args[2])
	builder, err := client.NewProofBuilder(ctx, size, files.ReadTile)
	if err != nil {
		log.Fatal(err)
	}
	found := proofs{map[string][][]byte{}, map[string][][]byte{}}
	for _, text := range os.Args[3:] {
		at := number(text)
		if found.Inclusion[text], err = builder.InclusionProof(ctx, at); err != nil {
			log.Fatal(err)
		}
		if at == 0 {
			continue
		}
		if found.Consistency[text], err = builder.ConsistencyProof(ctx, at, size); err != nil {
			log.Fatal(err)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func number(text string) uint64 {
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		log.Fatal(err)
	}
	return value
}
