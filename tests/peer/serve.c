/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An honest peer, made of the page: a backup that keeps images in a directory, and a primary that sends one. With
 * words a backup that does not do all of its work.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"

#define WINDOW (4u << 20)
#define IMAGES 64

struct backup {
	const char *dir;
	bool broke, mute, liar; /* CREDIT only once; no DONE; HASHR 1 to all */
	uint64_t granted, received;
	uint64_t first, last, count, chain;
	struct {
		uint64_t id;
		int fd;
		char name[256];
	} image[IMAGES];
};

static int file_of(struct backup *b, uint64_t id, const struct frame *named)
{
	char path[600];

	for (int i = 0; i < IMAGES; i++) {
		if (b->image[i].id && b->image[i].id != id)
			continue;
		if (!b->image[i].id && !named)
			return -1;
		if (named)
			snprintf(b->image[i].name, sizeof(b->image[i].name), "%.*s", (int)named->plen, (char *)named->data);
		if (!b->image[i].id && b->dir) {
			snprintf(path, sizeof(path), "%s/%s", b->dir, b->image[i].name);
			b->image[i].fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			if (b->image[i].fd < 0)
				die("%s: %s", path, strerror(errno));
		}
		b->image[i].id = id;
		return b->dir ? b->image[i].fd : -1;
	}
	die("too many images");
}

static void zero(int fd, uint64_t off, uint64_t len)
{
	static const char zeroes[65536];
	struct stat st;

	if (fstat(fd, &st) || off >= (uint64_t)st.st_size)
		return;
	if (len > (uint64_t)st.st_size - off)
		len = (uint64_t)st.st_size - off;
	for (; len; off += sizeof(zeroes)) {
		size_t n = len < sizeof(zeroes) ? len : sizeof(zeroes);

		if (pwrite(fd, zeroes, n, (off_t)off) != (ssize_t)n)
			die("write: %s", strerror(errno));
		len -= n;
	}
}

static bool equal(int fd, const struct frame *f)
{
	uint8_t digest[32], *buf = calloc(1, f->len);
	bool same;

	if (fd >= 0 && pread(fd, buf, f->len, (off_t)f->off) < 0)
		die("read: %s", strerror(errno));
	EVP_Digest(buf, f->len, digest, NULL, EVP_sha256(), NULL);
	same = !memcmp(digest, f->data, 32);
	free(buf);
	return same;
}

static void take(struct peer *p, struct backup *b, struct frame *f)
{
	int fd = file_of(b, f->image, f->type == IMAGE || f->type == CREATE || f->type == RENAME ? f : NULL);
	struct frame answer = { .magic = f->magic, .type = HASHR, .off = f->seq };

	if (f->seq != b->last + 1)
		die("seq %llu behind %llu", (unsigned long long)f->seq, (unsigned long long)b->last);
	if (f->type == DATA && !b->broke && b->received + cost(f->plen) > b->granted)
		die("the node overran its credit");
	b->received += cost(f->plen);
	b->last = f->seq;
	if (!b->count++)
		b->first = f->seq;
	b->chain = chain64(b->chain, f->sum ^ f->seq);
	switch (f->type) {
	case DATA:
		if (fd >= 0 && pwrite(fd, f->data, f->plen, (off_t)f->off) != (ssize_t)f->plen)
			die("write: %s", strerror(errno));
		break;
	case ZERO:
		if (fd >= 0)
			zero(fd, f->off, f->len);
		break;
	case IMAGE:
		if (fd >= 0 && !(f->flags & 1) && ftruncate(fd, 0))
			die("truncate: %s", strerror(errno));
		/* fall through */
	case SIZE:
		if (fd >= 0 && ftruncate(fd, (off_t)f->len))
			die("truncate: %s", strerror(errno));
		break;
	case HASHQ:
		answer.len = b->liar || equal(fd, f);
		frame_send(p, &answer, false);
		break;
	}
}

static void ended(struct peer *p, struct backup *b, struct frame *f)
{
	struct frame done = { .magic = f->magic, .type = DONE, .epoch = f->epoch };

	if (f->len != b->count || f->image != b->chain || (b->count && (f->off != b->first || f->seq != b->last)))
		die("COMMIT names another set than came");
	b->count = b->chain = b->first = 0;
	p->epoch = f->epoch + 1;
	if (f->type == PREPARE)
		done.type = PREPARED;
	if (!b->mute)
		frame_send(p, &done, false);
}

/* Until the node closes, or a command is there. WORDS: dir=DIR; mute (no DONE), broke (no CREDIT but one at first),
 * liar (all hashes are equal), rich (endless credit), stay (whatever commands there are). */
void serve(struct peer *p, char *words)
{
	struct backup b = { 0 };
	struct frame f, credit = { .magic = 0x53464f4c, .type = CREDIT }, ping = { .magic = 0x53464f4c, .type = PING };
	bool input = false, rich = strstr(words, "rich"), stay = strstr(words, "stay");

	b.dir = strstr(words, "dir=");
	if (b.dir) {
		b.dir += 4;
		*strchrnul(b.dir, ' ') = 0;
	}
	b.mute = strstr(words, "mute");
	b.broke = strstr(words, "broke");
	b.liar = strstr(words, "liar");
	while (!p->closed && !input) {
		if (b.granted - b.received < WINDOW / 2 && !(b.broke && b.granted)) {
			b.granted = credit.off = rich ? UINT64_MAX : b.received + WINDOW;
			frame_send(p, &credit, false);
		}
		if (!net_ready(p, 500, stay ? NULL : &input)) {
			frame_send(p, &ping, false);
			continue;
		}
		if (!frame_read(p, &f, WAIT_MS))
			continue;
		if (numbered(f.type))
			take(p, &b, &f);
		if (f.type == COMMIT || f.type == PREPARE)
			ended(p, &b, &f);
		if (f.type == SETTLE) { /* what it took or dropped is in its files already */
			struct frame done = { .magic = f.magic, .type = f.off ? DONE : ABORTED, .epoch = f.epoch };

			frame_send(p, &done, false);
		}
	}
}

static void number_frame(struct peer *p, struct frame *f)
{
	struct frame got;

	while (f->type == DATA && p->spent + cost(f->plen) > p->credit)
		if (!frame_read(p, &got, WAIT_MS))
			die("no credit came");
	f->magic = 0x53464f4c;
	f->session = p->session;
	f->epoch = p->epoch;
	f->seq = ++p->seq;
	f->sum = f->plen ? sum64(f->data, f->plen) : 0;
	if (!p->count++)
		p->first = f->seq;
	p->chain = chain64(p->chain, f->sum ^ f->seq);
	p->spent += cost(f->plen);
	frame_send(p, f, false);
}

void mirror(struct peer *p, const char *file, const char *name, uint64_t id)
{
	static uint8_t buf[65536];
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st))
		die("%s: %s", file, strerror(errno));
	struct frame image = { .type = IMAGE, .image = id, .len = (uint64_t)st.st_size, .plen = (uint32_t)strlen(name),
		.data = (uint8_t *)name };

	number_frame(p, &image);
	for (uint64_t off = 0; (n = pread(fd, buf, sizeof(buf), (off_t)off)) > 0; off += (uint64_t)n) {
		struct frame data = { .type = DATA, .image = id, .off = off, .plen = (uint32_t)n, .data = buf };

		number_frame(p, &data);
	}
	close(fd);
}
