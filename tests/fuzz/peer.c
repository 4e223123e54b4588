/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A hostile peer as a program: see peer.h. */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/sum.h"

void peer_demand(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

/* ---- operands ---- */

uint64_t peer_image(struct peer *p)
{
	static const uint64_t ids[16] = { 16, 17, 1000, IMAGE_ID_MAX, 16, 17, 16, 17, 1000, 16, 17, 0, 1, 15,
		IMAGE_ID_MAX + 1, UINT64_MAX };

	return ids[get_u8(&p->in) % 16];
}

uint64_t peer_number(struct peer *p)
{
	uint8_t sort = get_u8(&p->in);
	uint64_t small = get_u8(&p->in);

	switch (sort % 10) {
	case 0:
	case 1:
		return small * 512;
	case 2:
		return small * 4096;
	case 3:
		return small;
	case 4:
		return small * 65536;
	case 5:
		return MAP_OFF_MAX - small;
	case 6:
		return MAP_OFF_MAX - small * 65536;
	case 7:
		return UINT64_MAX - small;
	case 8:
		return (uint64_t)get_u16(&p->in);
	}
	return get_u64(&p->in);
}

const char *peer_name(struct peer *p, size_t *len)
{
	static char own[300];
	static const char *const names[] = { "a", "b", "disk", "c", "", ".x", "a/b", "..", "\xff\xfe", "n\xc3\xa4me" };
	uint8_t which = get_u8(&p->in) % 12;

	if (which < 10) {
		*len = strlen(names[which]);
		return names[which];
	}
	*len = which == 10 ? 255 : get_u8(&p->in);
	memset(own, 'n', sizeof(own));
	if (which == 11)
		get_bytes(&p->in, own, *len);
	return own;
}

/* ---- frames ---- */

static void deliver(struct peer *p, struct conn *c, size_t len)
{
	if (len > c->out_len)
		len = c->out_len;
	host_link_rx(&p->host, c->link, c->out, len);
	c->out_len -= len;
	memmove(c->out, c->out + len, c->out_len);
	if (c->link >= 0 && !p->host.links[c->link].open)
		c->out_len = 0;
	if (!p->deaf)
		peer_absorb(p);
}

static void number_frame(struct peer *p, struct frame *f, uint8_t flags)
{
	struct conn *c = p->c;

	f->session = c->session;
	f->epoch = c->epoch;
	if (flags & FLAG_EPOCH)
		f->epoch += (uint64_t)(int8_t)get_u8(&p->in);
	if (flags & FLAG_SESSION)
		f->session = get_u8(&p->in);
	if (!frame_numbered(f->type))
		return;
	f->seq = flags & FLAG_SEQ ? peer_number(p) : ++c->seq;
	if (!c->count++)
		c->first_seq = f->seq;
	c->chain = sum_chain(c->chain, f->sum ^ f->seq);
}

void peer_send(struct peer *p, struct frame *f, const void *payload, size_t len, uint8_t flags)
{
	struct conn *c = p->c;
	uint8_t *at = c->out + c->out_len;

	if (c->out_len + FRAME_HEADER + len > sizeof(c->out)) {
		deliver(p, c, c->out_len);
		at = c->out;
	}
	f->payload_len = (uint32_t)len;
	f->sum = len ? sum64(payload, len) : 0;
	if (flags & FLAG_SUM)
		f->sum ^= 1;
	if (frame_numbered(f->type) || f->type == FRAME_COMMIT || f->type == FRAME_PREPARE)
		number_frame(p, f, flags);
	frame_encode(at, f);
	if (len)
		memcpy(at + FRAME_HEADER, payload, len);
	c->out_len += FRAME_HEADER + len;
	if (!(flags & FLAG_HOLD))
		deliver(p, c, c->out_len);
}

void peer_hello(struct peer *p, struct hello *h, uint8_t flags)
{
	static uint8_t buf[HELLO_MAX];
	struct frame f = { .type = FRAME_HELLO };
	int len = hello_encode(h, buf, 200u << 10);

	if (len > 0)
		peer_send(p, &f, buf, (size_t)len, flags);
}

void peer_data(struct peer *p, uint64_t image, uint64_t off, size_t len, uint8_t flags)
{
	static uint8_t buf[FRAME_DATA_MAX];
	struct frame f = { .type = FRAME_DATA, .image = image, .off = off };

	if (len > sizeof(buf))
		len = sizeof(buf);
	memset(buf, (int)(p->c->seq & 0xff) | 1, len);
	peer_send(p, &f, buf, len, flags);
}

void peer_commit(struct peer *p, uint8_t type, uint8_t flags)
{
	struct conn *c = p->c;
	uint8_t buf[8 + 64];
	struct putter w = putter_init(buf, sizeof(buf));
	struct frame f = { .type = type, .off = c->first_seq, .len = c->count, .image = c->chain };

	put_u64(&w, 0x6e6e); /* the generation that peer_welcome() names */
	put_bytes(&w, "cp", 2);
	f.seq = c->seq;
	if (flags & FLAG_SEQ)
		f.seq++, f.len++;
	if (type == FRAME_PREPARE)
		p->ordered = c->epoch;
	if (flags & FLAG_PART)
		f.flags = FRAME_F_PART;
	peer_send(p, &f, buf, (size_t)(w.p - buf), flags & (uint8_t)~(FLAG_SEQ | FLAG_PART));
	if (!(flags & FLAG_EPOCH)) {
		c->epoch++;
		c->count = c->first_seq = c->chain = 0;
	}
}

static void heard(struct peer *p, struct conn *c, const struct frame *f, const uint8_t *payload)
{
	struct frame answer = { .session = c->session, .epoch = f->epoch };
	struct welcome w;

	if (p->host.loud)
		fprintf(stderr, "  node says %s epoch %llu off %llu len %llu\n", frame_name(f->type),
		        (unsigned long long)f->epoch, (unsigned long long)f->off, (unsigned long long)f->len);
	switch (f->type) {
	case FRAME_WELCOME:
		c->session = f->session;
		if (!welcome_decode(&w, payload, f->payload_len))
			c->epoch = w.epoch;
		return;
	case FRAME_DONE:
		p->done_epoch = f->epoch;
		return;
	case FRAME_REFUSED:
		if (f->epoch != c->epoch)
			return;
		c->epoch++;
		c->count = c->first_seq = c->chain = 0;
		return;
	case FRAME_HASHQ:
		p->asked[p->asked_count++ % 8] = f->seq;
		answer.type = FRAME_HASHR;
		answer.off = f->seq;
		answer.len = 1;
		break;
	case FRAME_COMMIT:
	case FRAME_PREPARE:
		p->ordered = f->epoch;
		answer.type = f->type == FRAME_COMMIT ? FRAME_DONE : FRAME_PREPARED;
		break;
	case FRAME_SETTLE:
		answer.type = f->off ? FRAME_DONE : FRAME_ABORTED;
		break;
	default:
		return;
	}
	if (p->automatic)
		peer_send(p, &answer, NULL, 0, FLAG_HOLD); /* the caller's loop delivers it */
}

void peer_absorb(struct peer *p)
{
	struct conn *c = p->c;

	while (c->link >= 0) {
		struct host_link *l = &p->host.links[c->link];
		struct frame f;
		const char *why;

		if (l->len < FRAME_HEADER)
			break;
		peer_demand(!frame_decode(&f, l->tx, &why), "the node sent what no sound peer sends");
		if (l->len < FRAME_HEADER + f.payload_len)
			break;
		heard(p, c, &f, l->tx + FRAME_HEADER);
		host_link_take(&p->host, c->link, FRAME_HEADER + f.payload_len);
	}
	if (p->automatic && c->out_len) {
		size_t len = c->out_len;

		c->out_len = 0;
		host_link_rx(&p->host, c->link, c->out, len);
	}
}

void peer_open(struct peer *p, bool dialled)
{
	struct conn *c = p->c;

	host_link_cut(&p->host, c->link);
	memset(c, 0, sizeof(*c));
	c->link = -1;
	if (dialled && !p->host.dialling)
		return;
	if (!dialled && !node_accepts(p->host.node))
		return;
	c->link = host_link_open(&p->host, dialled);
	if (!p->deaf)
		peer_absorb(p);
}

/* ---- the rest of the operations ---- */

static void status(struct peer *p)
{
	struct status s;
	size_t len;

	alloc_fail_at = 0;
	node_status(p->host.node, &s);
	char *text = status_json(&s, &len);

	peer_demand(text && strlen(text) == len, "status.json");
	free(text);
	status_free(&s);
	peer_demand(!node_events_open(p->host.node), "no memory for events");
	for (uint64_t i = 1; i < node_events_next(p->host.node); i++) {
		const char *line = node_event(p->host.node, i);

		peer_demand(line && (!*line || (*line == '{' && !strcmp(line + strlen(line) - 2, "}\n"))), "an event is no object");
	}
}

/* ---- raw frames ---- */

static void any_frame(struct peer *p)
{
	uint8_t flags = get_u8(&p->in);
	struct frame f = { .type = get_u8(&p->in) % (FRAME_TYPE_END + 1), .flags = get_u8(&p->in) & 1 };
	size_t len = 0;
	const char *payload = NULL;

	f.image = peer_image(p);
	f.off = peer_number(p);
	f.len = peer_number(p);
	f.epoch = p->c->epoch;
	f.session = flags & FLAG_SESSION ? 0 : p->c->session;
	if (get_u8(&p->in) & 1)
		payload = peer_name(p, &len);
	peer_send(p, &f, payload, len, flags);
}

/* The same again, many times: does anything grow without a bound? */
static void flood(struct peer *p)
{
	static const uint8_t types[] = { FRAME_ZERO, FRAME_SIZE, FRAME_PING, FRAME_HASHQ, FRAME_CREATE, FRAME_UNLINK,
		FRAME_IMAGE, FRAME_RENAME };
	struct frame f = { .type = types[get_u8(&p->in) % sizeof(types)], .flags = 1 };
	uint64_t image = peer_image(p), step = peer_number(p);
	static uint8_t digest[32];
	uint32_t times = 64u << get_u8(&p->in) % 7;
	bool named = f.type == FRAME_CREATE || f.type == FRAME_IMAGE || f.type == FRAME_RENAME;

	for (uint32_t i = 0; i < times && p->c->link >= 0 && p->host.links[p->c->link].open; i++) {
		struct frame g = f;

		g.image = f.type == FRAME_CREATE || f.type == FRAME_IMAGE ? image + i : image;
		g.off = f.type == FRAME_ZERO || f.type == FRAME_HASHQ ? (i * step) % (MAP_OFF_MAX / 2) : 0;
		g.len = 1 + step % 65536;
		peer_send(p, &g, f.type == FRAME_HASHQ ? (void *)digest : named ? "name" : NULL,
		          f.type == FRAME_HASHQ ? 32 : named ? 4 : 0, FLAG_HOLD);
		if (i % 64 == 63)
			deliver(p, p->c, p->c->out_len);
	}
	deliver(p, p->c, p->c->out_len);
}

static void raw(struct peer *p)
{
	size_t len = get_u8(&p->in);
	struct conn *c = p->c;

	if (len > get_left(&p->in))
		len = get_left(&p->in);
	if (c->out_len + len > sizeof(c->out))
		return;
	get_bytes(&p->in, c->out + c->out_len, len);
	c->out_len += len;
	deliver(p, c, c->out_len);
}

/* The disk, or memory, is short for a while. */
static void fail(struct peer *p)
{
	static const int errors[] = { -EIO, -ENOSPC, -EDQUOT };
	uint8_t what = get_u8(&p->in) % 4;

	if (what == 1) {
		alloc_fail_at = alloc_count + 1 + get_u8(&p->in) % 32;
		alloc_fail_count = 1 + get_u8(&p->in) % 4;
	}
	if (what)
		return;
	p->host.fail_error = errors[get_u8(&p->in) % 3];
	p->host.fail_next = 1 + get_u8(&p->in) % 4;
}

/* A first sync's frames are charged 7680 bytes each at least (frame_cost), up to DIRECT_MAX; the rest is hashes' and guests'. */
#define CLAIMS_MAX (DIRECT_MAX / 7680 + 1000)

/* What the peer makes this node remember is bounded, however fast it sends and however slow the disk is. */
static void bounded(const struct peer *p)
{
	uint32_t claims = 0;

	for (const struct image *i = p->host.node->images; i; i = i->next)
		claims += i->claims.count;
	peer_demand(claims <= CLAIMS_MAX, "thousands of requests wait for the disk: nothing bounds them");
	peer_demand(p->host.node->image_count <= IMAGES_MAX, "too many images");
}

static void dial_fails(struct peer *p)
{
	if (!p->host.dialling || !(get_u8(&p->in) & 1))
		return;
	p->host.dialling = false;
	node_dial_failed(p->host.node, "refused");
	host_end(&p->host);
}

/* The operations that both roles have. */
static void peer_common(struct peer *p, uint8_t op)
{
	switch (op % 24) {
	case 0: case 1: case 2:
		host_io(&p->host, 1 + get_u8(&p->in) % 64);
		break;
	case 3:
		host_tick(&p->host, get_u8(&p->in) * 8u);
		break;
	case 4:
		host_settle(&p->host);
		break;
	case 5: case 6: case 7: case 8:
		peer_guest(p);
		break;
	case 9:
		peer_image_open(p);
		break;
	case 10:
		peer_image_close(p);
		break;
	case 11:
		peer_command(p);
		break;
	case 12:
		any_frame(p);
		break;
	case 13:
		flood(p);
		break;
	case 14:
		raw(p);
		break;
	case 15:
		deliver(p, p->c, 1 + get_u16(&p->in));
		break;
	case 16:
		host_link_cut(&p->host, p->c->link);
		p->c->out_len = 0;
		break;
	case 17:
		p->c = &p->conn[get_u8(&p->in) % 3];
		break;
	case 18:
		p->deaf = get_u8(&p->in) & 1;
		if (!p->deaf)
			peer_absorb(p);
		break;
	case 19:
		fail(p);
		break;
	case 20:
		status(p);
		break;
	case 21:
		peer_open(p, get_u8(&p->in) & 1);
		break;
	case 22:
		dial_fails(p);
		break;
	case 23:
		p->automatic = get_u8(&p->in) & 1;
		break;
	}
	if (!p->deaf)
		peer_absorb(p);
	bounded(p);
}

/* ---- the whole ---- */

void peer_begin(struct peer *p, const uint8_t *data, size_t len, int role)
{
	memset(p, 0, sizeof(*p));
	alloc_fail_at = 0;
	host_realloc = __real_realloc;
	p->in = getter_init(data, len);
	host_init(&p->host, 3, role);
	p->host.loud = getenv("FUZZ_LOUD") != NULL;
	for (int i = 0; i < 3; i++)
		p->conn[i].link = -1;
	p->c = &p->conn[0];
}

static bool all_answered(const struct peer *p)
{
	for (int i = 0; i < PEER_GUESTS; i++)
		if (p->guest[i].busy)
			return false;
	for (int i = 0; i < 3; i++)
		if (p->command_busy[i])
			return false;
	return true;
}

/* Whatever the peer did, its leaving frees everything: guests and commands are answered within their time-outs. */
static void rest(struct peer *p)
{
	for (int i = 0; i < 3; i++)
		host_link_cut(&p->host, p->conn[i].link);
	p->host.fail_next = 0;
	alloc_fail_at = 0;
	host_settle(&p->host);
	for (int i = 0; i < 3; i++)
		if (!p->command_busy[i]) { /* on-link-loss=suspend holds writes until it is told */
			peer_give(p, i, "continue");
			break;
		}
	for (int i = 0; i < 200 && !all_answered(p); i++) {
		if (p->host.dialling) {
			p->host.dialling = false;
			node_dial_failed(p->host.node, "nobody is there");
			host_end(&p->host);
		}
		host_tick(&p->host, 100);
		host_settle(&p->host);
	}
	peer_demand(all_answered(p), "a request hangs though the peer is gone");
	while (p->open_count)
		peer_image_close(p);
	host_settle(&p->host);
}

static uint64_t committed(struct node *n)
{
	alloc_fail_at = 0;
	struct status s;

	node_status(n, &s);
	uint64_t epoch = s.epoch_committed;

	status_free(&s);
	return epoch;
}

/* No more input: links are cut, everything must come to rest, and what is on the disk must start again. */
static void peer_end(struct peer *p)
{
	bool backup = p->host.config.role == NODE_BACKUP;
	uint64_t before = committed(p->host.node), done = p->done_epoch;
	static struct host_disk crash;
	char err[512] = "";

	if (p->crash)
		host_disk_copy(&crash, &p->host);
	rest(p);
	if (p->stop)
		peer_demand(host_stop(&p->host), "the node does not stop");
	if (!(p->crash)) {
		before = committed(p->host.node);
		done = p->done_epoch;
	}
	host_kill(&p->host);
	if (p->crash)
		host_disk_use(&p->host, &crash);
	p->host.config.role = -1;
	if (host_boot(&p->host, err, sizeof(err))) {
		fprintf(stderr, "%s\n", err);
		peer_demand(false, "the node does not start again from its own disk");
	}
	host_settle(&p->host);
	if (backup) {
		peer_demand(committed(p->host.node) >= done, "an epoch that was confirmed is gone");
		peer_demand(committed(p->host.node) >= before, "an epoch that was committed is gone");
	}
	host_exit(&p->host);
	for (int i = 0; i < PEER_GUESTS; i++)
		free(p->guest[i].buf);
}

void peer_run(struct peer *p, void (*own)(struct peer *p, uint8_t op))
{
	for (unsigned i = 0; i < PEER_OPS_MAX && get_left(&p->in); i++) {
		uint8_t op = get_u8(&p->in);

		if (op & 0x80)
			peer_common(p, op & 0x7f);
		else
			own(p, op);
	}
	peer_end(p);
}
