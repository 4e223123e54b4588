/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Crash states of a block device, from a log in the format of Linux's
 * dm-log-writes, as QEMU's driver blklogwrites makes it: a super block, then
 * entries of one sector and their data. What lies before the last FLUSH is
 * durable; of the writes behind it a crash keeps any subset, some of them by
 * sectors of 512 bytes.
 *
 *   crash-replay info LOG                   "entries=N flushes=N bytes=N"
 *   crash-replay points LOG FIRST COUNT SEED   "N SEED" lines, ascending, from entry FIRST on: half of them right
 *                                           behind a flush (seed 0: nothing is lost), half anywhere, subsets
 *   crash-replay state LOG BASE STATE N SEED   the device after N entries as file STATE. BASE: the device before the
 *                                           log began; it is brought forward to the last flush (BASE.at says how far)
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x6a736677736872ull
#define SECTOR 512u
enum { FLUSH = 1, FUA = 2, DISCARD = 4, MARK = 8 };

struct write {
	uint64_t off, len, flags; /* bytes */
	const uint8_t *data;      /* NULL: zeroes */
};

static struct write *writes;
static uint64_t count;

static void die(const char *what)
{
	fprintf(stderr, "crash-replay: %s: %s\n", what, errno ? strerror(errno) : "not a log of dm-log-writes");
	exit(2);
}

static uint64_t rnd_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- the log ---- */

static uint64_t get(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void log_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const uint8_t *log;
	uint64_t sector, at;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	log = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (log == MAP_FAILED)
		die(path);
	errno = 0;
	if (st.st_size < 4096 || get(log) != MAGIC || get(log + 8) != 1)
		die(path);
	count = get(log + 16);
	sector = get(log + 24) & UINT32_MAX;
	writes = calloc(count + 1, sizeof(*writes));
	if (!writes || sector < SECTOR || sector & (sector - 1))
		die(path);
	at = sector;
	for (uint64_t i = 0; i < count; i++) {
		struct write *w = &writes[i];
		uint64_t data;

		if (at + sector > (uint64_t)st.st_size)
			die("the log is cut short");
		w->off = get(log + at) * sector;
		w->len = get(log + at + 8) * sector;
		w->flags = get(log + at + 16);
		data = get(log + at + 24);
		at += sector;
		if (w->flags & MARK) {
			w->len = 0;
		} else if (!(w->flags & DISCARD) && w->len) {
			if (at + w->len > (uint64_t)st.st_size || (data && data != w->len))
				die("the log is cut short");
			w->data = log + at;
			at += w->len;
		}
	}
}

/* ---- the device ---- */

static void put(int fd, const struct write *w)
{
	static const uint8_t zeroes[1 << 16];

	for (uint64_t done = 0; done < w->len;) {
		uint64_t n = w->len - done;
		const uint8_t *from = w->data ? w->data + done : zeroes;
		ssize_t got;

		if (!w->data && n > sizeof(zeroes))
			n = sizeof(zeroes);
		got = pwrite(fd, from, n, (off_t)(w->off + done));
		if (got <= 0)
			die("write");
		done += (uint64_t)got;
	}
}

static void put_torn(int fd, const struct write *w, uint64_t *rng)
{
	uint64_t sectors = w->len / SECTOR, cut = rnd_next(rng) % sectors, keep = rnd_next(rng), style = rnd_next(rng) % 3;

	for (uint64_t n = 0; n < sectors; n++) {
		struct write part = { .off = w->off + n * SECTOR, .len = SECTOR,
		                      .data = w->data ? w->data + n * SECTOR : NULL };

		if (style == 0 ? n < cut : style == 1 ? n >= cut : keep >> n % 64 & 1)
			put(fd, &part);
	}
}

static void put_subset(int fd, uint64_t from, uint64_t to, uint64_t seed)
{
	uint64_t rng = seed, mood = rnd_next(&rng) % 4;

	for (uint64_t i = from; i < to; i++) {
		uint64_t dice = rnd_next(&rng) % 16;
		bool kept = mood == 0 ? dice : mood == 1 ? dice == 0 : dice < 6;
		bool torn = mood == 0 ? !dice : mood == 1 ? dice == 1 : dice > 11;

		if (kept || writes[i].flags & FUA)
			put(fd, &writes[i]);
		else if (torn && writes[i].len)
			put_torn(fd, &writes[i], &rng);
	}
}

/* Bring BASE forward: entries below `to`. */
static void advance(const char *base, uint64_t to)
{
	char path[4096];
	uint64_t at = 0;
	int fd = open(base, O_WRONLY | O_CLOEXEC);
	FILE *f;

	if (fd < 0)
		die(base);
	snprintf(path, sizeof(path), "%s.at", base);
	f = fopen(path, "r");
	if (f && fscanf(f, "%" SCNu64, &at) != 1)
		die(path);
	if (f)
		fclose(f);
	if (at > to) {
		errno = EINVAL;
		die("points have to be ascending");
	}
	for (; at < to; at++)
		put(fd, &writes[at]);
	close(fd);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%" PRIu64 "\n", to) < 0 || fclose(f))
		die(path);
}

static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;
	off_t at = 0;

	if (in < 0 || out < 0 || fstat(in, &st) || ftruncate(out, st.st_size))
		die(to);
	while ((at = lseek(in, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(in, at, SEEK_HOLE), to_at = at;

		while (at < end)
			if (copy_file_range(in, &at, out, &to_at, (size_t)(end - at), 0) <= 0)
				die(to);
	}
	close(in);
	close(out);
}

static void state(const char *base, const char *path, uint64_t n, uint64_t seed)
{
	uint64_t durable = n;
	int fd;

	while (durable && !(writes[durable - 1].flags & FLUSH))
		durable--;
	advance(base, durable);
	copy(base, path);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	if (seed)
		put_subset(fd, durable, n, seed);
	else
		for (uint64_t i = durable; i < n; i++)
			put(fd, &writes[i]);
	close(fd);
	printf("durable=%" PRIu64 " later=%" PRIu64 "\n", durable, n - durable);
}

/* ---- which ones ---- */

static void points(uint64_t first, uint64_t wanted, uint64_t seed)
{
	uint64_t rng = seed, flushes = 0, random = wanted / 2, flush_points = wanted - random;
	uint8_t *there = calloc(count + 2, 1); /* of each: 1 behind a flush, then how many subsets */

	if (!there || first >= count)
		die("points");
	for (uint64_t i = first; i < count; i++)
		flushes += writes[i].flags & FLUSH;
	for (uint64_t i = first, k = 0; i < count; i++) {
		if (!(writes[i].flags & FLUSH))
			continue;
		if (k * flush_points / flushes != (k + 1) * flush_points / flushes)
			there[i + 1] = 1;
		k++;
	}
	while (random--) {
		uint64_t n = 0;

		for (int i = 0; i < 16 && (!n || writes[n - 1].flags & FLUSH); i++) /* better not where nothing is lost */
			n = first + 1 + rnd_next(&rng) % (count - first);
		there[n] = (uint8_t)(there[n] + 2);
	}
	for (uint64_t n = 1; n <= count; n++) {
		if (there[n] & 1)
			printf("%" PRIu64 " 0\n", n);
		for (unsigned k = 0; k < there[n] / 2u; k++)
			printf("%" PRIu64 " %" PRIu64 "\n", n, rnd_next(&rng) >> 1 | 1);
	}
	free(there);
}

static uint64_t number(const char *text)
{
	return strtoull(text, NULL, 10);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (*verb)
		log_open(argv[2]);
	if (!strcmp(verb, "info") && argc == 3) {
		uint64_t flushes = 0, bytes = 0;

		for (uint64_t i = 0; i < count; i++) {
			flushes += writes[i].flags & FLUSH;
			bytes += writes[i].len;
		}
		printf("entries=%" PRIu64 " flushes=%" PRIu64 " bytes=%" PRIu64 "\n", count, flushes, bytes);
	} else if (!strcmp(verb, "points") && argc == 6) {
		points(number(argv[3]), number(argv[4]), number(argv[5]));
	} else if (!strcmp(verb, "state") && argc == 7 && number(argv[5]) <= count) {
		state(argv[3], argv[4], number(argv[5]), number(argv[6]));
	} else {
		fprintf(stderr, "usage: see the head of replay.c\n");
		return 2;
	}
	return 0;
}
