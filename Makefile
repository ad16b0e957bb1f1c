# make demo        the main job against the embedded simulated AWS, killed half way
# make test        vet, staticcheck and every test: packages under the race detector, the program as it is, long proofs as short slices
# make race        the tests of the program under the race detector, its processes too; RACE selects some
# make proofs      the long proofs in full, about half an hour on a machine that does nothing else; PROOF="kills quota" selects some
# make chaos       MINUTES of everything going wrong by the schedule of SEED, then a check of every row; CI has 2 seeds of 30 s
# make soak        one run in trouble for MINUTES (120), then its end at full speed: memory, goroutines and file descriptors stay flat, each row is there once
# make fuzz        every fuzz target for FUZZTIME (10s), or those whose names hold FUZZ
# make bench       measures the figures of the performance topic again, on a machine that does nothing else: about seven minutes
# make profile     the processor time of runs by activity: fetching and decoding, committing, building parts; leaves bin/profile
# make audit       the modules are those of go.sum, and none has a known vulnerability that is reached
# make install     the program, its completions and man pages below DESTDIR and PREFIX
# make dist        archives for Linux and macOS in dist/, the same bytes from the same commit wherever they are built
# make dist-check  builds one archive twice, in different directories, and compares the bytes

GO ?= go
PREFIX ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 10s
FUZZ ?= Fuzz
TARGETS ?= linux_amd64 linux_arm64 darwin_amd64 darwin_arm64
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The build of a release: independent of the machine that builds it.
RELEASE = CGO_ENABLED=0 GOFLAGS= $(GO) build -trimpath -buildvcs=$(if $(wildcard .git),true,auto) -ldflags '-s -w -X main.version=$(VERSION)'
ARCHIVE = tar --sort=name --owner=0 --group=0 --numeric-owner --format=ustar --mtime=@$$(git log -1 --format=%ct)

.PHONY: all build demo test race proofs chaos soak fuzz bench profile audit install dist dist-check clean
all: build

build:
	$(GO) build -o bin/ ./cmd/...

demo: build
	bin/cwharvest demo

# Processes of the program take most of the time under the race detector, so
# that is a target of its own: make race.
test:
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -race -short -timeout 40m ./...
	$(GO) test -parallel 6 -timeout 40m ./cmd/cwharvest

RACE ?= .

race:
	$(GO) test -race -parallel 4 -timeout 60m -run '$(RACE)' ./cmd/cwharvest

# Each proof has a slice in `make test`.
PROOF ?= kills crashes nights faults targets memory quota sessions hostile disk damage steps

proof_kills = TestKilledRunsLoseAndRepeatNothing
proof_crashes = TestCrashPoints
proof_nights = TestThirtyNights
proof_faults = TestFivePerCentOfCallsFaulty
proof_targets = TestManyTargets
proof_memory = TestMemoryDoesNotGrowWithInstances
proof_quota = TestQuotaIsReached|TestQuotaIsHalvedAndRestored|TestQuotaOfManyTargets|TestWritingBesideTheQuota|TestTimeLeftOfASteadyJob
proof_sessions = TestShortSessionsManyWorkers|TestMinuteOfTwoSecondSessions
proof_hostile = TestHostileServer
proof_disk = TestDiskFull
proof_damage = TestDamagedDatabases

proofs: $(addprefix proof-,$(PROOF))

# Breaks every durable step of the store in both ways.
proof-steps:
	$(GO) test -count=1 -timeout 1h -run 'WhateverStepBreaks|Redo' -v ./store

proof-%:
	$(if $(proof_$*),,$(error there is no proof named $*))
	CWHARVEST_PROOFS=$* $(GO) test -count=1 -timeout 1h -v -run '^($(proof_$*))$$' ./cmd/cwharvest

bench:
	CWHARVEST_BENCH=$(CURDIR)/cmd/cwharvest/docs/performance.md $(GO) test -count=1 -timeout 1h -run '^TestBench$$' -v ./cmd/cwharvest

profile:
	mkdir -p bin/profile
	CWHARVEST_PROFILES=$(CURDIR)/bin/profile $(GO) test -count=1 -run '^TestProfile$$' ./cmd/cwharvest
	for profile in bin/profile/*.prof; do for path in 'smithy|net/http|pipeline/flat' 'writer..loop$$' 'builder..loop$$'; do \
	    $(GO) tool pprof -top -nodecount=15 -focus="$$path" $$profile || exit 1; \
	done; done

chaos: MINUTES ?= 3
chaos: SEED ?= $(shell date +%s)
chaos:
	CWHARVEST_CHAOS=$(MINUTES)m CWHARVEST_CHAOS_SEED=$(SEED) $(GO) test -race -count=1 -timeout 0 -v -run 'TestChaos$$' ./cmd/cwharvest

soak: MINUTES ?= 120
soak:
	CWHARVEST_SOAK=$(MINUTES)m $(GO) test -count=1 -timeout 0 -v -run 'TestSoak$$' ./cmd/cwharvest

fuzz:
	GO=$(GO) FUZZTIME=$(FUZZTIME) FUZZ=$(FUZZ) .ci/fuzz

# govulncheck is no tool of go.mod, so that its modules do not become ours. It exits with 3 when it finds something;
# a database that cannot be reached is reported, but is no finding.
GOVULNCHECK ?= golang.org/x/vuln/cmd/govulncheck@v1.9.0
VULNDB ?= https://vuln.go.dev

audit:
	$(GO) mod verify
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	if ! GOBIN="$$dir" GOFLAGS= $(GO) install $(GOVULNCHECK); then \
	    echo "audit: SKIPPED, govulncheck cannot be had from the module proxy: vulnerabilities were not looked for"; exit 0; \
	fi; \
	code=0; "$$dir/govulncheck" -db $(VULNDB) ./... >"$$dir/out" 2>&1 || code=$$?; cat "$$dir/out"; \
	if [ $$code -eq 1 ] && grep -Eq '^govulncheck: fetching vulnerabilities: .*(dial tcp|lookup|timeout|proxyconnect|connection)' "$$dir/out"; then \
	    echo "audit: SKIPPED, $(VULNDB) cannot be reached: vulnerabilities were not looked for"; exit 0; \
	fi; \
	exit $$code

install:
	$(RELEASE) -o bin/cwharvest ./cmd/cwharvest
	install -d $(DESTDIR)$(PREFIX)/bin \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	    $(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 bin/cwharvest $(DESTDIR)$(PREFIX)/bin/cwharvest
	bin/cwharvest man $(DESTDIR)$(PREFIX)/share/man
	bin/cwharvest completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/cwharvest
	bin/cwharvest completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_cwharvest
	bin/cwharvest completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/cwharvest.fish

dist:
	rm -rf dist
	for target in $(TARGETS); do \
	    name=cwharvest_$(VERSION)_$$target && mkdir -p dist/$$name && \
	    GOOS=$${target%_*} GOARCH=$${target#*_} $(RELEASE) -o dist/$$name/cwharvest ./cmd/cwharvest && \
	    install -m 644 README.md CHANGELOG.md dist/$$name && \
	    $(ARCHIVE) -C dist -cf - $$name | gzip -n -9 >dist/$$name.tar.gz && \
	    rm -r dist/$$name || exit 1; \
	done
	cd dist && sha256sum *.tar.gz >SHA256SUMS

dist-check:
	set -e; work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	for copy in a some/where/else; do \
	    git clone -q . "$$work/$$copy"; \
	    $(MAKE) -s -C "$$work/$$copy" dist TARGETS=linux_amd64 VERSION=check; \
	done; \
	cmp "$$work"/a/dist/*.tar.gz "$$work"/some/where/else/dist/*.tar.gz; cat "$$work/a/dist/SHA256SUMS"

clean:
	rm -rf bin dist
