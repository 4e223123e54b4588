/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control directory .colo: snapshots made at open, and ctl, whose write is answered when
 * the command has its verdict. A waiting write holds its inode's lock in the kernel, so each
 * lookup of ctl gives a number of its own: one shell's flush does not hold up another's.
 * Event-loop thread only.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../ctl/command.h"
#include "../ctl/status.h"
#include "fs.h"

#define WAITS_MAX 256 /* commands without a verdict */

static const struct {
	const char *name;
	uint64_t ino;
	mode_t mode;
	char *(*render)(const struct status *s, size_t *len);
} entries[] = {
	{ "ctl", INO_CTL, S_IFREG | 0600, NULL },
	{ "status", INO_STATUS, S_IFREG | 0444, status_text },
	{ "status.json", INO_JSON, S_IFREG | 0444, status_json },
	{ "metrics", INO_METRICS, S_IFREG | 0444, status_metrics },
	{ "events", INO_EVENTS, S_IFREG | 0400, NULL },
};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

uint64_t ctl_lookup(struct fs *fs, const char *name)
{
	for (size_t i = 0; i < ENTRIES; i++) {
		if (strcmp(entries[i].name, name))
			continue;
		if (entries[i].ino != INO_CTL)
			return entries[i].ino;
		return INO_CTL + ++fs->ctl_lookups % (UINT64_MAX - INO_CTL);
	}
	return 0;
}

bool ctl_entry(unsigned n, const char **name, uint64_t *ino)
{
	if (n >= ENTRIES)
		return false;
	*name = entries[n].name;
	*ino = entries[n].ino;
	return true;
}

void ctl_attr(struct fs *fs, uint64_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = S_IFDIR | 0555;
	st->st_nlink = ino == INO_COLO ? 2 : 1;
	st->st_uid = geteuid();
	st->st_gid = getegid();
	st->st_blksize = 4096;
	st->st_mtim.tv_sec = (time_t)(fs->started_ns / 1000000000);
	st->st_mtim.tv_nsec = (long)(fs->started_ns % 1000000000);
	st->st_atim = st->st_ctim = st->st_mtim;
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].ino == ino || (entries[i].ino == INO_CTL && ino >= INO_CTL))
			st->st_mode = entries[i].mode;
}

/* ---- open ---- */

static uint64_t resident_bytes(void)
{
	unsigned long total, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static char *render(struct fs *fs, uint64_t ino, size_t *len)
{
	struct status s;
	char *text = NULL;

	memset(&s, 0, sizeof(s));
	node_status(fs->node, &s);
	s.resident = resident_bytes();
	for (size_t i = 0; i < ENTRIES; i++)
		if (entries[i].ino == ino)
			text = entries[i].render(&s, len);
	status_free(&s);
	return text;
}

static void set_text(struct handle *h, const char *text)
{
	char *copy = strdup(text);

	free(h->text);
	h->text = copy;
	h->len = copy ? strlen(copy) : 0;
	h->pos = 0;
}

void ctl_open(struct fs *fs, fuse_req_t req, uint64_t ino, int flags)
{
	bool ctl = ino >= INO_CTL, events = ino == INO_EVENTS;
	struct handle *h;

	if (ino == INO_COLO || (!ctl && (flags & O_ACCMODE) != O_RDONLY)) {
		fuse_reply_err(req, ino == INO_COLO ? EISDIR : EACCES);
		return;
	}
	h = handle_new(fs, ctl ? HANDLE_CTL : events ? HANDLE_EVENTS : HANDLE_TEXT);
	if (!h) {
		fuse_reply_err(req, ENFILE);
		return;
	}
	if (ctl && fs->last_reply)
		set_text(h, fs->last_reply);
	else if (!ctl && !events)
		h->text = render(fs, ino, &h->len);
	if (events ? events_open(fs, h) : !ctl && !h->text) {
		handle_free(fs, h);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	/* A stream: else the write moves the place where the reply is read from. */
	handle_reply_open(req, h, FOPEN_DIRECT_IO | (ctl || events ? FOPEN_NONSEEKABLE | FOPEN_STREAM : 0));
}

/* ---- ctl: replies ---- */

void ctl_read(struct fs *fs, struct lane_req *r, struct handle *h)
{
	size_t len = h->len - h->pos;

	(void)fs;
	if (len > r->len)
		len = r->len;
	if (len)
		memcpy(r->data, h->text + h->pos, len);
	h->pos += len;
	lane_reply(r, 0, (uint32_t)len);
}

/* Open files stay where they are while a request of theirs is: the kernel releases later. */
static void ctl_verdict(struct fs *fs, struct lane_req *r, const char *reply, int error)
{
	struct handle *h = handle_of(r->fh);
	size_t len = strlen(reply);
	char *line = NULL;

	if (asprintf(&line, "%s%s", reply, len && reply[len - 1] == '\n' ? "" : "\n") < 0)
		line = NULL;
	if (line) {
		set_text(h, line);
		free(fs->last_reply);
		fs->last_reply = line;
	}
	lane_reply(r, error, error ? 0 : r->len);
}

static void refuse(struct fs *fs, struct lane_req *r, int error, const char *why)
{
	char reply[600];
	char *quote;

	snprintf(reply, sizeof(reply) - 1, "fail errno=%s reason=\"%s", errno_name(-error), why);
	quote = strchr(reply, '"') + 1; /* the reason's own would end it early */
	while ((quote = strchr(quote, '"')))
		*quote = '\'';
	strcat(reply, "\"");
	ctl_verdict(fs, r, reply, error);
}

static void command_done(struct command_req *req)
{
	struct ctl_wait *w = (struct ctl_wait *)req;
	struct fs *fs = w->fs;

	if (w->prev)
		w->prev->next = w->next;
	else
		fs->waits = w->next;
	if (w->next)
		w->next->prev = w->prev;
	ctl_verdict(fs, w->write, req->reply, req->error);
	free(w);
}

static unsigned waits_count(const struct fs *fs)
{
	unsigned n = 0;

	for (const struct ctl_wait *w = fs->waits; w; w = w->next)
		n++;
	return n;
}

void ctl_write(struct fs *fs, struct lane_req *r, struct handle *h)
{
	struct ctl_wait *w;
	char err[256];
	int error;

	(void)h;
	if (r->len > COMMAND_MAX) {
		refuse(fs, r, -E2BIG, "a command has at most 4096 bytes");
		return;
	}
	w = waits_count(fs) < WAITS_MAX ? calloc(1, sizeof(*w)) : NULL;
	if (!w) {
		refuse(fs, r, -EBUSY, "too many commands wait for their verdict");
		return;
	}
	error = command_parse(&w->req.cmd, r->payload, r->len, err, sizeof(err));
	if (error) {
		free(w);
		refuse(fs, r, error, err);
		return;
	}
	w->fs = fs;
	w->write = r;
	w->req.done = command_done;
	w->next = fs->waits;
	if (w->next)
		w->next->prev = w;
	fs->waits = w;
	node_command(fs->node, &w->req);
}

void ctl_interrupt(struct fs *fs, uint64_t unique)
{
	struct ctl_wait *w = fs->waits;

	while (w && w->write->unique != unique)
		w = w->next;
	if (w)
		node_command_cancel(fs->node, &w->req);
}

/* After the node is gone. */
void ctl_end(struct fs *fs)
{
	while (fs->waits) {
		struct ctl_wait *w = fs->waits;

		fs->waits = w->next;
		free(w);
	}
	free(fs->last_reply);
	fs->last_reply = NULL;
}
