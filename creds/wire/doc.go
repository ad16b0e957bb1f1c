// Package wire guards the HTTP traffic of every AWS client: nothing signed
// leaves the machine over plain HTTP, no response can exhaust memory or last
// forever, no redirect is followed, and no proxy sees the credentials of this
// instance or container.
//
// The guards for plain HTTP and for the length of responses are steps of every
// SDK operation, not parts of the HTTP client. The SDK's own credential
// providers call with the client that was configured first, since AWS_CA_BUNDLE
// accepts no other, so a guard in our client would not see their calls.
package wire
