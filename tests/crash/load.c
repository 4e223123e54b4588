/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest of a recording, on both mounts of a pair: one thread, so that at
 * each flush it is certain what every image holds. Each write is stamped with
 * its number, image and sector; each thing done is a line in the log (model.h
 * has their meaning), which is also the load's memory between two runs.
 *
 *   crash-load init LOG SOURCE                make some images, before the first mount
 *   crash-load run LOG A B SEED COMMITS       writes, discards, sizes, names on A; an overlay on B; flush; again
 *   crash-load write LOG A SEED               the same, without a flush at its end
 *   crash-load twin LOG B SEED COUNT          an overlay on B, which must then read as such
 *   crash-load failover LOG B SEED COUNT      B is promoted; at once, so that they meet the journal: writes, fsyncs
 *   crash-load local LOG B SEED COUNT         more of them
 *   crash-load mark LOG LINE                  a script's word
 * BLOCK_LOG: a dm-log-writes log; marks then carry the number of its entries that are on record.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "model.h"

#define WRITE_MAX (48u << 10)

static struct model model;
static uint64_t rng, lines;
static int log_fd = -1, block_log = -1;
static uint8_t buf[MODEL_BYTES], other[MODEL_BYTES];

static void die(const char *what)
{
	fprintf(stderr, "crash-load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t rnd(uint64_t n)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % n;
}

/* ---- the log ---- */

/* Entries that the block log's super block counts: it is written at each flush of the disk, so all up to the last
 * flush. Too low for what came since, which makes no check too strict: see check_promoted() and cut.acked. */
static uint64_t block_position(void)
{
	uint64_t super[3] = { 0 };

	if (block_log >= 0 && pread(block_log, super, sizeof(super), 0) != sizeof(super))
		die("the block log");
	return super[2];
}

__attribute__((format(printf, 1, 2))) static void mark(const char *fmt, ...)
{
	struct entry e = { .magic = LOG_MAGIC, .type = E_MARK, .off = block_position() };
	uint8_t out[sizeof(e) + 256] = { 0 };
	char *line = (char *)out + sizeof(e);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, 248, fmt, ap);
	va_end(ap);
	e.payload = strlen(line) + 1;
	memcpy(out, &e, sizeof(e));
	if (write(log_fd, out, entry_size(&e)) != (ssize_t)entry_size(&e))
		die("the log");
	model_line(&model, ++lines, line);
}

static void log_open(const char *path)
{
	const char *block = getenv("BLOCK_LOG");

	log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (log_fd < 0 || model_load(&model, path, false))
		die(path);
	if (block)
		block_log = open(block, O_RDONLY | O_CLOEXEC);
	if (block && block_log < 0)
		die(block);
}

/* ---- things to do to an image ---- */

static int image_open(const char *dir, const char *name, int flags)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, flags | O_CLOEXEC, 0600);
	if (fd < 0)
		die(path);
	return fd;
}

static unsigned some_image(const struct snapshot *s)
{
	unsigned i = (unsigned)rnd(MODEL_IMAGES);

	while (!s->images[i].exists)
		i = (i + 1) % MODEL_IMAGES;
	return i;
}

/* Mostly whole sectors and blocks; bytes, too, unless even. */
static uint64_t place(uint64_t below, bool even)
{
	uint64_t at = rnd(below + 1);

	return rnd(4) || even ? rnd(2) ? at & ~4095ull : at & ~511ull : at;
}

static void do_write(int fd, const char *prefix, const struct snapshot *s, unsigned i, bool even)
{
	uint64_t limit = even ? s->images[i].size & ~511ull : MODEL_BYTES;
	uint64_t off = place(s->images[i].size < limit ? s->images[i].size : limit, even), op = model.op + 1;
	uint64_t len = rnd(4) ? 1 + rnd(12 << 10) : 1 + rnd(WRITE_MAX);

	if (rnd(4) || even)
		len = (len + 511) & ~511ull;
	if (len > limit - off)
		len = limit - off;
	if (!len)
		return;
	stamp_fill(buf, i, off, len, op);
	if (*prefix == 'l')
		mark("%swrite %u %" PRIu64 " %" PRIu64 " %" PRIu64, prefix, i, off, len, op);
	if (pwrite(fd, buf, len, (off_t)off) != (ssize_t)len)
		die("write");
	if (*prefix != 'l')
		mark("%swrite %u %" PRIu64 " %" PRIu64 " %" PRIu64, prefix, i, off, len, op);
}

static void do_zero(int fd, const char *prefix, const struct snapshot *s, unsigned i, bool even)
{
	uint64_t size = s->images[i].size, off = place(size, even), len = (1 + rnd(32 << 10) + 511) & ~511ull;
	int mode = rnd(2) ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

	if (off >= size)
		return;
	len = len < size - off ? len : size - off;
	if (*prefix == 'l')
		mark("%szero %u %" PRIu64 " %" PRIu64, prefix, i, off, len);
	if (fallocate(fd, mode, (off_t)off, (off_t)len))
		die("fallocate");
	if (*prefix != 'l')
		mark("%szero %u %" PRIu64 " %" PRIu64, prefix, i, off, len);
}

static void do_trunc(int fd, const char *prefix, unsigned i, bool even)
{
	uint64_t size = place(MODEL_BYTES, even);

	if (*prefix == 'l')
		mark("%strunc %u %" PRIu64, prefix, i, size);
	if (ftruncate(fd, (off_t)size))
		die("ftruncate");
	if (*prefix != 'l')
		mark("%strunc %u %" PRIu64, prefix, i, size);
}

static void do_data(const char *dir, const char *prefix, const struct snapshot *s)
{
	unsigned i = some_image(s), dice = (unsigned)rnd(16);
	bool even = *prefix == 'l';
	int fd = image_open(dir, s->images[i].name, O_RDWR);

	if (dice < 12)
		do_write(fd, prefix, s, i, even);
	else if (dice < 15)
		do_zero(fd, prefix, s, i, even);
	else
		do_trunc(fd, prefix, i, even);
	if (even && !rnd(3)) {
		if (fsync(fd))
			die("fsync");
		mark("local-synced %u", i);
	}
	close(fd);
}

/* ---- names ---- */

static void do_name(const char *dir)
{
	unsigned i = (unsigned)rnd(MODEL_IMAGES);
	struct model_image *img = &model.now.images[i];
	char name[32], from[4096], to[4096];

	snprintf(name, sizeof(name), "disk-%u-%" PRIu64, i, rnd(1000000));
	snprintf(from, sizeof(from), "%s/%s", dir, img->name);
	snprintf(to, sizeof(to), "%s/%s", dir, name);
	if (!img->exists) {
		close(image_open(dir, name, O_RDWR | O_CREAT | O_EXCL));
		mark("create %u %s", i, name);
	} else if (i < 2 || rnd(2)) { /* the first two stay */
		if (rename(from, to))
			die("rename");
		mark("rename %u %s", i, name);
	} else {
		if (unlink(from))
			die("unlink");
		mark("unlink %u", i);
	}
}

/* ---- commits ---- */

static void do_command(const char *dir, const char *command, const char *before, const char *after)
{
	char path[4096], reply[256], *at;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/.colo/ctl", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(path);
	mark("%s", before);
	if (write(fd, command, strlen(command)) != (ssize_t)strlen(command))
		die(command);
	n = read(fd, reply, sizeof(reply) - 1);
	reply[n < 0 ? 0 : n] = 0;
	at = strstr(reply, "epoch=");
	if (!at)
		die("ctl's reply");
	mark("%s %" PRIu64, after, (uint64_t)strtoull(at + 6, NULL, 10));
	close(fd);
}

/* The backup must show exactly s. */
static void compare(const char *dir, const struct snapshot *s, const char *what)
{
	for (unsigned i = 0; i < MODEL_IMAGES; i++) {
		const struct model_image *img = &s->images[i];
		struct stat st;
		int fd;

		if (!img->exists)
			continue;
		fd = image_open(dir, img->name, O_RDONLY);
		if (fstat(fd, &st) || read(fd, other, sizeof(other)) < 0)
			die(img->name);
		if ((uint64_t)st.st_size != img->size || (img->size && memcmp(other, img->data, img->size))) {
			fprintf(stderr, "crash-load: %s: image %s differs\n", what, img->name);
			exit(1);
		}
		close(fd);
	}
}

static void do_twin(const char *dir, uint64_t count)
{
	while (count--)
		do_data(dir, "twin-", &model.twin);
	compare(dir, &model.twin, "the backup, with its overlay");
}

static void do_epoch(const char *a)
{
	uint64_t count = rnd(12);

	if (!rnd(3))
		do_name(a);
	while (count--)
		do_data(a, "", &model.now);
}

static int init(const char *dir)
{
	static const uint64_t sizes[] = { 160 << 10, 96 << 10, 50001 };

	for (unsigned i = 0; i < 3; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "disk-%u", i);
		fd = image_open(dir, name, O_RDWR | O_CREAT | O_EXCL);
		mark("create %u %s", i, name);
		stamp_fill(buf, i, 0, sizes[i], model.op + 1);
		if (pwrite(fd, buf, sizes[i], 0) != (ssize_t)sizes[i])
			die("write");
		mark("write %u 0 %" PRIu64 " %" PRIu64, i, sizes[i], model.op + 1);
		close(fd);
	}
	return 0;
}

static int run(const char *a, const char *b, uint64_t commits)
{
	while (commits--) {
		do_epoch(a);
		if (!rnd(4))
			do_twin(b, 1 + rnd(4));
		do_command(a, "flush", "sent", "acked");
		if (!rnd(8))
			compare(b, &model.now, "the backup, after a flush");
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 3 ? argv[1] : "";
	uint64_t seed = argc > 4 ? strtoull(argv[argc == 7 ? 5 : 4], NULL, 10) : 0;

	if (*verb)
		log_open(argv[2]);
	rng = seed;
	if (!strcmp(verb, "mark") && argc == 4) {
		mark("%s", argv[3]);
		return 0;
	}
	if (!strcmp(verb, "init") && argc == 4)
		return init(argv[3]);
	if (!strcmp(verb, "run") && argc == 7)
		return run(argv[3], argv[4], strtoull(argv[6], NULL, 10));
	if (!strcmp(verb, "write") && argc == 5) {
		do_epoch(argv[3]);
		do_data(argv[3], "", &model.now);
		return 0;
	}
	if (!strcmp(verb, "twin") && argc == 6) {
		do_twin(argv[3], strtoull(argv[5], NULL, 10));
		return 0;
	}
	if ((!strcmp(verb, "local") || !strcmp(verb, "failover")) && argc == 6) {
		if (*verb == 'f')
			do_command(argv[3], "failover", "failover-sent", "failover-acked");
		for (uint64_t n = strtoull(argv[5], NULL, 10); n; n--)
			do_data(argv[3], "local-", &model.twin);
		compare(argv[3], &model.twin, "the promoted backup");
		return 0;
	}
	fprintf(stderr, "usage: see the head of load.c\n");
	return 2;
}
