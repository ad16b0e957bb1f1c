package claim

import "testing"

// A claim that can be read has an id, whatever its file holds.
func FuzzClaim(f *testing.F) {
	f.Add([]byte(`{"id":"0123","directory":"/d"}`))
	f.Add([]byte(`{"id":""}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parse("claim", data); err == nil && c.ID == "" {
			t.Errorf("claim %+v", c)
		}
	})
}
