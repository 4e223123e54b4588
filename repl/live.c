/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options that may change while the node runs: `set OPTION VALUE`. They last until umount. */
#include <string.h>

#include "../ctl/options.h"
#include "core.h"

void node_config_live(struct node_config *c, const struct options *o)
{
	c->commit_fsync = o->commit_ms == COMMIT_FSYNC;
	c->commit_ms = c->commit_fsync ? 0 : o->commit_ms;
	c->overlay_off = !o->overlay;
	c->suspend = o->suspend;
	c->catch_up = o->catch_up;
	c->peer_loss_failover = o->peer_loss_failover;
	c->resync_rate = o->resync_rate;
	c->journal_size = o->journal_size;
	c->link_timeout_ms = o->link_timeout_ms;
	c->flush_timeout_ms = o->flush_timeout_ms;
}

static void options_of(const struct node_config *c, struct options *o)
{
	memset(o, 0, sizeof(*o));
	o->commit_ms = c->commit_fsync ? COMMIT_FSYNC : c->commit_ms;
	o->overlay = !c->overlay_off;
	o->suspend = c->suspend;
	o->catch_up = c->catch_up;
	o->peer_loss_failover = c->peer_loss_failover;
	o->resync_rate = c->resync_rate;
	o->journal_size = c->journal_size;
	o->link_timeout_ms = c->link_timeout_ms;
	o->flush_timeout_ms = c->flush_timeout_ms;
}

/* What the primary may send before a commit; also sent again when it changes. */
void live_capacity(struct node *n)
{
	struct frame f = { .type = FRAME_READY, .session = n->session,
		.off = n->config.journal_size - n->config.journal_size / 8 };

	link_send(n, n->live, &f, NULL, 0);
}

static void journal_size_set(struct node *n, struct command_req *r, uint64_t old)
{
	if (n->have_journal && journal_resize(&n->journal, n->config.journal_size)) {
		n->config.journal_size = old;
		command_reply(n, r, -ENOSPC, "the open journal cannot grow that far: umount, and mount with it");
		return;
	}
	if (n->role == NODE_BACKUP && n->live >= 0)
		live_capacity(n);
	command_reply(n, r, 0, "done %s=%s", r->cmd.option, r->cmd.value);
}

void live_set(struct node *n, struct command_req *r)
{
	uint64_t journal_size = n->config.journal_size;
	struct options o;
	char err[256];

	options_of(&n->config, &o);
	if (options_set(&o, r->cmd.option, r->cmd.value, err, sizeof(err))) {
		command_reply(n, r, -EINVAL, "%s", err);
		return;
	}
	if (o.commit_ms == COMMIT_FSYNC && n->prep) {
		command_reply(n, r, -EBUSY, "an epoch is prepared: commit or abort it first");
		return;
	}
	if (o.peer_loss_failover && !n->config.can_fence) {
		command_reply(n, r, -EINVAL, "on-peer-loss=failover needs fence=COMMAND: umount, then mount with it");
		return;
	}
	node_config_live(&n->config, &o);
	if (n->config.journal_size != journal_size)
		journal_size_set(n, r, journal_size);
	else
		command_reply(n, r, 0, "done %s=%s", r->cmd.option, r->cmd.value);
}
