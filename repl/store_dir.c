/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The directories a node needs: SOURCE, SOURCE/.colofs, the journal's. Opened, made and
 * judged once at start-up by store_open(), before there is an event loop to hold up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "map.h"
#include "store_int.h"

#define DOT_DIR ".colofs"

static int fail(char *err, size_t err_size, int code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int fail(char *err, size_t err_size, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, err_size, fmt, ap);
	va_end(ap);
	if (code == -ENOSPC || code == -EDQUOT)
		snprintf(err + strlen(err), err_size - strlen(err), "; make room in that file system");
	return code;
}

int store_openat(int dir_fd, const char *name, int flags, unsigned mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	return fd < 0 ? -errno : fd;
}

int store_replace(int dir_fd, const char *name, const void *buf, size_t len)
{
	char tmp[64];
	size_t done = 0;
	int err = 0, fd;

	snprintf(tmp, sizeof(tmp), "%s.tmp", name);
	fd = store_openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	while (done < len && !err) {
		ssize_t n = write(fd, (const char *)buf + done, len - done);

		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			err = n ? -errno : -EIO;
	}
	if (!err && fsync(fd))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && renameat(dir_fd, tmp, dir_fd, name))
		err = -errno;
	/* After this the new text is there, whole, whatever crashes. */
	if (!err && fsync(dir_fd))
		err = -errno;
	return err;
}

int store_slurp(int dir_fd, const char *name, size_t max, void **buf, size_t *len)
{
	int fd = store_openat(dir_fd, name, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;
	size_t got = 0;
	char *p = NULL;
	int err = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st))
		err = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > max)
		err = -EFBIG;
	else if (!(p = malloc((size_t)st.st_size + 1)))
		err = -ENOMEM;
	while (!err && got < (size_t)st.st_size) {
		ssize_t n = read(fd, p + got, (size_t)st.st_size - got);

		if (n > 0)
			got += (size_t)n;
		else if (!n)
			break;
		else if (errno != EINTR)
			err = -errno;
	}
	close(fd);
	if (err) {
		free(p);
		return err;
	}
	p[got] = '\0';
	*buf = p;
	*len = got;
	return 0;
}

/* dir_fd/name (shown as path) as a directory of ours alone, made where it is missing. */
static int private_dir(int dir_fd, const char *name, const char *path, int *out, char *err,
                       size_t err_size)
{
	bool made = !mkdirat(dir_fd, name, 0700);
	struct stat st;
	int fd;

	if (!made && errno != EEXIST)
		return fail(err, err_size, -errno, "cannot make %s: %s", path, strerror(errno));
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(err, err_size, -errno, "cannot open %s: %s", path, strerror(errno));
	*out = fd;
	if (made && (fsync(fd) || (dir_fd >= 0 && fsync(dir_fd))))
		return fail(err, err_size, -errno, "cannot sync %s: %s", path, strerror(errno));
	if (fstat(fd, &st))
		return fail(err, err_size, -errno, "cannot stat %s: %s", path, strerror(errno));
	if (st.st_uid != geteuid() || (st.st_mode & 077))
		return fail(err, err_size, -EPERM,
		            "%s must be a directory of mode 0700 that belongs to uid %u: run chown "
		            "and chmod on it, if you trust what is in it",
		            path, geteuid());
	return 0;
}

static int take_lock(int dir_fd, const char *path, const char *what, int *out, char *err,
                     size_t err_size)
{
	int fd = store_openat(dir_fd, "lock", O_RDWR | O_CREAT, 0600);

	if (fd < 0)
		return fail(err, err_size, fd, "cannot open %s/lock: %s", path, strerror(-fd));
	*out = fd;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	if (errno == EWOULDBLOCK)
		return fail(err, err_size, -EBUSY, "another daemon serves %s: unmount it first",
		            what);
	return fail(err, err_size, -errno, "cannot lock %s/lock: %s", path, strerror(errno));
}

static int hex_nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int node_id_parse(uint8_t id[16], const char *text, size_t len)
{
	uint8_t any = 0;

	if (len != 33 || text[32] != '\n')
		return -EINVAL;
	for (size_t i = 0; i < 16; i++) {
		int hi = hex_nibble(text[2 * i]), lo = hex_nibble(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		id[i] = (uint8_t)(hi << 4 | lo);
		any |= id[i];
	}
	return any ? 0 : -EINVAL;
}

static int node_id_load(struct store *s, char *err, size_t err_size)
{
	char text[34];
	void *buf = NULL;
	size_t len = 0;
	int e = store_slurp(s->dot_fd, "node-id", 4096, &buf, &len);

	if (e == -ENOENT) {
		if (getrandom(s->boot.node, 16, 0) != 16)
			return fail(err, err_size, -EIO, "no random numbers from the kernel");
		s->boot.node[0] |= 1; /* never all zero */
		for (size_t i = 0; i < 16; i++)
			snprintf(text + 2 * i, 3, "%02x", s->boot.node[i]);
		text[32] = '\n';
		e = store_replace(s->dot_fd, "node-id", text, 33);
	} else if (!e) {
		e = node_id_parse(s->boot.node, buf, len);
		free(buf);
		if (e)
			return fail(err, err_size, e,
			            "%s/" DOT_DIR "/node-id is damaged: restore it from a backup",
			            s->source);
	}
	if (e)
		return fail(err, err_size, e, "cannot read or make %s/" DOT_DIR "/node-id: %s",
		            s->source, strerror(-e));
	for (size_t i = 0; i < 16; i++)
		snprintf(s->node_hex + 2 * i, 3, "%02x", s->boot.node[i]);
	return 0;
}

static int journal_dir_open(struct store *s, const char *journal, char *err, size_t err_size)
{
	char path[4096 + 64];
	int top = -1, e;

	if (journal)
		s->journal = strdup(journal);
	else if (asprintf(&s->journal, "%s/" DOT_DIR "/journal", s->source) < 0)
		s->journal = NULL;
	if (!s->journal)
		return fail(err, err_size, -ENOMEM, "out of memory");
	e = private_dir(journal ? AT_FDCWD : s->dot_fd, journal ? journal : "journal", s->journal,
	                &top, err, err_size);
	if (!e) {
		snprintf(path, sizeof(path), "%s/%s", s->journal, s->node_hex);
		e = private_dir(top, s->node_hex, path, &s->seg_fd, err, err_size);
	}
	if (!e)
		e = take_lock(s->seg_fd, path, s->journal, &s->seg_lock_fd, err, err_size);
	if (top >= 0)
		close(top);
	return e;
}

int store_dirs_open(struct store *s, const char *journal, char *err, size_t err_size)
{
	char path[4096 + 16];
	int e;

	s->source_fd = open(s->source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->source_fd < 0)
		return fail(err, err_size, -errno, "cannot open SOURCE %s: %s", s->source,
		            strerror(errno));
	snprintf(path, sizeof(path), "%s/" DOT_DIR, s->source);
	e = private_dir(s->source_fd, DOT_DIR, path, &s->dot_fd, err, err_size);
	if (!e)
		e = take_lock(s->dot_fd, path, s->source, &s->lock_fd, err, err_size);
	if (!e && unlinkat(s->dot_fd, "umount-error", 0) && errno != ENOENT)
		e = fail(err, err_size, -errno, "cannot remove %s/umount-error: %s", path,
		         strerror(errno));
	if (!e)
		e = node_id_load(s, err, err_size);
	return e ? e : journal_dir_open(s, journal, err, err_size);
}

/* The longest file that can be made here, by trying: nothing else tells. 0 if even that fails (a full disk). */
uint64_t store_size_max(struct store *s)
{
	uint64_t low = 0, high = MAP_OFF_MAX, step = 1u << 20;
	int fd = store_openat(s->dot_fd, "size.tmp", O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd < 0)
		return 0;
	(void)unlinkat(s->dot_fd, "size.tmp", 0);
	while (high - low > step) {
		uint64_t mid = (low + (high - low) / 2) / step * step;

		if (ftruncate(fd, (off_t)mid))
			high = mid;
		else
			low = mid;
	}
	close(fd);
	return low;
}

void store_note_failure(struct store *s, const char *line)
{
	char text[1024];
	int len = snprintf(text, sizeof(text), "%s\n", line);

	if (len >= (int)sizeof(text))
		len = (int)sizeof(text) - 1;
	/* Best effort: the log has it as well. */
	(void)store_replace(s->dot_fd, "umount-error", text, (size_t)len);
}
