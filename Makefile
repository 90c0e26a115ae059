# wimcast: build, check and try it.
#
#   make demo    cast a real image to four clients on this machine
#   make check   every check and every test; installs what is missing
#   make check-winpe  its part that runs wimcast.exe, under Wine, as root on amd64
#   make quick   formatting, vet and the short tests, in under a minute
#   make build   dist/wimcastd, dist/wimcast, dist/wimcast.exe
#   make package  dist/*.deb and dist/*.rpm, for amd64 and arm64
#   make bench   measures wimcast beside a ceiling and its peers, as root, in under an hour
#   make dashboard  deploy/grafana/wimcast.json, from the Go files beside it
#   make fuzz    each fuzz target for FUZZTIME (default 10s)
#   make setup   installs missing Debian packages by name, as root or by sudo
#   make setup-check  and those that make check needs beyond that
#
# Nothing is written outside this directory but Go's own caches, Debian packages
# that are missing, and the demo's image in ~/.cache/wimcast.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build
MAKEFLAGS   += --no-print-directory

# The version is stamped below; Go's own stamping fails in a checkout that
# belongs to another user.
export GOFLAGS := $(filter-out -buildvcs=%,$(GOFLAGS)) -buildvcs=false

VERSION  := $(shell deploy/package/version)
# Without symbols (-s): a third less, which counts in boot images. Panics and
# profiles name their functions all the same.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '-s -X main.version=$(VERSION)'
FUZZTIME ?= 10s

# Built once for each set of versions (golangci-lint takes minutes).
TOOLS := $(CURDIR)/.cache/tools-$(shell cat tools/go.mod tools/go.sum | cksum | cut -d' ' -f1)-$(shell go env GOVERSION)

# Apart from the others: its version and those of what it needs change nothing there.
NFPM := $(CURDIR)/.cache/nfpm-$(shell cat tools/nfpm/go.mod tools/nfpm/go.sum | cksum | cut -d' ' -f1)-$(shell go env GOVERSION)/nfpm

# Where wimcast.exe can be run, make check runs it; elsewhere its tests are skipped.
WINPE := $(if $(filter 0/x86_64,$(shell id -u)/$(shell uname -m)),check-winpe)

# The packages that the Windows client is made of.
WINDOWS_PACKAGES = $$(GOOS=windows CGO_ENABLED=0 go list -deps ./cmd/wimcast | grep '^wimcast/')

heading = @printf '\n== %s\n' '$(1)'

.PHONY: build package dashboard demo check check-winpe quick bench fuzz setup setup-check tools format vet fix lint tidy cross unit test tests clean

build:
	$(GO_BUILD) -o dist/wimcastd ./cmd/wimcastd
	$(GO_BUILD) -o dist/wimcast ./cmd/wimcast
	GOOS=windows GOARCH=amd64 $(GO_BUILD) -o dist/wimcast.exe ./cmd/wimcast
	GOOS=windows GOARCH=arm64 $(GO_BUILD) -o dist/wimcast-arm64.exe ./cmd/wimcast

# The other architecture's programs are beside the packages' other parts.
package: build $(NFPM)
	$(call heading,packages)
	@for arch in amd64 arm64; do \
		[ $$arch = $$(go env GOHOSTARCH) ] || for program in wimcast wimcastd; do \
			GOARCH=$$arch $(GO_BUILD) -o dist/package/$$arch/$$program ./cmd/$$program; \
		done; \
	done
	@deploy/package/build $(VERSION) $(NFPM)

$(NFPM):
	$(call heading,building nfpm)
	GOBIN=$(dir $(NFPM)) go -C tools/nfpm install $$(go -C tools/nfpm list tool)

# Committed; a test holds it.
dashboard:
	@mkdir -p .cache
	go run ./deploy/grafana > .cache/wimcast.json
	mv .cache/wimcast.json deploy/grafana/wimcast.json

demo: setup build
	dist/wimcast demo

check: setup-check format vet fix lint tidy cross unit tests $(WINPE)
	@printf '\n== all checks passed\n'

quick: format
	go vet ./...
	go test -short $$(go list ./... | grep -v '^wimcast/test\(/\|$$\)')

# The report goes to docs/performance.md too. For a look, in three minutes:
# go run ./test/bench -quick
bench: setup
	@test/setup/install bench
	go run ./test/bench -markdown docs/performance.md

setup:
	@test/setup/install

setup-check: setup
	@test/setup/install check

tools: $(TOOLS)/gofumpt $(TOOLS)/golangci-lint

$(TOOLS)/%:
	$(call heading,building $*)
	GOBIN=$(TOOLS) go -C tools install $$(go -C tools list tool | grep '/$*$$')

format: $(TOOLS)/gofumpt
	$(call heading,gofumpt)
	@files=$$($(TOOLS)/gofumpt -l $$(git ls-files --cached --others --exclude-standard '*.go' | while read -r f; do [ ! -e "$$f" ] || echo "$$f"; done)); \
	if [ -n "$$files" ]; then printf 'not formatted:\n%s\nnext: %s -w .\n' "$$files" '$(TOOLS)/gofumpt'; exit 1; fi

vet:
	$(call heading,go vet)
	go vet ./...
	GOOS=windows CGO_ENABLED=0 go vet $(WINDOWS_PACKAGES)

fix:
	$(call heading,go fix)
	go fix -diff ./...

lint: $(TOOLS)/golangci-lint
	$(call heading,golangci-lint)
	$(TOOLS)/golangci-lint run

tidy:
	$(call heading,go mod tidy)
	go mod tidy -diff
	go mod verify

cross: build
	$(call heading,builds)
	CGO_ENABLED=0 GOARCH=amd64 go build ./...
	CGO_ENABLED=0 GOARCH=arm64 go build ./...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go build $(WINDOWS_PACKAGES)
	GOOS=windows GOARCH=arm64 CGO_ENABLED=0 go build $(WINDOWS_PACKAGES)

unit: build
	$(call heading,the unit of systemd)
	@test/setup/verify-unit

# Fuzz targets run their seeds here. The whole-system tests run programs of
# their own and are about time: they go without the race detector. Those of them
# that only wait do it four at a time (test/doc.go).
tests: build
	$(call heading,tests with the race detector)
	@go build -o .cache/report ./test/setup/report
	@go test -json -race -shuffle=on -timeout 30m $$(go list ./... | grep -v '^wimcast/test$$') | .cache/report
	$(call heading,whole-system tests)
	@go test -json -shuffle=on -parallel 4 -timeout 45m $(if $(WINPE),-skip '^TestWinPE') ./test | .cache/report

# Where a test of these is skipped, something is missing: that fails.
check-winpe: setup
	@test/setup/install winpe
	$(call heading,wimcast.exe under Wine)
	@go build -o .cache/report ./test/setup/report
	@go test -json -count=1 -shuffle=on -timeout 30m ./test -run '^TestWinPE' | .cache/report -all

test: tests

fuzz:
	@FUZZTIME=$(FUZZTIME) test/setup/fuzz

clean:
	rm -rf dist .cache
