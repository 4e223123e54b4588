/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The simulator: two nodes of the real core (repl/) over disks that lose, tear
 * and reorder, and a network that cuts, stalls and chops; all of it from one
 * seed, on one thread, in virtual time. A step is one event. What it finds
 * replays from the same seed and the same build. disk.h and model.h are part
 * of this header.
 *
 * event.c  time, the queue of events, random numbers, memory pools
 * disk.c   one host's disk: env_ops' files, and what a crash leaves of them;
 * file.c   the contents of one of its files
 * fault.c  which of its requests fail, and how; what happened, counted
 * wire.c   connections between the hosts: env_ops' links
 * host.c   a host's life: start, crash, stop; the env_ops that join the parts
 * stamp.c  units of content and the stamps in them
 * model.c  what must be true: contents by stamp, epochs' cuts, floors
 * guest.c  load: the primary's guest
 * twin.c   and the backup's
 * probe.c  reading all of a node that has just started
 * check.c  the oracle: can what was read be true?
 * world.c  the scenario: a world's settings, starts, stops, flushes
 * chaos.c  what goes wrong when: crashes, cuts, clocks
 * takeover.c  failovers
 * fence.c  failovers by themselves
 * roles.c  switchovers, discard-local, old primaries that come back
 * compare.c verify, resync, set, at any time, and interrupted
 * flip.c   bytes that flip behind the core's back, found and mended
 * heal.c   its end: no more faults, progress is demanded
 * memory.c malloc() and its kin for all of this, in place of libc's
 * mutants.c  deliberate faults of the core, each of which must be found
 * sim.c    main(): seeds, figures
 */
#ifndef COLOFS_TESTS_SIM_H
#define COLOFS_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../repl/env.h"
#include "../../repl/node.h"
#include "disk.h"
#include "happen.h"
#include "model.h"

#define SECTOR 512u
#define PAGE 4096u
#define HOSTS 2
#define CONNS_MAX 32
#define FLUSHES_MAX 4u /* the last one is heal.c's */
#define POOL_CLASSES 18    /* 64 bytes ... 8 MiB */
#define NEVER UINT64_MAX

struct sim;
struct host;

/* ---- event.c ---- */

struct event {
	uint64_t at, order; /* us; ties go by order */
	void (*fn)(struct sim *s, struct event *e);
	int host;           /* whose batch it belongs to; -1: the world's */
	uint32_t life;      /* void once the host's life is another one */
	uint64_t arg, arg2;
	void *ptr;
	struct event *free_next;
};

struct pool_free {
	struct pool_free *next;
};

uint64_t rnd(struct sim *s);
/* 0 ... n-1; n > 0 */
uint64_t rnd_below(struct sim *s, uint64_t n);
/* true once in n times */
bool one_in(struct sim *s, uint64_t n);
/* us, mostly near base, now and then much longer */
uint64_t rnd_delay(struct sim *s, uint64_t base);
struct event *event_add(struct sim *s, uint64_t delay_us, int host,
                        void (*fn)(struct sim *s, struct event *e));
/* One that was popped, later. */
void event_again(struct sim *s, struct event *e, uint64_t at);
struct event *event_pop(struct sim *s);
void event_free(struct sim *s, struct event *e);
void event_clear(struct sim *s);
/* Pooled memory, not cleared; size at most 8 MiB. */
void *pool_get(struct sim *s, size_t size);
void pool_put(struct sim *s, void *p, size_t size);
/* Given back only with all the rest. */
void *pool_more(struct sim *s, size_t size);
void pool_drain(struct sim *s);

/* ---- fault.c ---- */

/* Whether this request fails, and how: 0, or -errno; then *part says how much of it, in 1/16, is done all the same. */
int fault_of(struct sim *s, struct host *h, const struct io *io, unsigned *part);
void happened(struct sim *s, enum happening what);
void fault_print(const struct sim *s);
/* Kinds that never happened, each said. */
uint32_t fault_missing(const struct sim *s);

/* ---- wire.c ---- */

struct stream {
	uint8_t *buf;
	size_t head, len, cap;
	bool pumping;
};

struct conn_end {
	int host;
	int link;       /* -1: the node does not know of it (any more) */
	uint32_t life;
	bool opened;    /* node_link_opened() was called */
	bool done;      /* closed by the node, or told that it is closed, or gone with its life */
	struct stream out;
};

struct conn {
	bool used, cut;
	uint32_t gen;
	uint64_t stalled_until[2]; /* us; by sender */
	bool bytewise;          /* arrives byte by byte, mostly */
	bool ghost;             /* end 0 is no node: an old process's last words */
	struct conn_end end[2]; /* 0 dialled */
};

void wire_tx(struct sim *s, struct host *h, int link, const struct iovec *iov, int count);
size_t wire_room(struct sim *s, struct host *h, int link);
void wire_close(struct sim *s, struct host *h, int link);
void wire_dial(struct sim *s, struct host *h);
bool wire_up(const struct sim *s); /* some connection stands */
void wire_cut_all(struct sim *s);
/* from: the host whose words stall; -1: both. */
void wire_stall(struct sim *s, uint64_t us, int from);
/* A second connection of the dialling node's id reaches the listener. */
void wire_ghost(struct sim *s);
/* The host's process is gone; loud: the kernel tells the peers. */
void wire_host_gone(struct sim *s, struct host *h, bool loud);
void wire_clear(struct sim *s);

/* ---- host.c ---- */

enum host_state { HOST_DOWN, HOST_STARTING, HOST_UP, HOST_STOPPING };

struct flush; /* one flush command, world.c */

struct host {
	struct env env; /* first: env_ops get back to the host */
	struct sim *sim;
	int index;
	enum host_state state;
	uint32_t life;
	struct node *node;
	struct disk disk;
	uint64_t deadline; /* us */
	int role;          /* enum node_role to start with, -1 as the disk remembers */
	bool start_alone;  /* the next start asks nobody */
	bool may_be_promoted; /* a fence command of its said so: its disk knows the role */
	bool fence_hangs;
	bool crash_soon;   /* one is scheduled */
	bool restarting;   /* so is a start */
	bool probed;       /* the model knows what it holds */
	uint64_t start_clock; /* the model's */
	bool faulted;      /* a request failed in this life */
	bool sick;         /* an fdatasync failed in this life */
	uint64_t fault_us; /* the last time that one did */
	uint64_t frozen_since, frozen_until; /* us */
	struct command_req order; /* chaos.c */
	bool ordering;
	int64_t wall_ms;   /* its clock is off by this */
	bool stop_failed;  /* the stop said so */
	bool stuck;        /* it does not start, or cannot be read: its operator starts it again */
	bool lossy;        /* a failed fdatasync lost some of what its last life was told is written */
	bool power_lost;   /* its last life ended that way: what was not synced may be lost */
	struct {
		struct conn *conn;
		int end;
	} links[LINKS_MAX];
	uint64_t current, committed; /* as polled: see host_poll() */
	uint64_t last_start;
	bool stale;        /* roles.c: not level with the primary; until an epoch behind stale_epoch */
	bool in_place;     /* ... for a resync in-place */
	bool returned;     /* an old primary, with the disk it had */
	bool denied;       /* its start was refused: the next one asks nobody */
	bool discarding, discarded, operated, switching;
	struct command_req switchover;
	uint64_t stale_epoch;
};

/* us that it was not scheduled since then. */
uint64_t host_frozen(const struct host *h, uint64_t since_us);
void host_start(struct sim *s, struct host *h);
void host_crash(struct sim *s, struct host *h, bool power);
void host_stop(struct sim *s, struct host *h);
/* Its process ends; it was stopped, or the world ends. */
void host_finish(struct sim *s, struct host *h);
/* Within a batch for h: between node_time() and node_batch_end(). */
void host_begin(struct sim *s, struct host *h);
void host_end(struct sim *s, struct host *h);
/* Look at the node's epochs; tells the model of cuts and commits. */
void host_poll(struct sim *s, struct host *h);
bool host_protected(struct host *h);
bool host_failed(struct host *h);
bool host_is_primary(struct host *h);

/* ---- guest.c ---- */

struct guests;
void guest_reset(struct sim *s);
/* The host's guest lost its host: every request in flight is void. */
void guest_gone(struct sim *s, struct host *h);
/* Read everything, then call fn. */
void guest_probe(struct sim *s, struct host *h,
                 void (*fn)(struct sim *s, struct host *h, struct probe_image *img, uint32_t count));
/* Let the load run on h as the primary's guest, or as the twin's. */
void guest_run(struct sim *s, struct host *h, bool on);
/* Its image request fails: see struct pending_op. */
void guest_io_failed(struct sim *s, const struct io *io);
uint32_t guest_inflight(struct sim *s, struct host *h);
bool guest_probing(struct sim *s, struct host *h);
void guest_pending(struct sim *s, struct cut *c);
/* The primary's guest writes one unit anew. */
void guest_rewrite(struct sim *s, struct host *h, uint64_t image, uint32_t unit);

/* ---- twophase.c ---- */

/* The checkpoint that the toolstack is preparing. */
struct prepare {
	unsigned state;
	struct host *host;
	uint32_t life;
	uint64_t epoch, clock;
	uint64_t since, due;  /* us: ordered or prepared; it will be settled */
	bool sure;            /* it is prepared; false: its answer was lost */
	bool commit, ordered; /* what becomes of it; that was said */
	bool again;           /* settled, and to be asked once more: */
	int answer;
	struct command_req req;
};

void prepare_start(struct sim *s);
/* The epoch that a failover with keep-prepared takes, should the primary die now; 0: none is certain. */
uint64_t prepare_held(struct sim *s);

/* ---- compare.c ---- */

struct compare;
struct order;

void compare_start(struct sim *s);
/* A node said something; h sends a frame. */
void compare_log(struct sim *s, struct host *h, const char *text);
void compare_frame(struct sim *s, struct host *h, unsigned type, uint64_t image, uint64_t off, uint64_t len);
/* A command is not answered yet, or a byte that flipped is not mended. */
bool compare_pending(struct sim *s);
/* Nothing else may go wrong now. */
bool compare_calm(const struct sim *s);
void compare_verify_all(struct sim *s, struct host *h);
void compare_resync(struct sim *s, struct host *h, struct order *o, bool full);

/* ---- world.c ---- */

enum phase {
	PHASE_RUN,      /* faults and load */
	PHASE_FAILOVER, /* the primary is dead, its peer is promoted */
	PHASE_PROMOTED, /* load on the promoted one, crashes */
	PHASE_SWITCH,   /* no load: the roles are being swapped */
	PHASE_DONE,
};

#define HEAL_MS 60000ull /* from the healing to protection */

void world_start(struct sim *s);
void world_ready(struct sim *s, struct host *h);
/* It was refused its start: can that be right? */
bool world_refused(struct sim *s, struct host *h, int error);
void world_stopped(struct sim *s, struct host *h);
/* A sensitive moment on h: now and then a crash follows soon. weight: larger is likelier. */
void world_moment(struct sim *s, struct host *h, uint64_t soon_us, uint32_t weight);
void world_heal(struct sim *s);
/* h's node is no more: commands to it are void. */
void world_gone(struct sim *s, struct host *h);
bool world_faulty(const struct sim *s);
/* chaos.c, takeover.c */
void chaos_start(struct sim *s);
void takeover_begin(struct sim *s);
/* h is promoted: read it, once nothing is in flight there. */
void takeover_watch(struct sim *s, struct host *h);
/* fence.c: env_ops' fence() and fence_kill(); is h promoted by itself? */
int fence_begin(struct sim *s, struct host *h);
void fence_end(struct sim *s, struct host *h);
void fence_poll(struct sim *s, struct host *h);
/* The old primary, its disk as it was, has started: it may not. */
void takeover_old_ready(struct sim *s, struct host *h);
void world_clear(struct sim *s);

/* ---- mutants.c ---- */

/* How the generator of worlds is bent, so that a rare situation comes often. 0: as it is. */
struct bias {
	const char *name;
	uint32_t chaos_ms;         /* between two faults; then each is, in this many of 100: */
	uint32_t failover_percent; /* the primary dies for good */
	uint32_t switch_percent;   /* the roles are swapped */
	uint32_t discard_percent;  /* the backup's copy is discarded, if its link is down */
	uint32_t cut_percent;      /* all links are cut */
	uint32_t stall_percent;    /* all links stall */
	uint32_t primary_percent, backup_percent; /* that host crashes */
	bool returns;              /* old primaries come back with their disks, always */
	uint32_t early_percent;    /* of the sessions: their link is cut soon, mostly within their sync */
	uint32_t guest_slow;       /* guests do so many times less */
	bool prepares;             /* a toolstack in every world */
	bool tight;                /* journals as small as an epoch; guests that leave names and sizes as they are */
	bool compares;             /* an operator who compares the copies, in every world */
	bool in_place;             /* ... and resyncs in-place */
	bool quiet;                /* else nothing, and not what chaos() chooses */
	uint32_t flush_ms, link_timeout_ms;
	uint32_t crash_bias;       /* smaller: more crashes at bad moments */
};

/* NULL: there is none of that name. */
const struct bias *bias_find(const char *name);
/* The one of a mutant; NULL: none. */
const struct bias *bias_of_mutant(const char *name);
/* Bends a world that was just drawn. */
void bias_world(struct sim *s);
/* How many times slower guests are. */
uint64_t bias_guest(const struct sim *s);
/* A session begins. */
void bias_session(struct sim *s);
/* Each mutant in a process of its own, from this seed on; then the sound core under the same biases. 0: all mutants were
 * found and the sound core is clean; 1. jobs: processes at once. */
int mutants_run(uint64_t seed, uint64_t steps, unsigned jobs);

/* ---- roles.c ---- */

/* Looks at a copy that is not level. True: it still is not. */
bool roles_poll(struct sim *s, struct host *h, uint64_t committed);
void roles_switch_poll(struct sim *s, struct host *h);

/* ---- sim.c ---- */

struct figures {
	uint64_t steps, commits, crashes, power_crashes, flushes, flush_errors, failovers, worlds, heals;
	uint64_t reads, writes, twin_reads, twin_writes, links, probes, stops, verified_blocks;
	uint64_t happened[HAPPENINGS_COUNT];
};

struct sim {
	uint64_t seed, rng[4];
	uint64_t now;        /* us, virtual */
	uint64_t step, step_max;
	uint64_t digest;     /* of all events: the same seed gives the same one */
	unsigned verbose;    /* 1: what happens; 2: every disk request too */
	bool faults;         /* disks fail, in some worlds */
	uint64_t fault_rate[HOSTS]; /* one request in so many fails; 0: none */
	bool fsync_faults;   /* fdatasyncs too */
	const struct bias *bias; /* mutants.c; NULL: none */
	/* event.c */
	struct event **heap;
	uint32_t heap_count, heap_cap;
	uint64_t order;
	struct event *event_pool;
	struct pool_free *pools[POOL_CLASSES];
	struct page *free_pages; /* file.c */
	struct pool_free *chunks; /* all memory of the pools */
	uint8_t *chunk; /* not handed out yet */
	size_t chunk_left;
	/* the rest */
	struct host hosts[HOSTS];
	struct conn conns[CONNS_MAX];
	size_t send_limit;   /* bytes */
	uint64_t batch_us, batch_ends; /* what comes so close is one batch, which ends once in so many times */
	uint64_t wire_us;
	bool partitioned;
	bool auto_failover;  /* on-peer-loss=failover */
	struct model model;
	struct guests *guests;
	int primary;         /* index of the host whose guest writes */
	enum phase phase;
	bool healing;        /* no more faults: progress is demanded */
	uint64_t phase_since; /* us */
	struct flush *flushes; /* FLUSHES_MAX */
	struct command_req failover;
	uint32_t switch_lives[HOSTS], switch_asked_life;
	bool switch_answered, switch_half, switch_asked;
	uint32_t failover_life;
	uint64_t fenced_us;  /* the old primary said so; 0: not yet */
	bool failover_force, failover_live, failover_drop, failover_keep;
	bool failover_in_flight; /* guests' requests that began before it ended behind it */
	uint64_t failover_held; /* prepared when the primary died; 0: none */
	struct prepare prepare;
	struct compare *compare;
	uint64_t failover_epoch; /* 0: not given; NEVER: the right one; else so much too high */
	uint8_t *hello;      /* what the dialling node says first: the last one, for ghosts */
	size_t hello_len;
	uint64_t chaos_us, flush_us, compare_us;
	uint64_t link_timeout_ms, flush_timeout_ms, journal_size, overlay_size, segment_size;
	uint32_t commit_ms, peer_wait_ms;
	bool suspend, commit_fsync, catch_up; /* on-link-loss, commit, congestion */
	uint32_t crash_bias, activity_ms;
	uint8_t activity_shift;
	uint64_t part_bytes;
	struct figures fig;
};

struct sim *sim_new(unsigned verbose, bool faults);
void sim_free(struct sim *s);
void run_seed(struct sim *s, uint64_t seed, uint64_t steps);
/* Print it, with the seed, and exit(1). */
void violation(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn, cold));
void say(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif
