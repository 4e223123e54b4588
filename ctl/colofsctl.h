/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * colofsctl: what its sub-commands share. Each is int ctl_NAME(argc, argv)
 * with argv[0] the sub-command's own word; it returns the exit code.
 */
#ifndef COLOFS_CTL_COLOFSCTL_H
#define COLOFS_CTL_COLOFSCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* In colofsctl.c: one line on stderr, then the code to exit with. */
int ctl_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int ctl_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The sub-commands. */
int ctl_status(int argc, char **argv);
int ctl_flush(int argc, char **argv);
int ctl_failover(int argc, char **argv);
int ctl_switchover(int argc, char **argv);
int ctl_verify(int argc, char **argv);
int ctl_resync(int argc, char **argv);
int ctl_events(int argc, char **argv);
int ctl_check(int argc, char **argv);
int ctl_drill(int argc, char **argv);
int ctl_certs(int argc, char **argv);

/* In colofsctl_mount.c. Open a control file of a mount: descriptor, or -1 after a line on stderr.
 */
int mount_open(const char *mnt, const char *file, int flags);
/* All of a control file, malloc'ed and terminated; NULL after a line on stderr. */
char *mount_read(const char *mnt, const char *file, size_t *len);
/* Write one command, wait for its verdict, print it. The exit code. */
int mount_command(const char *mnt, const char *command);
/* The number behind "key": in a status.json, searched from *at on, which moves behind it. */
bool json_number(const char **at, const char *key, uint64_t *n);

/* In colofsctl_progress.c: while a command runs longer than a second, and stderr is a terminal,
 * show that it is alive. */
struct progress;
struct progress *progress_start(const char *mnt, const char *what);
void progress_stop(struct progress *p);

#endif
