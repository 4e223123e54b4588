/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shell's links: TCP, TLS 1.3, listening, dialling. Gives decrypted
 * bytes to the core and takes its frames. Event-loop thread only.
 */
#ifndef COLOFS_REPL_NET_H
#define COLOFS_REPL_NET_H

#include "../ctl/options.h"
#include "env.h"
#include "node.h"
#include "ring.h"

struct net;

struct net_config {
	struct hostport peer, listen; /* host "": not given */
	const char *tls;              /* directory; NULL with insecure */
	const char *peer_name;        /* subjectAltName the peer must show; NULL: pin only */
	const uint8_t *peer_pin;      /* 32 bytes, SHA-256 of the SPKI; or NULL */
	bool insecure;
	uint64_t send_buffer;         /* bytes */
	uint32_t link_timeout_ms;
};

/* Load the certificates, bind the listening socket (so that errors come before the mount is
 * ready). NULL with one line in err that says what to do. */
struct net *net_create(struct ring *ring, const struct net_config *config, char *err, size_t err_size);
/* From now on links are handed to node. */
void net_start(struct net *net, struct node *node);
void net_destroy(struct net *net);

/* env_ops of the same names */
void net_tx(struct net *net, int link, const struct iovec *iov, int count);
size_t net_tx_room(struct net *net, int link);
void net_link_close(struct net *net, int link);
void net_dial(struct net *net);
/* End of a batch: encrypt what is staged and hand it to the sockets. */
void net_flush(struct net *net);
/* For status: bytes waiting on the live link, and the time the last full drain took. */
void net_send_state(const struct net *net, int link, uint64_t *used, uint64_t *drain_ms);

#endif
