package pipeline

import (
	"errors"
	"fmt"
	"hash/maphash"
)

// errPages reports a response without a last page. It is transient.
var errPages = errors.New("response does not end")

// The most pages of one response. A request is planned for one page, and each page
// may cost as much as the first. A listing can have millions of instances.
const (
	mostPages        = 1000
	mostListingPages = 100_000
)

var tokenSeed = maphash.MakeSeed()

// tokens holds hashes of the page tokens of one response. The zero value is ready to
// use.
type tokens struct{ seen map[uint64]bool }

// add adds a token. It returns an error if the token has occurred before or if there
// are too many.
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
