/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An open image's blocks: fallocate, SEEK_DATA and SEEK_HOLE, and the ioctl that tells QEMU the
 * alignment of direct I/O. Event-loop thread only.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs.h"

/* XFS_IOC_DIOINFO and its answer; without it QEMU takes 4096 for every image. */
#define DIOINFO 0x800c581eu
struct dioattr {
	uint32_t d_mem, d_miniosz, d_maxiosz; /* bytes */
};

struct space_req {
	struct guest_io g; /* first */
	fuse_req_t req;
	struct fs *fs;
	bool seek_hole;
};

static struct space_req *space_new(fuse_req_t req, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);
	struct space_req *s;

	if (!h || h->kind != HANDLE_IMAGE) {
		fuse_reply_err(req, EBADF);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	s->req = req;
	s->fs = fs_of(req);
	s->g.image = h->image;
	return s;
}

/* ---- fallocate ---- */

static int falloc_op(int mode)
{
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case 0: return GUEST_ALLOC;
	case FALLOC_FL_PUNCH_HOLE: /* the kernel sees to KEEP_SIZE */ return GUEST_PUNCH;
	case FALLOC_FL_ZERO_RANGE: return GUEST_ZERO;
	default: return -EOPNOTSUPP;
	}
}

static void falloc_done(struct guest_io *g)
{
	struct space_req *s = (struct space_req *)g;

	fuse_reply_err(s->req, -g->error);
	free(s);
}

void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                  struct fuse_file_info *fi)
{
	int op = falloc_op(mode);
	struct space_req *s;

	(void)ino;
	if (op < 0 || off < 0 || len <= 0) {
		fuse_reply_err(req, op < 0 ? -op : EINVAL);
		return;
	}
	s = space_new(req, fi);
	if (!s)
		return;
	s->g.op = (uint8_t)op;
	s->g.keep_size = mode & FALLOC_FL_KEEP_SIZE;
	s->g.off = (uint64_t)off;
	s->g.len = (uint64_t)len;
	s->g.done = falloc_done;
	node_guest(s->fs->node, &s->g);
}

/* ---- lseek ---- */

static void seek_step(struct space_req *s);

static void seek_done(struct guest_io *g)
{
	struct space_req *s = (struct space_req *)g;

	if (!g->error && g->hole != s->seek_hole && g->len) {
		g->off += g->len;
		seek_step(s);
		return;
	}
	if (g->error)
		fuse_reply_err(s->req, -g->error);
	else
		fuse_reply_lseek(s->req, (off_t)g->off);
	free(s);
}

/* Asks what lies at g.off; at the end the answer is known: there is a hole. */
static void seek_step(struct space_req *s)
{
	uint64_t size = image_size(s->g.image);

	if (s->g.off < size) {
		s->g.op = GUEST_EXTENT;
		s->g.len = size - s->g.off;
		s->g.done = seek_done;
		node_guest(s->fs->node, &s->g);
		return;
	}
	if (s->seek_hole)
		fuse_reply_lseek(s->req, (off_t)size);
	else
		fuse_reply_err(s->req, ENXIO);
	free(s);
}

void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct space_req *s;

	(void)ino;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	s = space_new(req, fi);
	if (!s)
		return;
	if (off < 0 || (uint64_t)off >= image_size(s->g.image)) {
		fuse_reply_err(req, ENXIO);
		free(s);
		return;
	}
	s->seek_hole = whence == SEEK_HOLE;
	s->g.off = (uint64_t)off;
	seek_step(s);
}

void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
              unsigned flags, const void *in, size_t in_len, size_t out_len)
{
	static const struct dioattr info = { 512, 512, 1u << 30 };

	(void)arg, (void)fi, (void)flags, (void)in, (void)in_len;
	if (ctl_ino(ino) || ino == INO_ROOT || cmd != DIOINFO || out_len < sizeof(info))
		fuse_reply_err(req, ENOTTY);
	else
		fuse_reply_ioctl(req, 0, &info, sizeof(info));
}
