/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The recorded disk: what of it is certainly durable, what a crash may still
 * take back, and one crash state at a time built from both (the view), which
 * recovery then reads and writes.
 *
 * Rules. A change of a file (bytes, zeroes, size) is durable once a sync of
 * that file was submitted after the change had completed, and has itself
 * completed; an xattr's by fsync only. Before, a crash keeps it, loses it, or keeps some of its sectors
 * of 512 bytes; each change by itself, in any combination. Names (creates,
 * renames, unlinks, directories) are durable by a sync of each directory they
 * touch; before, a crash keeps a prefix of them, in order, of each directory
 * by itself (those of images, in SOURCE or hidden in .colofs, are one order).
 * Nothing else is promised: neither that a file's sync makes its name durable,
 * nor that a rename orders the data before it, nor that one directory's sync
 * does anything for another's names.
 */
#ifndef COLOFS_TESTS_CRASH_DISK_H
#define COLOFS_TESTS_CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log.h"

#define PAGE 4096u
#define SECTOR 512u
#define DIRENTS_MAX 512

struct change {
	struct change *next;
	uint8_t op;          /* OP_WRITE, OP_ZERO, OP_SIZE, OP_TRUNC, OP_XATTR */
	bool extends, done;
	uint64_t id, off, len;
	uint64_t done_at;    /* position in the log */
	const uint8_t *data; /* in the log; NULL: zeroes */
};

struct inode {
	uint64_t file;
	bool dir;
	uint8_t **base;      /* durable pages; NULL: zeroes */
	uint32_t pages;      /* of both arrays */
	uint64_t base_size;
	const uint8_t *base_xattr; /* 16 bytes, in the log */
	struct change *head, *tail; /* not durable, in the order they were submitted */
	/* the view: */
	uint8_t **priv;
	uint64_t size;
	const uint8_t *xattr;
	bool touched;
	struct inode *next_touched;
};

struct dirent_ {
	uint64_t dir, file;
	char name[64];
};

struct tree {
	struct dirent_ entries[DIRENTS_MAX];
	size_t count;
};

struct meta {
	struct meta *next;
	uint8_t type;
	uint64_t file, from, to; /* directories */
	uint64_t group;          /* within which order counts: the images, or a directory's other files */
	bool from_synced, to_synced;
	uint64_t at;             /* position */
	char name[64], to_name[64];
};

/* What a crash keeps. */
struct choice {
	uint64_t seed;
	enum { KEEP_ALL, KEEP_NONE, KEEP_TORN_LAST, KEEP_RANDOM } how;
};

struct disk {
	struct inode **inodes; /* by file number */
	size_t inode_count;
	uint64_t root;
	struct tree base;
	struct meta *metas;    /* not durable, oldest first */
	struct request { uint64_t file, at; struct change *change; bool data_only; } *requests;
	size_t request_count;
	size_t pending;        /* changes not durable */
	uint64_t newest;       /* the request submitted last */
	bool synced;           /* the last entry completed a sync */
	/* the view: */
	struct tree tree;
	struct inode *touched;
	uint64_t digest;       /* of what was chosen */
	uint64_t torn;         /* changes kept in part, so far */
};

/* The next entry of the log, at its position. */
void disk_entry(struct disk *d, uint64_t at, const struct entry *e);
/* Make the view: durable plus what the choice keeps. */
void disk_view(struct disk *d, const struct choice *c);
uint64_t rnd_next(uint64_t *state);

/* ---- the view ---- */
struct dirent_ *disk_find(struct disk *d, uint64_t dir, const char *name);
struct inode *disk_inode(struct disk *d, uint64_t file);
struct inode *disk_new(struct disk *d); /* a file that recovery makes */
void disk_read(const struct inode *i, uint64_t off, void *buf, uint64_t len);
void disk_write(struct disk *d, struct inode *i, uint64_t off, const void *buf, uint64_t len, bool extends);
void disk_zero(struct disk *d, struct inode *i, uint64_t off, uint64_t len, bool extends);
void disk_truncate(struct disk *d, struct inode *i, uint64_t size);
/* Write it out as files below path; fails on the first error. 0, -errno. */
int disk_write_out(struct disk *d, const char *path);

#endif
