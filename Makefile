# make demo   the main job against the embedded simulated AWS, killed half way
# make test   vet, staticcheck and every test, with the race detector; one package after the other, since some measure

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
	$(GO) test -race -p 1 -parallel 4 -timeout 20m ./...

clean:
	rm -rf bin
