/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real shell: store, net and ring made into the one struct env that the core sees.
 * Made by fs/main.c; event-loop thread only.
 */
#ifndef COLOFS_REPL_SHELL_H
#define COLOFS_REPL_SHELL_H

#include "../ctl/options.h"
#include "env.h"
#include "net.h"
#include "node.h"
#include "ring.h"
#include "shell_fence.h"
#include "store.h"

struct shell {
	struct env env; /* first: the core's pointer is cast back */
	struct ring ring;
	bool ring_made;
	struct store *store;
	struct net *net; /* NULL: neither peer= nor listen= is given */
	struct node *node;
	uint64_t send_buffer; /* bytes */
	struct fence_process fence;
};

/*
 * Make the ring, open SOURCE, bind the socket, create the node; on_ready comes from the loop
 * as node_create() says. 0, or -errno with one line in err; shell_close() in both cases.
 */
int shell_open(struct shell *sh, const struct options *o,
               void (*on_ready)(void *ctx, int error, const char *why), void *ctx, char *err,
               size_t err_size);
/* End the ring, so that nothing more completes; what the node was given may then be freed. */
void shell_quiesce(struct shell *sh);
void shell_close(struct shell *sh);
/* For struct ring_hooks: in front of and behind each batch, and the node's next timer. */
void shell_before(struct shell *sh);
void shell_after(struct shell *sh);
uint64_t shell_deadline_ms(struct shell *sh);

#endif
