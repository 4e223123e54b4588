/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peek.h"

#include "../../repl/core.h"

void peek_epochs(const struct node *n, uint64_t *current, uint64_t *committed)
{
	*current = n->cur.number;
	*committed = n->committed;
}
