/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every crash of a recorded backup, as far as there is time. After each entry
 * of the log the disk as if all of it had landed, and with the last write
 * torn; in each gap between two syncs some random subsets of what was not yet
 * durable. Each state is recovered by the real core and has to be exactly one
 * epoch, acknowledged <= it <= ordered; then, in turn, it is drained into its
 * image files, killed in mid-recovery and recovered again, or failed over.
 *
 *   crash-states run LOG [SEED [GAP]]     all that; GAP: subsets a gap (32)
 *   crash-states one LOG POS SEED         a random one again, telling what the node says
 *   crash-states pick LOG COUNT SEED      some of these, as "POS SEED"
 *   crash-states out LOG POS SEED DIR     the files of one
 *   crash-states check LOG POS DIR EPOCH ROLE   a mount of one: ROLE backup, or promoted
 *   crash-states judge MARKS POS DIR EPOCH      likewise after `failover drop-overlay`; POS in a block log
 *   crash-states acked MARKS POS                the highest epoch acknowledged then; POS in a block log
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "host.h"
#include "model.h"

#define SEEN_BITS 20 /* states told apart */

struct figures {
	uint64_t entries, syncs, gaps, prefixes, torn_tails, subsets, same, states, before;
	uint64_t acked, ahead, promoted, drained, recut, failed_over, most_pending, most_names, recycled, local;
};

#define FILES_KNOWN 65536 /* as many as record.c can name */

struct run {
	const uint8_t *log;
	size_t size;
	struct model model;
	struct disk disk;
	struct figures fig;
	uint64_t floor; /* the highest epoch whose DONE has left */
	uint64_t *seen;
	uint64_t pos;
	uint8_t headers[FILES_KNOWN]; /* written so far: 0: not a segment of the journal, 1: none, 2: one or more */
	bool verbose;
};

static void run_open(struct run *r, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = model_load(&r->model, path, false);
	struct stat st;

	if (err || fd < 0 || fstat(fd, &st) || !st.st_size) {
		fprintf(stderr, "crash-states: %s: %s\n", path, strerror(err ? -err : errno));
		exit(2);
	}
	r->size = (size_t)st.st_size;
	r->log = mmap(NULL, r->size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	r->seen = calloc(1u << SEEN_BITS, sizeof(*r->seen));
	if (r->log == MAP_FAILED || !r->seen)
		abort();
}

/* True: this one was seen before. */
static bool seen(struct run *r, uint64_t key)
{
	uint64_t at = key * 0x9e3779b97f4a7c15 >> (64 - SEEN_BITS);

	key |= 1;
	for (int i = 0; i < 64; i++, at = (at + 1) & ((1u << SEEN_BITS) - 1)) {
		if (r->seen[at] == key)
			return true;
		if (!r->seen[at]) {
			r->seen[at] = key;
			return false;
		}
	}
	return false;
}

__attribute__((noreturn)) static void violation(struct run *r, const struct choice *c, const char *when, const char *why)
{
	static const char *const how[] = { "everything kept", "nothing kept", "the last write torn", "a random subset" };

	printf("crash after entry %" PRIu64 ", %s (seed %" PRIu64 "): %s: %s\n", r->pos, how[c->how], c->seed, when, why);
	if (c->how == KEEP_RANDOM)
		printf("again: crash-states one LOG %" PRIu64 " %" PRIu64 "\n", r->pos, c->seed);
	exit(1);
}

static void judge(struct run *r, const struct choice *c, const char *when, const char *why, const struct found *f)
{
	if (!why)
		why = model_check(&r->model, r->pos, r->floor, f);
	if (why)
		violation(r, c, when, why);
}

static void then_failover(struct run *r, struct host *h, const struct choice *c, struct found *f)
{
	uint64_t epoch = f->epoch;
	const char *why = host_failover(h, f);

	if (!why && (f->epoch != epoch || !f->promoted))
		why = "failover took another epoch";
	f->promoted = false; /* nothing was in the overlay: it is the epoch */
	judge(r, c, "failover", why, f);
	why = host_drain(h, f);
	judge(r, c, "files after failover", why, f);
	r->fig.failed_over++;
}

/* The state is in the view: what comes of it? */
static void recover(struct run *r, const struct choice *c)
{
	struct host h;
	struct found f = { 0 };
	unsigned then = (c->seed ^ r->pos) % 4;
	const char *why;

	host_scan(&h, &r->disk);
	h.verbose = r->verbose;
	if (!h.have_node_id) {
		r->fig.before++;
		if (r->floor || model_acked(&r->model, r->pos))
			violation(r, c, "start", "the node's id is gone");
		host_free(&h);
		return;
	}
	r->fig.states++;
	if (then == 1) {
		why = host_recover_cut(&h, 1 + (c->seed ^ r->pos) / 4 % 48);
		if (why)
			violation(r, c, "the first recovery of two", why);
		r->fig.recut++;
	}
	why = host_recover(&h, &f);
	judge(r, c, "recovery", why, &f);
	r->fig.promoted += f.promoted;
	r->fig.ahead += f.epoch > model_acked(&r->model, r->pos);
	r->fig.acked += f.epoch == model_acked(&r->model, r->pos);
	if (then == 2) {
		why = host_drain(&h, &f);
		judge(r, c, "files after the drain", why, &f);
		r->fig.drained++;
	} else if (then == 3 && f.epoch && !f.promoted) {
		then_failover(r, &h, c, &f);
	} else {
		host_kill(&h);
	}
	host_free(&h);
}

static void state(struct run *r, uint64_t seed, unsigned how, uint64_t *count)
{
	struct choice c = { .seed = seed, .how = how };

	disk_view(&r->disk, &c);
	/* What is durable changes with syncs only, what may be kept with the entries. */
	if (seen(r, (r->disk.digest ^ r->fig.syncs * 0x100000001b3) + r->floor + r->pos * (how != KEEP_RANDOM))) {
		r->fig.same++;
		return;
	}
	*count += 1;
	recover(r, &c);
}

/* ---- the log ---- */

static const struct entry *entry_at(const struct run *r, size_t at)
{
	const struct entry *e = (const struct entry *)(r->log + at);

	if (at + sizeof(*e) > r->size || e->magic != LOG_MAGIC || at + entry_size(e) > r->size)
		return NULL;
	return e;
}

/* Segments taken again; batches written by a promoted backup. */
static void count_segments(struct run *r, const struct entry *e)
{
	if (e->file >= FILES_KNOWN)
		return;
	if (e->type == E_CREATE && !strncmp((const char *)(e + 1), "tj", 2))
		r->headers[e->file] = 1;
	if (e->type != E_SUBMIT || e->op != OP_WRITE || e->flags & EF_ZEROES || !r->headers[e->file])
		return;
	r->fig.local += r->model.failover_acked && r->pos > r->model.failover_acked;
	if (e->off)
		return;
	r->fig.recycled += r->headers[e->file] == 2;
	r->headers[e->file] = 2;
}

static void step(struct run *r, const struct entry *e)
{
	size_t names = 0;

	count_segments(r, e);
	disk_entry(&r->disk, r->pos, e);
	if (e->type == E_ACK && e->off > r->floor)
		r->floor = e->off;
	r->fig.entries++;
	r->fig.syncs += r->disk.synced;
	for (const struct meta *m = r->disk.metas; m; m = m->next)
		names++;
	if (names > r->fig.most_names)
		r->fig.most_names = names;
	if (r->disk.pending > r->fig.most_pending)
		r->fig.most_pending = r->disk.pending;
}

/* Entries until the next sync's end; after each: how many of a gap's subsets are taken there. */
static uint64_t share(uint64_t left, uint64_t entries, uint64_t *rng)
{
	if (entries <= 1)
		return left;
	return left / 2 / entries + (rnd_next(rng) % entries < left / 2 % entries);
}

static uint64_t gap_length(const struct run *r, size_t at)
{
	static uint8_t op_of[1u << 20]; /* by request */
	const struct entry *e;
	uint64_t n = 1;

	/* A sync's end is known by its begin, which is in front of it: both tables are filled as one goes. */
	for (; (e = entry_at(r, at)); at += entry_size(e), n++) {
		if (e->type == E_SUBMIT && e->id < sizeof(op_of))
			op_of[e->id] = e->op;
		if (e->type == E_DONE && e->id < sizeof(op_of) && op_of[e->id] == OP_SYNC)
			break;
	}
	return n;
}

static bool changes_disk(const struct entry *e)
{
	return e->type != E_MARK && e->type != E_DONE && !(e->type == E_SUBMIT && e->op == OP_SYNC);
}

static void run_all(struct run *r, uint64_t seed, uint64_t per_gap)
{
	uint64_t rng = seed, left = per_gap, entries = 0;
	const struct entry *e;

	for (size_t at = 0; (e = entry_at(r, at)); at += entry_size(e), r->pos++) {
		step(r, e);
		if (!r->disk.root)
			continue;
		if (!entries || r->disk.synced) {
			entries = gap_length(r, at + entry_size(e));
			left = per_gap;
			r->fig.gaps++;
		} else {
			entries--;
		}
		if (changes_disk(e) || r->disk.synced)
			state(r, 0, KEEP_ALL, &r->fig.prefixes);
		if (changes_disk(e) && r->disk.pending)
			state(r, rnd_next(&rng), KEEP_TORN_LAST, &r->fig.torn_tails);
		for (uint64_t n = share(left, entries, &rng); n && (r->disk.pending || r->disk.metas); n--, left--)
			state(r, rnd_next(&rng) >> 1, KEEP_RANDOM, &r->fig.subsets);
	}
}

static void walk_to(struct run *r, uint64_t pos)
{
	const struct entry *e;

	for (size_t at = 0; (e = entry_at(r, at)); at += entry_size(e), r->pos++) {
		step(r, e);
		if (r->pos == pos)
			return;
	}
	fprintf(stderr, "crash-states: the log has no entry %" PRIu64 "\n", pos);
	exit(2);
}

static int run_figures(struct run *r, uint64_t seed, uint64_t per_gap)
{
	const struct figures *f = &r->fig;
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	run_all(r, seed, per_gap);
	clock_gettime(CLOCK_MONOTONIC, &b);
	double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);

	printf("log: %" PRIu64 " entries, %" PRIu64 " syncs, %zu commits; at most %" PRIu64 " changes and %" PRIu64
	       " names were not durable; recycled=%" PRIu64 " local=%" PRIu64
	       "\n", f->entries, f->syncs, r->model.cut_count, f->most_pending,
	       f->most_names, f->recycled, f->local);
	printf("states=%" PRIu64 " prefixes=%" PRIu64 " torn_tails=%" PRIu64 " subsets=%" PRIu64 " gaps=%" PRIu64
	       " torn_writes=%" PRIu64 " drawn_twice=%" PRIu64 " before_the_node=%" PRIu64 "\n", f->states, f->prefixes,
	       f->torn_tails, f->subsets, f->gaps, r->disk.torn, f->same, f->before);
	printf("at_the_acknowledged=%" PRIu64 " ahead_of_it=%" PRIu64 " promoted=%" PRIu64 " drained=%" PRIu64
	       " crashed_twice=%" PRIu64 " failed_over=%" PRIu64 " seconds=%.1f per_second=%.0f\n", f->acked, f->ahead,
	       f->promoted, f->drained, f->recut, f->failed_over, s, (double)f->states / s);
	return 0;
}

/* ---- single states, mounts ---- */

static int pick(struct run *r, uint64_t count, uint64_t seed)
{
	uint64_t rng = seed, entries = 0;
	const struct entry *e;

	for (size_t at = 0; (e = entry_at(r, at)); at += entry_size(e))
		entries++;
	while (count--) /* not those before the pair was made */
		printf("%" PRIu64 " %" PRIu64 "\n", entries / 8 + rnd_next(&rng) % (entries - entries / 8),
		       rnd_next(&rng) >> 1);
	return 0;
}

static int find_files(struct found *f, const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	char path[4096];

	while (d && (e = readdir(d))) {
		struct found_image *fi = &f->images[f->count];
		struct stat st;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_name[0] == '.' || stat(path, &st) || !S_ISREG(st.st_mode))
			continue;
		uint8_t *data = calloc(1, (size_t)st.st_size + 1);
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (!data || fd < 0 || read(fd, data, (size_t)st.st_size) != st.st_size || f->count == 63) {
			fprintf(stderr, "crash-states: %s: %s\n", path, strerror(errno));
			return 1;
		}
		close(fd);
		snprintf(fi->name, sizeof(fi->name), "%s", e->d_name);
		fi->size = (uint64_t)st.st_size;
		fi->data = data;
		f->count++;
	}
	if (!d)
		return 1;
	closedir(d);
	return 0;
}

static int check(struct run *r, uint64_t pos, const char *dir, uint64_t epoch, bool promoted)
{
	struct found f = { .promoted = promoted, .epoch = epoch };
	const char *why = find_files(&f, dir) ? "cannot be read" : model_check(&r->model, pos, r->floor, &f);

	if (why)
		printf("crash at %" PRIu64 ", %s: %s\n", pos, dir, why);
	return why != NULL;
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
	static struct run r;
	const char *verb = argc > 2 ? argv[1] : "";
	struct choice c = { .how = KEEP_RANDOM };

	if (!strcmp(verb, "acked") && argc == 4) {
		if (model_load(&r.model, argv[2], true))
			return 2;
		printf("%" PRIu64 "\n", model_acked(&r.model, number(argv[3])));
		return 0;
	}
	if (!strcmp(verb, "judge") && argc == 6)
		return model_load(&r.model, argv[2], true) ? 2 : check(&r, number(argv[3]), argv[4], number(argv[5]), false);
	/* A node's buffers come and go with each state: the heap keeps them. */
	mallopt(M_MMAP_THRESHOLD, 32 << 20);
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_TOP_PAD, 64 << 20);
	if (*verb)
		run_open(&r, argv[2]);
	if (!strcmp(verb, "run"))
		return run_figures(&r, argc > 3 ? number(argv[3]) : 1, argc > 4 ? number(argv[4]) : 32);
	if (!strcmp(verb, "pick") && argc == 5)
		return pick(&r, number(argv[3]), number(argv[4]));
	if (argc > 4) {
		walk_to(&r, number(argv[3]));
		c.seed = number(argv[4]);
		disk_view(&r.disk, &c);
	}
	if (!strcmp(verb, "one") && argc == 5) {
		r.verbose = true;
		recover(&r, &c);
		return 0;
	}
	if (!strcmp(verb, "out") && argc == 6) {
		int err = disk_write_out(&r.disk, argv[5]);

		if (err)
			fprintf(stderr, "crash-states: %s: %s\n", argv[5], strerror(-err));
		return err ? 2 : 0;
	}
	if (!strcmp(verb, "check") && argc == 7)
		return check(&r, number(argv[3]), argv[4], number(argv[5]), !strcmp(argv[6], "promoted"));
	fprintf(stderr, "usage: see the head of states.c\n");
	return 2;
}
