# SPDX-License-Identifier: Apache-2.0
# `make help` says what there is. Everything for Python goes into .venv, compiled
# programs into sentinel/loader/objects, all else that is made into build/.

PYTHON ?= python3
CLANG ?= clang
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
LANES ?= 5.10 6.1 6.12 7
PACKAGE_LANES := $(or $(filter 6.1 6.12,$(LANES)),6.1 6.12)
ifdef LOADER
export TAPSENTINEL_LOADER := $(LOADER)
endif

OBJECTS := $(patsubst bpf/%.bpf.c,sentinel/loader/objects/%.bpf.o,$(wildcard bpf/*.bpf.c))
EXTENSION_SOURCES := sentinel/loader/shim.c sentinel/loader/build_libbpf.py setup.py pyproject.toml
BPF_CFLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror \
	-I/usr/include/$(shell uname -m)-linux-gnu

.DEFAULT_GOAL := all
.PHONY: all help events demo story-1 story-2 run test test-vm test-vm-packages lint format bench clean abi setup \
	packages test-packages check-rpm

all: setup $(OBJECTS)  ## build what a checkout needs to run

help:  ## say what there is to make
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 12

setup: build/.packages $(VENV)/.installed

build/.packages: tools/packages.txt tools/install_packages.sh
	@mkdir -p build
	@sh tools/install_packages.sh tools/packages.txt
	@touch $@

build/.packages-test: tools/packages-test.txt tools/install_packages.sh | build/.packages
	@sh tools/install_packages.sh tools/packages-test.txt
	@touch $@

build/.packages-packaging: tools/packages-packaging.txt tools/install_packages.sh | build/.packages
	@sh tools/install_packages.sh tools/packages-packaging.txt
	@touch $@

$(VENV)/.installed: requirements/dev.lock $(EXTENSION_SOURCES) | build/.packages
	@echo "installing the locked Python packages into $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	@touch $@

sentinel/loader/objects/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) | build/.packages
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

abi: | build/.packages-test  ## write sentinel/abi.py from bpf/abi_kern_user.h
	$(PYTHON) tools/generate_abi.py

events: setup  ## write docs/events from the types of the events
	@$(BIN)/python -m tools.generate_events

demo: all  ## play the story of the one BPDU, unguarded and guarded (root)
	@$(BIN)/python -m tools.demo

story-1: all build/.packages-test  ## play the story of the two VLANs, in a stock kernel
	@$(BIN)/python tools/vm/play_story_1.py

story-2: all build/.packages-test  ## play the story of the lease that was lost (root)
	@$(BIN)/python -m tools.play_lease

run: all  ## run the daemon in the foreground, CONFIG=file (root)
	@$(BIN)/tapsentinel daemon $(if $(CONFIG),--config $(CONFIG))

test: all lint build/.packages-test  ## linters and all tests but those in stock kernels, LOADER=bcc (root)
	@$(BIN)/python -m tools.run_tests $(ARGS)

test-vm: all build/.packages-test  ## the kernel tests in stock kernels, LANES="5.10 6.1 6.12 7", LOADER=bcc
	@$(BIN)/python tools/vm/run_lanes.py $(LANES)

test-vm-packages: all build/.packages-test  ## a host's life with the package, systemd and all, LANES="6.1 6.12" (root)
	@TAPSENTINEL_PACKAGE_LANES="$(PACKAGE_LANES)" $(BIN)/python -m pytest -q -n 2 -rP \
		-p no:cacheprovider tests/vm/test_package_life.py

lint: setup build/.packages-test  ## ruff, mypy, clang-format, the generated files
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@clang-format --dry-run --Werror bpf/*.c bpf/*.h sentinel/loader/shim.c
	@$(BIN)/python tools/generate_abi.py --check
	@$(BIN)/python -m tools.generate_events --check
	@echo "lint: clean"

format: setup  ## put the sources into shape
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .
	@clang-format -i bpf/*.c bpf/*.h sentinel/loader/shim.c

bench: all  ## cost of a frame against an empty program; writes docs/bench.md (root)
	@$(BIN)/python -m bench.cost_per_frame

packages: all build/.packages-packaging  ## .deb files for Debian 12 and 13 into build/packages (root), REVISION=2
	@$(BIN)/python -m tools.package.build_debs $(SUITES)

test-packages: all build/.packages-packaging  ## what these packages do when installed, and leave when purged (root)
	@TAPSENTINEL_PACKAGES=build/packages $(BIN)/python -m pytest -q tests/packages

check-rpm: all build/.packages-packaging  ## the spec for EL 9, as far as it can be built on Debian 12 (root)
	@$(BIN)/python -m tools.package.check_rpm

clean:  ## remove what was made, .venv included
	rm -rf build $(VENV) sentinel/loader/objects sentinel/loader/_libbpf.c sentinel/loader/*.so *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +
