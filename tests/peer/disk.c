/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A node's state file and journal, read by the rules of colofs-protocol(7) alone: prints what recovery finds, and
 * writes the committed DATA, ZERO and SIZE records into copies of the images, named by their ids in OUT-DIR.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer.h"

#define BLOCK 4096
#define SLOTS 4096
#define RECORDS 100000

struct record {
	uint8_t type, flags;
	bool prepared, merged;
	uint32_t slot, plen;
	uint64_t epoch, pos, image, off, len, seq;
};

struct segment {
	int fd;
	uint64_t incarnation, first_lsn;
	uint32_t size;
};

static struct segment segments[SLOTS];
static struct record pending[RECORDS];
static uint32_t pending_count;
static struct {
	uint8_t role, bits, id[16];
	uint64_t epoch, incarnation, lsn, sum;
	uint32_t slot, off;
} state;
static uint64_t synced, session;

static void state_read(const char *path, const char *out)
{
	static uint8_t buf[1 << 20];
	struct lineage l;
	const uint8_t *at = buf;
	FILE *f = fopen(path, "r");
	size_t len = f ? fread(buf, 1, sizeof(buf), f) : 0;

	if (len < 24 || memcmp(buf, "colofoST", 8))
		die("%s is no state file", path);
	at += 8;
	if (get(&at, 4) != 1 || get(&at, 4) != len - 24 || get(&at, 8) != sum64(buf + 24, len - 24))
		die("the state file is damaged");
	state.role = (uint8_t)get(&at, 1);
	state.bits = (uint8_t)get(&at, 1);
	at += 8 + 16 + 8 + 8; /* rejoin_epoch, pair, session_high, epoch_high */
	at = lineage_get(at, &l);
	at += 8;
	at = lineage_get(at, &l);
	state.epoch = get(&at, 8);
	at += 8;
	at += get(&at, 2);
	memcpy(state.id, at, 16);
	at += 16;
	state.incarnation = get(&at, 8);
	state.lsn = get(&at, 8);
	state.sum = get(&at, 8);
	state.slot = (uint32_t)get(&at, 4);
	state.off = (uint32_t)get(&at, 4);
	at += 4 * 8 + 2 * 4;
	for (uint64_t n = get(&at, 4); n; n--) {
		uint64_t id = get(&at, 8), size = get(&at, 8);

		at += 16 + 1;
		size_t name = get(&at, 2);

		say("image %llu size %llu %.*s", (unsigned long long)id, (unsigned long long)size, (int)name, (const char *)at);
		at += name;
	}
	if (at != buf + len)
		die("the state file has another length than the page says");
	say("state role=%u bits=%u epoch=%llu tail=%llu", state.role, state.bits, (unsigned long long)state.epoch,
	    (unsigned long long)state.lsn);
	fclose(f);
	(void)out;
}

static void segments_read(const char *dir)
{
	uint8_t head[BLOCK];
	char path[4096];

	for (uint32_t i = 0; i < SLOTS; i++) {
		const uint8_t *at = head;

		snprintf(path, sizeof(path), "%s/j%u", dir, i);
		segments[i].fd = open(path, O_RDONLY | O_CLOEXEC);
		if (segments[i].fd < 0 || pread(segments[i].fd, head, BLOCK, 0) != BLOCK || memcmp(head, "colssegm", 8))
			continue;
		at += 8;
		if (get(&at, 4) != 1 || get(&at, 4) != i)
			continue;
		uint32_t size = (uint32_t)get(&at, 4);

		at += 4;
		if (memcmp(at, state.id, 16))
			continue;
		at += 16;
		segments[i].incarnation = get(&at, 8);
		segments[i].first_lsn = get(&at, 8);
		uint64_t was = get(&at, 8);

		if (get(&at, 8) != sum64(head, 64))
			continue;
		segments[i].size = size;
		synced = was > synced ? was : synced;
	}
}

static int image_file(const char *out, uint64_t id)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%llu", out, (unsigned long long)id);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	return fd;
}

static void apply(const struct record *r, const char *out)
{
	static uint8_t buf[65536];
	int fd = image_file(out, r->image);
	struct stat st;
	bool ok = !fstat(fd, &st);

	if (r->type == 1)
		ok &= pread(segments[r->slot].fd, buf, r->plen, (off_t)r->pos) == (ssize_t)r->plen &&
			pwrite(fd, buf, r->plen, (off_t)r->off) == (ssize_t)r->plen;
	else if (r->type == 2 && r->off < (uint64_t)st.st_size) {
		uint64_t end = r->off + r->len < (uint64_t)st.st_size ? r->off + r->len : (uint64_t)st.st_size;

		memset(buf, 0, sizeof(buf));
		for (uint64_t at = r->off; at < end && ok; at += sizeof(buf)) {
			size_t n = end - at < sizeof(buf) ? end - at : sizeof(buf);

			ok = pwrite(fd, buf, n, (off_t)at) == (ssize_t)n;
		}
	} else if (r->type == 3)
		ok &= !ftruncate(fd, (off_t)r->len);
	if (!ok)
		die("cannot apply a record: %s", strerror(errno));
	close(fd);
}

static void forget(uint64_t epoch) /* 0: all but what is prepared */
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < pending_count; i++)
		if (epoch ? pending[i].epoch != epoch : pending[i].prepared)
			pending[kept++] = pending[i];
	pending_count = kept;
}

static void commit(const struct record *c, const char *out)
{
	uint64_t count = 0, first = 0, last = 0;

	for (uint32_t i = 0; i < pending_count; i++)
		if (pending[i].epoch == c->epoch && !pending[i].merged) {
			first = count++ ? first : pending[i].seq;
			last = pending[i].seq;
		}
	bool whole = count == c->len && (!count || (first == c->off && last == c->seq));

	say("epoch %llu %s records=%llu", (unsigned long long)c->epoch,
	    !whole ? "not whole" : c->type == 9 ? "committed" : "prepared", (unsigned long long)count);
	if (c->type == 10) {
		for (uint32_t i = 0; whole && i < pending_count; i++)
			pending[i].prepared |= pending[i].epoch == c->epoch;
		return;
	}
	for (uint32_t i = 0; whole && out && i < pending_count; i++)
		if (pending[i].epoch == c->epoch)
			apply(&pending[i], out);
	forget(c->epoch);
}

static void record_take(struct record *r, const char *out)
{
	if (r->epoch <= state.epoch)
		return;
	if (r->type == 8)
		forget(0);
	else if (r->type == 9 || r->type == 10)
		commit(r, out);
	else if (r->type == 11 && !(r->flags & 1))
		forget(r->image);
	else if (r->type == 11) {
		for (uint32_t i = 0; i < pending_count; i++)
			if (pending[i].epoch == r->image) {
				pending[i].epoch = r->epoch;
				pending[i].merged = true;
				pending[i].prepared = false;
			}
	}
	else if (pending_count < RECORDS)
		pending[pending_count++] = *r;
}

/* The batch at (slot, off) if it is the wanted one: its length, else 0. */
static uint32_t batch(uint32_t slot, uint32_t off, uint64_t *lsn, uint64_t *sum, const char *out)
{
	static uint8_t buf[BLOCK + (512 << 10)];
	const struct segment *s = &segments[slot];
	const uint8_t *at = buf + 8;

	if (slot >= SLOTS || !s->size || off + BLOCK > s->size || pread(s->fd, buf, BLOCK, off) != BLOCK ||
	    memcmp(buf, "clfbatch", 8) || get(&at, 4) != 1)
		return 0;
	uint32_t count = (uint32_t)get(&at, 2), flags = (uint32_t)get(&at, 2), plen = (uint32_t)get(&at, 4);

	at += 4;
	if (memcmp(at, state.id, 16) || count > 70 || plen > 512 << 10 || off + BLOCK + plen > s->size)
		return 0;
	at += 16;
	uint64_t incarnation = get(&at, 8), mine = get(&at, 8), prev = get(&at, 8), was = get(&at, 8), ses = get(&at, 8),
		epoch = get(&at, 8), found;

	at = buf + 120;
	found = get(&at, 8);
	memset(buf + 120, 0, 8);
	if (sum64(buf, BLOCK) != found || mine != *lsn || prev != *sum || incarnation != s->incarnation ||
	    pread(s->fd, buf + BLOCK, plen, off + BLOCK) != (ssize_t)plen)
		return 0;
	struct record r[70];

	for (uint32_t i = 0; i < count; i++) {
		at = buf + 128 + i * 56;
		r[i] = (struct record){ .slot = slot, .epoch = epoch, .type = (uint8_t)get(&at, 1) };
		r[i].flags = (uint8_t)get(&at, 1);
		at += 2;
		uint32_t place = (uint32_t)get(&at, 4);

		r[i].plen = (uint32_t)get(&at, 4);
		at += 4;
		r[i].image = get(&at, 8);
		r[i].off = get(&at, 8);
		r[i].len = get(&at, 8);
		r[i].seq = get(&at, 8);
		r[i].pos = off + place;
		if (r[i].plen && sum64(buf + place, r[i].plen) != get(&at, 8))
			return 0;
	}
	synced = was > synced ? was : synced;
	if (flags & 1)
		die("local batches: this reader knows backups only");
	if (ses != session)
		forget(0);
	session = ses;
	for (uint32_t i = 0; i < count; i++)
		record_take(&r[i], out);
	*lsn = mine + 1;
	*sum = found;
	return BLOCK + plen;
}

static bool segment_next(uint64_t lsn, uint32_t *slot, uint32_t *off)
{
	uint32_t best = SLOTS;

	for (uint32_t i = 0; i < SLOTS; i++)
		if (segments[i].size && segments[i].first_lsn == lsn &&
		    (best == SLOTS || segments[i].incarnation > segments[best].incarnation))
			best = i;
	if (best == SLOTS || (best == *slot && *off == BLOCK))
		return false;
	*slot = best;
	*off = BLOCK;
	return true;
}

int disk(const char *path, const char *dir, const char *out)
{
	state_read(path, out);
	segments_read(dir);
	uint64_t lsn = state.lsn, sum = state.sum;
	uint32_t slot = state.slot, off = state.off ? state.off : BLOCK, len, batches = 0;

	do
		while ((len = batch(slot, off, &lsn, &sum, out))) {
			off += len;
			batches++;
		}
	while (segment_next(lsn, &slot, &off));
	say("batches=%u next=%llu synced=%llu", batches, (unsigned long long)lsn, (unsigned long long)synced);
	return synced >= lsn;
}
