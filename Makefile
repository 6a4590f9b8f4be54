# All targets but deps and bench work on all modules of the repository; they are found by their go.mod files.
MODULES  := $(shell find . -name go.mod -not -path '*/.*' -exec dirname {} \; | sort)
FUZZTIME ?= 1m
# What test-servers runs: these servers of scripts/servers.sh, these packages of the root module, which start servers, and
# the cluster and Sentinel tests, unless CLUSTER is empty; on MySQL the tests of sqlstore.
SERVERS  ?= redis-7 redis-8 valkey-8 valkey-9 mysql-9
PACKAGES ?= . ./internal/redisclient ./internal/redistest ./sessiontest ./tests/...
CLUSTER  ?= yes
# What simulate runs: so many seeds, from this one on.
SEEDS    ?= 100000
FROM     ?= 1
# What prove is told: -quick looks at one failing call in each run, not at three.
PROVE    ?=
# Which mutations mutants makes: those whose group, file or rule match ONLY (g3 is the third
# guarantee, adopt what is said of Config.Adopt); of these SAMPLE, or all.
ONLY     ?=
SAMPLE   ?= 0
# How long the load on each database is that histories checks.
HISTORY  ?= 10m
# Pinned here rather than in a go.mod: "go run" with a version keeps the tools' dependencies out of ours, and the build
# cache makes the second run as quick as an installed tool.
LINT := go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
ACTIONLINT := go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# The modules that programs can require; modules.txt lists them.
PUBLISHED := $(shell sh scripts/modules.sh published)
# Where sbom writes to.
DIST     ?= dist

.PHONY: help test test-noservers test-go127 test-jsonv2 test-servers deps lint fuzz simulate histories prove mutants bench fmt tidy \
	cover api api-update check-modules check-workflows sbom release release-trial

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'MODULES="./a ./b" names the modules to work on; the default is all.'

test: deps ## vet and test everything with the race detector
	@echo "Servers: $$("$${REDIS_SERVER:-redis-server}" --version)"
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && go vet ./... && go test -race -timeout 8m ./...); done

test-noservers: ## test what needs no server and no browser, with neither in reach
	@sh scripts/test-noservers.sh $(MODULES)

test-go127: deps ## test everything on Go 1.27, without the race detector
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && GOTOOLCHAIN=go1.27.0 go test -timeout 8m ./...); done

test-jsonv2: deps ## test what encodes values with the encoder that Go 1.27 has, on this Go
	@GOEXPERIMENT=jsonv2 go test -timeout 8m . ./internal/jsonvalue ./sessiontest ./storetest ./tests/guarantees ./tests/model

test-servers: ## test what uses Redis or MySQL on each of SERVERS, which it gets as far as they are missing
	@sh scripts/test-servers.sh "$(SERVERS)" "$(PACKAGES)" "$(CLUSTER)"

deps: ## install what the tests need and the machine lacks
	@sh scripts/deps.sh

lint: ## golangci-lint, known-vulnerable dependencies, formatting
	@set -e; for m in $(MODULES); do echo "== $$m"; (cd $$m && $(LINT) run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./...); done
	@sh scripts/vulncheck.sh $(MODULES)

cover: deps ## print how much of each package the root module's tests reach; COVER_HTML=FILE writes the lines too
	@sh scripts/cover.sh

api: ## compare what the published modules export with the folder api
	@go run ./tests/api $(PUBLISHED)

api-update: ## write what the published modules export into the folder api
	@go run ./tests/api -update $(PUBLISHED)

check-modules: ## check that modules.txt and Dependabot know every module
	@sh scripts/modules.sh check

check-workflows: ## check the files of .github/workflows
	@$(ACTIONLINT) -shellcheck= -pyflakes=
	@sh scripts/pinned.sh

sbom: ## write a bill of materials for each published module into DIST
	@sh scripts/sbom.sh $(DIST) $(PUBLISHED)

release: ## make the tags of VERSION, and its notes; docs/releasing.md says how to go on
	@sh scripts/release.sh $(VERSION)

release-trial: ## make a release in a copy of what is committed, and use it from outside
	@sh scripts/release-trial.sh

fuzz: ## run each fuzz target for FUZZTIME
	@sh scripts/fuzz.sh $(FUZZTIME) $(MODULES)

simulate: ## run SEEDS simulated worlds, from the seed FROM on
	@go test ./tests/simulation -run TestSeeds -count 1 -timeout 0 -v -sim.seeds $(SEEDS) -sim.from $(FROM)

histories: ## check what many clients are told by real databases with faults, for HISTORY
	@go -C tests/histories test . -run TestHistories -count 1 -timeout 0 -v -histories.for $(HISTORY)

prove: ## check the protocol with spin: all interleavings of small scenarios, and of each rule's absence
	@sh scripts/deps.sh spin
	@go run ./tests/prove $(PROVE)

mutants: deps ## leave out each rule of the code: the tests named for it must fail. ONLY="g3 |ending.go" selects, SAMPLE=12 draws
	@go run ./tests/mutations -only '$(ONLY)' -sample $(SAMPLE)

bench: ## measure against the peers; prints tables and writes benchmarks/RESULTS.md and RESULTS_SQL.md
	@sh scripts/deps.sh wrk
	@go -C benchmarks run .
	@go -C benchmarks/sql run .

fmt: ## format the code
	@gofmt -w $$(find . -name '*.go' -not -path '*/.*')

tidy: ## tidy the go.mod files
	@set -e; for m in $(MODULES); do (cd $$m && go mod tidy); done
