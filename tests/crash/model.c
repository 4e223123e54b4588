/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The load's lines replayed, and the judgement on a recovered backup: see model.h. */
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define SECTOR 512u

static void *grow(void *p, size_t count, size_t size)
{
	if (count & (count - 1)) /* doubled at each power of two */
		return p;
	p = realloc(p, (count ? count * 2 : 1) * size);
	if (!p)
		abort();
	return p;
}

/* ---- contents ---- */

void stamp_fill(uint8_t *buf, unsigned image, uint64_t off, uint64_t len, uint64_t op)
{
	for (uint64_t i = 0; i < len;) {
		uint64_t word = op << 40 | (uint64_t)(image + 1) << 32 | (off + i) / SECTOR, in = (off + i) % 8;
		uint64_t n = 8 - in < len - i ? 8 - in : len - i;

		memcpy(buf + i, (uint8_t *)&word + in, n);
		i += n;
	}
}

static void own(struct model_image *i)
{
	uint8_t *copy;

	if (!i->shared && i->data)
		return;
	copy = calloc(1, MODEL_BYTES);
	if (!copy)
		abort();
	if (i->data)
		memcpy(copy, i->data, MODEL_BYTES);
	i->data = copy;
	i->shared = false;
}

static void share(struct snapshot *to, struct snapshot *from)
{
	for (int i = 0; i < MODEL_IMAGES; i++)
		from->images[i].shared = true;
	*to = *from;
}

static void change(struct snapshot *s, const char *what, unsigned image, uint64_t off, uint64_t len, uint64_t op)
{
	struct model_image *i = &s->images[image];
	uint64_t end = *what == 't' ? off : off + len; /* trunc SIZE */

	if (image >= MODEL_IMAGES || !i->exists || end > MODEL_BYTES)
		abort();
	own(i);
	if (!strcmp(what, "write"))
		stamp_fill(i->data + off, image, off, len, op);
	else if (!strcmp(what, "zero") && off < i->size)
		memset(i->data + off, 0, (end < i->size ? end : i->size) - off);
	else if (!strcmp(what, "trunc") && end < i->size)
		memset(i->data + end, 0, i->size - end);
	if (*what == 't' || (*what == 'w' && end > i->size))
		i->size = end;
}

/* ---- lines ---- */

static void cut_add(struct model *m, uint64_t pos, bool sync)
{
	struct cut *c;

	m->cuts = grow(m->cuts, m->cut_count, sizeof(*m->cuts));
	c = &m->cuts[m->cut_count++];
	*c = (struct cut){ .sent = pos, .acked = UINT64_MAX, .sync = sync };
	share(&c->at, &m->now);
}

static void cut_end(struct model *m, uint64_t pos, uint64_t epoch)
{
	struct cut *c = &m->cuts[m->cut_count - 1];

	c->first = c->sync ? m->cut_count > 1 ? m->cuts[m->cut_count - 2].epoch + 1 : 1 : epoch;
	c->epoch = epoch;
	c->acked = pos;
	share(&m->twin, &m->now);
}

static void step_add(struct model *m, uint64_t pos)
{
	m->steps = grow(m->steps, m->step_count, sizeof(*m->steps));
	m->steps[m->step_count].sent = pos;
	share(&m->steps[m->step_count++].at, &m->twin);
}

static void floor_add(struct model *m, uint64_t pos, unsigned image)
{
	m->floors = grow(m->floors, m->floor_count, sizeof(*m->floors));
	m->floors[m->floor_count++] = (struct floor){ pos, m->step_count - 1, image };
}

static bool data_line(struct model *m, uint64_t pos, const char *line)
{
	const char *word = !strncmp(line, "twin-", 5) ? line + 5 : !strncmp(line, "local-", 6) ? line + 6 : line;
	struct snapshot *s = word == line ? &m->now : &m->twin;
	uint64_t off, len = 0, op = 0;
	unsigned image;
	char what[16];

	if (sscanf(word, "%15s %u %" SCNu64 " %" SCNu64 " %" SCNu64, what, &image, &off, &len, &op) < 3 ||
	    (strcmp(what, "write") && strcmp(what, "zero") && strcmp(what, "trunc")))
		return false;
	change(s, what, image, off, len, op);
	if (op > m->op)
		m->op = op;
	if (word == line + 6)
		step_add(m, pos);
	return true;
}

static bool name_line(struct model *m, const char *line)
{
	struct model_image *i;
	unsigned image;
	char what[16], name[32];
	int n = sscanf(line, "%15s %u %31s", what, &image, name);

	if (n < 2 || image >= MODEL_IMAGES)
		return false;
	i = &m->now.images[image];
	if (n == 2 && !strcmp(what, "unlink")) {
		*i = (struct model_image){ 0 };
		return true;
	}
	if (n != 3 || (strcmp(what, "create") && strcmp(what, "rename")))
		return false;
	if (*what == 'c')
		*i = (struct model_image){ .exists = true };
	strcpy(i->name, name);
	return true;
}

void model_line(struct model *m, uint64_t pos, const char *line)
{
	uint64_t epoch;
	unsigned image;

	m->end = pos;
	if (!strcmp(line, "sent") || !strcmp(line, "sync")) {
		cut_add(m, pos, line[1] == 'y');
	} else if (sscanf(line, "acked %" SCNu64, &epoch) == 1 || sscanf(line, "synced %" SCNu64, &epoch) == 1) {
		cut_end(m, pos, epoch);
	} else if (!strcmp(line, "failover-sent")) {
		step_add(m, pos);
	} else if (sscanf(line, "failover-acked %" SCNu64, &epoch) == 1) {
		m->failover_acked = pos;
	} else if (sscanf(line, "local-synced %u", &image) == 1) {
		floor_add(m, pos, image);
	} else if (!data_line(m, pos, line) && !name_line(m, line)) {
		fprintf(stderr, "model: what is \"%s\"?\n", line);
		abort();
	}
}

int model_load(struct model *m, const char *path, bool by_mark)
{
	FILE *f = fopen(path, "r");
	char line[256];
	struct entry e;

	if (!f)
		return -errno;
	for (uint64_t at = 0; fread(&e, sizeof(e), 1, f) == 1; at++) {
		if (e.magic != LOG_MAGIC) {
			fclose(f);
			return -EBADMSG;
		}
		if (e.type != E_MARK || e.payload > sizeof(line) - 8) {
			fseek(f, (long)(entry_size(&e) - sizeof(e)), SEEK_CUR);
			continue;
		}
		if (fread(line, entry_size(&e) - sizeof(e), 1, f) != 1)
			break;
		line[e.payload] = 0;
		model_line(m, by_mark ? e.off : at, line);
	}
	fclose(f);
	return 0;
}

/* ---- judging ---- */

static char verdict[512];

static const struct model_image *named(const struct snapshot *s, const char *name)
{
	for (int i = 0; i < MODEL_IMAGES; i++)
		if (s->images[i].exists && !strcmp(s->images[i].name, name))
			return &s->images[i];
	return NULL;
}

static const char *wrong_sector(const struct found_image *f, uint64_t sector, const char *against)
{
	uint64_t word;

	memcpy(&word, f->data + sector * SECTOR, 8);
	snprintf(verdict, sizeof(verdict), "image %s, sector %" PRIu64 ", is not that of %s: it shows write %" PRIu64
	         " of image %u, sector %u", f->name, sector, against, word >> 40, (unsigned)(word >> 32 & 255) - 1,
	         (unsigned)word);
	return verdict;
}

static uint64_t sector_len(uint64_t size, uint64_t sector)
{
	return size - sector * SECTOR < SECTOR ? size - sector * SECTOR : SECTOR;
}

static const char *check_names(const struct snapshot *s, const struct found *f)
{
	uint32_t count = 0;

	for (int i = 0; i < MODEL_IMAGES; i++)
		count += s->images[i].exists;
	for (uint32_t i = 0; i < f->count; i++) {
		if (named(s, f->images[i].name))
			continue;
		snprintf(verdict, sizeof(verdict), "there is an image %s, which epoch %" PRIu64 " has not",
		         f->images[i].name, f->epoch);
		return verdict;
	}
	if (f->count == count)
		return NULL;
	snprintf(verdict, sizeof(verdict), "there are %u images, epoch %" PRIu64 " has %u", f->count, f->epoch, count);
	return verdict;
}

/* Exactly s. */
static const char *check_exact(const struct snapshot *s, const struct found *f)
{
	const char *why = check_names(s, f);
	char what[32];

	snprintf(what, sizeof(what), "epoch %" PRIu64, f->epoch);
	for (uint32_t i = 0; i < f->count && !why; i++) {
		const struct found_image *fi = &f->images[i];
		const struct model_image *mi = named(s, fi->name);

		if (fi->size != mi->size) {
			snprintf(verdict, sizeof(verdict), "image %s has %" PRIu64 " bytes, in epoch %" PRIu64 " %" PRIu64,
			         fi->name, fi->size, f->epoch, mi->size);
			return verdict;
		}
		if (!fi->size || (mi->data && !memcmp(fi->data, mi->data, fi->size)))
			continue;
		for (uint64_t at = 0; at * SECTOR < fi->size && !why; at++) {
			static const uint8_t zero[SECTOR];

			if (memcmp(fi->data + at * SECTOR, mi->data ? mi->data + at * SECTOR : zero,
			           sector_len(fi->size, at)))
				why = wrong_sector(fi, at, what);
		}
	}
	return why;
}

/* The step that name's last fsync until pos made durable. */
static size_t floor_of(const struct model *m, uint64_t pos, const char *name)
{
	size_t low = 0;

	for (size_t i = 0; i < m->floor_count && m->floors[i].pos <= pos; i++)
		if (!strcmp(m->steps[0].at.images[m->floors[i].image].name, name))
			low = m->floors[i].step;
	return low;
}

/* Each sector from one of the steps since its image's last fsync, each size too. */
static const char *check_steps(const struct model *m, uint64_t pos, size_t high, const struct found *f)
{
	const char *why = check_names(&m->steps[0].at, f);

	for (uint32_t i = 0; i < f->count && !why; i++) {
		const struct found_image *fi = &f->images[i];
		size_t low = floor_of(m, pos, fi->name);
		bool size_ok = false;

		for (size_t k = low; k <= high; k++)
			size_ok |= named(&m->steps[k].at, fi->name)->size == fi->size;
		if (!size_ok) {
			snprintf(verdict, sizeof(verdict), "image %s has %" PRIu64 " bytes: never since what was synced",
			         fi->name, fi->size);
			return verdict;
		}
		for (uint64_t at = 0; at * SECTOR < fi->size && !why; at++) {
			bool ok = false;

			for (size_t k = high + 1; k-- > low && !ok;)
				ok = !memcmp(fi->data + at * SECTOR, named(&m->steps[k].at, fi->name)->data + at * SECTOR,
				             sector_len(fi->size, at));
			if (!ok)
				why = wrong_sector(fi, at, "what was written since what was synced");
		}
	}
	return why;
}

static const char *check_promoted(const struct model *m, uint64_t pos, const struct found *f)
{
	size_t high = 0;

	if (!m->step_count || m->steps[0].sent > pos)
		return "it is promoted, and no failover was ordered";
	for (size_t i = 0; i < m->step_count && m->steps[i].sent <= pos; i++)
		high = i;
	return check_steps(m, pos, high, f);
}

uint64_t model_acked(const struct model *m, uint64_t pos)
{
	uint64_t acked = 0;

	for (size_t i = 0; i < m->cut_count; i++)
		if (m->cuts[i].acked <= pos)
			acked = m->cuts[i].epoch;
	return acked;
}

const char *model_check(const struct model *m, uint64_t pos, uint64_t floor, const struct found *f)
{
	uint64_t acked = model_acked(m, pos);

	if (f->promoted)
		return check_promoted(m, pos, f);
	if (m->failover_acked && m->failover_acked <= pos)
		return "failover was acknowledged, and it is a backup again";
	if (floor > acked)
		acked = floor;
	if (f->epoch < acked) {
		snprintf(verdict, sizeof(verdict), "epoch %" PRIu64 " was acknowledged, %" PRIu64 " is what there is", acked,
		         f->epoch);
		return verdict;
	}
	if (!f->epoch)
		return f->count ? "no epoch was committed, and yet there are images" : NULL;
	for (size_t i = 0; i < m->cut_count; i++) {
		const struct cut *c = &m->cuts[i];

		if (f->epoch < c->first || f->epoch > c->epoch || !c->epoch)
			continue;
		if (c->sent > pos)
			break;
		return check_exact(&c->at, f);
	}
	snprintf(verdict, sizeof(verdict), "epoch %" PRIu64 " was never ordered", f->epoch);
	return verdict;
}
