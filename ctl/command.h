/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Commands written to MNT/.colo/ctl, from one table (commands.def).
 */
#ifndef COLOFS_CTL_COMMAND_H
#define COLOFS_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COMMAND_MAX 4096 /* bytes in one write; more is E2BIG */
#define NAME_SET "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-"
#define NAME_MAX_LEN 64  /* checkpoint NAME: 1-64 of A-Za-z0-9._:- */

enum verb {
	CMD_FLUSH, CMD_PREPARE, CMD_COMMIT, CMD_ABORT, CMD_WAIT, CMD_FAILOVER, CMD_SWITCHOVER, CMD_DISCARD_LOCAL, CMD_RESYNC, CMD_VERIFY, CMD_SET, CMD_CONTINUE, CMD_CONNECT, CMD_DISCONNECT, CMD_HELP,
};

struct command {
	enum verb verb;
	char name[NAME_MAX_LEN + 1]; /* flush, prepare; "" if none */
	bool nowait;                 /* flush, prepare */
	bool force, drop_overlay, keep_prepared; /* failover */
	bool have_epoch;             /* failover epoch=N; commit, abort, wait N */
	uint64_t epoch;
	bool full, in_place;         /* resync */
	char image[256];             /* verify; "" if none */
	char option[32], value[64];  /* set */
};

/* Parse one write. 0, -EINVAL (reason in err), -E2BIG. NUL bytes, control
 * characters and more than one line are EINVAL; a trailing newline and
 * blanks around words are fine. */
int command_parse(struct command *c, const char *text, size_t len, char *err, size_t err_size);
/* The list for `help`, many lines, ends in a newline. Static storage. */
const char *command_help(void);
/* "EBUSY" for EBUSY ... the names the contract uses; "EIO" for others. */
const char *errno_name(int err);

#endif
