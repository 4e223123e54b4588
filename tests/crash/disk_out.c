/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A crash state as real files, for a real mount. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "disk.h"

/* The id, given to this very file: its second word is the inode's number. */
static int put_xattr(int fd, const uint8_t *xattr)
{
	uint64_t value[2];
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	memcpy(value, xattr, sizeof(value));
	value[1] = st.st_ino;
	return fsetxattr(fd, "user.colofs.id", value, sizeof(value), 0) ? -errno : 0;
}

static int put_file(struct inode *i, const char *path)
{
	static uint8_t buf[1 << 16];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

	if (fd < 0 || ftruncate(fd, (off_t)i->size))
		err = -errno;
	for (uint64_t at = 0; !err && at < i->size; at += sizeof(buf)) {
		uint64_t n = i->size - at < sizeof(buf) ? i->size - at : sizeof(buf);

		disk_read(i, at, buf, n);
		if (pwrite(fd, buf, n, (off_t)at) != (ssize_t)n)
			err = -EIO;
	}
	if (!err && i->xattr)
		err = put_xattr(fd, i->xattr);
	if (fd >= 0)
		close(fd);
	return err;
}

static int put_dir(struct disk *d, uint64_t dir, const char *path)
{
	char name[4096];
	int err = mkdir(path, 0700) ? -errno : 0;

	for (size_t i = 0; !err && i < d->tree.count; i++) {
		const struct dirent_ *e = &d->tree.entries[i];

		if (e->dir != dir)
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->name);
		err = disk_inode(d, e->file)->dir ? put_dir(d, e->file, name) : put_file(disk_inode(d, e->file), name);
	}
	return err;
}

int disk_write_out(struct disk *d, const char *path)
{
	return put_dir(d, d->root, path);
}
