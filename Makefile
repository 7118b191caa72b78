# The commands of the project. CI runs `make check test` (see .ci/run), and nothing else.
#
#   make demo    build, mount the embedded bucket, log into it through restarts and kills, count
#   make quick   the tests that take seconds: rules of the house, units, the file system without a mount
#   make test    all tests, real mounts included; goes on after a failure, and fails at its end
#   make soak    1,000 kill -9 of the worker and of the whole daemon, 100 power cuts, 5,000 faults of S3, under
#                programs, and a dump of 10 GiB beside a quiet log (an hour)
#   make fuzz    spools, objects and messages at random, ten minutes of each
#   make check   what needs no test run: format, lints, dependencies, documentation
#   make setup   install what this machine lacks (Debian); the other targets do that themselves

CARGO ?= cargo

.PHONY: help setup demo quick test soak fuzz check
# One target after the other: their output is read by people.
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' $(firstword $(MAKEFILE_LIST))

setup:
	@tools/setup.sh test

demo:
	@tools/setup.sh
	@docs/demo.sh

# Installs nothing: it needs Rust alone.
quick:
	$(CARGO) test --locked --quiet --lib --test tidy --test model

# Benchmarks are no tests: they are compiled by `make check`, and run by `cargo bench`.
test:
	@tools/setup.sh test
	$(CARGO) test --locked --workspace --doc --quiet; docs=$$?; $(CARGO) nextest run --locked --workspace --no-fail-fast && exit $$docs

soak:
	@tools/setup.sh test
	KILLS=1000 $(CARGO) nextest run --locked --profile soak --no-capture nobody_notices by_a_row_of_kills
	CUTS=100 $(CARGO) nextest run --locked --profile soak --no-capture survives_power_cuts
	FAULTS=5000 $(CARGO) nextest run --locked --profile soak --no-capture does_and_all_killed_each_line
	DUMP_MIB=10240 $(CARGO) nextest run --locked --profile soak --no-capture a_dump_does_not

fuzz:
	@tools/setup.sh test
	FUZZ_SEED=$$$$ FUZZ_CASES=3000 $(CARGO) nextest run --locked --profile soak --no-capture damaged_at_random
	FUZZ_SEED=$$$$ FUZZ_CASES=90000 $(CARGO) nextest run --locked --profile soak --no-capture objects_at_random
	FUZZ_SEED=$$$$ FUZZ_CASES=1000000 $(CARGO) nextest run --locked --profile soak --no-capture messages_at_random

check:
	@tools/setup.sh
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	    $(CARGO) deny check licenses bans sources; \
	else \
	    echo "check: cargo-deny is not installed, so that deny.toml was not checked"; \
	fi
