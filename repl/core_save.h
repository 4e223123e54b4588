/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Saves of the state file: one at a time, each whole. Part of core.h. */
#ifndef COLOFS_REPL_CORE_SAVE_H
#define COLOFS_REPL_CORE_SAVE_H

#include <stdbool.h>

struct node;

struct save {
	void (*done)(struct save *s, int error);
	void *owner;
	struct save *next;
	bool busy;
};

/* state_save.c */
void node_save(struct node *n, struct save *s, void (*done)(struct save *s, int error));

#endif
