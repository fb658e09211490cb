# posthaste: what there is to build, run and test. `make` lists it.
#
# What takes minutes is kept in ~/.cache/posthaste (POSTHASTE_CACHE), by version and features, and in Go's own cache.

# FVM is only needed by a full node: our binaries are built without it.
GO_TAGS := nofvm
PARAMETERS = $(shell build/parameters.sh)
export GOFLAGS := -tags=$(GO_TAGS)
# Go's cache does not see which libfilcrypto a package was linked with; a macro that nobody reads makes it tell them apart.
export CGO_CPPFLAGS := -DPOSTHASTE_FILCRYPTO=$(shell build/libfilcrypto.sh --variant)

# `make demo -- --break card` is `make demo ARGS="--break card"`: with something behind the --, whatever follows `demo` is the demo's.
ifneq ($(filter --%,$(MAKECMDGOALS)),)
  ifneq ($(filter demo%,$(firstword $(MAKECMDGOALS))),)
    OPTIONS := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
    override ARGS += $(OPTIONS)
    .PHONY: $(OPTIONS)
    $(eval $(OPTIONS): ; @:)
  endif
endif
# `make demo -- --break=card`: a variable of that name to make, which would drop it without a word.
# What stands inside ARGS="--a --b=c" is there too, with a backslash before each blank, and is no variable.
empty :=
override ARGS += $(filter --%,$(subst \$(empty) ,|,$(MAKEOVERRIDES)))

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: demo
demo: build params ## two miners, a simulated chain, real proofs: eight deadlines from challenge to chain
	@FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) bin/posthaste demo $(ARGS)

.PHONY: demo-lotus
demo-lotus: build params lotusdevnet ## the same main job against a real Lotus node with the real actors
	@FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) bin/posthaste demo --chain bin/posthaste-lotusdevnet $(ARGS)

.PHONY: test
test: build tools params check debian-test ## all tests: unit, workflow, replay, integration with real proofs and killed processes
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go test -timeout 15m $$(go list ./... | grep -v /testsuite/integration)
	@# By itself: its deadlines are a minute long, on a chain that does not wait for a busy machine. Each test keeps half a core busy where cores are
	@# slow; with six at once deadlines were missed there.
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go test -timeout 40m -parallel 4 -count=1 ./testsuite/integration
	cd temporal-dev && GOFLAGS= CGO_ENABLED=0 go test -timeout 10m ./...
	@# The parts of the Lotus chain's program that need neither Lotus nor the FVM; make test-lotus runs the rest.
	@mkdir -p testsuite/lotusdevnet/extern
	@[ -e testsuite/lotusdevnet/extern/filecoin-ffi ] || ln -sfn ../../../extern/filecoin-ffi testsuite/lotusdevnet/extern/filecoin-ffi
	cd testsuite/lotusdevnet && GOFLAGS= go test ./report/... ./options/... ./control/... ./schedule/... ./store/... ./crowd/...

.PHONY: test-lotus
test-lotus: build params lotusdevnet ## on a real Lotus chain: sectors that interleave, and a proving period in which things go wrong; ends with its figures (JSON=FILE: there, too)
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go test -timeout 90m -count=1 -v ./testsuite/lotus -run '^($(or $(RUN),TestInterleaved|TestPeriod))$$' -args -lotus $(LOTUS_ARGS)

.PHONY: soak
soak: build params lotusdevnet ## the same with longer epochs and faults drawn from SEED (default: 1); the seed repeats it
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go test -timeout 90m -count=1 -v ./testsuite/lotus -run '^TestSoak$$' -args -lotus -seed $(or $(SEED),1) $(LOTUS_ARGS)

LOTUS_ARGS = $(if $(JSON),-json $(abspath $(JSON))) $(ARGS)

.PHONY: bench
bench: build tools params ## the figures of docs/performance.md: name, value, unit, goal, ok or short
	@FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go run ./testsuite/bench

.PHONY: bench-lotus
bench-lotus: build params lotusdevnet ## posthaste and Lotus's own poster in turns on one real node: from the challenge until the post landed, and what they ask of it
	@FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go run ./testsuite/bench -only turns -turns 24 $(ARGS)

.PHONY: screenshots
screenshots: build params ## the pictures of docs/web-ui.md, made anew in a headless Chromium
	FIL_PROOFS_PARAMETER_CACHE=$(PARAMETERS) go test ./testsuite/integration -run '^TestWebUI$$' -count=1 -screenshots $(CURDIR)/docs/images

.PHONY: check
check: ffi ## formatting, vet, staticcheck, and that workflow code is deterministic
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted"; exit 1; fi
	go vet ./...
	cd temporal-dev && GOFLAGS= CGO_ENABLED=0 go vet ./...
	go tool staticcheck -tags $(GO_TAGS) ./...
	CGO_ENABLED=0 go tool workflowcheck ./workflows

.PHONY: build
build: ffi ## bin/posthaste, temporal-dev, and for tests posthaste-devnet and posthaste-stubprover
	@build/go.sh posthaste . ./cmd/posthaste 560
	@build/go.sh posthaste-devnet . ./testsuite/devnet/devnetd 100
	@CGO_ENABLED=0 build/go.sh posthaste-stubprover . ./testsuite/stubprover 10
	@GOFLAGS= CGO_ENABLED=0 build/go.sh temporal-dev temporal-dev . 1500 -ldflags '-s -w'

.PHONY: lotusdevnet
lotusdevnet: debian ## bin/posthaste-lotusdevnet, a real Lotus chain for tests (15 minutes from an empty cache)
	@FFI_USE_GPU=0 FFI_DISABLE_FVM=0 build/libfilcrypto.sh testsuite/lotusdevnet/extern/filecoin-ffi
	@GOFLAGS=-tags=2k build/go.sh posthaste-lotusdevnet testsuite/lotusdevnet . 1700

.PHONY: tools
tools: ## Temporal's own programs, bin/tctl and bin/temporal (5 minutes from an empty cache)
	@build/tools.sh

.PHONY: ffi
ffi: debian ## libfilcrypto, from source; FFI_USE_GPU, FFI_USE_OPENCL and FFI_USE_CUDA choose as in filecoin-ffi
	@build/libfilcrypto.sh extern/filecoin-ffi

.PHONY: params
params: ## Groth16 parameters for 2 KiB test sectors, worthless for real ones
	@build/parameters.sh >&2

.PHONY: debian
debian:
	@build/debian.sh

.PHONY: debian-test
debian-test:
	@build/debian.sh test

.PHONY: clean
clean: ## remove what was built here; the cache stays
	rm -rf bin extern testsuite/lotusdevnet/extern
