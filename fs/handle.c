/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Open files: made by open, create and opendir, freed by release. Event-loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

struct handle *handle_new(struct fs *fs, enum handle_kind kind)
{
	struct handle *h;

	if (fs->handle_count >= FILES_OPEN_MAX)
		return NULL;
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->kind = kind;
	h->next = fs->handles;
	if (h->next)
		h->next->prev = h;
	fs->handles = h;
	fs->handle_count++;
	return h;
}

void handle_free(struct fs *fs, struct handle *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		fs->handles = h->next;
	if (h->next)
		h->next->prev = h->prev;
	fs->handle_count--;
	if (h->writes)
		image_close_write(h->image);
	if (h->image)
		image_close(fs->node, h->image);
	free(h->text);
	free(h);
}

void handle_reply_open(fuse_req_t req, struct handle *h, uint32_t fopen_flags)
{
	struct fs *fs = fs_of(req);
	struct fuse_open_out out = { .fh = (uintptr_t)h, .open_flags = fopen_flags };

	/* The asker is gone: so nobody will release it. */
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)))
		handle_free(fs, h);
}

static void attr_fill(struct fuse_attr *a, const struct stat *st)
{
	a->ino = st->st_ino;
	a->size = (uint64_t)st->st_size;
	a->blocks = (uint64_t)st->st_blocks;
	a->atime = (uint64_t)st->st_atim.tv_sec;
	a->mtime = (uint64_t)st->st_mtim.tv_sec;
	a->ctime = (uint64_t)st->st_ctim.tv_sec;
	a->atimensec = (uint32_t)st->st_atim.tv_nsec;
	a->mtimensec = (uint32_t)st->st_mtim.tv_nsec;
	a->ctimensec = (uint32_t)st->st_ctim.tv_nsec;
	a->mode = st->st_mode;
	a->nlink = (uint32_t)st->st_nlink;
	a->uid = st->st_uid;
	a->gid = st->st_gid;
	a->blksize = (uint32_t)st->st_blksize;
}

void handle_reply_create(fuse_req_t req, struct handle *h, const struct fuse_entry_param *e,
                         uint32_t fopen_flags)
{
	struct fs *fs = fs_of(req);
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	memset(&out, 0, sizeof(out));
	out.entry.nodeid = e->ino;
	attr_fill(&out.entry.attr, &e->attr); /* both time-outs stay 0 */
	out.open.fh = (uintptr_t)h;
	out.open.open_flags = fopen_flags;
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)))
		handle_free(fs, h);
}
