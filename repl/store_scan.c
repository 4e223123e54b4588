/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What lies in SOURCE, .colofs and the journal's directory at start-up: images and their
 * ids, segments, the state file. Each data file is opened and locked here, once. Called
 * by store_open(), before there is an event loop to hold up; store_name.c uses the openers.
 *
 * An image's id is the xattr user.colofs.id: id and inode number, 8 bytes each, little
 * endian. The inode number tells the original from a copy made with its xattrs. Where
 * there are no xattrs: lines "id inode birth-seconds birth-nanoseconds" in .colofs/ids,
 * appended; the last one for an inode counts.
 */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "../ctl/log.h"
#include "frame.h"
#include "store_int.h"

#define ID_XATTR       "user.colofs.id"
#define STATE_FILE_MAX (64u << 20) /* bytes of a state file */
#define IDS_MAX        (1u << 20)  /* bytes of .colofs/ids */

static int fail(char *err, size_t err_size, int code, const char *what, const char *name)
{
	char clean[256];

	snprintf(err, err_size, "%s %s: %s", what, log_clean(clean, sizeof(clean), name),
	         strerror(-code));
	return code;
}

/* ---- opening ---- */

/* Writes of a killed daemon hold their descriptor, and its lock, until they have landed. */
int store_lock_data(int fd, unsigned wait_ms)
{
	struct timespec pause = { .tv_nsec = 20000000 };

	for (;; wait_ms -= wait_ms > 20 ? 20 : wait_ms) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return 0;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (!wait_ms)
			return -EBUSY;
		nanosleep(&pause, NULL);
	}
}

void store_probe_direct(struct store *s, struct store_file *f)
{
	struct statx stx;

	if (f->dfd < 0) {
		f->dfd = -1;
		s->all_direct = false;
		return;
	}
	if (!statx(f->dfd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		uint32_t mem = stx.stx_dio_mem_align, off = stx.stx_dio_offset_align;

		if (mem && off && !(mem & (mem - 1)) && !(off & (off - 1))) {
			f->align_mem = mem;
			f->align_off = off;
			return;
		}
		close(f->dfd); /* it says: no direct I/O on this file */
		f->dfd = -1;
		s->all_direct = false;
	}
}

int store_file_open(struct store *s, struct store_file *f, int dir_fd, const char *name,
                    int create_flags, unsigned wait_ms)
{
	struct stat st;
	int err;

	f->fd = store_openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | create_flags,
	                     create_flags & O_CREAT ? 0600 : 0);
	if (f->fd < 0)
		return f->fd;
	if (fstat(f->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	f->size = (uint64_t)st.st_size;
	err = store_lock_data(f->fd, wait_ms);
	if (err)
		return err;
	f->dfd = store_openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_DIRECT, 0);
	store_probe_direct(s, f);
	/* The two descriptors would exclude each other: from here on both hold it shared, which
	 * keeps the exclusive lock of the next daemon out until the last write has landed. */
	if (flock(f->fd, LOCK_SH | LOCK_NB) || (f->dfd >= 0 && flock(f->dfd, LOCK_SH | LOCK_NB)))
		return -errno;
	return 0;
}

void store_hidden_name(char name[32], uint64_t id)
{
	snprintf(name, 32, "i%016" PRIx64, id);
}

void store_segment_name(char name[32], uint8_t kind, uint64_t slot)
{
	snprintf(name, 32, "%c%" PRIu64, "joa"[kind - FILE_JOURNAL], slot);
}

/* ---- ids ---- */

static int birth_of(int fd, struct statx *stx)
{
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME | STATX_INO, stx))
		return -errno;
	if (!(stx->stx_mask & STATX_BTIME))
		memset(&stx->stx_btime, 0, sizeof(stx->stx_btime));
	return 0;
}

static int ids_append(struct store *s, int fd, uint64_t id)
{
	struct statx stx;
	char line[128];
	int len, err = birth_of(fd, &stx);

	if (err)
		return err;
	if (s->ids_fd < 0)
		s->ids_fd = store_openat(s->dot_fd, "ids", O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (s->ids_fd < 0)
		return s->ids_fd;
	len = snprintf(line, sizeof(line), "%" PRIu64 " %" PRIu64 " %" PRId64 " %u\n", id,
	               (uint64_t)stx.stx_ino, (int64_t)stx.stx_btime.tv_sec, stx.stx_btime.tv_nsec);
	if (write(s->ids_fd, line, (size_t)len) != len)
		return -EIO;
	/* From here on the id outlives a crash; a torn last line is ignored by ids_find(). */
	return fdatasync(s->ids_fd) || fsync(s->dot_fd) ? -errno : 0;
}

static uint64_t ids_find(struct store *s, int fd)
{
	struct statx stx;
	uint64_t found = 0;
	void *text;
	size_t len;

	if (birth_of(fd, &stx) || store_slurp(s->dot_fd, "ids", IDS_MAX, &text, &len))
		return 0;
	for (char *p = text, *end; (end = strchr(p, '\n')); p = end + 1) {
		uint64_t id, ino;
		int64_t sec;
		unsigned nsec;

		*end = '\0';
		if (sscanf(p, "%" SCNu64 " %" SCNu64 " %" SCNd64 " %u", &id, &ino, &sec, &nsec) ==
		            4 &&
		    ino == stx.stx_ino && sec == stx.stx_btime.tv_sec &&
		    nsec == stx.stx_btime.tv_nsec)
			found = id;
	}
	free(text);
	return found;
}

int store_id_write(struct store *s, int fd, uint64_t id)
{
	struct stat st;
	uint64_t v[2];

	if (fstat(fd, &st))
		return -errno;
	v[0] = htole64(id);
	v[1] = htole64((uint64_t)st.st_ino);
	if (!fsetxattr(fd, ID_XATTR, v, sizeof(v), 0))
		return 0;
	return errno == EOPNOTSUPP ? ids_append(s, fd, id) : -errno;
}

/* 0: it has none. *original: the id was given to this very inode. */
static uint64_t id_read(struct store *s, int fd, bool *original)
{
	struct stat st;
	uint64_t v[2], id;

	*original = true;
	if (fgetxattr(fd, ID_XATTR, v, sizeof(v)) == (ssize_t)sizeof(v) && !fstat(fd, &st)) {
		id = le64toh(v[0]);
		*original = le64toh(v[1]) == (uint64_t)st.st_ino;
	} else {
		id = ids_find(s, fd);
	}
	return id >= IMAGE_ID_MIN && id <= IMAGE_ID_MAX ? id : 0;
}

uint64_t store_id_new(struct store *s)
{
	uint64_t id = 0;

	while (id < 16 || store_image(s, id)) {
		if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
			id = 0;
		id &= STORE_ID_MAX;
	}
	return id;
}

static int id_give(struct store *s, struct store_file *f)
{
	int err;

	f->id = store_id_new(s);
	err = store_id_write(s, f->fd, f->id);
	/* The id is durable before the core hears of it. */
	return !err && fsync(f->fd) ? -errno : err;
}

/* ---- images ---- */

/* Two files with one id: the copy gets a new one. Returns the one that must get it. */
static struct store_file *id_loser(struct store *s, struct store_file *f, bool original)
{
	struct store_file *other = store_image(s, f->id);

	if (!original || !other)
		return f;
	store_image_forget(s, other);
	store_image_add(s, f);
	return other;
}

static int image_found(struct store *s, int dir_fd, const char *name, uint64_t hidden_id, char *err,
                       size_t err_size)
{
	struct store_file *f = store_file_new(0), *loser = NULL;
	bool original;
	int e;

	if (!f)
		return fail(err, err_size, -ENOMEM, "image", name);
	e = store_file_open(s, f, dir_fd, name, 0, STORE_LOCK_WAIT_MS);
	if (e) {
		store_file_close(f);
		return fail(err, err_size, e,
		            e == -EBUSY ? "another process holds a lock on image"
		                        : "cannot open image",
		            name);
	}
	if (!hidden_id)
		snprintf(f->name, sizeof(f->name), "%s", name);
	f->id = id_read(s, f->fd, &original);
	if (hidden_id && hidden_id != f->id) {
		f->id = hidden_id;
		original = true;
		e = store_id_write(s, f->fd, f->id);
	}
	if (!f->id)
		loser = f;
	else if (store_image(s, f->id))
		loser = id_loser(s, f, original);
	else
		store_image_add(s, f);
	if (!e && loser) {
		e = id_give(s, loser);
		store_image_add(s, loser);
	}
	s->boot.image_count++;
	return e ? fail(err, err_size, e, "cannot mark with its id image", name) : 0;
}

static int source_entry(struct store *s, const struct dirent *d, char *err, size_t err_size)
{
	struct stat st;
	char clean[256];

	if (d->d_name[0] == '.' || fstatat(s->source_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
	    (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)))
		return 0;
	if (!name_valid(d->d_name, strlen(d->d_name))) {
		log_warn("%s in SOURCE is not shown: its name is not UTF-8",
		         log_clean(clean, sizeof(clean), d->d_name));
		return 0;
	}
	if (s->boot.image_count >= IMAGES_MAX) {
		snprintf(err, err_size, "%s holds more than %d images", s->source, IMAGES_MAX);
		return -E2BIG;
	}
	if (S_ISLNK(st.st_mode))
		return store_link_found(s, d->d_name, 0, err, err_size);
	return image_found(s, s->source_fd, d->d_name, 0, err, err_size);
}

static int dot_entry(struct store *s, const struct dirent *d, char *err, size_t err_size)
{
	struct stat st;
	uint64_t id;
	int n = 0;

	if (sscanf(d->d_name, "i%16" SCNx64 "%n", &id, &n) != 1 || n != 17 || d->d_name[n] ||
	    id < 16 || id > INT64_MAX)
		return 0;
	if (!fstatat(s->dot_fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode))
		return store_link_found(s, d->d_name, id, err, err_size);
	return image_found(s, s->dot_fd, d->d_name, id, err, err_size);
}

static int segment_entry(struct store *s, const struct dirent *d, char *err, size_t err_size)
{
	struct store_file *f;
	unsigned slot;
	char kind;
	int n = 0, e;

	if (d->d_name[0] == 't') { /* was being made */
		(void)unlinkat(s->seg_fd, d->d_name, 0);
		return 0;
	}
	if (sscanf(d->d_name, "%c%5u%n", &kind, &slot, &n) != 2 || d->d_name[n] ||
	    (kind != 'j' && kind != 'o' && (kind != 'a' || slot)))
		return 0;
	f = store_file_new(slot);
	e = f ? store_file_open(s, f, s->seg_fd, d->d_name, 0, STORE_LOCK_WAIT_MS) : -ENOMEM;
	if (!e)
		e = store_segment_set(s, kind == 'j' ? FILE_JOURNAL : kind == 'o' ? FILE_OVERLAY : FILE_ACTIVITY, slot, f);
	if (e) {
		store_file_close(f);
		return fail(err, err_size, e, "cannot open journal segment", d->d_name);
	}
	return 0;
}

static int scan_dir(struct store *s, int dir_fd, char *err, size_t err_size,
                    int (*entry)(struct store *s, const struct dirent *d, char *err,
                                 size_t err_size))
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir) {
		e = -errno;
		if (fd >= 0)
			close(fd);
		return fail(err, err_size, e, "cannot read", s->source);
	}
	for (errno = 0; !e && (d = readdir(dir)); errno = 0)
		e = entry(s, d, err, err_size);
	if (!e && errno)
		e = fail(err, err_size, -errno, "cannot read", s->source);
	closedir(dir);
	return e;
}

/* ---- what the core is told ---- */

static uint64_t to_ns(const struct timespec *ts)
{
	return (uint64_t)ts->tv_sec * 1000000000u + (uint64_t)ts->tv_nsec;
}

static int boot_images(struct store *s)
{
	struct boot_image *b = calloc(s->boot.image_count + 1, sizeof(*b));
	size_t n = 0;

	if (!b)
		return -ENOMEM;
	s->boot_images = b;
	s->boot.images = b;
	for (size_t i = 0; i < STORE_BUCKETS; i++) {
		for (struct store_file *f = s->images[i]; f; f = f->next, n++) {
			struct stat st;

			if (fstat(f->fd, &st))
				return -errno;
			b[n].id = f->id;
			memcpy(b[n].name, f->name, sizeof(b[n].name));
			b[n].size = f->size;
			b[n].capacity = f->device ? f->size : 0;
			b[n].mtime_ns = to_ns(&st.st_mtim);
			b[n].ctime_ns = to_ns(&st.st_ctim);
		}
	}
	s->boot.image_count = n;
	return 0;
}

static int boot_segments(struct store *s, int k, const struct boot_segment **out, size_t *count)
{
	struct boot_segment *b = calloc(s->segments[k].count + 1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	s->boot_segments[k] = b;
	*out = b;
	for (size_t i = 0; i < s->segments[k].count; i++) {
		const struct store_file *f = s->segments[k].slots[i];

		if (f)
			b[(*count)++] =
				(struct boot_segment){ .slot = (uint32_t)i, .size = f->size };
	}
	return 0;
}

int store_scan(struct store *s, char *err, size_t err_size)
{
	int e = store_devices_load(s, err, err_size);

	if (!e)
		e = scan_dir(s, s->source_fd, err, err_size, source_entry);
	if (!e)
		e = scan_dir(s, s->dot_fd, err, err_size, dot_entry);
	if (!e && (e = store_devices_save(s)))
		return fail(err, err_size, e, "cannot write", ".colofs/devices");
	if (!e)
		e = scan_dir(s, s->seg_fd, err, err_size, segment_entry);
	if (e)
		return e;
	s->boot.size_max = store_size_max(s);
	e = store_slurp(s->dot_fd, "state", STATE_FILE_MAX, &s->boot_state, &s->boot.state_len);
	if (e && e != -ENOENT)
		return fail(err, err_size, e, "cannot read", ".colofs/state");
	s->boot.state = s->boot_state;
	e = boot_images(s);
	if (!e)
		e = boot_segments(s, 0, &s->boot.journal, &s->boot.journal_count);
	if (!e)
		e = boot_segments(s, 1, &s->boot.overlay, &s->boot.overlay_count);
	if (s->segments[2].count)
		s->boot.activity_size = s->segments[2].slots[0]->size;
	return e ? fail(err, err_size, e, "cannot scan", s->source) : 0;
}
