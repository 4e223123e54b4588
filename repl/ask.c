/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The start of a primary whose pair is established. While it was away its peer
 * may have been promoted, and what it would serve then is an older copy. So it
 * asks first: a session with the peer as its backup is the answer. Not the
 * HELLO alone: a backup that said one may be promoted in the next step, one in
 * a session only by force, which tells its primary first, or after losing it.
 * Who cannot be asked within peer-wait leaves the start refused; start-alone
 * is the user's word that it need not be asked. If the peer was promoted, this
 * copy joins it as backup, by itself (demote.c); that is also the only way for
 * a primary that was mounted with role=backup.
 */
#include <stdio.h>

#include "core.h"
#include "mutant.h"

#define NOTICE_MS 1000u /* a wait this long is told of */
#define NOT_PROMOTED "SOURCE is a primary's, and its peer was not promoted; it becomes a backup only by `switchover`, or by " \
	"`discard-local`: mount it with role=primary"
#define WAY_OUT "if the peer was certainly not promoted, mount with -o start-alone"

static bool wanted(const struct node *n)
{
	if (n->backup_wanted)
		return true;
	return n->role == NODE_PRIMARY && n->st.had_peer && (n->config.can_dial || n->config.can_accept) && !n->config.start_alone;
}

void ask_begin(struct node *n)
{
	if (!wanted(n) || MUTANT("start-unasked")) {
		node_started(n, 0, "");
		return;
	}
	n->start_wait = true;
	n->start_wait_ms = n->now_ms;
	n->start_deadline_ms = n->now_ms + n->config.peer_wait_ms;
}

static void refused(struct node *n, int error, const char *why)
{
	n->start_wait = false;
	node_started(n, error, why);
}

void ask_answered(struct node *n)
{
	if (!n->start_wait || n->demote_step)
		return;
	if (n->backup_wanted) {
		refused(n, -EPERM, NOT_PROMOTED);
		return;
	}
	n->start_wait = false;
	node_started(n, 0, "");
}

/*
 * The peer was there, and no session can come of it. Some of that passes with time; the rest is the answer: nobody but
 * the user can say which copy is to be served.
 */
void ask_judged(struct node *n, unsigned refusal)
{
	char why[sizeof(n->start_why)];
	bool split = refusal == REFUSE_SPLIT;

	if (!n->start_wait || n->demote_step)
		return;
	switch (refusal) {
	case REFUSE_DUPLICATE:
	case REFUSE_BUSY:
	case REFUSE_DISCONNECTED:
	case REFUSE_INTERNAL:
	case REFUSE_NOSPACE:
	case REFUSE_STALE: /* demote_stale() is called by who judged it */
		return;
	case REFUSE_NEWER:
		ask_answered(n);
		return;
	}
	/* Of a split brain pair_split() has given an account: what either choice would lose. */
	snprintf(why, sizeof(why), "%s; to serve this copy all the same, %smount with -o start-alone",
	         split ? n->last_error : refusal_text(refusal), split ? "or to `discard-local` it, " : "");
	refused(n, -ESTALE, why);
}

void ask_pump(struct node *n)
{
	char why[sizeof(n->start_why)];

	if (!n->start_wait || n->demote_step)
		return;
	if (n->now_ms >= n->start_deadline_ms) {
		bool known = n->last_error[0];

		snprintf(why, sizeof(why), "the peer cannot be asked whether it was promoted%s%s%s: %s; or " WAY_OUT,
		         known ? " (" : "", n->last_error, known ? ")" : "", known ? "mend that, or bring it up" : "bring it up");
		refused(n, -ETIMEDOUT, why);
	} else if (!n->start_wait_told && n->now_ms - n->start_wait_ms >= NOTICE_MS) {
		n->start_wait_told = true;
		node_log(n, LOG_LVL_INFO, "asking the peer whether it was promoted, for %u s at most (-o start-alone: not asked)",
		         n->config.peer_wait_ms / 1000);
	}
}
