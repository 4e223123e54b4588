/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of a recording: one file, appended to by the recorded daemon
 * (record.c) and by the load that drives the pair (load.c), each entry by one
 * write, so that their order is the order in which things happened. Read by
 * states.c. Host byte order: a log does not leave the machine it was made on.
 */
#ifndef COLOFS_TESTS_CRASH_LOG_H
#define COLOFS_TESTS_CRASH_LOG_H

#include <stddef.h>
#include <stdint.h>

#define LOG_MAGIC 0x48535243u /* "CRSH" */

enum entry_type {
	E_LIFE = 1, /* a daemon begins to record */
	E_ROOT,     /* file: SOURCE */
	E_MKDIR,    /* file, in the directory off; len: inode number; payload: name */
	E_CREATE,   /* likewise, a regular file */
	E_RENAME,   /* file, from directory off to len; payload: both names, each with its NUL */
	E_UNLINK,   /* file, in the directory off; payload: name */
	E_SUBMIT,   /* request id: op on file, off, len; payload: a write's bytes */
	E_DONE,     /* request id ended, len: its result */
	E_XATTR,    /* file; payload: the value */
	E_ACK,      /* off: the epoch whose DONE was handed to the link */
	E_MARK,     /* the load's: off: position in another log, if there is one; payload: a line, see model.h */
	E_TYPE_END,
};

enum entry_op {
	OP_WRITE = 1,
	OP_ZERO,  /* [off,len) reads as zeroes */
	OP_SIZE,  /* the file reaches to off+len at least */
	OP_TRUNC, /* size = len */
	OP_SYNC,  /* fsync or fdatasync; of a directory: its names */
	OP_XATTR, /* not in the log: an E_XATTR, waiting for a sync */
};

enum {
	EF_EXTENDS = 1,
	EF_ZEROES = 2, /* a write of nothing but zeroes, without payload */
	EF_DATA = 4,   /* a sync of data and size only */
};

struct entry {
	uint32_t magic;
	uint8_t type, op, flags, unused;
	uint64_t id, file, off, len;
	uint64_t payload; /* bytes that follow, padded to 8 */
};

static inline size_t entry_size(const struct entry *e)
{
	return sizeof(*e) + ((e->payload + 7) & ~7ull);
}

#endif
