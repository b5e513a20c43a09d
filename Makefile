# Two commands matter: `make demo` and `make test`. Both set everything up in .venv by themselves.
PYTHON ?= python3
# How many files of tests run beside each other in a full run (tests/conftest.py).
BESIDE ?= 2
ALL_TESTS := -m pytest --numprocesses $(BESIDE) --dist loadfile --no-loadscope-reorder
BIN := .venv/bin

.PHONY: demo test lowest highest audit attacks security conformance conformance-suite lint bench bench-scale \
	bench-sockets soak fuzz clean

.venv/.demo: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Setting up .venv (once; about a minute) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

.venv/.test: pyproject.toml .venv/.demo
	@echo "Setting up the test tools (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.venv/.bench: pyproject.toml .venv/.test
	@echo "Setting up what the benchmarks compare with (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

demo: .venv/.demo
	@$(BIN)/python examples/demo.py

test: .venv/.test
	@$(BIN)/python $(ALL_TESTS)

# The tests, but for those with browsers, at either end of what pyproject.toml allows: docs/dependencies.md.
lowest highest:
	@$(PYTHON) -m venv --clear .venv-$@
	@$(PYTHON) tests/supply/bounds.py $@ > .venv-$@/constraints.txt
	@echo "Setting up .venv-$@ (a minute or two) …"
	@.venv-$@/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint .venv-$@/constraints.txt --editable '.[test]'
	@.venv-$@/bin/python tests/supply/bounds.py installed $@
	@.venv-$@/bin/python $(ALL_TESTS) --ignore=tests/browser $(TESTS)

# Known vulnerabilities of all that an installation brings along, with every extra for users. AUDIT: options of pip-audit.
audit:
	@$(PYTHON) -m venv --clear .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check --target .venv-audit/installed \
		'.[demo,geo,redis]'
	@rm -r .venv-audit/installed/kmsi_middleware-*.dist-info  # itself is not asked about
	@.venv-audit/bin/pip-audit --strict --path .venv-audit/installed $(AUDIT)

attacks: .venv/.test
	@$(BIN)/python -m pytest tests/attacks --quiet

security: .venv/.test
	@$(BIN)/python -m tests.security

conformance: .venv/.test
	@$(BIN)/python -m pytest tests/conformance --quiet --plans

conformance-suite: .venv/.test
	@$(BIN)/python -m tests.conformance.play_suite $(SUITE) $(CA)

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.test
	@$(BIN)/python -m bench.pass_through

bench-scale: .venv/.bench
	@$(BIN)/python -m bench.scale

bench-sockets: .venv/.bench
	@$(BIN)/python -m bench.sockets

soak: .venv/.test
	@$(BIN)/python -m bench.soak

fuzz: .venv/.test
	@$(BIN)/python -m tests.fuzz $(FUZZ)

clean:
	rm -rf .venv .venv-* .demo .kmsi .pytest_cache .mypy_cache .ruff_cache .hypothesis
