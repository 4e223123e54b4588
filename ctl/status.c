/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A status as JSON, and what the renderings share. Called by fs/ when one of
 * the control files is opened; no state, any thread.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "status.h"
#include "status_write.h"

size_t utf8_length(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;
	uint32_t code;
	size_t i, len;

	if (u[0] < 0x80)
		return 1;
	if (u[0] >= 0xc2 && u[0] <= 0xdf)
		len = 2;
	else if ((u[0] & 0xf0) == 0xe0)
		len = 3;
	else if (u[0] >= 0xf0 && u[0] <= 0xf4)
		len = 4;
	else
		return 0;
	code = u[0] & (0x7fu >> len);
	for (i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80) /* also at the terminating NUL */
			return 0;
		code = code << 6 | (u[i] & 0x3f);
	}
	if (len == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff)))
		return 0;
	if (len == 4 && (code < 0x10000 || code > 0x10ffff))
		return 0;
	return len;
}

const char *status_link_name(enum status_link link)
{
	static const char *const names[] = {
		[SL_OFF] = "off",
		[SL_CONNECTING] = "connecting",
		[SL_HANDSHAKE] = "handshake",
		[SL_SYNCING] = "syncing",
		[SL_UP] = "up",
	};

	return names[link];
}

const char *status_image_state_name(int state)
{
	return state == 0 ? "consistent" : state == 1 ? "syncing" : "inconsistent";
}

char *status_render(const struct status *s, size_t *len,
		    void (*render)(FILE *out, const struct status *s))
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int bad;

	if (!out)
		return NULL;
	render(out, s);
	bad = ferror(out);
	if (fclose(out) || bad) {
		free(text);
		return NULL;
	}
	*len = size;
	return text;
}

/* A JSON string; a byte that is no UTF-8 becomes U+FFFD. */
static void put_string(FILE *out, const char *s)
{
	size_t len;

	fputc('"', out);
	for (; *s; s += len) {
		unsigned char c = (unsigned char)*s;

		len = utf8_length(s);
		if (len == 0) {
			fputs("\xef\xbf\xbd", out);
			len = 1;
		} else if (c == '"' || c == '\\') {
			fprintf(out, "\\%c", c);
		} else if (c < ' ' || c == 0x7f) {
			fprintf(out, "\\u%04x", c);
		} else {
			fwrite(s, 1, len, out);
		}
	}
	fputc('"', out);
}

static void put_string_or_null(FILE *out, const char *s)
{
	if (*s)
		put_string(out, s);
	else
		fputs("null", out);
}

static void put_image(FILE *out, const struct status_image *img)
{
	fputs("{\"name\": ", out);
	put_string(out, img->name);
	fprintf(out,
		", \"size\": %" PRIu64 ", \"state\": \"%s\", \"open\": %" PRIu32
		", \"dirty_bytes\": %" PRIu64 ", \"sync\": ",
		img->size, status_image_state_name(img->state), img->open, img->dirty_bytes);
	if (img->syncing)
		fprintf(out,
			"{\"done\": %" PRIu64 ", \"total\": %" PRIu64 ", \"rate\": %" PRIu64
			", \"eta_s\": %" PRId64 "}",
			img->sync_done, img->sync_total, img->sync_rate, img->sync_eta_s);
	else
		fputs("null", out);
	fputc('}', out);
}

static void put_node(FILE *out, const struct status *s)
{
	fputs("{\n\"version\": ", out);
	put_string(out, s->version);
	fputs(", \"source\": ", out);
	put_string(out, s->source);
	fputs(",\n\"mode\": ", out);
	put_string(out, s->mode);
	fprintf(out, ", \"protected\": %s, \"role\": ", s->is_protected ? "true" : "false");
	put_string(out, s->role);
	fprintf(out, ", \"generation\": \"%016" PRIx64 "\", \"reason\": ", s->generation);
	put_string(out, s->reason);
	fputs(",\n\"pair\": ", out);
	put_string(out, s->pair);
	fputs(", \"node\": ", out);
	put_string(out, s->node);
	fprintf(out, ",\n\"link\": {\"state\": \"%s\", \"peer\": ", status_link_name(s->link));
	put_string(out, s->peer_addr);
	fputs(", \"tls\": ", out);
	put_string_or_null(out, s->tls);
	fprintf(out, ", \"rtt_us\": %" PRIu64 ", \"since_ms\": %" PRIu64 "},\n", s->rtt_us,
		s->since_ms);
}

static void put_epochs(FILE *out, const struct status *s)
{
	fprintf(out,
		"\"epoch\": {\"current\": %" PRIu64 ", \"committed\": %" PRIu64
		", \"prepared\": ",
		s->epoch_current, s->epoch_committed);
	if (s->epoch_prepared)
		fprintf(out, "%" PRIu64, s->epoch_prepared);
	else
		fputs("null", out);
	fputs(", \"name\": ", out);
	put_string(out, s->epoch_name);
	fputs(", \"committed_age_ms\": ", out);
	if (s->committed_age_ms >= 0)
		fprintf(out, "%" PRId64 "},\n", s->committed_age_ms);
	else
		fputs("null},\n", out);
	if (s->have_peer)
		fprintf(out,
			"\"peer\": {\"generation\": \"%016" PRIx64 "\", \"epoch\": %" PRIu64 "},\n",
			s->peer_generation, s->peer_epoch);
	else
		fputs("\"peer\": null,\n", out);
}

static void put_amounts(FILE *out, const struct status *s)
{
	fprintf(out,
		"\"uncommitted\": {\"bytes\": %" PRIu64 ", \"writes\": %" PRIu64 "},\n"
		"\"pending\": {\"bytes\": %" PRIu64 ", \"writes\": %" PRIu64 "},\n"
		"\"send_buffer\": {\"used\": %" PRIu64 ", \"limit\": %" PRIu64
		", \"drain_ms\": %" PRIu64 "},\n",
		s->uncommitted_bytes, s->uncommitted_writes, s->pending_bytes, s->pending_writes,
		s->send_used, s->send_limit, s->send_drain_ms);
	fprintf(out,
		"\"journal\": {\"used\": %" PRIu64 ", \"limit\": %" PRIu64 ", \"sealed\": %" PRIu64
		"},\n"
		"\"overlay\": {\"bytes\": %" PRIu64 ", \"limit\": %" PRIu64 "},\n"
		"\"memory\": {\"resident\": %" PRIu64 "},\n",
		s->journal_used, s->journal_limit, s->journal_sealed, s->overlay_bytes,
		s->overlay_limit, s->resident);
}

static void put_fence(FILE *out, const struct status *s)
{
	if (!s->fence) {
		fputs(",\n\"fence\": null", out);
		return;
	}
	fprintf(out, ",\n\"fence\": {\"state\": \"%s\", \"why\": ", s->fence);
	put_string_or_null(out, s->fence_why ? s->fence_why : "");
	fprintf(out, ", \"runs\": %" PRIu32 ", \"last\": ", s->fence_runs);
	put_string_or_null(out, s->fence_last);
	fputc('}', out);
}

static void render_json(FILE *out, const struct status *s)
{
	size_t i;

	put_node(out, s);
	put_epochs(out, s);
	put_amounts(out, s);
	fputs("\"images\": [", out);
	for (i = 0; i < s->image_count; i++) {
		fputs(i ? ",\n" : "\n", out);
		put_image(out, &s->images[i]);
	}
	fputs("],\n\"last_error\": ", out);
	if (*s->last_error) {
		fputs("{\"text\": ", out);
		put_string(out, s->last_error);
		fprintf(out, ", \"age_ms\": %" PRIu64 "}", s->last_error_age_ms);
	} else {
		fputs("null", out);
	}
	/* Added keys come last, in the order in which they were added. */
	fprintf(out, ",\n\"lost_bytes\": %" PRIu64 ", \"advice\": ", s->lost_bytes);
	put_string_or_null(out, s->advice);
	if (s->verifying)
		fprintf(out,
			",\n\"verify\": {\"done\": %" PRIu64 ", \"total\": %" PRIu64
			", \"differ\": %" PRIu64 "}",
			s->verify_done, s->verify_total, s->verify_differ);
	else
		fputs(",\n\"verify\": null", out);
	fprintf(out, ",\n\"start_alone\": %s", s->start_alone ? "true" : "false");
	put_fence(out, s);
	fputs(",\n\"lost_ms\": ", out);
	if (s->committed_age_ms >= 0)
		fprintf(out, "%" PRId64, s->committed_age_ms);
	else
		fputs("null", out);
	fprintf(out, ",\n\"buffered\": %s", s->buffered ? "true" : "false");
	fputs("\n}\n", out);
}

char *status_json(const struct status *s, size_t *len)
{
	return status_render(s, len, render_json);
}

void status_free(struct status *s)
{
	free(s->images);
	s->images = NULL;
	s->image_count = 0;
}
