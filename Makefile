# make demo   the main job against the embedded simulated AWS, killed half way
# make test   vet, staticcheck and every test, with the race detector

GO ?= go

.PHONY: all build demo test clean
all: build

build:
	$(GO) build -o bin/ ./cmd/...

demo: build
	bin/cwharvest demo

test:
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test -race ./...

clean:
	rm -rf bin
