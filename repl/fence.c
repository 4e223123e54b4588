/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A backup that fails over by itself (on-peer-loss=failover). Two nodes have
 * no quorum, and silence proves nothing: the fence command has to make sure
 * that the primary is off. Only its exit 0 counts, only if the peer was not
 * heard while it ran, and only for a copy that a session of this mount has
 * brought level. Everything else is left to an order.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core.h"
#include "mutant.h"

#define FENCE_MS 60000u           /* longer is not fenced */
#define FENCE_PAUSE_MAX_MS 60000u /* between two runs; the first pause is link-timeout */

enum { R_IDLE, R_RUNNING, R_KILLED, R_PROMOTING };

/* Any byte on an authenticated link; a late tick, after which nobody knows what was missed. */
void fence_heard(struct node *n)
{
	n->peer_heard_ms = n->now_ms;
	n->fence_void = true;
}

void fence_session(struct node *n)
{
	n->peer_met = true;
	n->peer_left = n->level = false;
	n->fence_next_ms = n->fence_wait_ms = 0;
}

/* Images whose first sync is not committed would be left out. */
static bool whole(const struct node *n)
{
	for (const struct image *i = n->images; i; i = i->next)
		if (i->direct || (i->visible && !i->consistent))
			return false;
	return !n->journal_lost;
}

/* Why this node would not go on by itself, were its peer away; NULL: it would. */
static const char *held(const struct node *n)
{
	if (n->failed || n->journal.failed)
		return "this node is in mode failed";
	if (n->apart)
		return "this node was told to stay apart";
	if (!n->peer_met)
		return "no primary was met since the mount";
	if (n->peer_left)
		return "the primary left in order";
	if (!n->committed || !whole(n))
		return "the copy is not whole";
	if (!n->level || n->st.rejoin || n->switching)
		return "a sync is not committed";
	return NULL;
}

static bool wanted(const struct node *n)
{
	return n->role == NODE_BACKUP && n->config.peer_loss_failover && n->config.can_fence && n->ready && !n->stopping &&
	       !n->failover;
}

/* ---- the command ---- */

static void again_later(struct node *n)
{
	uint64_t wait = n->fence_wait_ms ? n->fence_wait_ms * 2 : n->config.link_timeout_ms;

	n->fence_wait_ms = wait > FENCE_PAUSE_MAX_MS ? FENCE_PAUSE_MAX_MS : wait;
	n->fence_next_ms = n->now_ms + n->fence_wait_ms;
}

static void promoted(struct command_req *r)
{
	struct node *n = r->owner;

	n->fence_step = R_IDLE;
	if (!r->error) {
		node_reason(n, "promoted by itself to epoch %" PRIu64 ": the primary was silent, and was fenced", n->committed);
		return;
	}
	again_later(n);
	node_error(n, "fenced, but the failover was refused: %s", r->reply);
}

static void promote(struct node *n)
{
	n->fence_step = R_PROMOTING;
	memset(&n->fence_req, 0, sizeof(n->fence_req));
	n->fence_req.cmd.verb = CMD_FAILOVER;
	n->fence_req.cmd.force = MUTANT("failover-while-peer-lives");
	n->fence_req.done = promoted;
	n->fence_req.owner = n;
	failover_command(n, &n->fence_req);
}

static void how_text(struct node *n, int how)
{
	if (n->fence_step == R_KILLED) /* whatever it says now: it was too late */
		snprintf(n->fence_last, sizeof(n->fence_last), "killed: not done within %u s", FENCE_MS / 1000);
	else if (how < 0)
		snprintf(n->fence_last, sizeof(n->fence_last), "cannot be run: %s", strerror(-how));
	else if (how >= 256)
		snprintf(n->fence_last, sizeof(n->fence_last), "ended by signal %d", how - 256);
	else
		snprintf(n->fence_last, sizeof(n->fence_last), "exit %d", how);
}

static void fenced(struct node *n)
{
	const char *why = n->fence_void ? "the peer was heard meanwhile" : n->live >= 0 ? "the peer is connected" :
		!wanted(n) ? "it is not to fail over any more" : held(n);

	if (!why || MUTANT("failover-while-peer-lives")) {
		node_log(n, LOG_LVL_WARN, "the primary is fenced: failing over");
		promote(n);
		return;
	}
	node_error(n, "the fence command says that the primary is off, but there is no failover: %s", why);
	event(n, "fence", "\"state\": \"void\", \"run\": %" PRIu32, n->fence_runs);
}

void node_fence_ended(struct node *n, int how)
{
	bool good = !how && n->fence_step == R_RUNNING;

	how_text(n, how);
	event(n, "fence", "\"state\": \"%s\", \"run\": %" PRIu32 ", \"exit\": %d", good ? "fenced" : "not-fenced",
	      n->fence_runs, n->fence_step == R_KILLED || how < 0 || how >= 256 ? -1 : how);
	n->fence_step = R_IDLE;
	if (good) {
		fenced(n);
		return;
	}
	n->counters.fence_failures_total++;
	again_later(n);
	node_error(n, "not fenced, so no failover: the fence command's run %" PRIu32 ": %s", n->fence_runs, n->fence_last);
	if (wanted(n) && n->live < 0)
		node_reason(n, "the primary is away and not fenced: %s", n->fence_last);
}

static void hex(char *dst, const uint8_t id[16])
{
	for (int i = 0; i < 16; i++)
		sprintf(dst + 2 * i, "%02x", id[i]);
}

/* Numbers of this node's own; nothing that the peer chose the text of. */
static void run(struct node *n)
{
	char pair[48] = "pair=", node[48] = "node=", epoch[32], generation[32];
	const char *args[] = { "fence", pair, node, epoch, generation, NULL };

	hex(pair + 5, n->st.pair);
	hex(node + 5, n->id);
	snprintf(epoch, sizeof(epoch), "epoch=%" PRIu64, n->committed);
	snprintf(generation, sizeof(generation), "generation=%016" PRIx64, n->st.lineage.generation);
	n->fence_step = R_RUNNING;
	n->fence_void = false;
	n->fence_began_ms = n->now_ms;
	n->fence_runs++;
	n->counters.fence_runs_total++;
	node_reason(n, "the primary is away; the fence command runs");
	node_log(n, LOG_LVL_WARN, "nothing was heard of the primary for %" PRIu64 " ms: the fence command runs",
	         n->now_ms - n->peer_heard_ms);
	event(n, "fence", "\"state\": \"running\", \"run\": %" PRIu32, n->fence_runs);
	int err = n->env->ops->fence(n->env, args);

	if (err)
		node_fence_ended(n, err);
}

void fence_pump(struct node *n)
{
	if (n->late_tick)
		fence_heard(n);
	if (n->fence_step == R_RUNNING && (n->stopping || n->now_ms - n->fence_began_ms >= FENCE_MS)) {
		n->fence_step = R_KILLED;
		n->env->ops->fence_kill(n->env);
	}
	if (n->fence_step != R_IDLE || !wanted(n) || n->live >= 0 || held(n) || n->com_ep || n->now_ms < n->fence_next_ms ||
	    n->now_ms - n->peer_heard_ms <= n->config.link_timeout_ms)
		return;
	run(n);
}

/* ---- for status ---- */

const char *fence_state(const struct node *n, const char **why)
{
	*why = NULL;
	if (n->fence_step == R_RUNNING || n->fence_step == R_KILLED)
		return "running";
	if (n->role != NODE_BACKUP || !n->config.peer_loss_failover)
		return "off";
	*why = held(n);
	return *why ? "held" : n->live < 0 && n->fence_wait_ms ? "failed" : "armed";
}
