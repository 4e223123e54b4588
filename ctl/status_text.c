/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A status for people: a few lines, a progress bar for each image that is
 * being synced, one sentence of advice when something is wrong. Nothing in it
 * can move a terminal's cursor. No state; any thread.
 */
#include <inttypes.h>
#include <string.h>

#include "status.h"
#include "status_write.h"

#define BAR_WIDTH 24

static void put_clean(FILE *out, const char *s)
{
	size_t len;

	for (; *s; s += len) {
		unsigned char c = (unsigned char)*s;

		len = utf8_length(s);
		/* C1 control characters are C2 80 to C2 9F. */
		if (len == 0 || c < ' ' || c == 0x7f || (c == 0xc2 && (unsigned char)s[1] < 0xa0))
			fputc('?', out);
		else
			fwrite(s, 1, len, out);
		len += len == 0;
	}
}

static void put_bytes(FILE *out, uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	size_t u = 0;

	if (bytes < 1024) {
		fprintf(out, "%" PRIu64 " B", bytes);
		return;
	}
	for (n /= 1024; n >= 1023.95 && u + 1 < sizeof(units) / sizeof(units[0]); u++)
		n /= 1024;
	fprintf(out, "%.1f %s", n, units[u]);
}

static void put_time(FILE *out, uint64_t ms)
{
	uint64_t s = ms / 1000;

	if (s < 10)
		fprintf(out, "%" PRIu64 ".%" PRIu64 " s", s, ms % 1000 / 100);
	else if (s < 120)
		fprintf(out, "%" PRIu64 " s", s);
	else if (s < 2 * 3600)
		fprintf(out, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
	else if (s < 48 * 3600)
		fprintf(out, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		fprintf(out, "%" PRIu64 " days", s / 86400);
}

static void put_link(FILE *out, const struct status *s)
{
	fprintf(out, "link     %s", status_link_name(s->link));
	if (*s->peer_addr) {
		fputs(", peer ", out);
		put_clean(out, s->peer_addr);
	}
	if (s->link >= SL_SYNCING) {
		fputs(", ", out);
		put_clean(out, *s->tls ? s->tls : "no TLS");
		fprintf(out, ", round trip %" PRIu64 ".%02" PRIu64 " ms", s->rtt_us / 1000,
			s->rtt_us % 1000 / 10);
	}
	fputs(", for ", out);
	put_time(out, s->since_ms);
	fputc('\n', out);
}

static void put_epoch(FILE *out, const struct status *s)
{
	fprintf(out, "epoch    %" PRIu64 " running, ", s->epoch_current);
	if (s->committed_age_ms < 0) {
		fputs("none committed yet", out);
	} else {
		fprintf(out, "%" PRIu64 " committed ", s->epoch_committed);
		if (*s->epoch_name) {
			fputc('(', out);
			put_clean(out, s->epoch_name);
			fputs(") ", out);
		}
		put_time(out, (uint64_t)s->committed_age_ms);
		fputs(" ago", out);
	}
	fputs("; ", out);
	put_bytes(out, s->uncommitted_bytes);
	fprintf(out, " uncommitted in %" PRIu64 " writes\n", s->uncommitted_writes);
}

/* Only what this role uses. */
static void put_buffers(FILE *out, const struct status *s)
{
	if (strcmp(s->role, "primary") == 0) {
		fputs("sending  ", out);
		put_bytes(out, s->send_used);
		fputs(" of ", out);
		put_bytes(out, s->send_limit);
		fputs(" buffer, ", out);
		put_bytes(out, s->pending_bytes);
		fputs(" pending\n", out);
	}
	if (s->journal_used || s->journal_sealed || strcmp(s->role, "backup") == 0) {
		fputs("journal  ", out);
		put_bytes(out, s->journal_used);
		fputs(" of ", out);
		put_bytes(out, s->journal_limit);
		fprintf(out, ", %" PRIu64 " committed epochs on their way to the images; overlay ",
			s->journal_sealed);
		put_bytes(out, s->overlay_bytes);
		fputs(" of ", out);
		put_bytes(out, s->overlay_limit);
		fputc('\n', out);
	}
}

static void put_progress(FILE *out, const struct status_image *img)
{
	uint64_t done = img->sync_done, total = img->sync_total;
	double part;
	int i, full;

	if (done > total)
		done = total;
	part = total ? (double)done / (double)total : 1;
	full = (int)(part * BAR_WIDTH);
	fputs("\n         [", out);
	for (i = 0; i < BAR_WIDTH; i++)
		fputc(i < full ? '#' : '.', out);
	/* Cut, not rounded: 100 % is shown when it is done. */
	fprintf(out, "] %d %%, ", (int)(part * 100));
	put_bytes(out, done);
	fputs(" of ", out);
	put_bytes(out, total);
	fputs(", ", out);
	put_bytes(out, img->sync_rate);
	fputs("/s, ", out);
	if (img->sync_eta_s >= 0) {
		put_time(out, (uint64_t)img->sync_eta_s * 1000);
		fputs(" left", out);
	} else {
		fputs("time left unknown", out);
	}
}

static void put_verify(FILE *out, const struct status *s)
{
	uint64_t total = s->verify_total ? s->verify_total : 1;

	fputs("verify   ", out);
	put_bytes(out, s->verify_done);
	fputs(" of ", out);
	put_bytes(out, s->verify_total);
	fprintf(out, " compared, %d %%, %" PRIu64 " blocks differ\n",
		(int)((double)s->verify_done / (double)total * 100), s->verify_differ);
}

static void put_image(FILE *out, const struct status_image *img)
{
	fputs("image    ", out);
	put_clean(out, img->name);
	fputs("  ", out);
	put_bytes(out, img->size);
	fprintf(out, "  %s", status_image_state_name(img->state));
	if (img->open)
		fputs(", open", out);
	if (img->dirty_bytes) {
		fputs(", the peer lacks ", out);
		put_bytes(out, img->dirty_bytes);
	}
	if (img->syncing)
		put_progress(out, img);
	fputc('\n', out);
}

static void put_fence(FILE *out, const struct status *s)
{
	fprintf(out, "fence    %s", s->fence);
	if (s->fence_why)
		fprintf(out, ": no failover without an order, for %s", s->fence_why);
	if (s->fence_runs)
		fprintf(out, "; run %" PRIu32 " times", s->fence_runs);
	if (*s->fence_last)
		fprintf(out, ", last: %s", s->fence_last);
	fputc('\n', out);
}

static void put_loss(FILE *out, const struct status *s)
{
	bool backup = strcmp(s->role, "backup") == 0;

	if (!backup && (strcmp(s->role, "primary") || s->committed_age_ms < 0))
		return;
	if (s->committed_age_ms < 0) {
		fputs("loss     no failover yet: nothing was ever committed\n", out);
		return;
	}
	if (s->not_level) {
		fprintf(out, "loss     no failover%s, unless by force: %s\n", backup ? "" : " of the peer",
		        backup ? "this copy is not level with the primary" : "its copy is not level yet");
		return;
	}
	fprintf(out, "loss     a failover %snow would lose %s", backup ? "" : "of the peer ", backup ? "at least " : "");
	put_bytes(out, s->lost_bytes);
	fputs(", and go back ", out);
	put_time(out, (uint64_t)s->committed_age_ms);
	fputc('\n', out);
}

static void render_text(FILE *out, const struct status *s)
{
	size_t i;

	fputs("colofs   ", out);
	put_clean(out, s->source);
	fputs("\nmode     ", out);
	put_clean(out, s->mode);
	fprintf(out, " (role %s), %s", s->role,
		s->is_protected             ? "PROTECTED"
		: strcmp(s->role, "backup") ? "NOT protected"
					    : "standing by");
	if (*s->reason) {
		fputs(": ", out);
		put_clean(out, s->reason);
	}
	fputc('\n', out);
	put_link(out, s);
	if (s->fence)
		put_fence(out, s);
	if (s->start_alone)
		fputs("start    start-alone is set: at mount a primary does not ask whether its peer was promoted\n", out);
	if (s->buffered)
		fputs("disk     buffered: the file system of SOURCE or of the journal refuses O_DIRECT\n", out);
	put_epoch(out, s);
	put_loss(out, s);
	put_buffers(out, s);
	if (s->verifying)
		put_verify(out, s);
	for (i = 0; i < s->image_count; i++)
		put_image(out, &s->images[i]);
	if (*s->last_error) {
		fputs("error    ", out);
		put_clean(out, s->last_error);
		fputs(", ", out);
		put_time(out, s->last_error_age_ms);
		fputs(" ago\n", out);
	}
	if (*s->advice) {
		fputs("advice   ", out);
		put_clean(out, s->advice);
		fputc('\n', out);
	}
}

char *status_text(const struct status *s, size_t *len)
{
	return status_render(s, len, render_text);
}
