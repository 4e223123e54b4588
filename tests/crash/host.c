/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The core on a crash state in memory: see host.h. */
#include "host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/frame.h"

#define BATCHES_MAX_RUN 20000 /* of events, until something must have happened */
#define READ_MAX (1u << 20)

const char *mutant; /* repl/mutant.h */

static struct host *host_of(struct env *env)
{
	return (struct host *)env;
}

/* ---- files ---- */

static struct vfile *file_find(struct host *h, unsigned kind, uint64_t id)
{
	for (size_t i = 0; i < h->file_count; i++)
		if (h->files[i].kind == kind && h->files[i].id == id && (h->files[i].present || kind == FILE_IMAGE))
			return &h->files[i];
	return NULL;
}

static struct vfile *file_named(struct host *h, const char *name)
{
	for (size_t i = 0; i < h->file_count; i++)
		if (h->files[i].kind == FILE_IMAGE && h->files[i].present && !strcmp(h->files[i].name, name))
			return &h->files[i];
	return NULL;
}

static struct vfile *file_add(struct host *h, unsigned kind, uint64_t id, const char *name, struct inode *inode)
{
	struct vfile *f = &h->files[h->file_count++];

	if (h->file_count == HOST_FILES)
		abort();
	*f = (struct vfile){ .kind = (uint8_t)kind, .present = true, .id = id, .inode = inode };
	snprintf(f->name, sizeof(f->name), "%s", name);
	return f;
}

static int do_create(struct host *h, struct io *io)
{
	struct vfile *f = file_find(h, io->kind, io->file);

	if ((f && f->present) || (io->kind == FILE_IMAGE && io->name && *io->name && file_named(h, io->name)))
		return -EEXIST;
	if (f)
		f->id = 0; /* the removed one: nobody asks for it any more */
	f = file_add(h, io->kind, io->file, io->kind == FILE_IMAGE && io->name ? io->name : "", disk_new(h->disk));
	if (io->kind != FILE_IMAGE)
		disk_truncate(h->disk, f->inode, io->len);
	return 0;
}

static int do_rename(struct host *h, struct vfile *f, const struct io *io)
{
	const char *name = io->name ? io->name : "";
	struct vfile *old = *name ? file_named(h, name) : NULL;

	if (!f || !f->present)
		return -ENOENT;
	if (old && old != f)
		old->present = false;
	snprintf(f->name, sizeof(f->name), "%s", name);
	return 0;
}

static int do_state(struct host *h, const struct io *io)
{
	free(h->state);
	h->state = malloc(io->len);
	if (!h->state)
		abort();
	memcpy(h->state, io->buf, io->len);
	h->state_len = io->len;
	return 0;
}

static int carry_out(struct host *h, struct io *io)
{
	struct vfile *f;

	if (io->op == IO_STATE)
		return do_state(h, io);
	if (io->op == IO_DIRSYNC)
		return 0;
	f = file_find(h, io->kind, io->file);
	if (io->op == IO_CREATE)
		return do_create(h, io);
	if (!f)
		return -ENOENT;
	switch (io->op) {
	case IO_READ: disk_read(f->inode, io->off, io->buf, io->len); return 0;
	case IO_WRITE: disk_write(h->disk, f->inode, io->off, io->buf, io->len, true); return 0;
	case IO_PUNCH: disk_zero(h->disk, f->inode, io->off, io->len, false); return 0;
	case IO_ZERO: disk_zero(h->disk, f->inode, io->off, io->len, !io->keep_size); return 0;
	case IO_TRUNC: disk_truncate(h->disk, f->inode, io->len); return 0;
	case IO_RENAME: return do_rename(h, f, io);
	case IO_REMOVE: f->present = false; return 0;
	case IO_SYNC:
	case IO_CLOSE: return 0;
	default: return -EOPNOTSUPP;
	}
}

/* ---- env_ops ---- */

static void env_submit(struct env *env, struct io *io)
{
	struct host *h = host_of(env);

	io->next = NULL;
	*h->queue_tail = io;
	h->queue_tail = &io->next;
}

static int env_read_now(struct env *env, enum file_kind kind, uint64_t file, uint64_t off, void *buf, size_t len)
{
	struct vfile *f = file_find(host_of(env), kind, file);

	if (!f)
		return -ENOENT;
	disk_read(f->inode, off, buf, len);
	return 0;
}

static void env_random(struct env *env, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(rnd_next(&host_of(env)->rng) >> 20);
}

static void env_tx(struct env *env, int link, const struct iovec *iov, int count)
{
	(void)env, (void)link, (void)iov, (void)count;
}

static size_t env_tx_room(struct env *env, int link)
{
	(void)env, (void)link;
	return 0;
}

static void env_link_close(struct env *env, int link)
{
	(void)env, (void)link;
}

static void env_dial(struct env *env)
{
	(void)env;
}

static void env_log(struct env *env, int level, const char *text)
{
	(void)level;
	if (host_of(env)->verbose)
		printf("  node: %s\n", text);
}

static const struct env_ops ops = {
	.submit = env_submit, .read_now = env_read_now, .random = env_random, .tx = env_tx, .tx_room = env_tx_room,
	.link_close = env_link_close, .dial = env_dial, .log = env_log,
};

/* ---- the scan: as store_scan.c does it ---- */

static uint64_t id_of(const struct inode *i)
{
	uint64_t id = 0;

	if (i->xattr)
		memcpy(&id, i->xattr, sizeof(id));
	return id;
}

static void scan_image(struct host *h, const char *name, uint64_t hidden, struct inode *i)
{
	uint64_t id = hidden ? hidden : id_of(i);

	while (id < 16 || file_find(h, FILE_IMAGE, id)) /* never had one that lasted: a new one */
		id = rnd_next(&h->rng) >> 9;
	file_add(h, FILE_IMAGE, id, name, i);
}

static void scan_entry(struct host *h, const struct dirent_ *e, uint64_t dot, uint64_t segments)
{
	struct inode *i = disk_inode(h->disk, e->file);
	uint64_t id;
	unsigned slot;
	char kind;

	if (i->dir)
		return;
	if (e->dir == h->disk->root && e->name[0] != '.')
		scan_image(h, e->name, 0, i);
	else if (e->dir == dot && sscanf(e->name, "i%16" SCNx64, &id) == 1)
		scan_image(h, "", id, i);
	else if (segments && e->dir == segments && sscanf(e->name, "%c%u", &kind, &slot) == 2 && strchr("jo", kind))
		file_add(h, kind == 'j' ? FILE_JOURNAL : FILE_OVERLAY, slot, "", i);
}

/* A small file's text, malloc'ed. NULL: there is none. */
static uint8_t *slurp(struct disk *d, uint64_t dir, const char *name, size_t *len)
{
	const struct dirent_ *e = disk_find(d, dir, name);
	struct inode *i = e ? disk_inode(d, e->file) : NULL;
	uint8_t *buf = i ? malloc(i->size + 1) : NULL;

	if (!buf)
		return NULL;
	disk_read(i, 0, buf, i->size);
	buf[i->size] = 0;
	*len = i->size;
	return buf;
}

void host_scan(struct host *h, struct disk *d)
{
	const struct dirent_ *dot = disk_find(d, d->root, ".colofs"), *dir;
	uint64_t segments = 0;
	size_t len;
	char *text;

	memset(h, 0, sizeof(*h));
	mutant = getenv("COLOFS_MUTANT");
	h->env.ops = &ops;
	h->disk = d;
	h->rng = d->digest;
	h->now_ms = 1000;
	text = dot ? (char *)slurp(d, dot->file, "node-id", &len) : NULL;
	if (!text)
		return; /* the first start had not come that far */
	for (int i = 0; i < 16 && len == 33; i++)
		h->have_node_id = sscanf(text + 2 * i, "%2hhx", &h->node_id[i]) == 1;
	text[32] = 0;
	dir = disk_find(d, dot->file, "journal");
	dir = dir ? disk_find(d, dir->file, text) : NULL;
	segments = dir ? dir->file : 0;
	for (size_t i = 0; i < d->tree.count; i++)
		scan_entry(h, &d->tree.entries[i], dot->file, segments);
	h->state = slurp(d, dot->file, "state", &h->state_len);
	free(text);
}

void host_free(struct host *h)
{
	free(h->state);
	h->state = NULL;
}

/* ---- running ---- */

static void batch(struct host *h)
{
	struct io *io = h->queue;

	if (!io) {
		uint64_t at = node_deadline_ms(h->node);

		h->now_ms = at > h->now_ms && at != UINT64_MAX ? at : h->now_ms + 1;
	}
	h->queue = NULL;
	h->queue_tail = &h->queue;
	node_time(h->node, h->now_ms, 1700000000000ull + h->now_ms);
	while (io) {
		struct io *next = io->next;

		io->result = carry_out(h, io);
		h->ios++;
		io->done(io);
		io = next;
	}
	node_batch_end(h->node);
}

static bool run_until(struct host *h, const bool *flag)
{
	for (int i = 0; i < BATCHES_MAX_RUN && !*flag; i++)
		batch(h);
	return *flag;
}

static void on_ready(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	h->ready = true;
	h->error = error;
	snprintf(h->why, sizeof(h->why), "%s", why);
}

static const char *start(struct host *h)
{
	static struct boot_image images[HOST_FILES];
	static struct boot_segment segments[2][HOST_FILES];
	struct node_config config = {
		.role = h->state ? -1 : NODE_BACKUP, .can_accept = true, .journal_size = 16u << 20, .overlay_size = 16u << 20,
		.link_timeout_ms = 5000, .flush_timeout_ms = 30000, .send_buffer = 1u << 20, .segment_size = 1u << 20,
		.source = "/crash", .version = "crash",
	};
	struct boot boot = { .state = h->state, .state_len = h->state_len, .images = images, .journal = segments[0],
	                     .overlay = segments[1] };
	int error = 0;

	memcpy(boot.node, h->node_id, 16);
	for (size_t i = 0; i < h->file_count; i++) {
		const struct vfile *f = &h->files[i];

		if (!f->present)
			continue;
		if (f->kind == FILE_IMAGE) {
			images[boot.image_count] = (struct boot_image){ .id = f->id, .size = f->inode->size };
			strcpy(images[boot.image_count++].name, f->name);
		} else if (f->kind == FILE_JOURNAL) {
			segments[0][boot.journal_count++] = (struct boot_segment){ (uint32_t)f->id, f->inode->size };
		} else {
			segments[1][boot.overlay_count++] = (struct boot_segment){ (uint32_t)f->id, f->inode->size };
		}
	}
	h->queue = NULL;
	h->queue_tail = &h->queue;
	h->ready = h->stopped = h->replied = false;
	h->node = node_create(&h->env, &config, &boot, on_ready, h, &error, h->why, sizeof(h->why));
	return h->node ? NULL : h->why;
}

/* ---- reading ---- */

struct reading {
	struct guest_io g; /* first */
	bool *last;
	uint32_t *left;
	int error;
};

static void read_done(struct guest_io *g)
{
	struct reading *r = (struct reading *)g;

	r->error = g->error;
	if (!--*r->left)
		*r->last = true;
}

static uint8_t *buffer(size_t i)
{
	static uint8_t *buffers[64];

	if (!buffers[i])
		buffers[i] = aligned_alloc(PAGE, READ_MAX);
	if (!buffers[i])
		abort();
	return buffers[i];
}

static const char *trouble(struct host *h, const char *what, const char *name, int error)
{
	snprintf(h->why, sizeof(h->why), "%s %s: %s", name, what, strerror(-error));
	return h->why;
}

static const char *read_all(struct host *h, struct found *f)
{
	static struct reading reads[64];
	static struct image *images[64];
	uint32_t left = 1;
	bool last = false;
	struct status st;

	node_status(h->node, &st);
	f->promoted = strcmp(st.role, "backup") != 0;
	f->epoch = st.epoch_committed;
	f->count = 0;
	status_free(&st);
	for (struct image *i = node_image_next(h->node, NULL); i; i = node_image_next(h->node, i)) {
		struct found_image *fi = &f->images[f->count];
		int error = image_open(h->node, i);

		snprintf(fi->name, sizeof(fi->name), "%s", image_name(i));
		if (error)
			return trouble(h, "does not open", fi->name, error);
		if (f->count == 63 || image_size(i) > READ_MAX)
			return trouble(h, "is too much", fi->name, -EFBIG);
		images[f->count] = i;
		fi->size = image_size(i);
		fi->data = buffer(f->count);
		reads[f->count] = (struct reading){ .g = { .op = GUEST_READ, .image = i, .len = fi->size,
			.buf = buffer(f->count), .done = read_done }, .last = &last, .left = &left };
		left += fi->size != 0;
		f->count++;
	}
	for (uint32_t i = 0; i < f->count; i++)
		if (f->images[i].size)
			node_guest(h->node, &reads[i].g);
	if (--left && !run_until(h, &last))
		return "the images' reads never end";
	for (uint32_t i = 0; i < f->count; i++) {
		image_close(h->node, images[i]);
		if (reads[i].error)
			return trouble(h, "cannot be read", f->images[i].name, reads[i].error);
	}
	return NULL;
}

const char *host_recover(struct host *h, struct found *f)
{
	const char *why = start(h);

	if (!why && !run_until(h, &h->ready))
		why = "it never starts";
	if (!why && h->error)
		why = h->why;
	return why ? why : read_all(h, f);
}

const char *host_recover_cut(struct host *h, uint64_t ios)
{
	const char *why = start(h);
	uint64_t end = h->ios + ios;

	for (int i = 0; !why && i < 50 && h->ios < end; i++) {
		struct io **p = &h->queue;

		for (uint64_t n = h->ios; *p && n < end; n++)
			p = &(*p)->next;
		*p = NULL; /* those behind are never carried out */
		batch(h);
	}
	if (!why)
		host_kill(h);
	return why;
}

void host_kill(struct host *h)
{
	node_destroy(h->node);
	h->node = NULL;
}

static void replied(struct command_req *r)
{
	((struct host *)r->owner)->replied = true;
}

const char *host_failover(struct host *h, struct found *f)
{
	static struct command_req r;

	memset(&r, 0, sizeof(r));
	r.owner = h;
	r.done = replied;
	r.cmd.verb = CMD_FAILOVER;
	h->replied = false;
	node_command(h->node, &r);
	if (!run_until(h, &h->replied))
		return "failover never answers";
	snprintf(h->why, sizeof(h->why), "%.500s", r.reply);
	return r.error ? h->why : read_all(h, f);
}

static void on_stopped(void *ctx, int error, const char *why)
{
	struct host *h = ctx;

	h->stopped = true;
	h->error = error;
	snprintf(h->why, sizeof(h->why), "%s", why);
}

const char *host_drain(struct host *h, struct found *f)
{
	node_stop(h->node, on_stopped, h);
	if (!run_until(h, &h->stopped))
		return "it never stops";
	host_kill(h);
	if (h->error)
		return h->why;
	f->count = 0;
	for (size_t i = 0; i < h->file_count; i++) {
		const struct vfile *v = &h->files[i];
		struct found_image *fi = &f->images[f->count];

		if (v->kind != FILE_IMAGE || !v->present || !v->name[0])
			continue;
		snprintf(fi->name, sizeof(fi->name), "%s", v->name);
		fi->size = v->inode->size;
		fi->data = buffer(f->count++);
		disk_read(v->inode, 0, (void *)fi->data, fi->size < READ_MAX ? fi->size : READ_MAX);
	}
	return NULL;
}
