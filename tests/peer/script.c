/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands that the tests' peer takes on stdin, one a line; words are KEY=VALUE, a number with + or - in front is
 * relative to what an honest peer would say.
 *
 *   until TYPE              read, and answer PINGs, until such a frame came; fails if the node closes before
 *   closed                  read until the node closes
 *   hello KEY=VALUE...      role= node=HEX|peer pair=HEX|none gen= anc=GEN:EPOCH:DOUBT min= max= committed= epoch=
 *                           session= bits= own= kept= image=ID:SIZE:CONSISTENT:NAME images=N count= cut= trail=
 *   welcome KEY=VALUE...    session= epoch= pair= gen= anc= first=
 *   frame TYPE KEY=VALUE... a frame of any kind; session= epoch= seq= image=N|first off= len= flags= plen= sum= magic=
 *                           fill=N (bytes of payload) text=... hex=... badhead=1
 *   commit KEY=VALUE...     COMMIT, or with prepare=1 PREPARE, of what was sent; off= seq= len= image= epoch= gen= name= plen=
 *   again N TYPE ...        N such frames; off= grows by step=, image= by istep=
 *   raw FILE                the file's bytes as they are
 *   noise N                 random bytes
 *   serve WORDS...          an honest backup, see serve.c
 *   mirror FILE NAME ID     an honest primary: one image sent and committed
 *   close
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "peer.h"

static uint8_t payload[PAYLOAD_MAX];

/* The value of key in words, or NULL; valid until the next call. */
static const char *value(const char *words, const char *key)
{
	static char out[600];
	size_t len = strlen(key);

	for (const char *w = words; w && *w; w = strchr(w, ' ') ? strchr(w, ' ') + 1 : NULL)
		if (!strncmp(w, key, len) && w[len] == '=') {
			snprintf(out, sizeof(out), "%.*s", (int)strcspn(w + len + 1, " "), w + len + 1);
			return out;
		}
	return NULL;
}

static uint64_t number(const char *words, const char *key, uint64_t usual)
{
	const char *v = value(words, key);

	if (!v)
		return usual;
	if (*v == '+' || *v == '-')
		return usual + (uint64_t)strtoll(v, NULL, 0);
	return strtoull(v, NULL, 0);
}

static void hex16(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	for (int i = 0; i < 16 && text[2 * i] && text[2 * i + 1]; i++) {
		char pair[3] = { text[2 * i], text[2 * i + 1], 0 };

		out[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
}

static void lineage_words(const char *words, struct lineage *l)
{
	const char *v;

	l->generation = number(words, "gen", l->generation);
	v = value(words, "anc");
	if (v) {
		char *end;
		uint64_t *a = l->past[l->count++];

		a[0] = !strncmp(v, "peer", 4) ? l->past[63][0] : strtoull(v, NULL, 0);
		a[1] = strtoull(strchr(v, ':') + 1, &end, 0);
		a[2] = strtoull(end + 1, NULL, 0);
	}
}

/* ---- HELLO, WELCOME ---- */

static void put_image(uint8_t **at, uint64_t id, uint64_t size, uint8_t consistent, const char *name)
{
	put(at, id, 8);
	put(at, size, 8);
	put(at, consistent, 1);
	put(at, strlen(name), 2);
	memcpy(*at, name, strlen(name));
	*at += strlen(name);
}

static void cmd_hello(struct peer *p, const char *words)
{
	struct lineage l = p->hello.lineage;
	uint8_t *at = payload, node[16], pair[16], *bits, *count;
	struct frame f = { .magic = 0x53464f4c, .type = HELLO, .data = payload };
	uint32_t images = 0, many = (uint32_t)number(words, "images", 0);
	char name[64];

	l.past[63][0] = p->hello.lineage.generation;
	lineage_words(words, &l);
	memcpy(pair, p->hello.pair, 16);
	if (getrandom(node, 16, 0) != 16)
		die("no random numbers");
	if (value(words, "node"))
		!strcmp(value(words, "node"), "peer") ? (void)memcpy(node, p->hello.node, 16) : hex16(value(words, "node"), node);
	if (value(words, "pair"))
		hex16(strcmp(value(words, "pair"), "none") ? value(words, "pair") : "", pair);
	put(&at, number(words, "min", 2), 2);
	put(&at, number(words, "max", 2), 2);
	memcpy(at, node, 16);
	memcpy(at + 16, pair, 16);
	at += 32;
	bits = at;
	put(&at, 0, 1);
	put(&at, number(words, "role", p->hello.role == 1 ? 2 : 1), 1);
	at = lineage_put(at, &l);
	put(&at, number(words, "committed", p->hello.committed), 8);
	put(&at, 0, 8);
	put(&at, number(words, "epoch", p->hello.epoch_high), 8);
	put(&at, number(words, "session", p->hello.session_high), 8);
	put(&at, number(words, "own", 0), 8);
	put(&at, number(words, "kept", 0), 8);
	count = at;
	put(&at, 0, 4);
	const char *v = value(words, "image");

	if (v) {
		char *next;
		uint64_t id = strtoull(v, &next, 0), size = strtoull(next + 1, &next, 0), ok = strtoull(next + 1, &next, 0);

		put_image(&at, id, size, (uint8_t)ok, next + 1);
		images++;
	}
	for (uint32_t i = 0; i < many; i++, images++) {
		snprintf(name, sizeof(name), "many-%u", i);
		put_image(&at, 1000 + i, 4096, 1, name);
	}
	put(&count, number(words, "count", images), 4);
	*bits = (uint8_t)number(words, "bits", memcmp(pair, (uint8_t[16]){ 0 }, 16) != 0);
	f.plen = (uint32_t)((at - payload) - (long)number(words, "cut", 0) + (long)number(words, "trail", 0));
	f.sum = sum64(payload, f.plen);
	frame_send(p, &f, false);
}

static void cmd_welcome(struct peer *p, const char *words)
{
	struct lineage l = p->hello.lineage;
	uint8_t *at = payload;
	struct frame f = { .magic = 0x53464f4c, .type = WELCOME, .data = payload };

	if (!l.generation)
		l.generation = 0x5eed;
	l.past[63][0] = p->hello.lineage.generation;
	lineage_words(words, &l);
	p->session = number(words, "session", p->hello.session_high + 1);
	p->epoch = number(words, "epoch", p->hello.epoch_high + 1);
	p->generation = l.generation;
	f.session = p->session;
	memcpy(at, p->hello.pair, 16);
	if (!(p->hello.bits & 1))
		memset(at, 7, 16);
	if (value(words, "pair"))
		hex16(value(words, "pair"), at);
	at += 16;
	put(&at, number(words, "first", !(p->hello.bits & 1)), 1);
	put(&at, p->epoch, 8);
	at = lineage_put(at, &l);
	f.plen = (uint32_t)(at - payload);
	f.sum = sum64(payload, f.plen);
	frame_send(p, &f, false);
}

/* ---- any frame ---- */

static void cmd_frame(struct peer *p, unsigned type, const char *words, uint64_t step, uint64_t istep)
{
	struct frame f = { .magic = 0x53464f4c, .type = (uint8_t)type };
	const char *text = value(words, "text");

	if (numbered(type))
		f.seq = p->seq + 1;
	if (numbered(type) || type == READY || type == SETTLE) /* the rest says 0 */
		f.session = p->session;
	if (numbered(type))
		f.epoch = p->epoch;
	f.plen = (uint32_t)number(words, "fill", 0);
	if (text) {
		f.plen = (uint32_t)strlen(text);
		memcpy(payload, text, f.plen);
	} else if (value(words, "hex")) {
		const char *hex = value(words, "hex");

		for (f.plen = 0; hex[2 * f.plen]; f.plen++)
			payload[f.plen] = (uint8_t)strtoul((char[3]){ hex[2 * f.plen], hex[2 * f.plen + 1], 0 }, NULL, 16);
	} else if (f.plen > 65536 && f.plen <= PAYLOAD_MAX) {
		memset(payload, 'x', f.plen);
	} else if (f.plen && getrandom(payload, f.plen, 0) != (ssize_t)f.plen) {
		die("no random numbers");
	}
	f.data = f.plen ? payload : NULL;
	f.sum = number(words, "sum", f.plen ? sum64(payload, f.plen) : 0);
	f.magic = (uint32_t)number(words, "magic", f.magic);
	f.session = number(words, "session", f.session);
	f.epoch = number(words, "epoch", f.epoch);
	f.seq = number(words, "seq", f.seq);
	f.image = value(words, "image") && !strcmp(value(words, "image"), "first") ? p->hello.image :
		number(words, "image", 0) + istep;
	f.off = number(words, "off", 0) + step;
	f.len = number(words, "len", 0);
	f.flags = (uint8_t)number(words, "flags", 0);
	if (value(words, "plen")) { /* a header that says so, and no payload */
		f.plen = (uint32_t)number(words, "plen", 0);
		f.data = NULL;
	}
	if (numbered(type)) {
		p->seq = f.seq;
		if (!p->count++)
			p->first = f.seq;
		p->chain = chain64(p->chain, f.sum ^ f.seq);
		p->spent += cost(f.plen);
	}
	frame_send(p, &f, number(words, "badhead", 0));
}

static void cmd_commit(struct peer *p, const char *words)
{
	uint8_t *at = payload;
	struct frame f = { .magic = 0x53464f4c, .type = COMMIT, .data = payload };
	const char *name = value(words, "name");

	if (number(words, "prepare", 0))
		f.type = PREPARE;
	put(&at, number(words, "gen", p->generation), 8);
	if (name) {
		memcpy(at, name, strlen(name));
		at += strlen(name);
	}
	f.plen = (uint32_t)number(words, "plen", (uint64_t)(at - payload));
	f.sum = sum64(payload, f.plen);
	f.session = number(words, "session", p->session);
	f.epoch = number(words, "epoch", p->epoch);
	f.off = number(words, "off", p->first);
	f.seq = number(words, "seq", p->count ? p->seq : 0);
	f.len = number(words, "len", p->count);
	f.image = number(words, "image", p->chain);
	frame_send(p, &f, false);
	p->epoch++;
	p->count = p->chain = p->first = 0;
}

static void cmd_again(struct peer *p, char *words)
{
	uint64_t times = strtoull(words, &words, 0);
	char *type = strtok(words, " "), *rest = strtok(NULL, "");
	unsigned t = type_number(type);
	uint64_t step = number(rest, "step", 0), istep = number(rest, "istep", 0);
	bool input;

	for (uint64_t i = 0; i < times && !p->closed; i++) {
		struct frame f;

		cmd_frame(p, t, rest, i * step, i * istep);
		if (i % 64 == 0)
			while (net_ready(p, 0, &input) && frame_read(p, &f, 0))
				;
	}
}

/* ---- the rest ---- */

static void cmd_until(struct peer *p, const char *word)
{
	struct frame f;
	unsigned type = type_number(word);
	int64_t end = now_ms() + WAIT_MS;

	do
		if (now_ms() > end || !frame_read(p, &f, WAIT_MS))
			die(p->closed ? "closed, but a %s was to come" : "no %s came", word);
	while (f.type != type);
}

static void cmd_closed(struct peer *p)
{
	struct frame f;
	int64_t end = now_ms() + CLOSE_MS;

	while (!p->closed) {
		(void)frame_read(p, &f, 1000);
		if (!p->closed && now_ms() > end)
			die("the node does not close");
	}
}

static void cmd_raw(struct peer *p, const char *file)
{
	FILE *in = fopen(file, "r");
	size_t n;

	if (!in)
		die("%s: %s", file, strerror(errno));
	while ((n = fread(payload, 1, sizeof(payload), in)))
		net_write(p, payload, n);
	fclose(in);
}

static void cmd_noise(struct peer *p, size_t left)
{
	while (left) {
		size_t n = left < 4096 ? left : 4096;

		if (getrandom(payload, n, 0) != (ssize_t)n)
			die("no random numbers");
		net_write(p, payload, n);
		left -= n;
	}
}

static void command(struct peer *p, char *line)
{
	char *rest = strchr(line, ' ');

	if (rest)
		*rest++ = 0;
	else
		rest = strchr(line, 0);
	if (!strcmp(line, "until"))
		cmd_until(p, rest);
	else if (!strcmp(line, "closed"))
		cmd_closed(p);
	else if (!strcmp(line, "hello"))
		cmd_hello(p, rest);
	else if (!strcmp(line, "welcome"))
		cmd_welcome(p, rest);
	else if (!strcmp(line, "commit"))
		cmd_commit(p, rest);
	else if (!strcmp(line, "again"))
		cmd_again(p, rest);
	else if (!strcmp(line, "raw"))
		cmd_raw(p, rest);
	else if (!strcmp(line, "noise"))
		cmd_noise(p, strtoull(rest, NULL, 0));
	else if (!strcmp(line, "serve"))
		serve(p, rest);
	else if (!strcmp(line, "frame")) {
		char *type = strtok(rest, " "), *words = strtok(NULL, "");

		cmd_frame(p, type_number(type), words ? words : "", 0, 0);
	} else if (!strcmp(line, "mirror")) {
		char *file = strtok(rest, " "), *name = strtok(NULL, " "), *id = strtok(NULL, " ");

		mirror(p, file, name, strtoull(id, NULL, 0));
	} else if (!strcmp(line, "close")) {
		close(p->fd);
		exit(0);
	} else {
		die("no command %s", line);
	}
}

/* Read byte by byte: what serve() waits for must not lie in a buffer. */
static bool line_read(char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t got = read(0, line + n, 1);

		if (got <= 0 || line[n] == '\n') {
			line[n] = 0;
			return got > 0 || n;
		}
		n++;
	}
	die("a line is too long");
}

int script(struct peer *p)
{
	char line[4096];

	while (line_read(line, sizeof(line)))
		if (line[0] && line[0] != '#')
			command(p, line);
	return 0;
}
