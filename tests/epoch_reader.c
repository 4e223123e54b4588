/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The test of atomic commits. A writer on the primary stamps every 64 KiB
 * block of some images with a number and flushes, number after number. A
 * reader on the backup loops over the same images: every read has to show one
 * number throughout, and no read, of whichever image, a lower one than a read
 * before it. A checker wants one number everywhere.
 *
 *   epoch_reader write CTL FIRST COUNT FILE...   prints "acked=N sent=N errno=NAME|0"; ends at the first error
 *   epoch_reader write-kill PID DELAY-US CTL FIRST COUNT FILE...
 *                     the same, and SIGKILLs PID so long after the last flush's start
 *   epoch_reader read MIN-COMMITS FILE...        until it has seen so many, or SIGTERM
 *   epoch_reader check FILE...                   prints the number; exit 1: more than one
 *   epoch_reader time-flush CTL                  one flush, prints its microseconds
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_SIZE 65536u
#define WORDS      (BLOCK_SIZE / sizeof(uint64_t))
#define FILES_MAX  8

struct file {
	const char *path;
	int fd;
	uint64_t blocks; /* count */
};

static struct file files[FILES_MAX];
static int file_count;
static uint64_t *block;
static volatile sig_atomic_t stopped;

static void on_stop(int signo)
{
	(void)signo;
	stopped = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "epoch_reader: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void open_files(char **paths, int flags)
{
	for (; *paths && file_count < FILES_MAX; paths++, file_count++) {
		struct file *f = &files[file_count];

		f->path = *paths;
		f->fd = open(f->path, flags | O_CLOEXEC);
		off_t size = f->fd < 0 ? -1 : lseek(f->fd, 0, SEEK_END); /* of a block device, too */

		if (size < 0)
			die(f->path);
		f->blocks = (uint64_t)size / BLOCK_SIZE;
		if (!f->blocks) {
			fprintf(stderr, "epoch_reader: %s is smaller than a block\n", f->path);
			exit(2);
		}
	}
	block = aligned_alloc(4096, BLOCK_SIZE);
	if (!block)
		die("memory");
}

/* One block's number. Two numbers in one read are what must never be seen. */
static uint64_t read_block(const struct file *f, uint64_t index)
{
	ssize_t n = pread(f->fd, block, BLOCK_SIZE, (off_t)(index * BLOCK_SIZE));

	if (n != BLOCK_SIZE) {
		if (n >= 0)
			errno = EIO;
		die(f->path);
	}
	for (size_t i = 1; i < WORDS; i++) {
		if (block[i] != block[0]) {
			printf("%s, block %llu: both %llu and %llu in one read\n", f->path,
			       (unsigned long long)index, (unsigned long long)block[0],
			       (unsigned long long)block[i]);
			exit(1);
		}
	}
	return block[0];
}

/* ---- the writer ---- */

struct killer {
	pid_t pid;
	uint64_t delay_us;
};

static void *kill_later(void *arg)
{
	struct killer *k = arg;
	uint64_t end = now_us() + k->delay_us;

	while (now_us() < end)
		;
	if (kill(k->pid, SIGKILL) < 0)
		die("kill");
	return NULL;
}

/* 0, or the errno of the write that failed: the node was killed. */
static int stamp(uint64_t number)
{
	for (size_t i = 0; i < WORDS; i++)
		block[i] = number;
	for (int f = 0; f < file_count; f++) {
		for (uint64_t b = 0; b < files[f].blocks; b++) {
			if (pwrite(files[f].fd, block, BLOCK_SIZE, (off_t)(b * BLOCK_SIZE)) !=
			    BLOCK_SIZE)
				return errno;
		}
	}
	return 0;
}

static int flush(const char *ctl)
{
	int fd = open(ctl, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return errno;
	if (write(fd, "flush", 5) != 5)
		err = errno;
	close(fd);
	return err;
}

static int run_writer(const char *ctl, uint64_t first, uint64_t count, struct killer *k)
{
	uint64_t acked = first - 1, sent = acked;
	pthread_t thread;
	int err = 0;

	while (!err && !stopped && sent < first + count - 1) {
		err = stamp(sent + 1);
		if (err)
			break;
		sent++;
		if (k && sent == first + count - 1 && pthread_create(&thread, NULL, kill_later, k))
			die("thread");
		err = flush(ctl);
		if (!err)
			acked = sent;
	}
	if (k && sent == first + count - 1)
		pthread_join(thread, NULL);
	printf("acked=%llu sent=%llu errno=%s\n", (unsigned long long)acked,
	       (unsigned long long)sent, err ? strerrorname_np(err) : "0");
	return 0;
}

static int time_flush(const char *ctl)
{
	uint64_t begun_us = now_us();

	errno = flush(ctl);
	if (errno)
		die("flush");
	printf("%llu\n", (unsigned long long)(now_us() - begun_us));
	return 0;
}

/* ---- the reader and the checker ---- */

static int run_reader(uint64_t commits_wanted)
{
	uint64_t newest = 0, commits = 0, reads = 0;

	while (!stopped && commits < commits_wanted) {
		for (int f = 0; f < file_count; f++) {
			for (uint64_t b = 0; b < files[f].blocks; b++, reads++) {
				uint64_t number = read_block(&files[f], b);

				if (number < newest) {
					printf("%s, block %llu: %llu after %llu had been seen\n",
					       files[f].path, (unsigned long long)b,
					       (unsigned long long)number,
					       (unsigned long long)newest);
					return 1;
				}
				commits += number > newest;
				newest = number;
			}
		}
	}
	printf("reads=%llu commits_seen=%llu newest=%llu\n", (unsigned long long)reads,
	       (unsigned long long)commits, (unsigned long long)newest);
	return 0;
}

static int run_checker(void)
{
	uint64_t wanted = read_block(&files[0], 0);

	for (int f = 0; f < file_count; f++) {
		for (uint64_t b = 0; b < files[f].blocks; b++) {
			uint64_t number = read_block(&files[f], b);

			if (number != wanted) {
				printf("%s, block %llu: %llu, but %s begins with %llu\n",
				       files[f].path, (unsigned long long)b,
				       (unsigned long long)number, files[0].path,
				       (unsigned long long)wanted);
				return 1;
			}
		}
	}
	printf("%llu\n", (unsigned long long)wanted);
	return 0;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_stop };
	struct killer k = { 0 };

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	if (argc >= 6 && !strcmp(argv[1], "write")) {
		open_files(argv + 5, O_RDWR | O_DIRECT);
		return run_writer(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10),
		                  NULL);
	}
	if (argc >= 8 && !strcmp(argv[1], "write-kill")) {
		k.pid = (pid_t)strtol(argv[2], NULL, 10);
		k.delay_us = strtoull(argv[3], NULL, 10);
		open_files(argv + 7, O_RDWR | O_DIRECT);
		return run_writer(argv[4], strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10),
		                  &k);
	}
	if (argc >= 4 && !strcmp(argv[1], "read")) {
		open_files(argv + 3, O_RDONLY);
		return run_reader(strtoull(argv[2], NULL, 10));
	}
	if (argc >= 3 && !strcmp(argv[1], "check")) {
		open_files(argv + 2, O_RDONLY);
		return run_checker();
	}
	if (argc == 3 && !strcmp(argv[1], "time-flush"))
		return time_flush(argv[2]);
	fprintf(stderr, "usage: see the head of epoch_reader.c\n");
	return 2;
}
