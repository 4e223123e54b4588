/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Talks to a mount through MNT/.colo/. The verdict of a command is the errno
 * of the write; the reply line, which says more, is read from the same
 * descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "colofsctl.h"
#include "command.h"

#define FUSE_SUPER_MAGIC 0x65735546 /* statfs(2); <linux/magic.h> of some systems lacks it */
#define CONTROL_MAX      (8u << 20) /* 1024 images make a status.json of less than 3 MiB */

int mount_open(const char *mnt, const char *file, int flags)
{
	struct statfs fs;
	char *path;
	int fd, error;

	if (asprintf(&path, "%s/.colo/%s", mnt, file) < 0) {
		ctl_fail("out of memory");
		return -1;
	}
	fd = open(path, flags | O_CLOEXEC);
	error = errno;
	/* A plain file of that name would take any command and do nothing. */
	if (fd >= 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != FUSE_SUPER_MAGIC)) {
		close(fd);
		fd = -1;
		error = ENOENT;
	}
	if (fd >= 0)
		; /* well */
	else if (error == ENOENT || error == ENOTDIR)
		ctl_fail("%s is not a mounted colofs", mnt);
	else if (error == ENOTCONN || error == ECONNABORTED)
		ctl_fail("%s: the daemon is gone; umount it, then mount it again", mnt);
	else if (error == EACCES || error == EPERM)
		ctl_fail("%s: %s; be the user who mounted it", path, strerror(error));
	else
		ctl_fail("%s: %s", path, strerror(error));
	free(path);
	return fd;
}

/* To the end of file: malloc'ed and terminated, or NULL with errno. */
static char *read_all(int fd, size_t *len)
{
	size_t used = 0, size = 64u << 10;
	char *text = malloc(size + 1);
	ssize_t n = 1;

	while (text && n != 0) {
		if (used == size) {
			char *more = size < CONTROL_MAX ? realloc(text, 2 * size + 1) : NULL;

			if (!more) {
				free(text);
				errno = EFBIG;
				return NULL;
			}
			text = more;
			size *= 2;
		}
		n = read(fd, text + used, size - used);
		if (n < 0 && errno != EINTR) {
			free(text);
			return NULL;
		}
		if (n > 0)
			used += (size_t)n;
	}
	if (text) {
		text[used] = '\0';
		*len = used;
	}
	return text;
}

char *mount_read(const char *mnt, const char *file, size_t *len)
{
	int fd = mount_open(mnt, file, O_RDONLY);
	char *text;

	if (fd < 0)
		return NULL;
	text = read_all(fd, len);
	if (!text)
		ctl_fail("%s/.colo/%s: %s", mnt, file, strerror(errno));
	close(fd);
	return text;
}

/* Makes the reply one line that a terminal cannot be hurt by. */
static void clean_line(char *line)
{
	line[strcspn(line, "\n")] = '\0';
	for (; *line; line++)
		if ((unsigned char)*line < ' ' || *line == 0x7f)
			*line = '?';
}

static int verdict(const char *mnt, int error, char *reply)
{
	const char *why = strstr(reply, "reason=\"");

	if (!error && (strncmp(reply, "done", 4) == 0 || strncmp(reply, "started", 7) == 0)) {
		printf("%s\n", reply);
		return EXIT_DONE;
	}
	if (!error) /* taken, but not by a colofs, or its reply was lost: believe nothing */
		return ctl_fail(
			"%s took the command, but its answer is not to be understood: \"%s\"", mnt,
			reply);
	if (!why || strncmp(reply, "fail", 4) != 0)
		return ctl_fail("%s: %s (%s)", mnt, strerror(error), errno_name(error));
	return ctl_fail("%s: %s", mnt, reply);
}

int mount_command(const char *mnt, const char *command)
{
	struct progress *progress;
	char *reply;
	size_t len = 0;
	ssize_t n;
	int fd, error = 0, code;

	fd = mount_open(mnt, "ctl", O_RDWR);
	if (fd < 0)
		return EXIT_FAILED;
	progress = progress_start(mnt, command);
	n = write(fd, command, strlen(command));
	if (n < 0)
		error = errno;
	progress_stop(progress);
	reply = read_all(fd, &len);
	if (reply) {
		clean_line(reply);
		code = verdict(mnt, error, reply);
	} else {
		char none[] = "";

		code = verdict(mnt, error, none);
	}
	free(reply);
	close(fd);
	return code;
}

/*
 * Enough of JSON for our own status.json: within a string every quote has a
 * backslash before it, so "key": with bare quotes is a key and nothing else.
 */
bool json_number(const char **at, const char *key, uint64_t *n)
{
	char quoted[64];
	const char *found;
	char *end;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
	found = strstr(*at, quoted);
	if (!found)
		return false;
	found += strlen(quoted);
	*at = found;
	if (*found < '0' || *found > '9')
		return false;
	errno = 0;
	*n = strtoull(found, &end, 10);
	*at = end;
	return errno == 0;
}
