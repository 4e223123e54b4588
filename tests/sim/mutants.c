/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mutants: deliberate faults of the core (repl/mutant.h), each of which takes
 * one safety measure out. The oracle has to find every one; what survives is a
 * hole in the oracle. And the sound core has to be clean in the very worlds in
 * which they were found. Each runs in a process of its own, since a finding
 * ends it, over the same seeds until it is found or its steps are used up.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../repl/mutant.h"
#include "sim.h"

#define STEPS_LIMIT 10000000ull /* of one mutant, in all its worlds */
#define CLEAN_STEPS 600000ull   /* of the sound core under one bias, at least */
#define JOBS_MAX 16u
#define TEXT_MAX 4096u

const char *mutant;

static const struct bias biases[] = {
	{ .name = "plain" },
	/* Backups are promoted soon, and crash as promoted ones. */
	{ .name = "failovers", .chaos_ms = 80, .failover_percent = 60, .quiet = true, .flush_ms = 4,
	  .link_timeout_ms = 100, .guest_slow = 8, .crash_bias = 2000 },
	/* ... and more so, under load. */
	{ .name = "promoted", .chaos_ms = 30, .failover_percent = 40, .quiet = true, .flush_ms = 1,
	  .link_timeout_ms = 100, .crash_bias = 500 },
	/* Links come and go while commits do. */
	{ .name = "cuts", .chaos_ms = 60, .cut_percent = 60, .quiet = true, .flush_ms = 8,
	  .link_timeout_ms = 100, .guest_slow = 10 },
	/* ... within their sync. */
	{ .name = "early-cuts", .chaos_ms = 60, .cut_percent = 30, .early_percent = 50, .quiet = true,
	  .flush_ms = 30, .link_timeout_ms = 100, .guest_slow = 30 },
	/* ... with a toolstack that prepares, and orders what becomes of it behind the cut. */
	{ .name = "prepares", .chaos_ms = 25, .cut_percent = 60, .quiet = true, .flush_ms = 8, .prepares = true,
	  .link_timeout_ms = 100, .guest_slow = 4 },
	/* ... and power fails behind it. */
	{ .name = "prepare-cuts", .chaos_ms = 25, .cut_percent = 60, .quiet = true, .flush_ms = 6, .prepares = true,
	  .link_timeout_ms = 100, .guest_slow = 8, .crash_bias = 400 },
	/* The roles are swapped, under load, and power fails meanwhile. */
	{ .name = "switches", .chaos_ms = 60, .switch_percent = 70, .quiet = true, .flush_ms = 20,
	  .link_timeout_ms = 100, .guest_slow = 2, .crash_bias = 1000 },
	/* Backups are promoted, the old primaries come back. */
	{ .name = "returns", .chaos_ms = 250, .failover_percent = 80, .returns = true, .quiet = true, .flush_ms = 30,
	  .link_timeout_ms = 100, .guest_slow = 4, .crash_bias = 4000 },
	/* ... and their power fails while they do. */
	{ .name = "return-crashes", .chaos_ms = 120, .failover_percent = 80, .returns = true, .quiet = true, .flush_ms = 15,
	  .link_timeout_ms = 100, .guest_slow = 4, .crash_bias = 800 },
	/* A backup's copy is discarded while its journal is full of epochs. */
	{ .name = "discards", .chaos_ms = 30, .discard_percent = 30, .cut_percent = 30, .quiet = true, .flush_ms = 2,
	  .link_timeout_ms = 100, .crash_bias = 500 },
	/* A link that carries little: the guests' writes wait for it. */
	{ .name = "stalls", .chaos_ms = 30, .stall_percent = 60, .quiet = true, .flush_ms = 8,
	  .link_timeout_ms = 100, .guest_slow = 2 },
	/* Power fails at the worst moments. */
	{ .name = "crashes", .crash_bias = 400, .flush_ms = 4, .link_timeout_ms = 100, .guest_slow = 8 },
	/* The backup's does, and comes back. */
	{ .name = "backups", .chaos_ms = 30, .backup_percent = 50, .quiet = true, .flush_ms = 4,
	  .link_timeout_ms = 100, .guest_slow = 8, .crash_bias = 1000 },
	/* The primary is silent for longer than link-timeout, again and again. */
	{ .name = "silence", .chaos_ms = 200, .stall_percent = 20, .primary_percent = 50, .quiet = true, .flush_ms = 4,
	  .link_timeout_ms = 100, .guest_slow = 20, .crash_bias = 4000 },
	/* The copies are compared all the time, bytes flip. */
	{ .name = "compares", .chaos_ms = 60, .cut_percent = 10, .stall_percent = 30, .compares = true, .quiet = true,
	  .flush_ms = 8, .link_timeout_ms = 100, .guest_slow = 2 },
	/* ... over journals that are full again and again. */
	{ .name = "full", .chaos_ms = 400, .stall_percent = 20, .compares = true, .tight = true, .quiet = true,
	  .flush_ms = 1000 },
	/* Resyncs in-place, again and again, cut and crashed into. */
	{ .name = "parts", .chaos_ms = 40, .cut_percent = 40, .primary_percent = 20, .backup_percent = 20, .compares = true,
	  .in_place = true, .quiet = true, .flush_ms = 20, .link_timeout_ms = 100, .guest_slow = 2, .crash_bias = 1000 },
	/* Epochs of many batches, power fails at their end. */
	{ .name = "long-epochs", .crash_bias = 300, .chaos_ms = 300, .flush_ms = 60, .link_timeout_ms = 100 },
};

/*
 * invariant: the first one of the design's section 9 that it breaks.
 * steps: how many it took to find, measured with seed 1 when the row was made: what is normal.
 */
static const struct mutant {
	const char *name, *bias;
	unsigned invariant, steps;
	const char *fault;
} mutants[] = {
	/* A commit on the backup. */
	{ "no-commit-fdatasync", "crashes", 1, 1563,
	  "DONE, though the journal was never fdatasynced" },
	{ "ack-before-fsync", "crashes", 1, 190475,
	  "DONE when the commit record is appended, before the journal's fdatasync" },
	{ "ack-out-of-order", "crashes", 1, 55616,
	  "a batch counts as written while older ones are still on their way" },
	{ "commit-before-data", "crashes", 1, 1077,
	  "a first sync's commit record does not wait for the files' writes and fdatasync" },
	{ "first-sync-cut", "plain", 3, 1765,
	  "frames behind a first sync's COMMIT go to the file that it makes visible" },
	{ "cut-folded", "plain", 3, 1729,
	  "frames behind COMMIT enter the epoch that is being committed" },
	{ "tail-too-far", "crashes", 1, 6494,
	  "destage moves the journal's tail past the epoch being received" },
	/* What its guest reads. */
	{ "old-seal-wins", "plain", 3, 2028,
	  "reads search the sealed epochs oldest first" },
	{ "stale-after-commit", "plain", 3, 1715,
	  "the overlay is dropped, but reads miss the epoch just committed" },
	{ "overlay-kept", "plain", 3, 1977,
	  "the overlay outlives the commit" },
	{ "read-no-version", "stalls", 3, 171424,
	  "destage does not wait for reads begun before the epoch's commit" },
	{ "shrink-not-zeroed", "crashes", 3, 66867,
	  "what a smaller size cut off is there again when the image grows" },
	{ "merge-loses-size", "backups", 3, 40514,
	  "two sealed epochs merged keep the older one's size" },
	/* Destage. */
	{ "no-destage-fdatasync", "crashes", 2, 2052,
	  "the journal's records are freed before the images are durable" },
	{ "no-destage-dirsync", "crashes", 2, 40020,
	  "... before their names are" },
	{ "destage-no-zeroes", "plain", 3, 3193,
	  "zeroes and discards are not applied to the image" },
	/* Recovery. */
	{ "no-incarnation", "crashes", 2, 343914,
	  "records of an older life of the journal are believed" },
	{ "recover-no-checksum", "crashes", 2, 351510,
	  "a torn batch is believed" },
	{ "recover-unfinished", "crashes", 2, 15238,
	  "an epoch without its commit record is kept" },
	{ "recover-behind-break", "long-epochs", 2, 355742,
	  "records behind a break are taken, the commit record's set is not checked" },
	/* The primary. */
	{ "no-primary-fdatasync", "crashes", 1, 770,
	  "done, though the primary's own images were not fdatasynced" },
	{ "no-range-claim", "plain", 1, 219,
	  "overlapping writes are not ordered" },
	{ "zero-not-sent", "plain", 1, 1698,
	  "a discard is not mirrored" },
	{ "cut-while-missing", "stalls", 1, 73051,
	  "a cut does not wait for what found no room in the link" },
	{ "one-dirty-set", "cuts", 1, 13220,
	  "DONE drops what the next epoch wrote, too" },
	{ "doubt-set-lost", "cuts", 1, 13220,
	  "a lost link forgets what the epoch wrote whose DONE is outstanding" },
	{ "delta-without-sets", "crashes", 1, 218293,
	  "a restarted primary sends a delta although it kept no sets" },
	{ "sync-cut-forgotten", "early-cuts", 1, 756909,
	  "a lost link forgets what the sync had under way" },
	{ "sync-claims-elsewhere", "early-cuts", 1, 9330,
	  "the sync reads without the claim: older data behind newer in the stream" },
	{ "kept-forgotten", "cuts", 2, 344521,
	  "recovery drops what a cut session sent and the next one's epoch took in" },
	{ "kept-equal-forgotten", "early-cuts", 1, 1623692,
	  "the primary takes for settled what compared equal to what its peer had not committed" },
	{ "kept-with-names", "cuts", 3, 21164,
	  "an epoch that holds sizes and names is kept over a cut" },
	{ "resync-not-read-anew", "crashes", 1, 611,
	  "a block that compared unequal is sent as it was when it was hashed" },
	/* What compares the copies. */
	{ "verify-claims-elsewhere", "compares", 1, 27387,
	  "verify reads without the claim: it finds differences where there are none" },
	{ "verify-while-missing", "compares", 1, 192188,
	  "... where writes that found no room in the link are known to be missing" },
	{ "hash-of-committed", "compares", 1, 14819,
	  "the backup compares with its committed epoch, not with the stream at the query's place" },
	{ "resync-knows-no-difference", "compares", 1, 74586,
	  "resync does not send what verify found" },
	{ "resync-answered-early", "compares", 1, 138333,
	  "a resync ordered behind the cut that ends another one is done with it" },
	{ "refused-query-waits", "full", 4, 1982005,
	  "a resync and a verify wait for answers that went with a refused epoch" },
	/* An option. */
	{ "suspend-fsync-alone", "plain", 1, 270257,
	  "with suspend an fsync counts this node's disk alone while the peer is away" },
	/* Two-phase commit. */
	{ "prepared-taken", "prepares", 1, 167,
	  "a backup takes the epoch when it is prepared" },
	{ "abort-not-merged", "prepares", 3, 6427,
	  "the backup drops what was aborted, which belongs to the next epoch" },
	{ "abort-set-lost", "prepares", 1, 132644,
	  "the primary forgets what an aborted epoch wrote" },
	{ "settled-table-kept", "prepares", 3, 3250285,
	  "the sync compares names and sizes as they were before the prepared epoch was taken" },
	/* The activity map. */
	{ "activity-after-write", "crashes", 1, 303882,
	  "an image write begins before its mark is durable" },
	{ "activity-no-fdatasync", "crashes", 1, 33020,
	  "... before the map with its mark is durable: written is taken for that" },
	{ "activity-cleared-early", "crashes", 1, 194671,
	  "marks go when their epoch is cut, not when it is committed" },
	{ "activity-forgotten-in-restore", "crashes", 1, 221,
	  "what the map names is not compared after a crash" },
	/* Failover. */
	{ "failover-uncommitted", "failovers", 2, 8975,
	  "the promoted node keeps the unfinished epoch" },
	{ "failover-no-fdatasync", "failovers", 2, 48201,
	  "the overlay is taken before it is durable" },
	{ "promoted-write-straight", "promoted", 2, 29260,
	  "a promoted node's writes go to the images before the journal is drained" },
	{ "start-unasked", "failovers", 6, 23085,
	  "a restarted primary serves before it has asked its peer" },
	{ "failover-while-peer-lives", "silence", 6, 306082,
	  "a backup promotes itself although its primary was heard while the fence command ran" },
	{ "promoted-fsync-lies", "promoted", 2, 1571831,
	  "its guest's fsync does not wait for the journal" },
	/* Roles that change. */
	{ "switch-unflushed", "switches", 1, 1362,
	  "a switchover swaps the roles without the flush before" },
	{ "switch-told-early", "switches", 6, 46581,
	  "the peer is told to be the primary before this node is durably none" },
	{ "local-set-lost", "switches", 1, 5334,
	  "a delta lacks what the new primary wrote before its journal was drained" },
	{ "rejoin-delta", "returns", 1, 29455,
	  "an old primary gets a delta although one of the two sets is not known" },
	{ "start-state-first", "return-crashes", 6, 1424418,
	  "what a start recovered is in the state before it is durable in the journal" },
	{ "own-unsaid", "returns", 1, 24680,
	  "an old primary does not say where it wrote, although its peer counts on it" },
	{ "own-forgotten", "returns", 1, 189835,
	  "... after a restart" },
	{ "rejoin-served", "returns", 6, 11888,
	  "a copy that is not level yet is served" },
	/* Parts of a resync in-place. */
	{ "part-unsaid", "parts", 3, 11364,
	  "the backup takes a part for an epoch" },
	{ "part-forgotten", "parts", 3, 9713,
	  "... when it starts again" },
	{ "part-ends-first-sync", "parts", 3, 4299352,
	  "a part makes images consistent whose first sync has not ended" },
	{ "part-answers-flush", "parts", 1, 7198,
	  "a flush is answered by a part" },
	{ "discard-forgotten", "discards", 6, 77169,
	  "after a crash an epoch from before discard-local makes the copy level" },
};

#define MUTANTS (sizeof(mutants) / sizeof(mutants[0]))
#define BIASES (sizeof(biases) / sizeof(biases[0]))

/* ---- biases ---- */

const struct bias *bias_find(const char *name)
{
	for (unsigned i = 0; i < BIASES; i++)
		if (!strcmp(biases[i].name, name))
			return &biases[i];
	return NULL;
}

const struct bias *bias_of_mutant(const char *name)
{
	for (unsigned i = 0; i < MUTANTS; i++)
		if (!strcmp(mutants[i].name, name))
			return bias_find(mutants[i].bias);
	return NULL;
}

void bias_world(struct sim *s)
{
	const struct bias *b = s->bias;

	if (b && b->chaos_ms)
		s->chaos_us = b->chaos_ms * 1000ull;
	if (b && b->flush_ms)
		s->flush_us = b->flush_ms * 1000ull;
	if (b && b->link_timeout_ms)
		s->link_timeout_ms = b->link_timeout_ms;
	if (b && b->crash_bias)
		s->crash_bias = b->crash_bias;
	if (b && b->in_place) {
		s->part_bytes = 512;
		s->activity_ms = 1;
	}
	if (b && b->tight) {
		s->segment_size = 256u << 10;
		s->journal_size = 12 * s->segment_size;
		s->commit_ms = 0;
	}
}

uint64_t bias_guest(const struct sim *s)
{
	return s->bias && s->bias->guest_slow ? s->bias->guest_slow : 1;
}

static void cut(struct sim *s, struct event *e)
{
	(void)e;
	if (world_faulty(s))
		wire_cut_all(s);
}

void bias_session(struct sim *s)
{
	if (s->bias && s->bias->early_percent && rnd_below(s, 100) < s->bias->early_percent)
		event_add(s, rnd_below(s, 8 * s->wire_us + 20 * s->hosts[0].disk.speed_us), -1, cut);
}

/* ---- processes ---- */

/* One mutant (or NULL: the sound core) under one bias, in its own process. */
struct job {
	const char *mutant;
	const struct bias *bias;
	uint64_t limit;      /* steps */
	pid_t pid;
	FILE *out;
	double started, took;
	int status;
	uint64_t seeds, steps;
	char text[TEXT_MAX]; /* what it printed */
};

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void job_run(const struct job *j, uint64_t seed, uint64_t steps)
{
	struct sim *s = sim_new(0, false);
	uint64_t n = 0;

	mutant = j->mutant;
	s->bias = j->bias;
	while (s->fig.steps < j->limit)
		run_seed(s, seed + n++, steps);
	printf("clean, seeds: %llu\nsteps of all seeds: %llu\n", (unsigned long long)n,
	       (unsigned long long)s->fig.steps);
	sim_free(s);
}

static void job_start(struct job *j, uint64_t seed, uint64_t steps)
{
	fflush(NULL);
	j->started = seconds();
	j->out = tmpfile();
	j->pid = j->out ? fork() : -1;
	if (j->pid < 0) {
		perror("sim: starting a process");
		exit(2);
	}
	if (j->pid)
		return;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || dup2(fileno(j->out), 1) < 0)
		_exit(2);
	job_run(j, seed, steps);
	fflush(stdout);
	_exit(0);
}

/* The number behind a word of what it printed; 0: it is not there. */
static uint64_t printed(const struct job *j, const char *word)
{
	const char *at = strstr(j->text, word);

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static void job_end(struct job *j, int status, uint64_t seed)
{
	j->status = status;
	j->took = seconds() - j->started;
	rewind(j->out);
	j->text[fread(j->text, 1, sizeof(j->text) - 1, j->out)] = 0;
	fclose(j->out);
	j->steps = printed(j, "steps of all seeds: ");
	j->seeds = printed(j, "clean, seeds: ");
	if (strstr(j->text, "VIOLATION"))
		j->seeds = printed(j, "VIOLATION seed ") - seed + 1;
}

/* All of them, some at once, each reported as it ends. */
static void jobs_run(struct job *jobs, unsigned count, unsigned at_once, uint64_t seed, uint64_t steps,
                     void (*report)(const struct job *j))
{
	unsigned begun = 0, ended = 0;

	while (ended < count) {
		int status;
		pid_t pid;

		while (begun < count && begun - ended < at_once)
			job_start(&jobs[begun++], seed, steps);
		pid = wait(&status);
		if (pid < 0 && errno != EINTR) {
			perror("sim: wait");
			exit(2);
		}
		for (unsigned i = 0; i < begun; i++)
			if (pid > 0 && jobs[i].pid == pid) {
				job_end(&jobs[i], status, seed);
				report(&jobs[i]);
				ended++;
			}
	}
}

/* ---- verdicts ---- */

static bool found(const struct job *j)
{
	return WIFEXITED(j->status) && WEXITSTATUS(j->status) == 1 && j->steps && j->steps <= STEPS_LIMIT;
}

static bool clean(const struct job *j)
{
	return WIFEXITED(j->status) && !WEXITSTATUS(j->status) && j->steps >= j->limit;
}

static const struct mutant *mutant_of(const struct job *j)
{
	for (unsigned i = 0; i < MUTANTS; i++)
		if (!strcmp(mutants[i].name, j->mutant))
			return &mutants[i];
	return NULL;
}

/* How the oracle put it, without the seed: the rest of that line. */
static int finding(const struct job *j, const char **text)
{
	*text = strstr(j->text, " ms: ");
	if (!*text)
		return 0;
	*text += 5;
	return (int)strcspn(*text, "\n");
}

static void report_mutant(const struct job *j)
{
	const struct mutant *m = mutant_of(j);
	const char *text;
	int len = finding(j, &text);

	printf("%-8s %-24s %9llu steps %5.1f s, %s; breaks %u: %s (%u once)\n", found(j) ? "found" : "SURVIVED",
	       m->name, (unsigned long long)j->steps, j->took, m->bias, m->invariant, m->fault, m->steps);
	if (found(j))
		printf("         %.*s\n", len < 160 ? len : 160, text);
	else if (WIFSIGNALED(j->status))
		printf("         it ended by signal %d, which is no finding\n%s", WTERMSIG(j->status), j->text);
}

static void report_clean(const struct job *j)
{
	printf("%-8s no mutant, bias %-11s %9llu steps %5.1f s, %llu seeds\n", clean(j) ? "clean" : "VIOLATED",
	       j->bias->name, (unsigned long long)j->steps, j->took, (unsigned long long)j->seeds);
	if (!clean(j))
		printf("%s\n", j->text);
}

/* The sound core under each bias that is used, over all the seeds that its mutants needed, and more. */
static unsigned clean_jobs(struct job *jobs, const struct job *done)
{
	unsigned count = 0;

	for (unsigned b = 0; b < BIASES; b++) {
		struct job j = { .bias = &biases[b] };

		for (unsigned i = 0; i < MUTANTS; i++)
			if (done[i].bias == j.bias && done[i].steps >= j.limit)
				j.limit = done[i].steps > CLEAN_STEPS ? done[i].steps : CLEAN_STEPS;
		if (j.limit)
			jobs[count++] = j;
	}
	return count;
}

int mutants_run(uint64_t seed, uint64_t steps, unsigned at_once)
{
	static struct job jobs[MUTANTS], sound[BIASES];
	const struct job *slowest = &jobs[0];
	unsigned good = 0, clean_count, clean_good = 0;
	uint64_t clean_steps = 0;

	if (at_once < 1 || at_once > JOBS_MAX)
		at_once = JOBS_MAX;
	for (unsigned i = 0; i < MUTANTS; i++)
		jobs[i] = (struct job){ .mutant = mutants[i].name, .bias = bias_find(mutants[i].bias),
		                        .limit = STEPS_LIMIT };
	jobs_run(jobs, MUTANTS, at_once, seed, steps, report_mutant);
	clean_count = clean_jobs(sound, jobs);
	jobs_run(sound, clean_count, at_once, seed, steps, report_clean);
	for (unsigned i = 0; i < MUTANTS; i++) {
		good += found(&jobs[i]);
		if (jobs[i].steps > slowest->steps)
			slowest = &jobs[i];
	}
	for (unsigned i = 0; i < clean_count; i++) {
		clean_good += clean(&sound[i]);
		clean_steps += sound[i].steps;
	}
	printf("sim: %u of %zu mutants found, the slowest after %llu steps (%s); the sound core is clean under %u of %u "
	       "biases, %llu steps\n", good, MUTANTS, (unsigned long long)slowest->steps, slowest->mutant, clean_good,
	       clean_count, (unsigned long long)clean_steps);
	return good == MUTANTS && clean_good == clean_count ? 0 : 1;
}
