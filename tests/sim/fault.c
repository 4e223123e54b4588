/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Disks that fail: which request does, and how much of it is done all the
 * same. A failed write leaves any part of itself, a failed save of the state
 * the old or the new one; a failed fdatasync loses writes for good while
 * later ones succeed (file.c). And what has happened in a run, counted: a
 * simulator in which something never happens proves nothing about it.
 */
#include <errno.h>
#include <stdio.h>

#include "sim.h"

static const char *const texts[HAPPENINGS_COUNT] = {
#define X(id, text) [id] = text,
	HAPPENINGS(X)
#undef X
};

void happened(struct sim *s, enum happening what)
{
	s->fig.happened[what]++;
}

void fault_print(const struct sim *s)
{
	for (unsigned i = 0; i < HAPPENINGS_COUNT; i++)
		printf("sim: %10llu %s\n", (unsigned long long)s->fig.happened[i], texts[i]);
}

uint32_t fault_missing(const struct sim *s)
{
	uint32_t missing = 0;

	for (unsigned i = 0; i < HAPPENINGS_COUNT; i++) {
		if (s->fig.happened[i])
			continue;
		printf("NEVER HAPPENED: %s\n", texts[i]);
		missing++;
	}
	return missing;
}

static enum happening image_fault(bool primary, unsigned op, int error)
{
	if (op == IO_SYNC)
		return primary ? H_SYNC_PRIMARY : H_SYNC_IMAGE;
	if (op == IO_READ || op == IO_EXTENT)
		return primary ? H_EIO_READ_PRIMARY : H_EIO_READ_IMAGE;
	if (error == -ENOSPC)
		return primary ? H_ENOSPC_PRIMARY : H_ENOSPC_IMAGE;
	return primary ? H_EIO_WRITE_PRIMARY : H_EIO_WRITE_IMAGE;
}

static enum happening kind_of(const struct sim *s, const struct host *h, const struct io *io, int error)
{
	if (io->kind == FILE_ACTIVITY)
		return H_EIO_ACTIVITY;
	switch (io->op) {
	case IO_STATE:
		return H_EIO_STATE;
	case IO_CREATE: case IO_REMOVE: case IO_RENAME: case IO_DIRSYNC:
		return io->kind == FILE_IMAGE || io->op == IO_DIRSYNC ? H_EIO_NAMES :
		       io->kind == FILE_JOURNAL ? H_ENOSPC_JOURNAL : H_EIO_OVERLAY;
	}
	if (io->kind == FILE_IMAGE)
		return image_fault(h->index == s->primary, io->op, error);
	if (io->kind == FILE_OVERLAY)
		return H_EIO_OVERLAY;
	return io->op == IO_SYNC ? H_SYNC_JOURNAL : io->op == IO_READ ? H_EIO_READ_JOURNAL :
	       error == -ENOSPC ? H_ENOSPC_JOURNAL : H_EIO_WRITE_JOURNAL;
}

int fault_of(struct sim *s, struct host *h, const struct io *io, unsigned *part)
{
	uint64_t rate = s->fault_rate[h->index];
	int error;

	if (!rate || !world_faulty(s) || io->op == IO_CLOSE || io->op == IO_STAT)
		return 0;
	if (io->op == IO_SYNC) /* each is worth a crash: rarer than that of writes, which are so many more */
		rate = s->fsync_faults ? 1 + rate / 32 : 0;
	else if (io->op == IO_READ)
		rate *= 4;
	if (!rate || !one_in(s, rate))
		return 0;
	error = io->op == IO_READ || io->op == IO_EXTENT || io->op == IO_SYNC || one_in(s, 2) ? -EIO : -ENOSPC;
	happened(s, kind_of(s, h, io, error));
	h->faulted = true;
	h->fault_us = s->now;
	*part = (unsigned)rnd_below(s, 17);
	return error;
}
