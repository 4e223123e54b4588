/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that keeps an account of its own: each write that an image has
 * acknowledged is then made to a plain file beside it, so that in the end both
 * nodes' images are compared with what they were told, not with each other
 * alone. What was under way when the image failed may be there or not: it is
 * in doubt, sector by sector, until the next check settles it. Four writers,
 * each with 64 KiB stripes of its own, for no order between them is promised.
 *
 *   keeper write IMAGE COPY OFF LEN COUNT   COUNT writes within [OFF, OFF + LEN); 0: until SIGTERM
 *                                           prints "writes=N errno=NAME"; exit 1: the image failed
 *   keeper check IMAGE COPY                 exit 1: not equal, and not in doubt there
 *
 * The doubt is in COPY.doubt (offset and length a line) and COPY.new (what was to be written).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITERS     4
#define STRIPE_SIZE 65536u
#define SECTOR_SIZE 512u
#define READ_SIZE   (1u << 20)

struct writer {
	pthread_t thread;
	unsigned index;
	uint64_t random;
	int image; /* a descriptor each */
	int error;
	uint8_t *data;
};

static const char *image_path, *copy_path;
static char doubt_path[4096], new_path[4096];
static int copy_fd;
static uint64_t area_off, area_len, count_max;
static atomic_uint_fast64_t count;
static atomic_bool stopped;
static pthread_mutex_t doubt_lock = PTHREAD_MUTEX_INITIALIZER;

static void die(const char *what)
{
	fprintf(stderr, "keeper: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void on_stop(int signo)
{
	(void)signo;
	atomic_store(&stopped, true);
}

static uint64_t next(uint64_t *state) /* splitmix64 */
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void put(int fd, const char *path, const uint8_t *data, size_t len, uint64_t off)
{
	errno = EIO;
	if (pwrite(fd, data, len, (off_t)off) != (ssize_t)len)
		die(path);
}

/* Acknowledged it was not; whether it is there nobody can say. */
static void doubt(struct writer *w, uint64_t off, size_t len)
{
	FILE *f;
	int fd;

	pthread_mutex_lock(&doubt_lock);
	f = fopen(doubt_path, "ae");
	fd = open(new_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (!f || fd < 0)
		die(copy_path);
	fprintf(f, "%llu %zu\n", (unsigned long long)off, len);
	put(fd, new_path, w->data, len, off);
	if (fclose(f) || close(fd))
		die(copy_path);
	pthread_mutex_unlock(&doubt_lock);
}

/* A place in one of this writer's stripes: mostly whole pages. */
static size_t choose(struct writer *w, uint64_t *off)
{
	uint64_t stripes = area_len / STRIPE_SIZE / WRITERS;
	unsigned unit = next(&w->random) % 8 ? 4096 : SECTOR_SIZE;
	unsigned first = (unsigned)(next(&w->random) % (STRIPE_SIZE / unit));
	unsigned units = 1 + (unsigned)(next(&w->random) % 4);

	if (units > STRIPE_SIZE / unit - first)
		units = STRIPE_SIZE / unit - first;
	*off = area_off + (next(&w->random) % stripes * WRITERS + w->index) * STRIPE_SIZE + (uint64_t)first * unit;
	return (size_t)units * unit;
}

static void *write_on(void *arg)
{
	struct writer *w = arg;

	while (!atomic_load(&stopped)) {
		uint64_t off;
		size_t len = choose(w, &off);
		ssize_t done;

		if (atomic_fetch_add(&count, 1) >= count_max)
			break;
		for (size_t i = 0; i < len; i += 8) {
			uint64_t word = next(&w->random);

			memcpy(w->data + i, &word, 8);
		}
		errno = EIO;
		done = pwrite(w->image, w->data, len, (off_t)off);
		if (done == (ssize_t)len) {
			put(copy_fd, copy_path, w->data, len, off);
			continue;
		}
		w->error = errno;
		doubt(w, off, len);
		atomic_store(&stopped, true);
	}
	return NULL;
}

static int do_write(char **arg)
{
	static struct writer writers[WRITERS];
	uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	uint64_t done;
	int error = 0;

	area_off = strtoull(arg[0], NULL, 0);
	area_len = strtoull(arg[1], NULL, 0);
	count_max = strtoull(arg[2], NULL, 0);
	if (!count_max)
		count_max = UINT64_MAX;
	if (area_off % STRIPE_SIZE || area_len < WRITERS * STRIPE_SIZE || !access(doubt_path, F_OK)) {
		fprintf(stderr, "keeper: OFF or LEN make no stripes, or what is in doubt was not settled by a check\n");
		return 2;
	}
	copy_fd = open(copy_path, O_RDWR | O_CLOEXEC);
	if (copy_fd < 0)
		die(copy_path);
	fprintf(stderr, "keeper: SEED=%llu\n", (unsigned long long)seed);
	for (unsigned i = 0; i < WRITERS; i++) {
		struct writer *w = &writers[i];

		w->index = i;
		w->random = seed + i * 0x1234567u;
		w->image = open(image_path, O_RDWR | O_DIRECT | O_CLOEXEC);
		w->data = aligned_alloc(4096, STRIPE_SIZE);
		if (w->image < 0 || !w->data)
			die(image_path);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		if (pthread_create(&writers[i].thread, NULL, write_on, &writers[i]))
			die("threads");
	for (unsigned i = 0; i < WRITERS; i++) {
		pthread_join(writers[i].thread, NULL);
		error = error ? error : writers[i].error;
	}
	done = atomic_load(&count);
	printf("writes=%llu errno=%s\n", (unsigned long long)(done < count_max ? done : count_max),
	       error ? strerrorname_np(error) : "0");
	return error ? 1 : 0;
}

/* Whole, from a file that may be a daemon's. */
static size_t get(int fd, const char *path, uint8_t *data, size_t len, uint64_t off)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = pread(fd, data + at, len - at, (off_t)(off + at));

		if (n < 0)
			die(path);
		if (!n)
			break;
		at += (size_t)n;
	}
	return at;
}

/* What the image has where it is in doubt is what counts from now on, if it is one of both. */
static int settle(int image)
{
	static uint8_t is[STRIPE_SIZE], was[STRIPE_SIZE], new[STRIPE_SIZE];
	FILE *f = fopen(doubt_path, "re");
	unsigned long long off;
	size_t len;
	int new_fd = open(new_path, O_RDONLY | O_CLOEXEC);

	if (!f)
		return 0;
	if (new_fd < 0)
		die(new_path);
	while (fscanf(f, "%llu %zu", &off, &len) == 2 && len <= STRIPE_SIZE) {
		memset(is, 0, len);
		memset(new, 0, len);
		if (get(image, image_path, is, len, off) != len || get(copy_fd, copy_path, was, len, off) != len ||
		    get(new_fd, new_path, new, len, off) != len)
			die("what is in doubt cannot be read");
		for (size_t i = 0; i < len; i += SECTOR_SIZE)
			if (memcmp(is + i, was + i, SECTOR_SIZE) && memcmp(is + i, new + i, SECTOR_SIZE)) {
				printf("%s at %llu: in doubt, but neither what was there nor what was to be\n", image_path,
				       off + i);
				return 1;
			}
		put(copy_fd, copy_path, is, len, off);
	}
	if (fclose(f) || close(new_fd) || unlink(doubt_path) || unlink(new_path))
		die(copy_path);
	return 0;
}

static int do_check(void)
{
	static uint8_t is[READ_SIZE], kept[READ_SIZE];
	int image = open(image_path, O_RDONLY | O_CLOEXEC);

	copy_fd = open(copy_path, O_RDWR | O_CLOEXEC);
	if (image < 0 || copy_fd < 0)
		die(image < 0 ? image_path : copy_path);
	if (settle(image))
		return 1;
	for (uint64_t off = 0;; off += READ_SIZE) {
		size_t len = get(image, image_path, is, READ_SIZE, off);
		size_t len_kept = get(copy_fd, copy_path, kept, READ_SIZE, off);

		for (size_t i = 0; i < len && i < len_kept; i++)
			if (is[i] != kept[i]) {
				printf("%s and %s differ at %llu\n", image_path, copy_path, (unsigned long long)(off + i));
				return 1;
			}
		if (len != len_kept) {
			printf("%s and %s are not of one length\n", image_path, copy_path);
			return 1;
		}
		if (len < READ_SIZE)
			return 0;
	}
}

int main(int argc, char **argv)
{
	struct sigaction stop = { .sa_handler = on_stop };
	bool writes = argc == 7 && !strcmp(argv[1], "write");

	if (!writes && (argc != 4 || strcmp(argv[1], "check") != 0)) {
		fprintf(stderr, "usage: keeper write IMAGE COPY OFF LEN COUNT | keeper check IMAGE COPY\n");
		return 2;
	}
	image_path = argv[2];
	copy_path = argv[3];
	snprintf(doubt_path, sizeof(doubt_path), "%s.doubt", copy_path);
	snprintf(new_path, sizeof(new_path), "%s.new", copy_path);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	return writes ? do_write(argv + 4) : do_check();
}
