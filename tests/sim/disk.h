/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host's disk, disk.c, and the contents of its files, file.c. Included by sim.h. */
#ifndef COLOFS_TESTS_DISK_H
#define COLOFS_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../repl/env.h"

struct sim;
struct host;

#define RECENT 16u
#define NAME_LEN 16        /* a simulated image's name, with its NUL */

/* A change of a file that a crash may still take back, whole or by sector. */
struct change {
	struct change *next;
	uint8_t op;        /* IO_WRITE, IO_PUNCH (zero), IO_TRUNC */
	bool extends;
	uint64_t off, len; /* TRUNC: len is the size */
	uint64_t seq;      /* order of completion */
	uint8_t *data;     /* WRITE: one of these two */
	struct page **pages;
};

struct file {
	uint8_t kind;
	bool now, durable;       /* exists in the directory, as seen and as on the platter */
	bool removed;            /* unlinked, not yet synced */
	uint64_t id;
	char name[NAME_LEN];     /* "": hidden */
	char durable_name[NAME_LEN];
	uint64_t size, durable_size;
	uint64_t mtime;
	struct page **pages, **durable_pages; /* file.c; NULL: zeroes */
	uint32_t page_count;     /* of both arrays */
	bool sick;               /* a failed fdatasync lost some of what is seen */
	struct change *head, *tail; /* completed, not synced, oldest first */
	struct file *next;
};

struct dio;

struct disk {
	struct file *files;
	struct file *recent[RECENT]; /* those found last, by id; any may be NULL */
	struct dio *inflight;
	uint64_t seq;       /* completed changes */
	uint64_t clock;     /* mtimes */
	uint8_t node[16];
	uint8_t *state;     /* durable */
	size_t state_len;
	uint64_t speed_us;  /* base delay of a request */
	bool dir_dirty;
};

void disk_format(struct sim *s, struct disk *d);
void disk_submit(struct sim *s, struct host *h, struct io *io);
int disk_read_now(struct sim *s, struct disk *d, enum file_kind kind, uint64_t file, uint64_t off,
                  void *buf, size_t len);
/* Power failure: what is not durable is kept, lost or torn at random. */
void disk_crash(struct sim *s, struct disk *d);
/* SIGKILL: everything completed stays; what is in flight may land or not, whole. */
void disk_kill(struct sim *s, struct disk *d);
void disk_damage(struct sim *s, struct disk *d);
/* One bit of an image's file; whether nothing is under way on a file. */
void disk_flip(struct sim *s, struct disk *d, uint64_t image, uint64_t off);
bool disk_idle(const struct disk *d, unsigned kind, uint64_t id);
void disk_clear(struct sim *s, struct disk *d);
struct file *disk_file(struct disk *d, unsigned kind, uint64_t id);
void file_read(const struct file *f, uint64_t off, uint8_t *buf, uint64_t len);
bool file_fit(struct file *f, uint64_t size);
void file_drop(struct sim *s, struct file *f);
void file_apply(struct sim *s, struct file *f, const struct change *c);
void file_sync(struct sim *s, struct file *f, uint64_t upto_seq);
/* fdatasync failed: some of it is durable, the rest never will be; who reads sees it until the process ends. */
void file_sync_failed(struct sim *s, struct file *f, uint64_t upto_seq);
void file_crash(struct sim *s, struct file *f);
void change_fill(struct sim *s, struct change *c, const void *buf);
uint8_t change_byte(const struct change *c, uint64_t at); /* of one with pages */
void change_drop(struct sim *s, struct change *c);

#endif
