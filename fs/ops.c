/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The file operations that libfuse decodes: names, attributes, open and create. What changes
 * an image goes through the node, what the node does not replicate (owner, mode, times) straight
 * to the file. Time-outs of entries and attributes are 0: on a backup a commit changes both.
 * Event-loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "../repl/frame.h"
#include "fs.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif
#define IMAGE_FOPEN    (FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES)
#define BACKGROUND_MAX 128 /* the kernel's default of 12 counts asynchronous direct I/O too */

/* A name change or truncate on its way through the node. */
struct name_req {
	struct guest_io g; /* first */
	fuse_req_t req;
	struct fs *fs;
	struct stat attr;
	int to_set;
	int flags; /* create: open's; -1: mknod */
};

/* ---- attributes ---- */

/* As a guest sees them. */
static void fs_image_attr(struct fs *fs, struct image *img, struct stat *st)
{
	uint64_t size = image_size(img), mtime_ns = image_mtime_ns(img);

	memset(st, 0, sizeof(*st));
	if (store_image_stat(fs->store, image_id(img), st)) {
		/* Committed, but not destaged yet: there is no file. */
		st->st_mode = S_IFREG | 0600;
		st->st_nlink = 1;
		st->st_uid = geteuid();
		st->st_gid = getegid();
		st->st_mtim.tv_sec = (time_t)(mtime_ns / 1000000000);
		st->st_mtim.tv_nsec = (long)(mtime_ns % 1000000000);
		st->st_ctim = st->st_atim = st->st_mtim;
		st->st_blocks = (blkcnt_t)(size / 512);
	}
	st->st_ino = image_id(img);
	st->st_size = (off_t)size;
	st->st_blksize = 4096;
}

static void dir_attr(struct fs *fs, fuse_ino_t ino, struct stat *st)
{
	ctl_attr(fs, INO_COLO, st);
	st->st_ino = ino;
	st->st_mode = S_IFDIR | 0755;
	if (ino == INO_ROOT) {
		struct stat source;

		if (!store_source_stat(fs->store, &source)) {
			st->st_mode = source.st_mode;
			st->st_uid = source.st_uid;
			st->st_gid = source.st_gid;
			st->st_mtim = source.st_mtim;
			st->st_ctim = source.st_ctim;
		}
	}
}

static struct image *image_of(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi->fh) : NULL;

	if (h && h->kind == HANDLE_IMAGE)
		return h->image;
	return ino >= INO_IMAGE_MIN && ino < INO_CTL ? node_image_by_id(fs->node, ino) : NULL;
}

static int attr_of(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi, struct stat *st)
{
	struct image *img;

	if (ino == INO_ROOT) {
		dir_attr(fs, ino, st);
		return 0;
	}
	if (ctl_ino(ino)) {
		ctl_attr(fs, ino, st);
		return 0;
	}
	img = image_of(fs, ino, fi);
	if (!img)
		return ENOENT;
	fs_image_attr(fs, img, st);
	return 0;
}

static void reply_attr(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	int err = attr_of(fs, ino, fi, &st);

	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_attr(req, &st, 0);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	reply_attr(req, fs_of(req), ino, fi);
}

static struct timespec time_to_set(const struct timespec *t, int to_set, int set, int now)
{
	if (to_set & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	return to_set & set ? *t : (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_plain(struct fs *fs, uint64_t id, const struct stat *attr, int to_set)
{
	struct timespec ts[2] = {
		time_to_set(&attr->st_atim, to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW),
		time_to_set(&attr->st_mtim, to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW),
	};
	int err = 0;

	if (to_set & FUSE_SET_ATTR_MODE)
		err = store_image_chmod(fs->store, id, attr->st_mode);
	if (!err && (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		err = store_image_chown(fs->store, id,
		                        to_set & FUSE_SET_ATTR_UID ? attr->st_uid : (uid_t)-1,
		                        to_set & FUSE_SET_ATTR_GID ? attr->st_gid : (gid_t)-1);
	if (!err && (ts[0].tv_nsec != UTIME_OMIT || ts[1].tv_nsec != UTIME_OMIT))
		err = store_image_utimens(fs->store, id, ts);
	return err;
}

static struct name_req *name_new(fuse_req_t req, uint8_t op, struct image *img,
                                 void (*done)(struct guest_io *g))
{
	struct name_req *n = calloc(1, sizeof(*n));

	if (!n) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	n->req = req;
	n->fs = fs_of(req);
	n->g.op = op;
	n->g.image = img;
	n->g.done = done;
	return n;
}

static void setattr_finish(struct name_req *n, struct image *img)
{
	struct stat st;
	int err = set_plain(n->fs, image_id(img), &n->attr, n->to_set);

	if (err) {
		fuse_reply_err(n->req, -err);
	} else {
		fs_image_attr(n->fs, img, &st);
		fuse_reply_attr(n->req, &st, 0);
	}
	free(n);
}

static void trunc_done(struct guest_io *g)
{
	struct name_req *n = (struct name_req *)g;

	if (g->error) {
		fuse_reply_err(n->req, -g->error);
		free(n);
	} else {
		setattr_finish(n, g->image);
	}
}

static void fs_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
                       struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct image *img = image_of(fs, ino, fi);
	struct name_req *n;

	if (ctl_ino(ino) && !(to_set & ~(FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME |
	                                 FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME))) {
		reply_attr(req, fs, ino, NULL); /* `>` truncates */
		return;
	}
	if (!img) {
		fuse_reply_err(req, ino == INO_ROOT || ctl_ino(ino) ? EPERM : ENOENT);
		return;
	}
	n = name_new(req, GUEST_TRUNC, img, trunc_done);
	if (!n)
		return;
	n->attr = *attr;
	n->to_set = to_set;
	n->g.len = (uint64_t)attr->st_size;
	if (to_set & FUSE_SET_ATTR_SIZE)
		node_guest(fs->node, &n->g);
	else
		setattr_finish(n, img);
}

static void fs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = fs_of(req);
	struct statvfs st;
	int err = store_statvfs(fs->store, &st);

	(void)ino;
	if (err) {
		fuse_reply_err(req, -err);
		return;
	}
	st.f_namemax = 255;
	fuse_reply_statfs(req, &st);
}

/* ---- names ---- */

/* Whether name may become an image's; 0 or errno. */
static int name_check(fuse_ino_t parent, const char *name)
{
	size_t len = strlen(name);

	if (parent != INO_ROOT || name[0] == '.')
		return EPERM;
	if (len > 255)
		return ENAMETOOLONG;
	return name_valid(name, len) ? 0 : EILSEQ;
}

static void image_entry(struct fs *fs, struct image *img, struct fuse_entry_param *e)
{
	memset(e, 0, sizeof(*e));
	e->ino = image_id(img);
	fs_image_attr(fs, img, &e->attr);
}

static void fs_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct fuse_entry_param e = { .ino = 0 };
	struct image *img;

	if (parent == INO_COLO) {
		e.ino = ctl_lookup(fs, name);
	} else if (parent == INO_ROOT && !strcmp(name, ".colo")) {
		e.ino = INO_COLO;
	} else if (parent == INO_ROOT && (img = node_image(fs->node, name))) {
		image_entry(fs, img, &e);
		fuse_reply_entry(req, &e);
		return;
	}
	if (e.ino)
		ctl_attr(fs, e.ino, &e.attr);
	if (!e.ino)
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_entry(req, &e);
}

static void name_done(struct guest_io *g)
{
	struct name_req *n = (struct name_req *)g;

	fuse_reply_err(n->req, -g->error);
	free(n);
}

static void fs_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = fs_of(req);
	struct image *img = parent == INO_ROOT ? node_image(fs->node, name) : NULL;
	struct name_req *n;

	if (!img) {
		fuse_reply_err(req, parent == INO_ROOT && name[0] != '.' ? ENOENT : EPERM);
		return;
	}
	n = name_new(req, GUEST_UNLINK, img, name_done);
	if (n)
		node_guest(fs->node, &n->g);
}

static void fs_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned flags)
{
	struct fs *fs = fs_of(req);
	struct image *img = parent == INO_ROOT ? node_image(fs->node, name) : NULL;
	int err = name_check(new_parent, new_name);
	struct name_req *n;

	if (!err && !img)
		err = parent == INO_ROOT && name[0] != '.' ? ENOENT : EPERM;
	if (!err && (flags & ~(unsigned)RENAME_NOREPLACE))
		err = EINVAL;
	if (!err && flags && node_image(fs->node, new_name))
		err = EEXIST;
	if (err || node_image(fs->node, new_name) == img) {
		fuse_reply_err(req, err);
		return;
	}
	n = name_new(req, GUEST_RENAME, img, name_done);
	if (!n)
		return;
	strcpy(n->g.name, new_name); /* name_check(): it fits */
	node_guest(fs->node, &n->g);
}

/* ---- open, create ---- */

static int handle_open(struct fs *fs, struct image *img, int flags, struct handle **out)
{
	struct handle *h = handle_new(fs, HANDLE_IMAGE);
	int err;

	if (!h)
		return ENFILE;
	err = image_open(fs->node, img);
	if (err) {
		handle_free(fs, h);
		return -err;
	}
	h->image = img;
	if ((flags & O_ACCMODE) != O_RDONLY) {
		err = image_open_write(fs->node, img);
		if (err) {
			handle_free(fs, h);
			return -err;
		}
		h->writes = true;
	}
	*out = h;
	return 0;
}

static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = fs_of(req);
	struct image *img;
	struct handle *h;
	int err;

	if (ctl_ino(ino)) {
		ctl_open(fs, req, ino, fi->flags);
		return;
	}
	img = image_of(fs, ino, NULL);
	err = img ? handle_open(fs, img, fi->flags, &h) : ino == INO_ROOT ? EISDIR : ENOENT;
	if (err)
		fuse_reply_err(req, err);
	else
		handle_reply_open(req, h, IMAGE_FOPEN);
}

static void create_done(struct guest_io *g)
{
	struct name_req *n = (struct name_req *)g;
	struct fs *fs = n->fs;
	struct image *img = g->image;
	int err = -g->error;
	struct fuse_entry_param e;
	struct handle *h = NULL;

	/* Another got there first, between the kernel's lookup and now. */
	if (err == EEXIST && n->flags != -1 && !(n->flags & O_EXCL)) {
		img = node_image(fs->node, g->name);
		err = img ? 0 : EEXIST;
	} else if (!err && (n->attr.st_uid != geteuid() || n->attr.st_gid != getegid())) {
		err = -store_image_chown(fs->store, image_id(img), n->attr.st_uid, n->attr.st_gid);
		if (err == EPERM)
			err = 0; /* a daemon without privileges: the image stays its own */
	}
	if (!err && n->flags != -1)
		err = handle_open(fs, img, n->flags, &h);
	if (err) {
		fuse_reply_err(n->req, err);
	} else {
		image_entry(fs, img, &e);
		if (n->flags == -1)
			fuse_reply_entry(n->req, &e);
		else
			handle_reply_create(n->req, h, &e, IMAGE_FOPEN);
	}
	free(n);
}

/* Images are 0600, whatever was asked for: they are disks. chmod can open them up. */
static void create(fuse_req_t req, fuse_ino_t parent, const char *name, int flags)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	int err = name_check(parent, name);
	struct name_req *n;

	if (err) {
		fuse_reply_err(req, err);
		return;
	}
	n = name_new(req, GUEST_CREATE, NULL, create_done);
	if (!n)
		return;
	n->flags = flags;
	n->attr.st_uid = ctx->uid;
	n->attr.st_gid = ctx->gid;
	strcpy(n->g.name, name); /* name_check(): it fits */
	node_guest(n->fs->node, &n->g);
}

static void fs_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *fi)
{
	(void)mode;
	create(req, parent, name, fi->flags);
}

static void fs_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)dev;
	if (S_ISREG(mode))
		create(req, parent, name, -1);
	else
		fuse_reply_err(req, EPERM);
}

static void fs_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_free(fs_of(req), handle_of(fi->fh));
	fuse_reply_err(req, 0);
}

/* ---- what there is not ---- */

static void fs_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	(void)parent, (void)name, (void)mode;
	fuse_reply_err(req, EPERM);
}

static void fs_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void fs_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	(void)target, (void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void fs_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino, (void)parent, (void)name;
	fuse_reply_err(req, EPERM);
}

static void fs_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
	(void)ino, (void)name, (void)value, (void)size, (void)flags;
	fuse_reply_err(req, EPERM);
}

static void fs_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino, (void)name;
	fuse_reply_err(req, EPERM);
}

static void fs_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino, (void)datasync, (void)fi;
	fuse_reply_err(req, 0);
}

/* ---- the session ---- */

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;
	unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS;

	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
	                          FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
	                          FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
	                          FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV);
	conn->want |= conn->capable & want;
	conn->max_write = IO_MAX_LEN;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	if (!(conn->capable & FUSE_CAP_ASYNC_DIO))
		log_warn("the kernel does no asynchronous direct I/O on FUSE: this will be slow");
	fs->initialised(fs->ctx);
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = fs_init,
	.lookup = fs_lookup,
	.getattr = fs_getattr,
	.setattr = fs_setattr,
	.statfs = fs_statfs,
	.mknod = fs_mknod,
	.mkdir = fs_mkdir,
	.rmdir = fs_rmdir,
	.symlink = fs_symlink,
	.link = fs_link,
	.unlink = fs_unlink,
	.rename = fs_rename,
	.open = fs_open,
	.create = fs_create,
	.release = fs_release,
	.opendir = fs_opendir,
	.readdir = fs_readdir,
	.releasedir = fs_releasedir,
	.fsyncdir = fs_fsyncdir,
	.setxattr = fs_setxattr,
	.removexattr = fs_removexattr,
	.fallocate = fs_fallocate,
	.lseek = fs_lseek,
	.ioctl = fs_ioctl,
};
