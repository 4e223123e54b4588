/* SPDX-License-Identifier: LGPL-2.1-or-later */
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

void peek_epochs(const struct node *n, uint64_t *current, uint64_t *committed)
{
	*current = n->cur.number;
	/* A promoted node that started again with its journal drained has it from its state. */
	*committed = n->role == NODE_PRIMARY ? n->acked_epoch : n->committed;
}
