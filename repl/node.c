/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A node's life: which role SOURCE allows, start, the way of guests' requests
 * and commands, the pumps that run at the end of each batch of events, stop.
 */
#include "node.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

#define TICK_MS 50u

/* ---- saying things ---- */

__attribute__((format(printf, 3, 0)))
static void vlog(struct node *n, int level, const char *fmt, va_list ap)
{
	char text[768];

	vsnprintf(text, sizeof(text), fmt, ap);
	n->env->ops->log(n->env, level, text);
}

void node_log(struct node *n, int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vlog(n, level, fmt, ap);
	va_end(ap);
}

void node_error(struct node *n, const char *fmt, ...)
{
	char text[sizeof(n->last_error)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* The same line over and over (a peer that is away) is said once. */
	if (strcmp(text, n->last_error))
		node_log(n, LOG_LVL_WARN, "%s", text);
	memcpy(n->last_error, text, sizeof(text));
	n->last_error_ms = n->now_ms;
}

void node_reason(struct node *n, const char *fmt, ...)
{
	va_list ap;

	if (n->failed)
		return; /* the failure is the reason until the node is mended */
	va_start(ap, fmt);
	vsnprintf(n->reason, sizeof(n->reason), fmt, ap);
	va_end(ap);
}

/* An internal error: guests get EIO from here on, the committed state on disk is not touched. */
void node_fail(struct node *n, const char *fmt, ...)
{
	char text[sizeof(n->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n->failed)
		return;
	n->failed = true;
	memcpy(n->reason, text, sizeof(text));
	node_error(n, "%s", text);
	event(n, "failed", "\"epoch\": %llu", (unsigned long long)(n->role == NODE_BACKUP ? n->committed : n->acked_epoch));
	node_log(n, LOG_LVL_ERROR, "mode failed: %s", text);
}

const char *node_mode(const struct node *n)
{
	if (n->failed)
		return "failed";
	if (n->role == NODE_BACKUP)
		return "backup";
	return n->role == NODE_PRIMARY && n->live >= 0 && n->links[n->live].state == PL_LIVE ? "primary" : "unprotected";
}

bool node_established(const struct node *n)
{
	return n->st.have_pair && n->role == NODE_PRIMARY && n->st.shared_generation;
}

uint64_t random64(struct node *n)
{
	uint64_t v = 0;

	while (!v)
		n->env->ops->random(n->env, &v, sizeof(v));
	return v;
}

void submit(struct node *n, struct io *io)
{
	n->ios_busy++;
	n->env->ops->submit(n->env, io);
}

/* ---- guests and commands ---- */

void guest_finish(struct node *n, struct guest_io *g, int error)
{
	struct counters *c = &n->counters;

	g->error = error;
	c->guest_errors_total += error != 0 && error != -ENXIO;
	switch (g->op) {
	case GUEST_READ:
		c->guest_reads_total++;
		c->guest_read_bytes_total += error ? 0 : g->len;
		break;
	case GUEST_WRITE:
		c->guest_writes_total++;
		c->guest_write_bytes_total += error ? 0 : g->len;
		break;
	case GUEST_SYNC:
		c->guest_syncs_total++;
		break;
	case GUEST_PUNCH:
	case GUEST_ZERO:
		c->guest_discards_total++;
		break;
	}
	g->next = NULL;
	*n->finished_tail = g;
	n->finished_tail = &g->next;
}

static bool changes_data(const struct guest_io *g)
{
	return g->op == GUEST_WRITE || g->op == GUEST_ALLOC || g->op == GUEST_PUNCH || g->op == GUEST_ZERO ||
	       g->op == GUEST_TRUNC;
}

void node_guest(struct node *n, struct guest_io *g)
{
	/* A twin's write goes to a file later, when nobody can be told that it does not fit. */
	bool later = changes_data(g) && (n->role == NODE_BACKUP || n->local_path);
	uint64_t max = later ? n->size_max : MAP_OFF_MAX - 1;

	n->guests_busy++;
	g->error = 0;
	if (n->demote_step || (n->switching && n->role == NODE_PRIMARY))
		demote_park(n, g);
	else if (n->failed)
		guest_finish(n, g, -EIO);
	else if (device_guest(n, g))
		return;
	else if (g->op == GUEST_WRITE && !g->len)
		guest_finish(n, g, 0);
	else if (g->op != GUEST_TRUNC && g->op != GUEST_CREATE && (g->off > max || g->len > max - g->off) &&
	         g->op != GUEST_PUNCH && g->op != GUEST_EXTENT)
		guest_finish(n, g, -EFBIG);
	else if (g->op == GUEST_TRUNC && g->len > max)
		guest_finish(n, g, -EFBIG);
	else if (MUTANT("promoted-write-straight") && n->role == NODE_PRIMARY && g->op == GUEST_WRITE)
		primary_guest(n, g);
	else if (n->role == NODE_BACKUP && n->st.rejoin && !MUTANT("rejoin-served"))
		guest_finish(n, g, -EIO); /* opened before: this copy is not served now */
	else if (n->role == NODE_BACKUP || n->local_path || (n->twin_wait && changes_data(g)))
		twin_guest(n, g); /* behind those that already wait: none overtakes */
	else
		primary_guest(n, g);
}

void command_reply(struct node *n, struct command_req *r, int error, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; error && *p; p++)
		if (*p == '"' || *p == '\n')
			*p = '\'';
	r->error = error;
	if (error && r->epoch) /* the fail line carries epoch=N as a key of its own */
		snprintf(r->reply, sizeof(r->reply), "fail errno=%s reason=\"%s\" epoch=%llu", errno_name(-error), text,
		         (unsigned long long)r->epoch);
	else if (error)
		snprintf(r->reply, sizeof(r->reply), "fail errno=%s reason=\"%s\"", errno_name(-error), text);
	else
		snprintf(r->reply, sizeof(r->reply), "%s", text);
	r->next = n->replied;
	n->replied = r;
}

static bool needs_role(int verb)
{
	return verb == CMD_FLUSH || verb == CMD_PREPARE || verb == CMD_FAILOVER || verb == CMD_RESYNC || verb == CMD_VERIFY ||
	       verb == CMD_DISCONNECT;
}

void node_command(struct node *n, struct command_req *r)
{
	r->epoch = 0;
	r->next = NULL;
	if ((n->switching || n->demote_step) && needs_role(r->cmd.verb)) {
		command_reply(n, r, -EBUSY, "the role is changing");
		return;
	}
	switch (r->cmd.verb) {
	case CMD_FLUSH:
	case CMD_PREPARE:
		commit_flush(n, r);
		return;
	case CMD_COMMIT:
	case CMD_ABORT:
	case CMD_WAIT:
		twophase_command(n, r);
		return;
	case CMD_FAILOVER:
		failover_command(n, r);
		return;
	case CMD_SWITCHOVER:
		switch_command(n, r);
		return;
	case CMD_DISCARD_LOCAL:
		demote_discard(n, r);
		return;
	case CMD_RESYNC:
		sync_command(n, r);
		return;
	case CMD_VERIFY:
		verify_command(n, r);
		return;
	case CMD_SET:
		live_set(n, r);
		return;
	case CMD_CONTINUE:
		suspend_continue(n, r);
		return;
	case CMD_CONNECT:
		link_connect(n, r);
		return;
	case CMD_DISCONNECT:
		link_disconnect(n, r);
		return;
	case CMD_HELP:
		command_reply(n, r, 0, "done");
		snprintf(r->reply, sizeof(r->reply), "done\n%s", command_help());
		return;
	}
	command_reply(n, r, -EINVAL, "unknown command");
}

void node_command_cancel(struct node *n, struct command_req *r)
{
	if (!verify_cancel(n, r) && !demote_cancel(n, r))
		commit_cancel(n, r);
}

/* ---- start ---- */

static int role_of(struct node *n, char *err, size_t err_size)
{
	int want = n->config.role, has = n->st.role;

	if (want < 0)
		want = has;
	n->role = want;
	if (want == has || !n->st.have_pair)
		return 0;
	if (has == NODE_BACKUP && want == NODE_PRIMARY && n->st.demoted) {
		n->role = has; /* its fstab may still say what it was */
		return 0;
	}
	if (has == NODE_BACKUP) {
		snprintf(err, err_size, "SOURCE is a backup; it becomes writable only by `failover`: mount it with role=backup, "
		         "then `echo failover > MNT/.colo/ctl`");
		return -EPERM;
	}
	if (want == NODE_BACKUP && has == NODE_PRIMARY && n->st.had_peer) {
		n->role = has;
		n->backup_wanted = true; /* its peer is asked first */
		return 0;
	}
	if (want == NODE_BACKUP) {
		snprintf(err, err_size, "SOURCE is a primary's; it becomes a backup only by `switchover`, when its peer was promoted, "
		         "or by `discard-local`: mount it with role=primary");
		return -EPERM;
	}
	return 0;
}

static int images_boot(struct node *n, const struct boot *boot)
{
	for (size_t i = 0; i < boot->image_count; i++) {
		const struct boot_image *b = &boot->images[i];
		struct image *img;

		if (!b->name[0])
			continue; /* a hidden leaving of an earlier life as a backup */
		img = image_add(n, b->id);
		if (!img)
			return n->image_count >= IMAGES_MAX ? -EMFILE : -ENOMEM;
		memcpy(img->name, b->name, sizeof(img->name));
		img->size = b->size;
		img->capacity = b->capacity;
		img->mtime_ns = b->mtime_ns;
		img->visible = img->consistent = img->file = img->touched = true;
	}
	n->dir_touched = true; /* names made by an earlier life that was killed may not be durable yet */
	return 0;
}

bool node_recovered(const struct node *n)
{
	return n->ready || n->start_wait;
}

void node_started(struct node *n, int error, const char *why)
{
	if (n->start_told)
		return;
	n->start_told = true;
	n->ready = !error;
	n->start_error = error;
	snprintf(n->start_why, sizeof(n->start_why), "%s", why);
}

static void start_saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (error) {
		node_started(n, error, n->last_error); /* state_save.c said why */
		return;
	}
	n->epoch_bound = n->st.epoch_high;
	ask_begin(n);
}

/* What was recovered may be in a volatile cache only: the state, which tells of it, follows. */
static void start_synced(struct journal_sync *s, int error)
{
	struct node *n = s->owner;

	if (error) {
		node_error(n, "the journal cannot be made durable: %s", strerror(-error));
		node_started(n, error, n->last_error);
		return;
	}
	node_save(n, &n->start_save, start_saved);
}

static void start(struct node *n)
{
	n->st.clean = false;
	n->com_sync.owner = n;
	n->com_sync.done = start_synced;
	if (n->have_journal && !MUTANT("start-state-first"))
		journal_sync(&n->journal, &n->com_sync);
	else
		start_synced(&n->com_sync, 0);
}

static void first_reason(struct node *n)
{
	if (n->role == NODE_BACKUP && n->config.role == NODE_PRIMARY)
		node_reason(n, "mounted with role=primary, but this SOURCE is a backup's since its peer became the primary");
	else if (n->role == NODE_BACKUP)
		node_reason(n, n->st.have_pair ? "waiting for the primary" : "waiting for a primary to make the pair with");
	else if (n->role == NODE_PRIMARY && n->local_path)
		node_reason(n, "promoted; the journal is being drained into the images");
	else if (n->role == NODE_PRIMARY)
		node_reason(n, "no peer is connected yet");
	else
		node_reason(n, "mounted without a peer");
}

static int restore(struct node *n, const struct boot *boot, char *err, size_t err_size)
{
	int error = boot->state ? state_decode(&n->st, boot->state, boot->state_len) : 0;

	if (error) {
		snprintf(err, err_size, "SOURCE/.colofs/state is damaged or of another version; bring it back from a copy, or "
		         "remove .colofs to begin a new pair");
		return error;
	}
	error = role_of(n, err, err_size);
	if (error)
		return error;
	n->acked_epoch = n->st.epoch;
	n->cur.number = n->st.epoch_high + 1;
	n->offered = n->st.shared_generation;
	n->raised = n->st.lineage.generation != n->st.shared_generation;
	if (n->role == NODE_BACKUP || n->st.promoted) {
		error = restore_journal(n, boot, err, err_size);
		if (!error && n->st.rejoin && n->st.rejoin != REJOIN_PART)
			activity_restore_own(n);
		else
			n->st.activity = 0;
		n->local_path = n->st.promoted;
		n->st.journal_used = true;
		n->st.role = n->role;
		if (n->local_path) {
			n->acked_epoch = n->committed;
			n->raised = true;
		}
		return error;
	}
	n->st.role = n->role;
	error = restore_keep_segments(n, boot);
	if (!error)
		error = images_boot(n, boot);
	if (error)
		snprintf(err, err_size, "reading SOURCE: %s%s", strerror(-error),
		         error == -EMFILE ? " (1024 images at most)" : "");
	else
		activity_restore(n, boot);
	return error;
}

struct node *node_create(struct env *env, const struct node_config *config, const struct boot *boot,
                         void (*on_ready)(void *ctx, int error, const char *why), void *ctx,
                         int *error, char *err, size_t err_size)
{
	struct node *n = calloc(1, sizeof(*n));

	*error = -ENOMEM;
	snprintf(err, err_size, "out of memory");
	if (!n)
		return NULL;
	n->env = env;
	n->config = *config;
	snprintf(n->source, sizeof(n->source), "%s", config->source ? config->source : "");
	n->size_max = boot->size_max && boot->size_max < MAP_OFF_MAX ? boot->size_max : MAP_OFF_MAX - 1;
	memcpy(n->id, boot->node, 16);
	n->on_ready = on_ready;
	n->ready_ctx = ctx;
	n->finished_tail = &n->finished;
	n->held_tail = &n->held;
	n->sendq_tail = &n->sendq;
	n->suspended_tail = &n->suspended;
	n->parked_tail = &n->parked;
	n->twin_wait_tail = &n->twin_wait;
	n->activity.wait_tail = &n->activity.wait;
	n->activity.file_size = boot->activity_size;
	n->live = -1;
	n->version = 1;
	for (int i = 0; i < LINKS_MAX; i++)
		n->links[i].index = i;
	n->save_buf = malloc(STATE_MAX);
	n->link_small = malloc(LINKS_MAX * (size_t)LINK_SMALL);
	*error = n->save_buf && n->link_small ? restore(n, boot, err, err_size) : -ENOMEM;
	if (*error) {
		node_destroy(n);
		return NULL;
	}
	first_reason(n);
	start(n);
	return n;
}

void node_destroy(struct node *n)
{
	if (!n)
		return;
	backup_free(n);
	epoch_free(n->local);
	while (n->seals) {
		struct epoch *e = n->seals;

		n->seals = e->older;
		epoch_free(e);
	}
	while (n->images)
		image_drop(n, n->images);
	for (int i = 0; i < LINKS_MAX; i++) {
		free(n->links[i].owned);
		hello_free(&n->links[i].hello);
	}
	for (uint32_t i = 0; i < SYNC_OPS; i++)
		free(n->sync_ops[i].buf);
	verify_free(n);
	activity_free(n);
	events_free(n);
	destage_free(n);
	view_free(n);
	twin_free(n);
	journal_free(&n->journal);
	journal_free(&n->overlay);
	if (n->arena)
		arena_destroy(n->arena);
	state_free(&n->st);
	free(n->save_buf);
	free(n->link_small);
	free(n->kept_segments[0]);
	free(n->kept_segments[1]);
	free(n);
}

/* A transport that never came up: a wrong certificate, plain text ... */
void node_link_refused(struct node *n, const char *peer, const char *why)
{
	n->counters.link_refusals_total++;
	snprintf(n->last_error, sizeof(n->last_error), "turned down %s: %s", peer, why);
	n->last_error_ms = n->now_ms;
}

/* ---- time and the pumps ---- */

void node_time(struct node *n, uint64_t now_ms, uint64_t wall_ms)
{
	if (n->now_ms && now_ms > n->last_tick_ms + LATE_TICK_MS)
		n->late_tick = true;
	if (!n->now_ms)
		n->link_since_ms = n->last_error_ms = now_ms;
	n->last_tick_ms = n->now_ms = now_ms;
	n->wall_ms = wall_ms;
}

uint64_t node_deadline_ms(const struct node *n)
{
	uint64_t at = n->now_ms + TICK_MS;
	uint64_t cut = n->last_cut_ms + n->config.commit_ms;

	if (destage_eager(n) || n->finished || n->replied || n->again)
		return n->now_ms;
	if (n->config.commit_ms && n->written_since_cut && cut < at)
		at = cut > n->now_ms ? cut : n->now_ms + 1;
	if (n->live < 0 && n->config.can_dial && n->dial_ms > n->now_ms && n->dial_ms < at)
		at = n->dial_ms;
	return at;
}

static void tell(struct node *n)
{
	while (n->finished) {
		struct guest_io *g = n->finished;

		n->finished = g->next;
		if (!n->finished)
			n->finished_tail = &n->finished;
		n->guests_busy--;
		g->done(g);
	}
	while (n->replied) {
		struct command_req *r = n->replied;

		n->replied = r->next;
		r->done(r);
	}
	if (n->start_told && n->on_ready) {
		void (*on_ready)(void *, int, const char *) = n->on_ready;

		n->on_ready = NULL;
		on_ready(n->ready_ctx, n->start_error, n->start_why);
	}
	if (n->stopped && n->on_stopped) {
		void (*on_stopped)(void *, int, const char *) = n->on_stopped;

		n->on_stopped = NULL;
		on_stopped(n->stopped_ctx, n->stop_error, n->stop_why);
	}
}

void node_batch_end(struct node *n)
{
	link_pump(n);
	suspend_pump(n);
	ask_pump(n);
	switch_pump(n);
	demote_pump(n);
	sync_pump(n);
	verify_pump(n);
	commit_pump(n);
	activity_pump(n);
	if (n->have_journal) {
		view_pump(n);
		twin_pump(n);
		fence_pump(n);
		failover_pump(n);
		destage_pump(n);
		failover_drained_pump(n);
		backup_pump(n);
		journal_pump(&n->journal, n->now_ms, n->com_ep);
		if (n->role == NODE_BACKUP || n->local_path)
			journal_pump(&n->overlay, n->now_ms, n->com_ep);
		n->again = view_ready(n) || (n->twin_wait && n->role == NODE_PRIMARY && !n->local_path);
	}
	images_collect(n);
	stop_pump(n);
	events_pump(n);
	n->late_tick = false;
	tell(n);
}
