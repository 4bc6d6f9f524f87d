# `make demo` shows the suite at work, `make test` proves it. Both are the only
# command one types on a fresh Debian 12 with a Rust toolchain.

PREFIX     ?= /usr/local
DESTDIR    ?=
BINDIR     := $(PREFIX)/bin
SBINDIR    := $(PREFIX)/sbin
MANDIR     := $(PREFIX)/share/man
DOCDIR     := $(PREFIX)/share/doc/dpvs
UNITDIR    := $(PREFIX)/lib/systemd/system

# sudo drops the path that rustup wrote into the user's profile.
USER_HOME := $(if $(SUDO_USER),$(shell getent passwd $(SUDO_USER) | cut -d: -f6),$(HOME))
export PATH := $(PATH):$(HOME)/.cargo/bin:$(USER_HOME)/.cargo/bin
ifneq ($(USER_HOME),$(HOME))
export RUSTUP_HOME ?= $(USER_HOME)/.rustup
endif
CARGO ?= cargo
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
RELEASE := $(TARGET)/release
# Tests and demo run exactly these programs.
export DPVS_BIN_DIR ?= $(RELEASE)

SBIN_PROGRAMS := dpvs keepalived ipvsadm ipvsadm-save ipvsadm-restore dpip
BIN_PROGRAMS  := genhash

.PHONY: help
help: ## this list
	@echo "make TARGET; the first two are where to start:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'

.PHONY: demo
demo: need-root build-demo ## see a request go through: a whole installation in namespaces (root)
	@$(RELEASE)/demo run

.PHONY: test
test: packages build ## all tests: unit, property, packet, EAL and end-to-end (root for the last)
	@[ "$$(id -u)" -eq 0 ] || echo "not root: the tests in namespaces will be skipped"
	$(CARGO) test --workspace --locked --no-fail-fast
	@[ "$$(id -u)" -eq 0 ] || echo "not root: the tests in namespaces were skipped"

.PHONY: demo-shell
demo-shell: need-root build-demo ## the same installation, left up for you to type in (root)
	@$(RELEASE)/demo up

.PHONY: demo-down
demo-down: need-root ## remove what demo-shell left up (root)
	@$(CARGO) build --release --locked --quiet -p compat-tests --bin demo
	@$(RELEASE)/demo down

.PHONY: bench
bench: packages build ## measure it all beside testpmd; NAME= selects one (docs/bench.md)
	$(CARGO) build --release --locked -p compat-tests --bin bench
	$(RELEASE)/bench $(NAME)

.PHONY: build
build: need-cargo packages ## the programs, in release mode
	$(CARGO) build --release --locked -p dpvs -p keepalived -p ipvsadm -p dpip

.PHONY: build-demo
build-demo: build
	@$(CARGO) build --release --locked -p compat-tests --bin demo

.PHONY: install
install: ## programs, manual pages, samples, systemd units; PREFIX= DESTDIR=
	@[ -x $(RELEASE)/dpvs ] || $(MAKE) --no-print-directory build
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(DOCDIR)
	for p in $(SBIN_PROGRAMS); do install -m 755 $(RELEASE)/$$p $(DESTDIR)$(SBINDIR)/ || exit 1; done
	for p in $(BIN_PROGRAMS); do \
	    [ ! -x $(RELEASE)/$$p ] || install -m 755 $(RELEASE)/$$p $(DESTDIR)$(BINDIR)/ || exit 1; done
	for page in man/*.[0-9]; do \
	    install -D -m 644 $$page $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/} || exit 1; done
	for f in $$(cd conf && find . -type f ! -path './systemd/*' ! -path './completion/*'); do \
	    install -D -m 644 conf/$$f $(DESTDIR)$(DOCDIR)/examples/$$f || exit 1; done
	for f in conf/completion/*.bash; do b=$${f##*/}; \
	    install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$${b%.bash} || exit 1; done
	for f in conf/completion/_*; do \
	    install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/zsh/site-functions/$${f##*/} || exit 1; done
	install -m 644 README.md ARCHITECTURE.md LICENSE-MIT LICENSE-APACHE $(DESTDIR)$(DOCDIR)/
	for unit in conf/systemd/*.service; do \
	    sed -e 's|/usr/sbin/|$(SBINDIR)/|g' -e 's|/usr/local/sbin/|$(SBINDIR)/|g' $$unit \
	        >$(DESTDIR)$(UNITDIR)/$${unit##*/} || exit 1; done

.PHONY: fmt
fmt: need-cargo ## format the source
	$(CARGO) fmt --all

.PHONY: lint
lint: need-cargo packages ## clippy with warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: doc
doc: need-cargo packages ## the source's documentation, in target/doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

.PHONY: clean
clean: need-cargo ## remove everything that was built
	$(CARGO) clean

.PHONY: fuzz
fuzz: need-cargo packages ## random inputs for every parser; SECONDS= NAME= (docs/fuzzing.md)
	for t in $(or $(NAME),$(notdir $(basename $(wildcard fuzz/fuzz_targets/*.rs)))); do \
	    $(CARGO) run --release --quiet --manifest-path fuzz/Cargo.toml --bin $$t -- $(or $(SECONDS),60) || exit 1; done

.PHONY: packages
packages: ## install the Debian packages of .ci/packages that are missing (root)
	@.ci/install-packages

.PHONY: need-root
need-root:
	@[ "$$(id -u)" -eq 0 ] || { \
	    echo "this makes network namespaces and needs root: sudo make $(MAKECMDGOALS)"; exit 1; }

.PHONY: need-cargo
need-cargo:
	@command -v $(CARGO) >/dev/null || { \
	    echo "there is no Rust toolchain: install one from https://rustup.rs"; exit 1; }
