/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The seam below the core. The core (everything in repl/ but shell_*.c) makes
 * no system call, has no thread, clock or randomness: it asks an env. There
 * are two: shell_*.c (io_uring, OpenSSL) and tests/sim (a network and disks
 * that lose, tear and reorder, from one seed).
 *
 * Everything runs on one thread, the event loop's. A completion (io->done) is
 * never called from inside submit(): always later, from the loop.
 */
#ifndef COLOFS_REPL_ENV_H
#define COLOFS_REPL_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK 4096u            /* claims, journal batches, bounce buffers */
#define IO_MAX_LEN (1u << 20)  /* the longest read or write, bytes */
#define IMAGES_MAX 1024
#define IMAGE_ID_MIN 16u /* below are inode numbers of our own */
#define IMAGE_ID_MAX ((1ull << 62) - 1)
#define LINKS_MAX 18           /* 16 half-open ones, the live one, its successor */

enum file_kind {
	FILE_IMAGE,   /* file: image id */
	FILE_JOURNAL, /* file: slot number, 0 ... */
	FILE_OVERLAY, /* file: slot number, 0 ... */
	FILE_ACTIVITY, /* file: 0; made and written as a segment is */
};

enum io_op {
	IO_READ,   /* [off,len) into buf; beyond the end of file: zeroes */
	IO_WRITE,  /* [off,len) from buf; whole or an error, never short; extends the file */
	IO_SYNC,   /* fdatasync: all writes completed before its submission are durable, size too */
	IO_ALLOC,  /* image: fallocate mode 0 (keep_size: KEEP_SIZE) */
	IO_PUNCH,  /* image: [off,len) reads as zeroes, is a hole where the file system can; never extends */
	IO_ZERO,   /* image: the same, but stays allocated where it can; extends if !keep_size */
	IO_TRUNC,  /* image: size = len */
	IO_EXTENT, /* image: what is at off? sets hole and len (run's length, at most the len given) */
	IO_STAT,   /* image: its times, to buf: struct io_times */
	IO_CREATE, /* image: make the file, name (NULL: hidden, .colofs/i<id>), EEXIST if there is one;
	            * segment: make it, len bytes, zero-filled, itself and its directory entry durable */
	IO_REMOVE, /* image: unlink the name; open descriptors go on until IO_CLOSE. segment: remove */
	IO_RENAME, /* image: to name (NULL: hidden); replaces whatever bears that name */
	IO_CLOSE,  /* image: forget the descriptors */
	IO_DIRSYNC,/* SOURCE and SOURCE/.colofs: creates, renames, removes so far are durable */
	IO_ADOPT,  /* image: the block device known as off is this image from now on, hidden; what there was of the image
	            * before goes. Durable when done */
	IO_STATE,  /* replace the state file by buf[len], atomically and durably */
};

struct io_times {
	uint64_t mtime_ns, ctime_ns;
};

struct io {
	uint8_t op;            /* enum io_op */
	uint8_t kind;          /* enum file_kind */
	bool keep_size;
	bool hole;             /* IO_EXTENT: out */
	uint64_t file;
	uint64_t off, len;     /* bytes; journal and overlay writes are multiples of BLOCK */
	void *buf;             /* journal and overlay buffers are BLOCK-aligned */
	const char *name;      /* valid until done */
	int result;            /* out: 0 or -errno */
	void (*done)(struct io *io);
	void *owner;           /* the core's */
	/* the shell's own: */
	struct io *next;
	uint64_t progress;
	void *bounce;
	int fd;
	int res;
};

struct env;

struct env_ops {
	/* Takes io until its done() is called. Never fails; never calls back at once. */
	void (*submit)(struct env *env, struct io *io);
	/* A blocking read, for recovery before the node serves. 0, -errno; beyond the end: zeroes. */
	int (*read_now)(struct env *env, enum file_kind kind, uint64_t file, uint64_t off, void *buf,
	                size_t len);
	void (*random)(struct env *env, void *buf, size_t len);
	/* Append a whole frame to the link's stream; copied before it returns. What is appended
	 * after link_close() is dropped. The send buffer's limit is the core's to respect. */
	void (*tx)(struct env *env, int link, const struct iovec *iov, int count);
	/* Bytes that may still be appended before the send buffer (ciphertext and staged
	 * plaintext that the socket has not taken) reaches its limit; 0 when full. */
	size_t (*tx_room)(struct env *env, int link);
	/* Drop the link: the core forgets the number; node_link_closed() is NOT called for it.
	 * What was appended before is still sent as far as it goes (a REFUSE should arrive). */
	void (*link_close)(struct env *env, int link);
	/* Start one connection attempt to the configured peer. Ends in node_link_opened() or
	 * node_dial_failed(). */
	void (*dial)(struct env *env);
	/* Run the fence command with these arguments, NULL behind the last; they are copied. 0: ends in
	 * node_fence_ended(), later; -errno: it does not run. One at a time. May be NULL where no config has can_fence. */
	int (*fence)(struct env *env, const char *const *args);
	/* End it, and whatever it has started: node_fence_ended() still comes. */
	void (*fence_kill)(struct env *env);
	/* For status: bytes waiting in link's send buffer (-1: no link), its limit, how long it takes to drain
	 * at the present rate, ms. May be NULL. */
	void (*send_state)(struct env *env, int link, uint64_t *used, uint64_t *limit, uint64_t *drain_ms);
	/* For status: some file here cannot be read and written past the page cache. May be NULL: none is. */
	bool (*buffered)(struct env *env);
	/* Level: enum log_level. */
	void (*log)(struct env *env, int level, const char *text);
};

struct env {
	const struct env_ops *ops;
};

#endif
