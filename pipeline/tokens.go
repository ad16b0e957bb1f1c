package pipeline

import (
	"errors"
	"fmt"
	"hash/maphash"
)

// errPages says that an answer has no last page; it counts as broken, and is
// asked again.
var errPages = errors.New("the answer does not end")

// How many pages an answer may have. A request is planned to fit one, and each
// may cost as much as the first; a listing holds millions of instances.
const (
	mostPages        = 1000
	mostListingPages = 100_000
)

var tokenSeed = maphash.MakeSeed()

// tokens notes the tokens of an answer's pages, as hashes. The zero value is
// ready to use.
type tokens struct{ seen map[uint64]bool }

// add notes a token. One that has come before leads round in a circle.
func (t *tokens) add(token string, most int) error {
	if token == "" {
		return nil
	}
	if t.seen == nil {
		t.seen = map[uint64]bool{}
	}
	hash := maphash.String(tokenSeed, token)
	switch {
	case t.seen[hash]:
		return fmt.Errorf("%w: page %d has the token of an earlier one", errPages, len(t.seen)+1)
	case len(t.seen) >= most:
		return fmt.Errorf("%w: it has more than %d pages", errPages, most)
	}
	t.seen[hash] = true
	return nil
}
