/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shell's files: SOURCE, SOURCE/.colofs, the journal's directory. Opens,
 * locks, scans; carries out the core's struct io on the ring. Event-loop thread only.
 */
#ifndef COLOFS_REPL_STORE_H
#define COLOFS_REPL_STORE_H

#include <stddef.h>
#include <sys/statvfs.h>

#include "env.h"
#include "node.h"
#include "ring.h"

struct store;

/*
 * Open SOURCE, make .colofs (0700) where missing, check its owner and mode, take its lock
 * (-EBUSY at once when another daemon holds it; data locks are waited for, 10 s), scan images
 * and segments, read the state file. journal: directory, NULL for SOURCE/.colofs/journal;
 * segments lie in journal/<32 hex digits of the node id>/, journal ones as j<slot>, the overlay's as
 * o<slot>, the activity map as a0; the node id is made once, durably, in .colofs/node-id.
 * NULL with one line in err and *error = -errno.
 */
struct store *store_open(struct ring *ring, const char *source, const char *journal, int *error,
                         char *err, size_t err_size);
/* The scan's result; valid until store_boot_done(). */
const struct boot *store_boot(struct store *s);
void store_boot_done(struct store *s);
void store_close(struct store *s);

/* env_ops */
void store_submit(struct store *s, struct io *io);
int store_read_now(struct store *s, enum file_kind kind, uint64_t file, uint64_t off, void *buf,
                   size_t len);
/* fstatvfs of SOURCE, for statfs. 0, -errno */
int store_statvfs(struct store *s, struct statvfs *st);
/* The image file's stat, for getattr's times, blocks, owner and mode. 0, -errno */
struct stat;
int store_image_stat(struct store *s, uint64_t id, struct stat *st);
int store_source_stat(struct store *s, struct stat *st); /* SOURCE's own */
int store_image_chmod(struct store *s, uint64_t id, unsigned mode);
int store_image_utimens(struct store *s, uint64_t id, const struct timespec ts[2]);
int store_image_chown(struct store *s, uint64_t id, unsigned uid, unsigned gid);
/* Image files that the file system under SOURCE does not let be opened with O_DIRECT: status says so. */
bool store_all_direct(const struct store *s);
/* The drain failed: leave the line in .colofs/umount-error for umount.fuse.colofs; the next
 * start removes it. */
void store_note_failure(struct store *s, const char *line);

#endif
