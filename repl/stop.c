/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stopping in order: links are left, guests' requests end, a backup destages what is committed, every image is made
 * durable, the state says so.
 */
#include <stdio.h>

#include "core.h"

#define STOP_FULL_MS 3000u /* how long a stop waits for room in SOURCE's file system */

void node_stop(struct node *n, void (*on_stopped)(void *ctx, int error, const char *why), void *ctx)
{
	n->on_stopped = on_stopped;
	n->stopped_ctx = ctx;
	n->stopping = true;
	n->stop_ms = n->now_ms;
	links_close(n, 0);
}

static void stop_tell(struct node *n, int error, const char *why)
{
	n->stopped = true;
	n->stop_error = error;
	snprintf(n->stop_why, sizeof(n->stop_why), "%s", why);
}

static void stop_saved(struct save *s, int error)
{
	struct node *n = s->owner;

	if (error)
		stop_tell(n, error, n->last_error); /* state_save.c said why */
	else if (n->stop_error)
		stop_tell(n, n->stop_error, "an image could not be made durable");
	else
		stop_tell(n, 0, "");
}

static void stop_save(struct node *n)
{
	n->st.clean = true;
	if (n->role != NODE_BACKUP)
		n->st.epoch = n->acked_epoch > n->st.epoch ? n->acked_epoch : n->st.epoch;
	node_save(n, &n->stop_save, stop_saved);
}

static void stop_looked(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (--n->stop_syncs == 0)
		stop_save(n);
}

/* Nothing changes the images any more: by their times the next start sees whether somebody else did. */
static void stop_look(struct node *n)
{
	n->stop_syncs = 1;
	if (n->stop_error)
		n->st.activity = 0; /* nobody knows what the disk has */
	for (struct image *i = n->images; i; i = i->next) {
		i->end = (struct io_times){ 0 };
		if (!i->file || n->role != NODE_PRIMARY)
			continue;
		n->stop_syncs++;
		i->sync_io = (struct io){ .op = IO_STAT, .kind = FILE_IMAGE, .file = i->id, .buf = &i->end, .done = stop_looked,
			.owner = n };
		submit(n, &i->sync_io);
	}
	if (--n->stop_syncs == 0)
		stop_save(n);
}

static void stop_synced(struct io *io)
{
	struct node *n = io->owner;

	n->ios_busy--;
	if (io->result && io->op == IO_SYNC)
		n->stop_error = io->result;
	if (--n->stop_syncs == 0)
		stop_look(n);
}

/* The image files hold all that the guest wrote. */
static void stop_images(struct node *n)
{
	n->stop_syncs = 1;
	for (struct image *i = n->images; i; i = i->next) {
		if (i->sync_failed)
			n->stop_error = i->sync_failed;
		if (!i->file)
			continue;
		n->stop_syncs++;
		i->sync_io = (struct io){ .op = IO_SYNC, .kind = FILE_IMAGE, .file = i->id, .done = stop_synced, .owner = n };
		submit(n, &i->sync_io);
	}
	n->dir_io = (struct io){ .op = IO_DIRSYNC, .kind = FILE_IMAGE, .done = stop_synced, .owner = n };
	submit(n, &n->dir_io);
}

void stop_pump(struct node *n)
{
	if (!n->stopping || n->stopped || n->stop_begun)
		return;
	if (n->guests_busy || n->com_ep || n->saving || n->com_syncs || n->failover || n->demote_step || (!n->ready && !n->start_told))
		return;
	if (!n->failed && !destage_clean(n)) {
		if (!n->destage_full || n->now_ms - n->stop_ms < STOP_FULL_MS)
			return;
		n->stop_begun = true;
		stop_tell(n, -ENOSPC, "SOURCE's file system is full: committed data stays in the journal until the next mount");
		return;
	}
	if (n->ios_busy && !n->failed)
		return;
	n->stop_begun = true;
	if (n->failed)
		stop_tell(n, -EIO, n->reason);
	else
		stop_images(n);
}
