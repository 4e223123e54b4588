/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A host for one node of the core: see host.h. Its own memory never fails: abort() here is the test's end. */
#include "host.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *(*host_realloc)(void *p, size_t size) = realloc;

static void *keep(void *p, size_t size)
{
	p = host_realloc(p, size);
	if (!p)
		abort();
	return p;
}

static struct host *host_of(struct env *env)
{
	return (struct host *)env;
}

/* ---- files ---- */

struct host_file *host_file(struct host *h, unsigned kind, uint64_t id)
{
	for (int i = 0; i < HOST_FILES; i++)
		if (h->files[i].used && h->files[i].kind == kind && h->files[i].id == id)
			return &h->files[i];
	return NULL;
}

struct host_file *host_file_named(struct host *h, const char *name)
{
	for (int i = 0; i < HOST_FILES; i++)
		if (h->files[i].used && h->files[i].kind == FILE_IMAGE && !strcmp(h->files[i].name, name))
			return &h->files[i];
	return NULL;
}

struct host_file *host_file_new(struct host *h, unsigned kind, uint64_t id)
{
	for (int i = 0; i < HOST_FILES; i++) {
		struct host_file *f = &h->files[i];

		if (f->used)
			continue;
		memset(f, 0, sizeof(*f));
		f->used = true;
		f->kind = (uint8_t)kind;
		f->id = id;
		return f;
	}
	return NULL;
}

static void file_drop(struct host_file *f)
{
	free(f->data);
	memset(f, 0, sizeof(*f));
}

static void file_keep(struct host_file *f, size_t end)
{
	size_t room = 4096;

	if (end <= f->kept)
		return;
	while (room < end)
		room *= 2;
	f->data = keep(f->data, room);
	memset(f->data + f->kept, 0, room - f->kept);
	f->kept = room;
}

void host_file_write(struct host_file *f, uint64_t off, const void *buf, size_t len)
{
	if (off < HOST_KEPT && len) {
		size_t part = len < HOST_KEPT - off ? len : HOST_KEPT - off;

		file_keep(f, off + part);
		memcpy(f->data + off, buf, part);
	}
	if (off + len > f->size)
		f->size = off + len;
}

void host_file_read(const struct host_file *f, uint64_t off, void *buf, size_t len)
{
	size_t part = off < f->kept ? f->kept - off : 0;

	if (off < f->size && part > f->size - off)
		part = f->size - off;
	if (off >= f->size)
		part = 0;
	if (part > len)
		part = len;
	if (part)
		memcpy(buf, f->data + off, part);
	memset((uint8_t *)buf + part, 0, len - part);
}

static void file_zero(struct host_file *f, uint64_t off, uint64_t len)
{
	if (off < f->kept)
		memset(f->data + off, 0, len < f->kept - off ? len : f->kept - off);
}

static int do_create(struct host *h, const struct io *io)
{
	struct host_file *f = host_file(h, io->kind, io->file);

	if (f || (io->kind == FILE_IMAGE && io->name && host_file_named(h, io->name)))
		return -EEXIST;
	f = host_file_new(h, io->kind, io->file);
	if (!f)
		return -ENOSPC;
	if (io->kind == FILE_IMAGE)
		snprintf(f->name, sizeof(f->name), "%s", io->name ? io->name : "");
	else
		f->size = io->len;
	return 0;
}

static int do_rename(struct host *h, const struct io *io)
{
	struct host_file *f = host_file(h, io->kind, io->file);
	struct host_file *old = io->name ? host_file_named(h, io->name) : NULL;

	if (!f)
		return -ENOENT;
	if (old && old != f)
		file_drop(old);
	snprintf(f->name, sizeof(f->name), "%s", io->name ? io->name : "");
	return 0;
}

static int do_state(struct host *h, const struct io *io)
{
	h->state = keep(h->state, io->len + 1);
	memcpy(h->state, io->buf, io->len);
	h->state_len = io->len;
	return 0;
}

static int do_extent(const struct host_file *f, struct io *io)
{
	if (io->off >= f->size)
		return -ENXIO;
	io->hole = io->off >= f->kept;
	uint64_t end = io->hole || f->kept > f->size ? f->size : f->kept;

	if (io->len > end - io->off)
		io->len = end - io->off;
	return 0;
}

/* The device that was offered is the image's file from now on, hidden. */
static int do_adopt(struct host *h, const struct io *io)
{
	struct host_file *f = host_file(h, FILE_IMAGE, io->off), *old = host_file(h, FILE_IMAGE, io->file);

	if (!f || !f->capacity)
		return -ENOENT;
	if (old && old != f)
		file_drop(old);
	f->id = io->file;
	f->name[0] = 0;
	return 0;
}

static int do_file(struct host_file *f, struct io *io)
{
	if (f->capacity && io->op == IO_TRUNC)
		return io->len > f->capacity ? -ENOSPC : 0;
	if (f->capacity && io->op == IO_WRITE && io->off + io->len > f->capacity)
		return -ENOSPC;
	switch (io->op) {
	case IO_READ:
		host_file_read(f, io->off, io->buf, io->len);
		return 0;
	case IO_WRITE:
		host_file_write(f, io->off, io->buf, io->len);
		return 0;
	case IO_ALLOC:
	case IO_PUNCH:
	case IO_ZERO:
		if (io->op != IO_ALLOC)
			file_zero(f, io->off, io->len);
		if (io->op != IO_PUNCH && !io->keep_size && io->off + io->len > f->size)
			f->size = io->off + io->len;
		return 0;
	case IO_TRUNC:
		if (io->len < f->size)
			file_zero(f, io->len, f->size - io->len);
		f->size = io->len;
		return 0;
	case IO_EXTENT:
		return do_extent(f, io);
	case IO_STAT:
		*(struct io_times *)io->buf = (struct io_times){ 1, 1 };
		return 0;
	case IO_REMOVE:
		file_drop(f);
		return 0;
	}
	return 0; /* IO_SYNC: all that completed is durable here */
}

static int carry_out(struct host *h, struct io *io)
{
	struct host_file *f = host_file(h, io->kind, io->file);

	switch (io->op) {
	case IO_CREATE:
		return do_create(h, io);
	case IO_RENAME:
		return do_rename(h, io);
	case IO_ADOPT:
		return do_adopt(h, io);
	case IO_STATE:
		return do_state(h, io);
	case IO_DIRSYNC:
	case IO_CLOSE:
		return 0;
	}
	return f ? do_file(f, io) : -ENOENT;
}

/* ---- env_ops ---- */

static void env_submit(struct env *env, struct io *io)
{
	struct host *h = host_of(env);

	if (io->kind != FILE_IMAGE && io->op == IO_WRITE && (io->off % BLOCK || io->len % BLOCK ||
	                                                     (uintptr_t)io->buf % BLOCK))
		abort(); /* O_DIRECT would refuse it */
	if (io->op <= IO_WRITE && (!io->len || io->len > IO_MAX_LEN))
		abort();
	io->next = NULL;
	*h->queue_tail = io;
	h->queue_tail = &io->next;
	if (++h->queued > HOST_QUEUE_MAX) {
		fprintf(stderr, "%u requests in flight: nothing bounds them\n", h->queued);
		abort();
	}
}

static int env_read_now(struct env *env, enum file_kind kind, uint64_t file, uint64_t off, void *buf, size_t len)
{
	const struct host_file *f = host_file(host_of(env), kind, file);

	if (!f)
		return -ENOENT;
	host_file_read(f, off, buf, len);
	return 0;
}

static void env_random(struct env *env, void *buf, size_t len)
{
	struct host *h = host_of(env);
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		h->random = h->random * 6364136223846793005ull + 1442695040888963407ull;
		p[i] = (uint8_t)(h->random >> 33);
	}
}

static void env_tx(struct env *env, int link, const struct iovec *iov, int count)
{
	struct host *h = host_of(env);
	struct host_link *l = &h->links[link];

	if (link < 0 || link >= LINKS_MAX || !l->open)
		abort();
	for (int i = 0; i < count && !l->broken; i++) {
		size_t end = l->len + iov[i].iov_len;

		if (end > h->config.send_buffer + HOST_SEND_LIMIT) {
			l->broken = true;
			break;
		}
		if (end > l->room) {
			l->room = end * 2;
			l->tx = keep(l->tx, l->room);
		}
		if (iov[i].iov_len)
			memcpy(l->tx + l->len, iov[i].iov_base, iov[i].iov_len);
		l->len = end;
	}
}

static size_t env_tx_room(struct env *env, int link)
{
	struct host *h = host_of(env);

	if (link < 0 || link >= LINKS_MAX || !h->links[link].open)
		abort();
	return h->links[link].len < h->config.send_buffer ? h->config.send_buffer - h->links[link].len : 0;
}

static void env_link_close(struct env *env, int link)
{
	struct host_link *l = &host_of(env)->links[link];

	if (link < 0 || link >= LINKS_MAX || !l->open)
		abort();
	l->open = false; /* what was sent can still be read */
}

static void env_dial(struct env *env)
{
	struct host *h = host_of(env);

	if (h->dialling)
		abort(); /* one at a time */
	h->dialling = true;
	h->dials++;
}

static int env_fence(struct env *env, const char *const *args)
{
	struct host *h = host_of(env);

	if (h->fencing)
		abort(); /* one at a time */
	h->fence_args[0] = 0;
	for (int i = 0; args[i]; i++)
		snprintf(h->fence_args + strlen(h->fence_args), sizeof(h->fence_args) - strlen(h->fence_args), "%s%s",
		         i ? " " : "", args[i]);
	h->fencing = !h->fence_error;
	h->fence_killed = false;
	return h->fence_error;
}

static void env_fence_kill(struct env *env)
{
	host_of(env)->fence_killed = true;
}

static void env_log(struct env *env, int level, const char *text)
{
	if (host_of(env)->loud)
		fprintf(stderr, "%u/%d %s\n", host_of(env)->id[0], level, text);
}

static const struct env_ops env_ops = {
	.submit = env_submit,
	.read_now = env_read_now,
	.random = env_random,
	.tx = env_tx,
	.tx_room = env_tx_room,
	.link_close = env_link_close,
	.dial = env_dial,
	.fence = env_fence,
	.fence_kill = env_fence_kill,
	.log = env_log,
};

/* ---- life ---- */

void host_init(struct host *h, uint8_t id, int role)
{
	memset(h, 0, sizeof(*h));
	h->env.ops = &env_ops;
	h->queue_tail = &h->queue;
	h->random = id;
	h->now_ms = 1000;
	memset(h->id, id, sizeof(h->id));
	h->config = (struct node_config){ .role = role, .can_dial = role == NODE_PRIMARY,
		.can_accept = role == NODE_BACKUP, .journal_size = 4u << 20, .overlay_size = 2u << 20,
		.link_timeout_ms = 500, .flush_timeout_ms = 2000, .peer_wait_ms = 60000, .send_buffer = 1u << 20,
		.segment_size = 512u << 10,
		.source = "/source", .version = "test" };
}

static void on_ready(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	h->ready = true;
	h->ready_error = error;
	snprintf(h->ready_why, sizeof(h->ready_why), "%s", why);
}

static void on_stopped(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	(void)why;
	h->stopped = true;
	h->stop_error = error;
}

int host_boot(struct host *h, char *err, size_t err_size)
{
	static struct boot_image images[HOST_FILES];
	struct boot_segment segments[2][HOST_FILES];
	struct boot boot = { .state = h->state, .state_len = h->state_len, .images = images,
		.journal = segments[0], .overlay = segments[1] };
	int error = 0;

	memcpy(boot.node, h->id, 16);
	for (int i = 0; i < HOST_FILES; i++) {
		const struct host_file *f = &h->files[i];

		if (!f->used)
			continue;
		if (f->kind == FILE_JOURNAL)
			segments[0][boot.journal_count++] = (struct boot_segment){ (uint32_t)f->id, f->size };
		if (f->kind == FILE_OVERLAY)
			segments[1][boot.overlay_count++] = (struct boot_segment){ (uint32_t)f->id, f->size };
		if (f->kind == FILE_ACTIVITY)
			boot.activity_size = f->size;
		if (f->kind != FILE_IMAGE)
			continue;
		struct boot_image *b = &images[boot.image_count++];

		*b = (struct boot_image){ .id = f->id, .size = f->size, .capacity = f->capacity, .mtime_ns = 1, .ctime_ns = 1 };
		memcpy(b->name, f->name, sizeof(b->name));
	}
	h->ready = h->stopped = h->dialling = h->fencing = h->fence_killed = false;
	h->node = node_create(&h->env, &h->config, &boot, on_ready, h, &error, err, err_size);
	if (!h->node)
		return error;
	host_begin(h);
	host_end(h);
	return 0;
}

void host_kill(struct host *h)
{
	while (h->queue) {
		struct io *io = h->queue;

		h->queue = io->next;
		(void)carry_out(h, io);
	}
	h->queue_tail = &h->queue;
	h->queued = 0;
	node_destroy(h->node);
	h->node = NULL;
	for (int i = 0; i < LINKS_MAX; i++) {
		free(h->links[i].tx);
		memset(&h->links[i], 0, sizeof(h->links[i]));
	}
}

static void *copy_of(const void *p, size_t len)
{
	void *copy = p ? keep(NULL, len + 1) : NULL;

	if (p)
		memcpy(copy, p, len);
	return copy;
}

void host_disk_copy(struct host_disk *d, const struct host *h)
{
	memcpy(d->files, h->files, sizeof(d->files));
	for (int i = 0; i < HOST_FILES; i++)
		d->files[i].data = copy_of(h->files[i].data, h->files[i].kept);
	d->state = copy_of(h->state, h->state_len);
	d->state_len = h->state_len;
}

void host_disk_use(struct host *h, struct host_disk *d)
{
	for (int i = 0; i < HOST_FILES; i++)
		file_drop(&h->files[i]);
	memcpy(h->files, d->files, sizeof(d->files));
	free(h->state);
	h->state = d->state;
	h->state_len = d->state_len;
}

void host_exit(struct host *h)
{
	if (h->node)
		host_kill(h);
	for (int i = 0; i < HOST_FILES; i++)
		file_drop(&h->files[i]);
	free(h->state);
	h->state = NULL;
	h->state_len = 0;
}

/* ---- events ---- */

void host_begin(struct host *h)
{
	node_time(h->node, h->now_ms, 1700000000000ull + h->now_ms);
}

/* The end of a batch; links whose send buffer was overrun are cut as the shell would. */
void host_end(struct host *h)
{
	node_batch_end(h->node);
	for (int i = 0; i < LINKS_MAX; i++)
		if (h->links[i].open && h->links[i].broken) {
			h->links[i].open = false;
			node_link_closed(h->node, i, "no room in the send buffer");
			node_batch_end(h->node);
		}
}

void host_tick(struct host *h, uint64_t ms)
{
	h->now_ms += ms;
	host_begin(h);
	host_end(h);
}

uint32_t host_io(struct host *h, uint32_t n)
{
	uint32_t done = 0;

	for (; done < n && h->queue; done++) {
		struct io *io = h->queue;

		h->queue = io->next;
		if (!h->queue)
			h->queue_tail = &h->queue;
		h->queued--;
		bool fails = io->op != IO_CLOSE && io->op != IO_READ && ++h->io_count == h->io_fail_at;

		if ((h->fail_next && io->op != IO_CLOSE) || fails) {
			h->fail_next -= !fails;
			h->io_failures++;
			io->result = h->fail_error;
		} else {
			io->result = carry_out(h, io);
		}
		host_begin(h);
		io->done(io);
		host_end(h);
	}
	return done;
}

void host_settle(struct host *h)
{
	for (int i = 0; i < 100000; i++) {
		if (!host_io(h, 64) && node_deadline_ms(h->node) > h->now_ms)
			return;
		host_begin(h);
		host_end(h);
	}
	fprintf(stderr, "the node never comes to rest\n");
	abort();
}

bool host_stop(struct host *h)
{
	host_begin(h);
	node_stop(h->node, on_stopped, h);
	host_end(h);
	for (int i = 0; i < 400 && !h->stopped; i++) {
		host_settle(h);
		host_tick(h, 50);
	}
	return h->stopped;
}

/* ---- links ---- */

int host_link_open(struct host *h, bool dialled)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		struct host_link *l = &h->links[i];

		if (l->open)
			continue;
		l->open = true;
		l->broken = false;
		l->len = 0;
		h->dialling &= !dialled;
		host_begin(h);
		node_link_opened(h->node, i, dialled, "peer", "");
		host_end(h);
		return i;
	}
	return -1;
}

void host_link_rx(struct host *h, int link, const void *buf, size_t len)
{
	if (link < 0 || !h->links[link].open)
		return;
	host_begin(h);
	node_link_rx(h->node, link, buf, len);
	host_end(h);
}

void host_link_cut(struct host *h, int link)
{
	if (link < 0 || !h->links[link].open)
		return;
	h->links[link].open = false;
	host_begin(h);
	node_link_closed(h->node, link, "cut");
	host_end(h);
}

void host_link_take(struct host *h, int link, size_t n)
{
	struct host_link *l = &h->links[link];

	l->len -= n;
	memmove(l->tx, l->tx + n, l->len);
	if (l->open) {
		host_begin(h);
		node_link_tx_ready(h->node, link);
		host_end(h);
	}
}
