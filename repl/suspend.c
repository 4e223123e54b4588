/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * on-link-loss=suspend: a primary without its peer holds the guest's writes
 * until writes are mirrored again, or `continue` is said. With commit=fsync,
 * fsyncs wait too (commit.c holds them): then nothing that was fsynced is ever
 * lost. Called by primary.c and commit.c; event-loop thread only.
 */
#include "core.h"
#include "mutant.h"

bool suspend_ends(const struct node *n)
{
	return n->stopping || n->demote_step || n->failed;
}

bool suspend_wanted(const struct node *n)
{
	return n->config.suspend && node_established(n) && !primary_mirrors(n) && !n->go_on && !suspend_ends(n);
}

/* With commit=fsync nothing that was fsynced is ever lost: not by a lost link, and not during the sync behind it. */
bool suspend_fsync(const struct node *n)
{
	return n->config.commit_fsync && n->config.suspend && node_established(n) && !n->go_on && !suspend_ends(n) &&
	       !MUTANT("suspend-fsync-alone");
}

/* None overtakes those that wait. */
bool suspend_takes(const struct node *n)
{
	return suspend_wanted(n) || (n->suspended && !n->resuming);
}

bool suspend_holds(const struct node *n)
{
	return n->suspended || (n->fsyncs && !primary_mirrors(n) && suspend_fsync(n));
}

void suspend_hold(struct node *n, struct guest_io *g)
{
	if (!n->suspended)
		node_error(n, "guest writes are held until a peer mirrors them: on-link-loss=suspend; "
		           "`continue` goes on without one");
	g->next = NULL;
	*n->suspended_tail = g;
	n->suspended_tail = &g->next;
	n->counters.guest_writes_held++;
}

/* Those that have their place on disk get their answer, the others begin; umount fails them all. */
void suspend_pump(struct node *n)
{
	n->resuming = true;
	while (n->suspended && !suspend_wanted(n)) {
		struct guest_io *g = n->suspended;

		n->suspended = g->next;
		if (!n->suspended)
			n->suspended_tail = &n->suspended;
		g->next = NULL;
		n->counters.guest_writes_held--;
		if (suspend_ends(n) && !primary_mirrors(n))
			guest_finish(n, g, -EIO);
		else if (g->stage & BEGUN)
			primary_finish(n, g);
		else
			primary_guest(n, g);
	}
	n->resuming = false;
}

void suspend_continue(struct node *n, struct command_req *r)
{
	if (n->role != NODE_PRIMARY) {
		command_reply(n, r, -EPERM, "only a primary holds writes; this node is %s", node_mode(n));
		return;
	}
	n->go_on = !primary_mirrors(n);
	command_reply(n, r, 0, "done");
}
