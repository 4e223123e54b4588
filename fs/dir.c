/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Directories: the root with the images, and .colo (which the root does not list, as .zfs is
 * not listed). A listing is a snapshot, taken at its first read. Event-loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs.h"

/* One entry of a snapshot: ino, then the name and its NUL, in h->text. */
static int add(struct handle *h, uint64_t ino, const char *name)
{
	size_t len = strlen(name) + 1;
	char *text = realloc(h->text, h->len + sizeof(ino) + len);

	if (!text)
		return -ENOMEM;
	h->text = text;
	memcpy(text + h->len, &ino, sizeof(ino));
	memcpy(text + h->len + sizeof(ino), name, len);
	h->len += sizeof(ino) + len;
	return 0;
}

static int snapshot(struct fs *fs, struct handle *h, fuse_ino_t dir)
{
	const char *name;
	uint64_t ino;
	int err;

	h->len = 0;
	err = add(h, dir, ".");
	if (!err)
		err = add(h, INO_ROOT, "..");
	if (dir == INO_COLO) {
		for (unsigned n = 0; !err && ctl_entry(n, &name, &ino); n++)
			err = add(h, ino, name);
		return err;
	}
	for (struct image *img = NULL; !err && (img = node_image_next(fs->node, img));)
		err = add(h, image_id(img), image_name(img));
	return err;
}

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h;

	(void)fi;
	if (ino != INO_ROOT && ino != INO_COLO) {
		fuse_reply_err(req, ENOTDIR);
		return;
	}
	h = handle_new(fs_of(req), HANDLE_DIR);
	if (!h)
		fuse_reply_err(req, ENFILE);
	else
		handle_reply_open(req, h, 0);
}

/* Offsets are places in the snapshot. */
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi->fh);
	size_t used = 0, pos = (size_t)off;
	char *buf = malloc(size);
	int err = buf ? 0 : ENOMEM;

	if (!err && !off)
		err = -snapshot(fs_of(req), h, ino);
	while (!err && pos < h->len) {
		struct stat st = { .st_mode = S_IFREG };
		const char *name = h->text + pos + sizeof(uint64_t);
		size_t next = pos + sizeof(uint64_t) + strlen(name) + 1, need;
		uint64_t id;

		memcpy(&id, h->text + pos, sizeof(id));
		st.st_ino = id;
		if (name[0] == '.')
			st.st_mode = S_IFDIR;
		need = fuse_add_direntry(req, buf + used, size - used, name, &st, (off_t)next);
		if (need > size - used)
			break;
		used += need;
		pos = next;
	}
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_buf(req, buf, used);
	free(buf);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	handle_free(fs_of(req), handle_of(fi->fh));
	fuse_reply_err(req, 0);
}
