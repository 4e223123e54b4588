/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the scenario's files: world.c, heal.c. */
#ifndef COLOFS_TESTS_WORLD_H
#define COLOFS_TESTS_WORLD_H

#include "sim.h"

void world_new_host(struct sim *s, struct host *h, int role);
/* It crashes now, and is started again soon. */
void world_crash(struct sim *s, struct host *h, bool power);
/* Soon, in any phase: its operator ends it and starts it again. */
void world_restart_now(struct sim *s, struct host *h);
void world_stop(struct sim *s, struct host *h);
void takeover_probed(struct sim *s, struct host *h, struct probe_image *img, uint32_t count);
void world_restart_later(struct sim *s, struct host *h, uint64_t delay);
void world_crash_later(struct sim *s, struct host *h, uint64_t delay);
void roles_switch(struct sim *s);
void roles_discard(struct sim *s);
/* Its copy is not level: what it shows up to this epoch is not to be served. */
void roles_stale(struct sim *s, struct host *h, uint64_t epoch);
void roles_started(struct sim *s, struct host *h);
/* Within a batch for h. then: called with the verdict; may be NULL. */
void world_flush(struct sim *s, struct host *h, void (*then)(struct sim *s, int error));
bool world_flushing(const struct sim *s); /* one with a sequel: there is no room for another */

#endif
