/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the journal's files: journal.c, journal_segment.c, journal_read.c, journal_recover.c. Nobody else includes this. */
#ifndef COLOFS_REPL_JOURNAL_INT_H
#define COLOFS_REPL_JOURNAL_INT_H

#include "journal.h"

/* journal.c */
void journal_fail(struct journal *j, int error); /* for good; all who wait are told */
void journal_push_ready(struct journal *j);      /* a segment is ready: write its batches */

/* journal_segment.c */
uint32_t segment_slots(const struct journal *j, uint64_t limit); /* segments in so many bytes */
void segment_become(struct journal *j, struct segment *s, enum segment_state state);
uint32_t segment_present(const struct journal *j);
int segment_open(struct journal *j);   /* the next one is the active one; 0, -EAGAIN */
void segment_close(struct journal *j); /* the active one, if any; synced in the background */
int segment_note_batch(struct segment *s, uint32_t off);
void segment_create_ahead(struct journal *j, uint64_t now_ms);

/* journal_read.c */
int journal_reads_init(struct journal *j);
void journal_reads_free(struct journal *j);
void journal_cache_drop(struct journal *j);
void journal_reads_pump(struct journal *j);
/* The batch still in memory that holds pos, or NULL. */
const struct batch *journal_in_memory(const struct journal *j, uint64_t pos);

#endif
