/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What store.c (life cycle, table of files), store_scan.c (start-up), store_io.c (data)
 * and store_name.c (creates, renames, the state file) share. Event-loop thread only.
 */
#ifndef COLOFS_REPL_STORE_INT_H
#define COLOFS_REPL_STORE_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store.h"

#define STORE_OPS_MAX      2048       /* requests in the kernel's hands at once; more wait here */
#define STORE_BUCKETS      1024       /* of the image table */
#define STORE_SLOTS_MAX    65536      /* segments of one kind */
#define STORE_ZERO_LEN     (1u << 20) /* bytes of zeroes at hand */
#define STORE_LOCK_WAIT_MS 10000      /* for the writes of a killed daemon to land */
#define STORE_ID_MAX       ((1ull << 56) - 1) /* ids made here: 16 ... this */
#define STORE_RETRIES_MAX  1000               /* EAGAIN and EINTR in a row */

/* What an image has that is a block device: a link in SOURCE (hidden: in .colofs) leads to it. */
struct store_device {
	dev_t rdev;
	uint32_t block;    /* its logical block, bytes */
	char *target;      /* the link's text */
	char ident[256];   /* what sysfs says of it that outlives a reboot, "" if nothing */
};

/* One image or segment, open. */
struct store_file {
	uint64_t id;                   /* image id, or slot */
	char name[256];                /* image: in SOURCE; "": hidden; unused for segments */
	bool unlinked;                 /* image: no name leads to it any more */
	int fd, dfd;                   /* buffered; O_DIRECT or -1 */
	uint32_t align_mem, align_off; /* bytes, of O_DIRECT */
	uint64_t size;                 /* bytes; this daemon is the only writer */
	struct store_device *device;   /* NULL: a regular file */
	unsigned direct_writes, buffered_writes; /* in flight; never both */
	struct store_op *gate, *gate_tail;       /* writes that wait for the other kind to end */
	struct store_file *next;
};

struct store_op {
	struct ring_op op;
	struct store *s;
	struct io *io;
	struct store_file *file;
	struct store_op *next;
	void (*step)(struct store_op *op, int res); /* a completion's next step */
	uint64_t pos, end;                          /* bytes: what store_zero() still has to do */
	unsigned retries;
	uint64_t stop; /* bytes: where the piece under way ends, on a block device */
	void (*resume)(struct store_op *op); /* when the gate lets it through */
	bool making;   /* file is a segment that is not in the table yet */
	bool buffered; /* O_DIRECT was refused for this one */
	uint8_t through; /* the file's gate: 0 outside, 1 as a buffered write, 2 as a direct one */
	uint8_t stage;
};

struct store_segments {
	struct store_file **slots;
	size_t count;
};

struct store {
	struct ring *ring;
	char *source, *journal;        /* for messages */
	int source_fd, dot_fd, seg_fd; /* SOURCE, .colofs, the journal's directory */
	int lock_fd, seg_lock_fd, ids_fd;
	char node_hex[33];
	struct store_file *images[STORE_BUCKETS];
	struct store_segments segments[3]; /* journal, overlay, activity map */
	struct store_op *ops, *free_ops;
	struct io *waiting, **waiting_tail; /* for a store_op */
	struct io *done, **done_tail;       /* finished inside submit(); a NOP brings them home */
	struct ring_op done_op;
	bool done_armed;
	struct io *state, **state_tail; /* IO_STATE in order; the first is being written */
	struct ring_op state_op;
	unsigned state_stage, state_retries;
	void *zeroes;
	bool all_direct;
	bool no_ftruncate_op;
	/* the scan's */
	struct boot boot;
	struct boot_image *boot_images;
	struct boot_segment *boot_segments[2];
	void *boot_state;
	char *devices; /* .colofs/devices as it was found */
	bool devices_changed;
};

/* store.c */
struct store_file *store_image(struct store *s, uint64_t id);
struct store_file *store_image_named(struct store *s, const char *name);
void store_image_add(struct store *s, struct store_file *f);
void store_image_forget(struct store *s, struct store_file *f);
int store_segment_set(struct store *s, uint8_t kind, uint64_t slot, struct store_file *f);
struct store_file *store_file_new(uint64_t id);
void store_file_close(struct store_file *f);
/* An SQE whose completion is step(op, res). */
struct io_uring_sqe *store_sqe(struct store_op *op, void (*step)(struct store_op *op, int res));
/* From a completion: give op back and finish its io. */
void store_finish(struct store_op *op, int result);
/* From anywhere: the same, but done() is called by the loop later. */
void store_finish_later(struct store_op *op, int result);

/* store_scan.c */
/* Under dir_fd, beneath it, no links. fd or -errno. */
int store_openat(int dir_fd, const char *name, int flags, unsigned mode);
/* Open both descriptors of an image or segment, locked; wait_ms for others' locks. 0, -errno. */
int store_file_open(struct store *s, struct store_file *f, int dir_fd, const char *name,
                    int create_flags, unsigned wait_ms);
/* Give a file its id durably enough that an fsync of it ends the matter. 0, -errno */
int store_id_write(struct store *s, int fd, uint64_t id);
/* ".colofs/i<id>"'s name. */
void store_hidden_name(char name[32], uint64_t id);
void store_segment_name(char name[32], uint8_t kind, uint64_t slot);
int store_scan(struct store *s, char *err, size_t err_size);

/* Wait for the lock on a data file; -EBUSY. */
int store_lock_data(int fd, unsigned wait_ms);
/* The alignment of direct I/O by f->dfd; closes it where there is none. */
void store_probe_direct(struct store *s, struct store_file *f);
uint64_t store_id_new(struct store *s);

/* store_device.c */
/* A link found at start-up, in SOURCE or (hidden_id) in .colofs. 0: an image now, or not to be shown; -errno and a line. */
int store_link_found(struct store *s, const char *name, uint64_t hidden_id, char *err, size_t err_size);
int store_devices_load(struct store *s, char *err, size_t err_size);
/* Behind the scan: ids that were given are durable after it. */
int store_devices_save(struct store *s);
int store_device_adopt(struct store *s, struct io *io);
void store_device_free(struct store_device *d);

/* store_dir.c */
int store_dirs_open(struct store *s, const char *journal, char *err, size_t err_size);
uint64_t store_size_max(struct store *s);
/* Write the whole of a small file at once by way of NAME.tmp: old or new, durable. 0, -errno. */
int store_replace(int dir_fd, const char *name, const void *buf, size_t len);
/* Read a small file: malloc'ed, *len bytes, NUL behind. 0, -errno. */
int store_slurp(int dir_fd, const char *name, size_t max, void **buf, size_t *len);

/* store_io.c */
void store_io_start(struct store_op *op);

/* store_name.c */
void store_name_start(struct store_op *op);
void store_state_submit(struct store *s, struct io *io);

#endif
