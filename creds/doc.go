// Package creds provides AWS credentials that do not end a run: a Manager,
// shared by all workers, refreshes each session ahead of its expiry, replaces a
// session that a service refuses and repeats the call, and reports how a
// person can help when no source works.
//
// # Layers
//
// A source of credentials is a principal (a profile, the SDK's default chain or
// the instance role), or a role that a principal assumes, directly or via
// another role. Each file uses only files above it in this list:
//
//	source, stats         names of sources, counts
//	environment           conflicts between variables of the environment
//	error, classify       errors, and the only reading of AWS's codes and messages
//	load, remedy          loading by the SDK; how a person brings a principal back
//	background            goroutines, one attempt at a time, backoff
//	sts                   calls of STS, and the gate before it
//	rejected              a key that AWS rejected
//	principal             the keys of a principal, reloaded when its files change
//	own                   the same as a source without a role; its account
//	role                  one AssumeRole
//	session               the session of a role, refreshed ahead
//	chain                 the first source and its fallbacks
//	probe, call           the steps of an SDK call that see a refusal and repeat it
//	manager, identity     the tables of all of these; requests to STS for people
//
// Package process runs a credential_process. Package wire guards the HTTP of every call, also those of the SDK's own
// credential providers.
//
// # Goroutines and locks
//
// A refresh is the only work in the background. No lock is held across the
// network; principal.mu is held while files are read.
//
//	lock or goroutine  owner       guards or does
//	Manager.mu         Manager     tables of principals, refreshers and chains
//	loader.mu          loader      the HTTP client of the process
//	principal.mu       principal   its configuration, files, keys and identity
//	flight.mu          principal   whether its keys or its identity are being requested
//	gate.mu            principal   whether STS works in a region
//	refresher.mu       refresher   the session of a role, its refresh in flight
//	chain.mu           chain       the source in use
//	probes.mu          probes      requests to STS about a key
//	background.mu      background  whether the manager is closed
//	refresh            background  one AssumeRole; at most one in flight for a role;
//	                               Close cancels all and waits for them
//	attempt            background  a request for the keys or the identity of a principal
//	timer              refresher   starts the refresh ahead; does nothing once the
//	                               session has been replaced or the manager closed
//
// Locks are taken in this order: Manager.mu before refresher.mu and chain.mu,
// refresher.mu and flight.mu before background.mu, principal.mu before loader.mu
// and flight.mu. No others are held together.
//
// A refresh in flight has a channel, which refresher.finish closes under the
// lock after it has stored the result. Callers wait for the channel or their own
// context; the refresh continues without them. The channel of a probe is closed
// by the caller that made its request.
//
// # Life of a session
//
//	AssumeRole sent                refresh starts       urgent         expires
//	    |------------ valid ------------|-- valid, being --|-- callers ---|
//	    |                               |    refreshed     |   wait       |
//	                                    |<------------- ahead ----------->|
//	                                                       |<--- last --->|
//
//	life                  ahead        last
//	30 minutes or more    10 minutes   1 minute
//	less                  a third      a tenth
//
// Random jitter delays the start of the refresh by up to a quarter of ahead. The
// life is the requested duration, or less if AWS's expiration is earlier. It is
// measured on the monotonic clock from the moment AssumeRole was sent; if the
// local clock and the Date of the response differ by more than two seconds, the
// expiration is measured from Date. The wall clock is checked as well, since the
// monotonic clock stands still while a machine is suspended.
//
// Once no caller has used the last three sessions of a role, the role is no
// longer refreshed ahead, until the next caller comes.
//
// # Refresh
//
//   - One refresh is in flight for a role, however many callers ask. It has a
//     deadline of its own, Config.RefreshTimeout (15s).
//   - A failed refresh does not end a session that is still valid. It is repeated
//     after a random delay of up to 1s, 2s, 4s, 8s after an outage, and after 5s,
//     10s, 15s if AWS refused it. A change of the principal's keys or files ends
//     the delay.
//   - A principal without keys is asked once in each step of such a backoff, for all
//     of its targets. So is an STS that does not work, for all roles of a principal.
//     Each logs a failure once, until its cause changes or it ends.
//   - The first session of a role is logged, and the number of later ones once a
//     minute.
//   - A session is accepted only if it is complete, belongs to the account that
//     the source demands, and has not expired yet.
//   - If AWS refuses the requested duration, an hour is requested from then on.
//   - A rejected key of a principal is not used for a minute, twice as long after
//     each further rejection, at most an hour; another key or secret is used at once.
//     The shared files are checked once a second at most. Other sources, such as a
//     credential_process or the login of a person, are asked in each step of the
//     backoff.
//   - The account of keys is that of STS's response to GetCallerIdentity or
//     AssumeRole. Accounts that the environment, a profile or a credential_process
//     declares are not believed.
//   - A fallback is used while the first source has no credentials. Each caller
//     tries the first source again, a role in the background, and returns to it
//     once it works.
//
// # Calls
//
// The clients of a Manager.Config make one attempt for each call, without the
// SDK's retries and its retry quota: the pipeline decides about retries. Only
// refusals that concern the credentials are repeated here, and each time the
// whole operation is serialized and signed again:
//
//   - A refused time of the signature: once, with the clock that the SDK learned
//     from the response.
//   - An expired session: up to three times, each with a new session. Refusals
//     name the key that signed the call, so a hundred refusals of one key cause
//     one refresh.
//   - An ambiguous refusal, such as InvalidClientTokenId or a bare 403: STS is
//     asked about the key. If STS accepts it, the region is not enabled and the
//     error is returned; if not, the session counts as expired; if STS does not
//     respond, the target waits.
//   - A denied call, if the session has worked: once, with a new session, since a
//     policy can revoke all sessions from before a time. Missing permissions cause one
//     new session in 10s at most.
//
// # Secrets
//
// Secret keys and session tokens leave the package only inside aws.Credentials.
// Types that hold them print a masked key id at most, whatever the verb, and so
// do logs and errors. External ids appear only in AssumeRole. The output of a
// credential_process is never part of an error.
package creds
