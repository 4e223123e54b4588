/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data path: READ, WRITE and FSYNC of images become guest_ios that lie in the lane's
 * request; those of the control files go to ctlfs.c. Event-loop thread only.
 */
#include <errno.h>
#include <string.h>

#include "fs.h"

static void data_done(struct guest_io *g)
{
	struct lane_req *r = (struct lane_req *)g;

	lane_reply(r, g->error, g->op == GUEST_SYNC ? 0 : (uint32_t)g->len);
}

static void image_data(struct fs *fs, struct lane_req *r, struct handle *h)
{
	struct guest_io *g = &r->g;

	g->image = h->image;
	g->done = data_done;
	g->off = r->off;
	g->len = r->len;
	switch (r->opcode) {
	case FUSE_WRITE:
		g->op = GUEST_WRITE;
		g->buf = r->payload;
		break;
	case FUSE_READ:
		g->op = GUEST_READ;
		g->buf = r->data;
		break;
	default: g->op = GUEST_SYNC;
	}
	if (r->opcode == FUSE_WRITE && !g->len)
		lane_reply(r, 0, 0);
	else
		node_guest(fs->node, g);
}

/* Answers with a piece of a snapshot. */
static void text_read(struct lane_req *r, const struct handle *h)
{
	size_t len = r->off < h->len ? h->len - r->off : 0;

	if (len > r->len)
		len = r->len;
	if (len)
		memcpy(r->data, h->text + r->off, len);
	lane_reply(r, 0, (uint32_t)len);
}

void fs_request(void *ctx, struct lane_req *r)
{
	struct fs *fs = ctx;
	struct handle *h = handle_of(r->fh);

	if (!h)
		lane_reply(r, -EBADF, 0);
	else if (h->kind == HANDLE_IMAGE)
		image_data(fs, r, h);
	else if (r->opcode == FUSE_FSYNC)
		lane_reply(r, 0, 0);
	else if (h->kind == HANDLE_CTL && r->opcode == FUSE_WRITE)
		ctl_write(fs, r, h);
	else if (h->kind == HANDLE_CTL)
		ctl_read(fs, r, h);
	else if (h->kind == HANDLE_EVENTS && r->opcode == FUSE_READ)
		events_read(fs, r, h);
	else if (h->kind == HANDLE_TEXT && r->opcode == FUSE_READ)
		text_read(r, h);
	else
		lane_reply(r, -EBADF, 0);
}

/* Image I/O is not interrupted: a disk's is not either. */
void fs_interrupt(void *ctx, uint64_t unique)
{
	ctl_interrupt(ctx, unique);
	events_interrupt(ctx, unique);
}
