/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real shell: the core's env_ops carried out by store and net. No state of its own.
 * Event-loop thread only.
 */
#include "shell.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../ctl/log.h"

#define RING_ENTRIES 1024

static struct shell *shell_of(struct env *env)
{
	return (struct shell *)env;
}

static void env_submit(struct env *env, struct io *io)
{
	store_submit(shell_of(env)->store, io);
}

static int env_read_now(struct env *env, enum file_kind kind, uint64_t file, uint64_t off,
                        void *buf, size_t len)
{
	return store_read_now(shell_of(env)->store, kind, file, off, buf, len);
}

static void env_random(struct env *env, void *buf, size_t len)
{
	size_t got = 0;

	(void)env;
	while (got < len) {
		ssize_t n = getrandom((char *)buf + got, len - got, 0);

		if (n > 0) /* else EINTR: the pool is initialised by now, nothing else can be */
			got += (size_t)n;
	}
}

static void env_tx(struct env *env, int link, const struct iovec *iov, int count)
{
	if (shell_of(env)->net)
		net_tx(shell_of(env)->net, link, iov, count);
}

static size_t env_tx_room(struct env *env, int link)
{
	return shell_of(env)->net ? net_tx_room(shell_of(env)->net, link) : 0;
}

static void env_link_close(struct env *env, int link)
{
	if (shell_of(env)->net)
		net_link_close(shell_of(env)->net, link);
}

static void env_dial(struct env *env)
{
	if (shell_of(env)->net)
		net_dial(shell_of(env)->net);
}

static int env_fence(struct env *env, const char *const *args)
{
	return fence_start(&shell_of(env)->fence, args);
}

static void env_fence_kill(struct env *env)
{
	fence_kill(&shell_of(env)->fence);
}

static void env_send_state(struct env *env, int link, uint64_t *used, uint64_t *limit, uint64_t *drain_ms)
{
	struct shell *sh = shell_of(env);

	*limit = sh->net ? sh->send_buffer : 0;
	if (sh->net && link >= 0)
		net_send_state(sh->net, link, used, drain_ms);
}

static bool env_buffered(struct env *env)
{
	return !store_all_direct(shell_of(env)->store);
}

static void env_log(struct env *env, int level, const char *text)
{
	(void)env;
	log_msg((enum log_level)level, "%s", text);
}

static const struct env_ops shell_ops = {
	.submit = env_submit,
	.read_now = env_read_now,
	.random = env_random,
	.tx = env_tx,
	.tx_room = env_tx_room,
	.link_close = env_link_close,
	.dial = env_dial,
	.fence = env_fence,
	.fence_kill = env_fence_kill,
	.send_state = env_send_state,
	.buffered = env_buffered,
	.log = env_log,
};

static int role_of(const struct options *o)
{
	static const int roles[] = {
		[ROLE_REMEMBERED] = -1,
		[ROLE_UNPROTECTED] = NODE_UNPROTECTED,
		[ROLE_PRIMARY] = NODE_PRIMARY,
		[ROLE_BACKUP] = NODE_BACKUP,
	};

	return roles[o->role];
}

static int net_open(struct shell *sh, const struct options *o, char *err, size_t err_size)
{
	struct net_config config = {
		.peer = o->peer,
		.listen = o->listen,
		.tls = o->tls,
		.peer_name = o->peer_name,
		.peer_pin = o->have_peer_pin ? o->peer_pin : NULL,
		.insecure = o->insecure,
		.send_buffer = o->send_buffer,
		.link_timeout_ms = o->link_timeout_ms,
	};

	sh->send_buffer = o->send_buffer;
	if (!o->peer.host[0] && !o->listen.host[0])
		return 0;
	if (!config.peer_name && !config.peer_pin && o->peer.host[0])
		config.peer_name = o->peer.host;
	sh->net = net_create(&sh->ring, &config, err, err_size);
	return sh->net ? 0 : -EIO;
}

static uint64_t wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int shell_open(struct shell *sh, const struct options *o,
               void (*on_ready)(void *ctx, int error, const char *why), void *ctx, char *err,
               size_t err_size)
{
	struct node_config config = {
		.role = role_of(o),
		.can_dial = o->peer.host[0] != '\0',
		.can_accept = o->listen.host[0] != '\0',
		.overwrite = o->overwrite,
		.start_alone = o->start_alone,
		.can_fence = o->fence,
		.peer_wait_ms = o->peer_wait_ms,
		.overlay_size = o->overlay_size,
		.send_buffer = o->send_buffer,
		.source = o->source,
		.version = COLOFS_VERSION,
	};
	int error;

	node_config_live(&config, o);
	memset(sh, 0, sizeof(*sh));
	sh->env.ops = &shell_ops;
	error = ring_init(&sh->ring, RING_ENTRIES);
	if (error) {
		snprintf(err, err_size,
		         "io_uring cannot be used: %s; see sysctl kernel.io_uring_disabled",
		         strerror(-error));
		return error;
	}
	sh->ring_made = true;
	sh->store = store_open(&sh->ring, o->source, o->journal, &error, err, err_size);
	if (!sh->store)
		return error;
	error = net_open(sh, o, err, err_size);
	if (error)
		return error;
	error = o->fence ? fence_check(o->fence, err, err_size) : 0;
	if (error)
		return error;
	sh->node = node_create(&sh->env, &config, store_boot(sh->store), on_ready, ctx, &error, err,
	                       err_size);
	store_boot_done(sh->store);
	if (!sh->node)
		return error;
	fence_init(&sh->fence, &sh->ring, sh->node, o->fence, o->source);
	node_time(sh->node, ring_now_ms(), wall_ms());
	if (sh->net)
		net_start(sh->net, sh->node);
	return 0;
}

void shell_quiesce(struct shell *sh)
{
	if (sh->net)
		net_destroy(sh->net); /* runs the ring for a while: sockets end in order */
	sh->net = NULL;
	fence_kill(&sh->fence);
	if (sh->ring_made)
		ring_exit(&sh->ring);
	sh->ring_made = false;
}

/* The ring first: nothing may complete into what is freed after it. */
void shell_close(struct shell *sh)
{
	shell_quiesce(sh);
	if (sh->node)
		node_destroy(sh->node);
	store_close(sh->store);
	memset(sh, 0, sizeof(*sh));
}

void shell_before(struct shell *sh)
{
	node_time(sh->node, ring_now_ms(), wall_ms());
}

void shell_after(struct shell *sh)
{
	node_batch_end(sh->node);
	if (sh->net)
		net_flush(sh->net);
}

uint64_t shell_deadline_ms(struct shell *sh)
{
	return node_deadline_ms(sh->node);
}
