/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The fence command as a process: started, waited for through the ring, killed. Event-loop thread only. */
#ifndef COLOFS_REPL_SHELL_FENCE_H
#define COLOFS_REPL_SHELL_FENCE_H

#include <sys/types.h>

#include "node.h"
#include "ring.h"

struct fence_process {
	struct ring *ring;
	struct node *node;
	const char *command, *source; /* the options' */
	struct ring_op op;
	pid_t pid;   /* 0: none runs */
	int pidfd;
};

/* Can it be run? 0, or -errno with one line in err. */
int fence_check(const char *command, char *err, size_t err_size);
void fence_init(struct fence_process *f, struct ring *ring, struct node *node, const char *command, const char *source);
int fence_start(struct fence_process *f, const char *const *args);
/* With all that it has started. */
void fence_kill(struct fence_process *f);

#endif
