/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of fs/ share: the mounted file system and its open files. Event-loop
 * thread only. The inode numbers: 1 the root, 2-6 the control directory and its fixed files,
 * image ids from 16 on, and from INO_CTL on one number for each lookup of `ctl`.
 */
#ifndef COLOFS_FS_FS_H
#define COLOFS_FS_FS_H

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "../repl/node.h"
#include "../repl/store.h"
#include "lane.h"

#define INO_ROOT       1u
#define INO_COLO       2u
#define INO_STATUS     3u
#define INO_JSON       4u
#define INO_METRICS    5u
#define INO_EVENTS     6u
#define INO_IMAGE_MIN  16u
#define INO_CTL        0xff00000000000000ull /* ids made by the store stay below 2^56 */
#define FILES_OPEN_MAX 65536
#define EVENT_READERS  8 /* reads that may wait at a time: each holds a buffer */

enum handle_kind { HANDLE_IMAGE, HANDLE_CTL, HANDLE_TEXT, HANDLE_EVENTS, HANDLE_DIR };

/* An open file or directory; its address is the kernel's fh. */
struct handle {
	enum handle_kind kind;
	struct image *image; /* HANDLE_IMAGE: held by image_open() */
	bool writes;         /* ... and by image_open_write() */
	char *text;          /* malloc'ed: snapshot, reply, directory */
	size_t len, pos;     /* bytes of text; CTL, EVENTS: where the next read goes on */
	uint64_t number;     /* EVENTS: the next one */
	struct handle *prev, *next;
};

/* A command that was written to ctl and has no verdict yet. */
struct ctl_wait {
	struct command_req req; /* first */
	struct fs *fs;
	struct lane_req *write;
	struct ctl_wait *prev, *next;
};

struct fs {
	struct node *node;
	struct store *store;
	struct lane *lane;
	struct handle *handles; /* all open ones */
	unsigned handle_count;
	struct ctl_wait *waits;
	struct lane_req *event_reads[EVENT_READERS]; /* waiting for the next event */
	bool stopping;
	uint64_t ctl_lookups;
	char *last_reply;               /* malloc'ed; the last command's, whoever gave it */
	uint64_t started_ns;            /* wall clock: the control files' times */
	void (*initialised)(void *ctx); /* the kernel has asked its first question */
	void *ctx;
};

/* handle.c */
struct handle *handle_new(struct fs *fs, enum handle_kind kind);
void handle_free(struct fs *fs, struct handle *h);
static inline struct handle *handle_of(uint64_t fh)
{
	return (struct handle *)(uintptr_t)fh;
}
static inline struct fs *fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
/* Answers open: FOPEN_ flags that libfuse 3.14 cannot say. */
void handle_reply_open(fuse_req_t req, struct handle *h, uint32_t fopen_flags);
/* Answers create: the entry too. */
void handle_reply_create(fuse_req_t req, struct handle *h, const struct fuse_entry_param *e,
                         uint32_t fopen_flags);

/* ops.c */
extern const struct fuse_lowlevel_ops fs_ops;

/* space.c: operations on an open image's blocks */
void fs_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                  struct fuse_file_info *fi);
void fs_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void fs_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
              unsigned flags, const void *in, size_t in_len, size_t out_len);

/* dir.c */
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* data.c: the lane's handler */
void fs_request(void *ctx, struct lane_req *r);
void fs_interrupt(void *ctx, uint64_t unique);

/* ctlfs.c */
static inline bool ctl_ino(uint64_t ino)
{
	return (ino >= INO_COLO && ino < INO_IMAGE_MIN) || ino >= INO_CTL;
}
/* A name in .colo -> its inode number (a fresh one for ctl), 0: none. */
uint64_t ctl_lookup(struct fs *fs, const char *name);
/* Writes entry number n of .colo; false: there is none. */
bool ctl_entry(unsigned n, const char **name, uint64_t *ino);
void ctl_attr(struct fs *fs, uint64_t ino, struct stat *st);
void ctl_open(struct fs *fs, fuse_req_t req, uint64_t ino, int flags);
void ctl_read(struct fs *fs, struct lane_req *r, struct handle *h);
void ctl_write(struct fs *fs, struct lane_req *r, struct handle *h);
/* FUSE INTERRUPT: if a command waits under this number it ends with EINTR. */
void ctl_interrupt(struct fs *fs, uint64_t unique);
void ctl_end(struct fs *fs);

/* events.c */
int events_open(struct fs *fs, struct handle *h); /* 0, -ENOMEM */
void events_read(struct fs *fs, struct lane_req *r, struct handle *h);
/* Behind each batch: answers the reads for which there is something now. */
void events_tell(struct fs *fs);
void events_interrupt(struct fs *fs, uint64_t unique);

#endif
