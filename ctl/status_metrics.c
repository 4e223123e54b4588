/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A status in Prometheus' text format 0.0.4: the counters of counters.def and
 * gauges from the rest, prefix colofs_, base units. No state; any thread.
 */
#include <inttypes.h>
#include <string.h>

#include "status.h"
#include "status_write.h"

struct counter_row {
	const char *name, *type, *help;
	size_t field; /* offset in struct counters */
};

static const struct counter_row rows[] = {
#define X(name, type, help) {#name, #type, help, offsetof(struct counters, name)},
#include "counters.def"
#undef X
};

static void put_head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP colofs_%s %s\n# TYPE colofs_%s %s\n", name, help, name, type);
}

static void put_gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	put_head(out, name, "gauge", help);
	fprintf(out, "colofs_%s %" PRIu64 "\n", name, value);
}

/* micro: millionths; printed whole, without a rounding double in between. */
static void put_seconds(FILE *out, const char *name, const char *help, uint64_t micro)
{
	put_head(out, name, "gauge", help);
	fprintf(out, "colofs_%s %" PRIu64 ".%06" PRIu64 "\n", name, micro / 1000000,
		micro % 1000000);
}

static void put_label(FILE *out, const char *value)
{
	size_t len;

	for (; *value; value += len) {
		len = utf8_length(value);
		if (len == 0) {
			fputs("\xef\xbf\xbd", out);
			len = 1;
		} else if (*value == '"' || *value == '\\') {
			fprintf(out, "\\%c", *value);
		} else if (*value == '\n') {
			fputs("\\n", out);
		} else {
			fwrite(value, 1, len, out);
		}
	}
}

/* One line for each word there can be: 1 for the one that is, 0 for the others. */
static void put_one_hot(FILE *out, const char *name, const char *label, const char *help,
			const char *const *words, const char *now)
{
	put_head(out, name, "gauge", help);
	for (; *words; words++)
		fprintf(out, "colofs_%s{%s=\"%s\"} %d\n", name, label, *words,
			strcmp(*words, now) == 0);
}

static void put_counters(FILE *out, const struct counters *c)
{
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *name = rows[i].name, *help = rows[i].help;
		size_t len = strlen(name);
		uint64_t value;

		memcpy(&value, (const char *)c + rows[i].field, sizeof(value));
		if (len > 3 && strcmp(name + len - 3, "_us") == 0) {
			char seconds[64], text[128];

			/* Base units: NAME_us is shown as NAME_seconds, its help up to the comma.
			 */
			snprintf(seconds, sizeof(seconds), "%.*s_seconds", (int)(len - 3), name);
			snprintf(text, sizeof(text), "%.*s", (int)strcspn(help, ","), help);
			put_seconds(out, seconds, text, value);
			continue;
		}
		put_head(out, name, rows[i].type, help);
		fprintf(out, "colofs_%s %" PRIu64 "\n", name, value);
	}
}

static void put_state(FILE *out, const struct status *s)
{
	static const char *const modes[] = {"unprotected", "primary", "backup", "failed", NULL};
	static const char *const roles[] = {"unprotected", "primary", "backup", NULL};
	static const char *const links[] = {"off",     "connecting", "handshake",
					    "syncing", "up",         NULL};

	put_head(out, "info", "gauge", "Always 1; the version is the label");
	fputs("colofs_info{version=\"", out);
	put_label(out, s->version);
	fputs("\"} 1\n", out);
	put_gauge(out, "protected", "1 while every acknowledged commit is on both nodes",
		  s->is_protected);
	put_one_hot(out, "mode", "mode", "The node's mode", modes, s->mode);
	put_one_hot(out, "role", "role", "The node's role", roles, s->role);
	put_one_hot(out, "link_state", "state", "State of the link to the peer", links,
		    status_link_name(s->link));
	put_seconds(out, "link_rtt_seconds", "Round trip to the peer, 0 without a link", s->rtt_us);
	put_seconds(out, "link_state_seconds", "How long the link has been in its state",
		    s->since_ms * 1000);
}

static void put_amounts(FILE *out, const struct status *s)
{
	put_gauge(out, "epoch_current", "Number of the running epoch", s->epoch_current);
	put_gauge(out, "epoch_committed", "Number of the last committed epoch", s->epoch_committed);
	if (s->committed_age_ms >= 0)
		put_seconds(out, "committed_age_seconds", "Time since the last commit",
			    (uint64_t)s->committed_age_ms * 1000);
	put_gauge(out, "uncommitted_bytes", "Bytes written since the last commit",
		  s->uncommitted_bytes);
	put_gauge(out, "uncommitted_writes", "Writes since the last commit", s->uncommitted_writes);
	put_gauge(out, "pending_bytes", "Bytes that wait to be mirrored", s->pending_bytes);
	put_gauge(out, "pending_writes", "Writes that wait to be mirrored", s->pending_writes);
	put_gauge(out, "send_buffer_used_bytes", "Bytes that wait for the link", s->send_used);
	put_gauge(out, "send_buffer_limit_bytes", "Most bytes that may wait for the link",
		  s->send_limit);
	put_gauge(out, "journal_used_bytes", "Bytes in the journal", s->journal_used);
	put_gauge(out, "journal_limit_bytes", "Most bytes the journal may hold", s->journal_limit);
	put_gauge(out, "journal_sealed_epochs", "Committed epochs that are not in the images yet",
		  s->journal_sealed);
	put_gauge(out, "overlay_bytes", "Bytes of local writes since the last commit",
		  s->overlay_bytes);
	put_gauge(out, "overlay_limit_bytes", "Most bytes the overlay may hold", s->overlay_limit);
	put_gauge(out, "lost_bytes", "What a failover now would drop, at least", s->lost_bytes);
	put_gauge(out, "resident_memory_bytes", "Resident memory of the daemon", s->resident);
}

static void put_image_gauge(FILE *out, const struct status *s, const char *name, const char *help,
			    size_t field, bool of_sync)
{
	size_t i;

	put_head(out, name, "gauge", help);
	for (i = 0; i < s->image_count; i++) {
		uint64_t value;

		memcpy(&value, (const char *)&s->images[i] + field, sizeof(value));
		if (of_sync && !s->images[i].syncing)
			value = 0;
		fprintf(out, "colofs_%s{image=\"", name);
		put_label(out, s->images[i].name);
		fprintf(out, "\"} %" PRIu64 "\n", value);
	}
}

static void render_metrics(FILE *out, const struct status *s)
{
	put_state(out, s);
	put_amounts(out, s);
	put_image_gauge(out, s, "image_size_bytes", "Size of the image",
			offsetof(struct status_image, size), false);
	put_image_gauge(out, s, "image_dirty_bytes", "What the peer lacks of the image",
			offsetof(struct status_image, dirty_bytes), false);
	put_image_gauge(out, s, "image_sync_done_bytes",
			"How far the running sync is, 0 without one",
			offsetof(struct status_image, sync_done), true);
	put_image_gauge(out, s, "image_sync_total_bytes",
			"How far the running sync goes, 0 without one",
			offsetof(struct status_image, sync_total), true);
	put_counters(out, &s->counters);
}

char *status_metrics(const struct status *s, size_t *len)
{
	return status_render(s, len, render_metrics);
}
