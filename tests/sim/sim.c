/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * main(): runs seeds and prints the figures.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../repl/mutant.h"
#include "sim.h"

#define COVERAGE_SEEDS 200u /* in so many everything must have happened */

struct args {
	uint64_t seeds, steps, seed;
	double seconds; /* 0: no limit */
	unsigned verbose;
	unsigned mutants; /* processes at once; 0: run seeds */
	const struct bias *bias;
};

void say(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->verbose)
		return;
	printf("%10llu %12.3f ms  ", (unsigned long long)s->step, (double)s->now / 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void violation(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	printf("VIOLATION seed %llu step %llu, %.3f ms: ", (unsigned long long)s->seed,
	       (unsigned long long)s->step, (double)s->now / 1000);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\nagain, in words: build/sim --seed %llu --seeds 1 --steps %llu%s%s%s%s -v\n",
	       (unsigned long long)s->seed, (unsigned long long)s->step_max, mutant ? " --mutant " : "",
	       mutant ? mutant : "", s->bias && !mutant ? " --bias " : "", s->bias && !mutant ? s->bias->name : "");
	printf("steps of all seeds: %llu\n", (unsigned long long)(s->fig.steps + s->step));
	fflush(stdout);
	exit(1);
}

/* ---- one seed ---- */

static void seed_rng(struct sim *s, uint64_t seed)
{
	for (int i = 0; i < 4; i++) { /* splitmix64 */
		uint64_t z = seed += 0x9e3779b97f4a7c15ull;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ z >> 27) * 0x94d049bb133111ebull;
		s->rng[i] = z ^ z >> 31;
	}
}

static void run_event(struct sim *s, struct event *e)
{
	s->step++;
	s->digest = (s->digest ^ s->now ^ (uint64_t)(e->host + 2) << 56) * 0x100000001b3ull;
	e->fn(s, e);
	event_free(s, e);
}

static bool event_void(struct sim *s, const struct event *e)
{
	return e->host >= 0 && e->life != UINT32_MAX && e->life != s->hosts[e->host].life;
}

/* One host's events that come together: the shell would reap them in one go. */
static void run_batch(struct sim *s, struct event *e)
{
	int host = e->host;
	struct host *h = host < 0 ? NULL : &s->hosts[host];

	if (!h || !h->node) {
		run_event(s, e);
		return;
	}
	host_begin(s, h);
	run_event(s, e);
	for (int n = 0; n < 16 && s->heap_count && s->heap[0]->host == host &&
	     s->heap[0]->at <= s->now + s->batch_us && !one_in(s, s->batch_ends); n++) {
		e = event_pop(s);
		if (event_void(s, e)) {
			event_free(s, e);
			continue;
		}
		if (e->at > s->now)
			s->now = e->at;
		run_event(s, e);
	}
	host_end(s, h);
}

/* A node's own timers, when they are due before the next event. */
static bool run_deadline(struct sim *s)
{
	struct host *due = NULL;
	uint64_t at = s->heap_count ? s->heap[0]->at : NEVER;

	for (int i = 0; i < HOSTS; i++)
		if (s->hosts[i].node && s->hosts[i].deadline < at) {
			due = &s->hosts[i];
			at = due->deadline;
		}
	if (!due)
		return false;
	if (at > s->now)
		s->now = at;
	s->step++;
	s->digest = (s->digest ^ s->now) * 0x100000001b3ull;
	host_begin(s, due);
	host_end(s, due);
	return true;
}

static void run_step(struct sim *s)
{
	struct event *e;

	if (run_deadline(s))
		return;
	e = event_pop(s);
	if (!e)
		violation(s, "nothing will ever happen again");
	if (event_void(s, e)) {
		event_free(s, e);
		return;
	}
	if (e->at > s->now)
		s->now = e->at;
	if (e->host >= 0 && s->hosts[e->host].frozen_until > s->now) { /* not scheduled: all of it comes late */
		event_again(s, e, s->hosts[e->host].frozen_until);
		return;
	}
	run_batch(s, e);
}

void run_seed(struct sim *s, uint64_t seed, uint64_t steps)
{
	s->seed = seed;
	s->step = s->now = s->order = 0;
	s->digest = 0xcbf29ce484222325ull;
	s->step_max = steps;
	seed_rng(s, seed);
	guest_reset(s);
	model_reset(s);
	s->model.op = s->model.twin_op = 0;
	world_start(s);
	while (s->step < steps)
		run_step(s);
	world_heal(s);
	while (s->phase != PHASE_DONE) {
		if (s->now - s->phase_since > 3 * HEAL_MS * 1000)
			violation(s, "nothing is broken any more, but the copies do not become equal");
		run_step(s);
	}
	world_clear(s);
	s->fig.steps += s->step;
	say(s, "seed %llu is done, digest %016llx", (unsigned long long)seed,
	    (unsigned long long)s->digest);
}

/* ---- all of them ---- */

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Of this process: what one core did. */
static double cpu_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct sim *sim_new(unsigned verbose, bool faults)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (!s) {
		fputs("sim: out of memory\n", stderr);
		exit(2);
	}
	s->verbose = verbose;
	s->faults = faults;
	return s;
}

void sim_free(struct sim *s)
{
	for (unsigned i = 0; i < CONNS_MAX; i++) {
		free(s->conns[i].end[0].out.buf);
		free(s->conns[i].end[1].out.buf);
	}
	pool_drain(s);
	free(s->hello);
	free(s->guests);
	free(s->flushes);
	free(s->compare);
	free(s);
}

static void print_figures(const struct sim *s, const struct args *a, uint64_t seeds, double took)
{
	const struct figures *f = &s->fig;
	double cpu = cpu_seconds();

	printf("sim: seeds %llu ... %llu, %llu steps, %llu commits, %llu crashes (%llu by power), %llu stops\n",
	       (unsigned long long)a->seed, (unsigned long long)(a->seed + seeds - 1),
	       (unsigned long long)f->steps, (unsigned long long)f->commits, (unsigned long long)f->crashes,
	       (unsigned long long)f->power_crashes, (unsigned long long)f->stops);
	printf("sim: %llu flushes (%llu refused), %llu failovers in %llu worlds, %llu healed, %llu links, %llu probes\n",
	       (unsigned long long)f->flushes, (unsigned long long)f->flush_errors,
	       (unsigned long long)f->failovers, (unsigned long long)f->worlds,
	       (unsigned long long)f->heals, (unsigned long long)(f->links / 2),
	       (unsigned long long)f->probes);
	printf("sim: %llu blocks compared by verify, no false difference\n", (unsigned long long)f->verified_blocks);
	printf("sim: %llu guest writes, %llu reads; the twin's: %llu writes, %llu reads; %.1f s, %.1f s of CPU, %.0f steps a CPU second, digest %016llx\n",
	       (unsigned long long)f->writes, (unsigned long long)f->reads,
	       (unsigned long long)f->twin_writes, (unsigned long long)f->twin_reads, took, cpu,
	       (double)f->steps / cpu, (unsigned long long)s->digest);
	fault_print(s);
}

static void run_seeds(const struct args *a)
{
	struct sim *s = sim_new(a->verbose, !a->bias);
	double start = seconds(), took;
	uint64_t n = 0;
	uint32_t missing;

	s->bias = a->bias;
	printf("sim: from seed %llu, %llu steps each\n", (unsigned long long)a->seed,
	       (unsigned long long)a->steps);
	fflush(stdout);
	while (n < a->seeds && !(a->seconds > 0 && n && seconds() - start > a->seconds))
		run_seed(s, a->seed + n++, a->steps);
	took = seconds() - start;
	print_figures(s, a, n, took);
	missing = n >= COVERAGE_SEEDS && !a->bias ? fault_missing(s) : 0;
	sim_free(s);
	if (missing)
		exit(1);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t v;

	errno = 0;
	v = strtoull(text, &end, 0);
	if (errno || end == text || *end) {
		fprintf(stderr, "sim: %s is no number\n", text);
		exit(2);
	}
	return v;
}

static void usage(void)
{
	fputs("usage: sim [--seeds N] [--steps N] [--seed S] [--time SECONDS]\n"
	      "           [--mutant NAME | --bias NAME | --mutants[=PROCESSES]] [-v [-v]]\n",
	      stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seeds", required_argument, NULL, 'n' }, { "steps", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'S' },  { "time", required_argument, NULL, 't' },
		{ "mutant", required_argument, NULL, 'm' }, { "mutants", optional_argument, NULL, 'M' },
		{ "bias", required_argument, NULL, 'b' },
		{ NULL, 0, NULL, 0 },
	};
	struct args a = { .seeds = 100, .steps = 10000, .seed = (uint64_t)time(NULL) * 1000 };
	bool bent = false;
	int c;

	while ((c = getopt_long(argc, argv, "v", options, NULL)) != -1) {
		switch (c) {
		case 'n': a.seeds = number(optarg); break;
		case 's': a.steps = number(optarg); break;
		case 'S': a.seed = number(optarg); break;
		case 't': a.seconds = (double)number(optarg); a.seeds = UINT64_MAX; break;
		case 'm': mutant = optarg; a.bias = bias_of_mutant(optarg); bent = true; break;
		case 'M': a.mutants = optarg ? (unsigned)number(optarg) : 2; break;
		case 'b': a.bias = bias_find(optarg); bent = true; break;
		case 'v': a.verbose++; break;
		default: usage();
		}
	}
	if (optind != argc || (bent && !a.bias))
		usage(); /* a name that does not exist must not look like a clean run */
	if (a.mutants)
		return mutants_run(a.seed, a.steps, a.mutants);
	run_seeds(&a);
	return 0;
}
