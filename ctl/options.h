/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's options: one table (options.def) from which the parser, the
 * help text and the manual's table come.
 */
#ifndef COLOFS_CTL_OPTIONS_H
#define COLOFS_CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_role { ROLE_REMEMBERED, ROLE_UNPROTECTED, ROLE_PRIMARY, ROLE_BACKUP };

#define PORT_DEFAULT 7420
#define COMMIT_FSYNC UINT32_MAX /* commit_ms: at every guest flush */

/* HOST:PORT taken apart; host is without brackets, empty where not given. */
struct hostport {
	char host[256];
	uint16_t port;
};

struct options {
	char *source;     /* as typed, then made absolute */
	char *mountpoint; /* likewise */
	bool foreground, debug, show_version, show_help;
	enum option_role role;
	struct hostport peer, listen;
	char *tls;         /* directory, absolute; NULL: not given */
	char *peer_name;   /* NULL: not given (then the host of peer=) */
	uint8_t peer_pin[32];
	bool have_peer_pin;
	bool insecure;
	bool overwrite;
	uint32_t commit_ms;       /* 0: manual; COMMIT_FSYNC */
	bool overlay;             /* backup: local writes are taken */
	bool suspend, catch_up;   /* on-link-loss=suspend; congestion=catch-up */
	bool peer_loss_failover;  /* on-peer-loss=failover */
	char *fence;              /* absolute; NULL: not given */
	bool start_alone;
	uint32_t peer_wait_ms;
	uint64_t resync_rate;     /* bytes a second; 0: no limit */
	char *journal;            /* NULL: SOURCE/.colofs/journal */
	uint64_t journal_size;    /* bytes */
	uint64_t overlay_size;    /* bytes */
	uint32_t link_timeout_ms;
	uint32_t flush_timeout_ms;
	uint64_t send_buffer;     /* bytes of ciphertext */
	char *conf;               /* absolute; NULL: not given. Already read */
	/* -o words that are not ours, for libfuse: "a,b=c", NULL if none */
	char *fuse_opts;
};

/*
 * Parse argv (mount(8)'s form too: SOURCE MNT -o a,b=c, unknown flags such as
 * rw, dev, suid, noauto, nofail, _netdev, x-* from fstab are dealt with).
 * 0, or -EINVAL with one line in err that says what is wrong and what to do.
 * Cross-checks (role against peer/listen/tls ...) are made here too.
 */
int options_parse(struct options *o, int argc, char **argv, char *err, size_t err_size);
void options_free(struct options *o);
/* `set NAME VALUE`: one option that may change while the daemon runs, into o, which need not have been parsed. 0, or
 * -EINVAL with one line in err. */
int options_set(struct options *o, const char *name, const char *value, char *err, size_t err_size);
/* The text of -h: written to stdout from the table. */
void options_usage(void);

#endif
