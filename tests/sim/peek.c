/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "peek.h"

#include "../../repl/core.h"

bool peek_failed(const struct node *n)
{
	return n->failed;
}

bool peek_local(const struct node *n)
{
	return n->local_path;
}

bool peek_had_peer(const struct node *n)
{
	return n->st.had_peer;
}

bool peek_established(const struct node *n)
{
	return node_established(n);
}

bool peek_primary(const struct node *n)
{
	return n->role == NODE_PRIMARY;
}

bool peek_fencing(const struct node *n)
{
	return n->fence_step != 0;
}

bool peek_rejoin(const struct node *n)
{
	return n->st.rejoin != REJOIN_NONE;
}

bool peek_live(const struct node *n)
{
	return n->live >= 0;
}

bool peek_split(const struct node *n)
{
	return strstr(n->last_error, "split brain");
}

bool peek_writers(const struct node *n)
{
	return node_open_for_writing(n);
}

void peek_epochs(const struct node *n, uint64_t *current, uint64_t *committed)
{
	*current = n->cur.number;
	/* A promoted node that started again with its journal drained has it from its state. */
	*committed = n->role == NODE_PRIMARY ? n->acked_epoch : n->committed;
}
