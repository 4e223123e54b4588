/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the three renderings of a status share. Private to ctl/status*.c.
 */
#ifndef COLOFS_CTL_STATUS_WRITE_H
#define COLOFS_CTL_STATUS_WRITE_H

#include <stdio.h>

#include "status.h"

/* Length of the valid UTF-8 sequence at s (1 to 4), or 0 if there is none. */
size_t utf8_length(const char *s);

/* Runs render on a memory stream: malloc'ed text, or NULL when out of memory. */
char *status_render(const struct status *s, size_t *len,
		    void (*render)(FILE *out, const struct status *s));

const char *status_link_name(enum status_link link);
const char *status_image_state_name(int state);

#endif
