/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two hosts (host.h) and the wire between them: see pair.h. */
#include "pair.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/core.h"

struct side side[2];
bool wrong;
const char *pair_context = "";
char pair_reply[8192];

void fault(const char *fmt, ...)
{
	va_list ap;

	if (wrong)
		return; /* what follows from the first */
	wrong = true;
	printf("# %s", pair_context);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

/* A start that fails for want of memory is tried again, as a supervisor would. */
bool boot(struct side *s)
{
	char err[512] = "";

	s->link = -1;
	for (int i = 0; i < 40; i++) {
		if (!host_boot(&s->host, err, sizeof(err)))
			return true;
	}
	fault("no start: %s", err);
	return false;
}

void reboot(struct side *s)
{
	struct side *o = &side[s == &side[0]];

	host_settle(&s->host);
	host_kill(&s->host);
	host_link_cut(&o->host, o->link);
	o->link = -1;
	if (!boot(s))
		exit(1);
}

bool is_failed(struct side *s)
{
	return s->host.node->failed || (s->host.ready && s->host.ready_error);
}

/* Bytes from one to the other; a link closed there is closed here. */
static bool carry(struct side *from, struct side *to)
{
	struct host_link *l = from->link < 0 ? NULL : &from->host.links[from->link];
	static uint8_t buf[8u << 20];

	if (!l)
		return false;
	size_t len = l->len;

	if (len) {
		memcpy(buf, l->tx, len);
		host_link_take(&from->host, from->link, len);
		host_link_rx(&to->host, to->link, buf, len);
	}
	if (!l->open) {
		host_link_cut(&to->host, to->link);
		from->link = to->link = -1;
	}
	return len;
}

uint32_t pair_step(uint32_t ios)
{
	uint32_t did = host_io(&side[0].host, ios) + host_io(&side[1].host, ios);
	const struct node *n = side[1].host.node;

	if (side[0].host.dialling && n && node_accepts(n) && (side[1].host.ready || n->start_wait)) {
		side[0].link = host_link_open(&side[0].host, true);
		side[1].link = host_link_open(&side[1].host, false);
		did++;
	}
	did += carry(&side[0], &side[1]);
	did += carry(&side[1], &side[0]);
	return did;
}

void pump(void)
{
	for (int i = 0; i < 2000 && pair_step(16); i++)
		;
	for (int i = 0; i < 2; i++)
		host_settle(&side[i].host);
}

void pass(uint64_t ms)
{
	pump();
	for (int i = 0; i < 2; i++) {
		host_tick(&side[i].host, ms);
		if (is_failed(&side[i]))
			reboot(&side[i]);
	}
	pump();
}

bool protected_now(void)
{
	return side[0].host.node->protected_ && !is_failed(&side[0]) && !is_failed(&side[1]);
}

/* All is sent, but the commit that ends the sync would drop the twin's overlay: it waits for the next flush. */
static bool waits_for_flush(void)
{
	const struct node *n = side[0].host.node;

	return primary_mirrors(n) && n->sync_state == SYNC_COMMIT && n->peer_overlay;
}

void heal(void)
{
	for (int i = 0; i < 1000 && !protected_now() && !waits_for_flush() && !wrong; i++)
		pass(50);
	if (!protected_now() && !waits_for_flush())
		fault("the pair is not protected again: %s / %s", side[0].host.node->reason, side[1].host.node->reason);
}

/* ---- requests ---- */

static void guest_done(struct guest_io *g)
{
	*(bool *)g->owner = true;
}

/* 0 or -errno; -ENOENT: no such image here. */
int guest(int at, struct guest_io g, const char *name)
{
	struct node *n = side[at].host.node;
	bool done = false;

	if (!side[at].host.ready || side[at].host.ready_error)
		return -EIO;
	if (g.op != GUEST_CREATE) {
		g.image = node_image(n, name);
		if (!g.image || image_open(n, g.image))
			return g.image ? -EIO : -ENOENT;
	}
	struct image *img = g.image;

	g.done = guest_done;
	g.owner = &done;
	host_begin(&side[at].host);
	node_guest(n, &g);
	host_end(&side[at].host);
	for (int i = 0; i < 200 && !done; i++) {
		pump();
		for (int s = 0; s < 2 && !done; s++)
			host_tick(&side[s].host, 50);
	}
	if (!done) {
		fault("a guest's request hangs");
		printf("%s\n", n->reason);
		exit(1);
	}
	if (img)
		image_close(n, img);
	host_end(&side[at].host);
	if (g.error && g.error != -ENOMEM && g.error != -EIO && g.error != -ENOSPC && g.error != -EEXIST && g.error != -EROFS &&
	    g.error != -EBADMSG)
		fault("a guest got %s", strerror(-g.error));
	return g.error;
}

static void command_done(struct command_req *r)
{
	*(bool *)r->owner = true;
}

int command(int at, struct command c)
{
	static struct command_req r;
	bool done = false;

	memset(&r, 0, sizeof(r));
	r.cmd = c;
	r.done = command_done;
	r.owner = &done;
	host_begin(&side[at].host);
	node_command(side[at].host.node, &r);
	host_end(&side[at].host);
	for (int i = 0; i < 200 && !done; i++) {
		pump();
		for (int s = 0; s < 2 && !done; s++)
			host_tick(&side[s].host, 50);
	}
	if (!done) {
		fault("a command hangs");
		exit(1);
	}
	snprintf(pair_reply, sizeof(pair_reply), "%s", r.reply);
	return r.error;
}

int say(int at, const char *text)
{
	struct command c;
	char err[100];

	if (command_parse(&c, text, strlen(text), err, sizeof(err))) {
		fault("%s: %s", text, err);
		return -EINVAL;
	}
	return command(at, c);
}
