# All targets but deps and bench work on all modules of the repository; they are found by their go.mod files.
MODULES  := $(shell find . -name go.mod -not -path '*/.*' -exec dirname {} \; | sort)
FUZZTIME ?= 1m
# Pinned here rather than in a go.mod: "go run" with a version keeps the tools' dependencies out of ours, and the build
# cache makes the second run as quick as an installed tool.
LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

.PHONY: test deps lint fuzz bench fmt tidy

test: deps ## vet and test everything with the race detector
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && go vet ./... && go test -race -timeout 8m ./...); done

deps: ## install what the tests need and the machine lacks
	@sh scripts/deps.sh

lint: ## golangci-lint, known-vulnerable dependencies, formatting
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && $(LINT) run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./...); done
	@sh scripts/vulncheck.sh $(MODULES)

fuzz: ## run each fuzz target for FUZZTIME
	@sh scripts/fuzz.sh $(FUZZTIME) $(MODULES)

bench: ## measure against the peers; prints tables and writes benchmarks/RESULTS.md
	@sh scripts/deps.sh wrk
	@go -C benchmarks run .

fmt:
	@gofmt -w $$(find . -name '*.go' -not -path '*/.*')

tidy:
	@set -e; for m in $(MODULES); do (cd $$m && go mod tidy); done
