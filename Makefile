# SPDX-License-Identifier: LGPL-2.1-or-later
# make            build/colofs, build/colofsctl, the mount helpers      V=1 shows commands, WERROR=1 is strict
# make check      everything that can be checked; last line "N passed, N failed, N skipped"
# make soak       what takes longer: the same for tests/soak, last line "N passed, N failed"
# make demo       the whole story in a minute          make bench    the tables of README.md
# make check-xen  a guest on a real Xen, emulated: a checkpoint, a crash, a failover; minutes, not part of check
# make coverage   the core's branches that the tests take
# make install    PREFIX (/usr), DESTDIR               make format   clang-format over all sources
# As root on Debian 12 check, soak, demo and bench install by themselves what is missing.
PREFIX ?= /usr
DESTDIR ?=
BUILD ?= build
VERSION := 0.1.0
ifeq ($(origin CC),default)
CC := gcc
endif
PKGS := fuse3 liburing openssl libxxhash
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wformat=2 -Wimplicit-fallthrough -Wstrict-prototypes \
	-Wmissing-prototypes -Wpointer-arith -Wvla
HARDEN := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
	-fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing -fPIE
LDHARDEN := -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,nodlopen,--as-needed
ifneq ($(WERROR),)
WARN += -Werror
endif
# Recursive on purpose: pkg-config may be installed by tests/deps before the sub-make builds.
ALL_CFLAGS = -std=gnu11 $(WARN) $(HARDEN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCOLOFS_VERSION='"$(VERSION)"' \
	$(shell pkg-config --cflags $(PKGS)) $(CFLAGS) $(EXTRA_CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS)) -lpthread

# The shell is what makes system calls; the rest of repl/ is the core and makes none.
SHELL_SRC := $(wildcard repl/net*.c repl/tls*.c repl/store*.c repl/ring*.c repl/shell*.c)
CORE := $(filter-out $(SHELL_SRC), $(wildcard repl/*.c))
CTL := $(filter-out ctl/colofsctl%.c, $(wildcard ctl/*.c))
FS := $(wildcard fs/*.c)
TOOL := $(wildcard ctl/colofsctl*.c)
HELPERS := $(wildcard fs/mount.fuse.colofs fs/umount.fuse.colofs)
MAN := $(wildcard ctl/*.8 fs/*.8)
MAN7 := $(wildcard repl/*.7)
SIM := $(wildcard tests/sim/*.c)
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*.c))
THREADS := $(patsubst tests/%.c,%,$(wildcard tests/threads/*.c))
TESTTOOLS := $(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/*.c))
Q = $(if $(V),,@)
comma := ,

all: $(BUILD)/colofs $(BUILD)/colofsctl $(addprefix $(BUILD)/,$(notdir $(HELPERS)))

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC $<")
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

LINK = @$(if $(V),,echo "  LD $@";) mkdir -p $(@D); $(if $(V),set -x;) \
	$(CC) $(or $(LINK_CFLAGS),$(ALL_CFLAGS)) $(LDHARDEN) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$(BUILD)/colofs: $(patsubst %.c,$(BUILD)/%.o,$(CTL) $(CORE) $(SHELL_SRC) $(FS))
	$(LINK)
$(BUILD)/colofsctl: $(patsubst %.c,$(BUILD)/%.o,$(CTL) $(TOOL))
	$(LINK)
$(BUILD)/%.fuse.colofs: fs/%.fuse.colofs
	$(Q)install -m 755 $< $@

# Tests take from the archive what they need: a test's own stub wins over the real function.
$(BUILD)/all.a: $(patsubst %.c,$(BUILD)/%.o,$(CTL) $(CORE) $(SHELL_SRC))
	@rm -f $@; ar rcs $@ $^
$(UNIT): $(BUILD)/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/all.a
	$(LINK)
WRAP_ALLOC := $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc reallocarray aligned_alloc mmap)
# Its allocators stand between the core and libc.
PAIRED := alloc pair alone fence refused activity swap discard device words orders told part part_races
$(addprefix $(BUILD)/unit/test_,$(PAIRED)): $(BUILD)/tests/fuzz/host.o $(BUILD)/tests/fuzz/pair.o
# The daemon whose Nth allocation fails: tests/functional/test-alloc-failures.sh.
$(BUILD)/failing/colofs: $(patsubst %.c,$(BUILD)/%.o,$(CTL) $(CORE) $(SHELL_SRC) $(FS) tests/failing/nth.c tests/fuzz/alloc.c)
	$(LINK)
$(BUILD)/failing/colofs: LDHARDEN += $(WRAP_ALLOC) -Wl,--wrap=strdup
$(addprefix $(BUILD)/unit/,test_alloc test_swap): $(BUILD)/tests/fuzz/alloc.o
$(addprefix $(BUILD)/unit/,test_alloc test_swap): LDHARDEN += $(WRAP_ALLOC)
# The simulator has its own objects of the core: with the faults of repl/mutant.h in them, asleep. It
# runs millions of steps: optimised further, for this machine and as a whole, without the run-time hardening; asserts in
# place. Fat objects: others link them one by one.
SIM_OPT := -O3 -march=native $(if $(findstring clang,$(CC)),,-flto=auto -ffat-lto-objects)
SIM_CFLAGS = -std=gnu11 $(WARN) -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing -fPIE \
	-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCOLOFS_VERSION='"$(VERSION)"' -DCOLOFS_MUTANTS -DSLOTS_ROOM=64u \
	$(shell pkg-config --cflags $(PKGS)) $(CFLAGS) $(SIM_OPT) $(EXTRA_CFLAGS)
$(BUILD)/simulator/%.o: %.c Makefile
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC $< (simulator)")
	$(Q)$(CC) $(SIM_CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/sim: $(patsubst %.c,$(BUILD)/simulator/%.o,$(SIM)) \
	$(patsubst %.c,$(BUILD)/$(if $(COVERAGE),,simulator/)%.o,$(CTL) $(CORE))
	$(LINK)
$(BUILD)/sim: LINK_CFLAGS = $(if $(COVERAGE),,$(SIM_CFLAGS))
# It stands in for libc's malloc(): the compiler must not take its functions for those that it knows.
$(BUILD)/simulator/tests/sim/memory.o: EXTRA_CFLAGS += -fno-builtin -fno-lto
$(BUILD)/peer: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/peer/*.c))
$(TESTTOOLS): $(BUILD)/%: $(BUILD)/tests/%.o
	$(LINK)
# The daemon that records what it does to its disk (tests/crash/record.c), and what judges the crashes of it.
RECORDED := syscall open64 openat64 close write mkdirat renameat unlinkat fsync fdatasync ftruncate64 fsetxattr \
	io_uring_submit io_uring_submit_and_wait_timeout net_tx
CRASH := $(BUILD)/crash/colofs $(BUILD)/crash-states $(BUILD)/crash-load $(BUILD)/crash-replay
$(BUILD)/crash/colofs $(BUILD)/crash-states $(BUILD)/threads/test_worlds: LDHARDEN += -fno-lto
$(BUILD)/crash/colofs: LDHARDEN += $(addprefix -Wl$(comma)--wrap=,$(RECORDED))
$(BUILD)/crash/colofs: $(patsubst %.c,$(BUILD)/simulator/%.o,$(CTL) $(CORE)) \
	$(patsubst %.c,$(BUILD)/%.o,$(SHELL_SRC) $(FS) tests/crash/record.c)
	$(LINK)
$(BUILD)/crash-states: $(patsubst %.c,$(BUILD)/simulator/%.o,$(CTL) $(CORE)) \
	$(patsubst %,$(BUILD)/tests/crash/%.o,states host disk disk_out model)
	$(LINK)
$(BUILD)/crash-replay: $(BUILD)/tests/crash/replay.o
	$(LINK)
$(BUILD)/crash-load: $(patsubst %,$(BUILD)/tests/crash/%.o,load model)
	$(LINK)
.SECONDARY: # keep the objects of tests

# Fuzz targets: clang's libFuzzer with sanitizers, objects of their own. COVERAGE=1: plain programs that replay inputs.
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SHARED := $(patsubst %,tests/fuzz/%.c,host peer peer_guest alloc)
ifeq ($(COVERAGE),)
FUZZ_CC = clang -std=gnu11 $(WARN) -DSLOTS_ROOM=64u -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DCOLOFS_VERSION='"$(VERSION)"' -O1 -g \
	$(shell pkg-config --cflags $(PKGS)) $(if $(filter repl/%,$<),-include tests/fuzz/pool.h)
FUZZ_SAN := address,undefined -fno-sanitize-recover=undefined
$(BUILD)/fuzz/%.o: %.c Makefile
	@mkdir -p $(@D)
	@$(if $(V),,echo "  CC $< (fuzz)")
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer-no-link,$(FUZZ_SAN) -MMD -MP -c -o $@ $<
$(BUILD)/fuzz/all.a: $(patsubst %.c,$(BUILD)/fuzz/%.o,$(CTL) $(CORE) repl/tls_session.c $(FUZZ_SHARED) tests/fuzz/pool.c)
	@rm -f $@; ar rcs $@ $^
$(FUZZ): $(BUILD)/fuzz/%: $(BUILD)/fuzz/tests/fuzz/fuzz_%.o $(BUILD)/fuzz/all.a
	@$(if $(V),,echo "  LD $@")
	$(Q)clang -fsanitize=fuzzer,$(FUZZ_SAN) $(WRAP_ALLOC) -o $@ $^ $(LIBS)
else
$(FUZZ): $(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/fuzz_%.o $(patsubst %.c,$(BUILD)/%.o,$(FUZZ_SHARED) tests/fuzz/main.c) $(BUILD)/all.a
	$(LINK)
$(FUZZ): LDHARDEN += $(WRAP_ALLOC)
endif
fuzz: $(FUZZ)
covered: all $(UNIT) $(FUZZ) $(BUILD)/sim $(BUILD)/epoch_reader

tests: all $(BUILD)/failing/colofs $(UNIT) $(TESTTOOLS) $(CRASH) $(if $(SIM),$(BUILD)/sim)

# What the functional tests run a second time: every report of a sanitizer is fatal.
SANITIZE := BUILD=$(BUILD)/asan HARDEN=-fPIE \
	CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
sanitized:
	@$(MAKE) --no-print-directory $(SANITIZE) all
	@for tool in $(TESTTOOLS:$(BUILD)/%=%); do ln -sf ../$$tool $(BUILD)/asan/; done # no product: as they are

# Where there are threads: under ThreadSanitizer, each with the product's source inside.
threads:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan HARDEN=-fPIE CFLAGS="-O1 -g -fsanitize=thread" $(THREADS:%=$(BUILD)/tsan/%)
$(THREADS:%=$(BUILD)/%): $(BUILD)/%: $(BUILD)/tests/%.o
	$(LINK)
$(BUILD)/threads/test_progress: $(BUILD)/ctl/command.o $(BUILD)/ctl/log.o
$(BUILD)/threads/test_worlds: $(patsubst %.c,$(BUILD)/simulator/%.o,$(filter-out tests/sim/sim.c,$(SIM)) $(CTL) $(CORE))

deps:
	@tests/deps

check: deps
	@$(MAKE) --no-print-directory WERROR=1 BUILD=$(BUILD) tests sanitized threads
	@BUILD=$(abspath $(BUILD)) tests/run $(TESTS)

soak: deps
	@$(MAKE) --no-print-directory WERROR=1 BUILD=$(BUILD) tests
	@BUILD=$(abspath $(BUILD)) tests/soak/run $(TESTS)

demo: deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD) all
	@BUILD=$(abspath $(BUILD)) tests/demo.sh

bench: deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD) tests
	@BUILD=$(abspath $(BUILD)) tests/bench.sh

check-xen: deps
	@tests/xen/deps
	@$(MAKE) --no-print-directory BUILD=$(BUILD) all
	@BUILD=$(abspath $(BUILD)) tests/xen/run

# Which branches of the core the tests take; fails below the bar. Figures, and what is left, by file and line.
coverage: deps
	@tests/coverage.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)/sbin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/man/man7
	install -m 755 $(BUILD)/colofs $(BUILD)/colofsctl $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(addprefix $(BUILD)/,$(notdir $(HELPERS))) $(DESTDIR)/sbin
	install -m 644 $(MAN) $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 $(MAN7) $(DESTDIR)$(PREFIX)/share/man/man7

format:
	clang-format -i $(wildcard ctl/*.[ch] repl/*.[ch] fs/*.[ch] tests/*.c tests/*/*.[ch])

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
.PHONY: all tests sanitized threads fuzz covered deps check check-xen soak coverage demo bench install format clean
