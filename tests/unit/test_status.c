/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The renderings of a status: keys, nulls, escapes. With an argument (json,
 * text or metrics) it prints that rendering of a busy node, for jq and eyes.
 */
#include <stdlib.h>
#include <string.h>

#include "../../ctl/status.h"
#include "check.h"

static void fill_idle(struct status *s)
{
	memset(s, 0, sizeof(*s));
	s->version = "1.2";
	strcpy(s->source, "/srv");
	strcpy(s->mode, "unprotected");
	strcpy(s->role, "unprotected");
	strcpy(s->reason, "no peer");
	s->generation = 0xabc;
	s->committed_age_ms = -1;
}

static void fill_busy(struct status *s)
{
	static const char *const names[] = {"disk.img", "q\"b\\n\n\x01", "bad\xff\xc3",
					    "\xc3\xa9\xf0\x9f\x98\x80"};
	size_t i;

	fill_idle(s);
	strcpy(s->mode, "primary");
	strcpy(s->role, "primary");
	strcpy(s->tls, "TLSv1.3 TLS_AES_128_GCM_SHA256");
	strcpy(s->peer_addr, "[::1]:7420");
	strcpy(s->epoch_name, "before:upgrade");
	strcpy(s->last_error, "the \"peer\" is gone");
	strcpy(s->advice, "Do \\ this.");
	strcpy(s->pair, "00112233445566778899aabbccddeeff");
	s->is_protected = true;
	s->link = SL_SYNCING;
	s->rtt_us = 1234;
	s->committed_age_ms = 3200;
	s->epoch_committed = UINT64_MAX;
	s->have_peer = true;
	s->peer_generation = UINT64_MAX;
	s->peer_epoch = 6;
	s->lost_bytes = 77;
	s->start_alone = true;
	s->fence = "held";
	s->fence_why = "the copy is not whole";
	s->fence_runs = 3;
	strcpy(s->fence_last, "exit 1");
	s->since_ms = 3723000;
	s->counters.commit_last_us = 1500001;
	s->counters.journal_fdatasyncs_total = 9;
	s->image_count = sizeof(names) / sizeof(names[0]);
	s->images = calloc(s->image_count, sizeof(*s->images));
	if (!s->images)
		abort();
	for (i = 0; i < s->image_count; i++)
		strcpy(s->images[i].name, names[i]);
	s->images[0].size = 20ull << 30;
	s->images[0].state = 1;
	s->images[0].open = 2;
	s->images[0].syncing = true;
	s->images[0].sync_done = 9ull << 30;
	s->images[0].sync_total = 20ull << 30;
	s->images[0].sync_rate = 100u << 20;
	s->images[0].sync_eta_s = 112;
	s->images[1].state = 2;
	s->images[1].sync_done = 12345; /* not syncing: must not be shown */
	s->images[1].dirty_bytes = 4096;
}

static char *render(char *(*how)(const struct status *, size_t *), bool busy)
{
	struct status s;
	size_t len = 0;
	char *text;

	if (busy)
		fill_busy(&s);
	else
		fill_idle(&s);
	text = how(&s, &len);
	status_free(&s);
	if (!text || strlen(text) != len || len == 0 || text[len - 1] != '\n') {
		printf("# not a text of %zu bytes\n", len);
		abort();
	}
	return text;
}

static bool in_order(const char *text, const char *const *words)
{
	for (; *words; words++) {
		const char *at = strstr(text, *words);

		if (!at) {
			printf("# missing, or out of order: %s\n", *words);
			return false;
		}
		text = at + strlen(*words);
	}
	return true;
}

static bool json_has_the_contracts_keys_in_order(void)
{
	static const char *const keys[] = {
		"{\n\"version\": \"1.2\"",
		"\"source\": \"/srv\"",
		"\"mode\": \"primary\"",
		"\"protected\": true",
		"\"role\": \"primary\"",
		"\"generation\": \"0000000000000abc\"",
		"\"reason\": ",
		"\"pair\": \"0011",
		"\"node\": \"\"",
		"\"link\": {\"state\": \"syncing\"",
		"\"peer\": \"[::1]:7420\"",
		"\"tls\": \"TLSv1.3 ",
		"\"rtt_us\": 1234",
		"\"since_ms\": ",
		"\"epoch\": {\"current\": 0",
		"\"committed\": 18446744073709551615",
		"\"prepared\": null",
		"\"name\": \"before:upgrade\"",
		"\"committed_age_ms\": 3200}",
		"\"peer\": {\"generation\": \"ffffffffffffffff\", \"epoch\": 6}",
		"\"uncommitted\": {\"bytes\": ",
		"\"writes\": ",
		"\"pending\": {\"bytes\": ",
		"\"writes\": ",
		"\"send_buffer\": {\"used\": ",
		"\"limit\": ",
		"\"drain_ms\": ",
		"\"journal\": {\"used\": ",
		"\"limit\": ",
		"\"sealed\": ",
		"\"overlay\": {\"bytes\": ",
		"\"limit\": ",
		"\"memory\": {\"resident\": ",
		"\"images\": [",
		"{\"name\": \"disk.img\", \"size\": 21474836480",
		"\"state\": \"syncing\"",
		"\"open\": 2",
		"\"dirty_bytes\": 0",
		"\"sync\": {\"done\": 9663676416",
		"\"total\": 21474836480",
		"\"rate\": 104857600",
		"\"eta_s\": 112}}",
		"\"sync\": null}",
		"\"last_error\": {\"text\": \"the \\\"peer\\\" is gone\", \"age_ms\": 0}",
		"\"lost_bytes\": 77",
		"\"advice\": \"Do \\\\ this.\"",
		"\"start_alone\": true",
		"\"fence\": {\"state\": \"held\", \"why\": \"the copy is not whole\", \"runs\": 3, \"last\": \"exit 1\"}",
		"\"lost_ms\": 3200",
		"}\n",
		NULL,
	};
	char *text = render(status_json, true);

	CHECK(in_order(text, keys));
	free(text);
	return true;
}

static bool json_nulls(void)
{
	static const char *const keys[] = {
		"\"protected\": false",
		"\"tls\": null",
		"\"committed_age_ms\": null}",
		"\"peer\": null,",
		"\"images\": []",
		"\"last_error\": null",
		"\"advice\": null",
		"\"fence\": null",
		"\"lost_ms\": null",
		NULL,
	};
	char *text = render(status_json, false);

	CHECK(in_order(text, keys));
	free(text);
	return true;
}

static bool json_escapes_names(void)
{
	char *text = render(status_json, true);

	CHECK(strstr(text, "\"q\\\"b\\\\n\\u000a\\u0001\"") != NULL);
	CHECK(strstr(text, "\"bad\xef\xbf\xbd\xef\xbf\xbd\"") != NULL);
	CHECK(strstr(text, "\"\xc3\xa9\xf0\x9f\x98\x80\"") != NULL);
	free(text);
	return true;
}

static bool text_shows_progress_and_advice(void)
{
	static const char *const words[] = {
		"mode     primary (role primary), PROTECTED: no peer\n",
		"link     syncing, peer [::1]:7420",
		"for 62 min 3 s",
		"fence    held: no failover without an order, for the copy is not whole; run 3 times, last: exit 1\n",
		"start    start-alone is set",
		"committed (before:upgrade) 3.2 s ago",
		"loss     a failover of the peer now would lose 77 B, and go back 3.2 s\n",
		"image    disk.img  20.0 GiB  syncing",
		"[##########..............] 45 %, 9.0 GiB of 20.0 GiB, 100.0 MiB/s, 112 s left",
		"q\"b\\n??",
		"bad??",
		"advice   Do \\ this.\n",
		NULL,
	};
	char *text = render(status_text, true);

	CHECK(in_order(text, words));
	free(text);
	text = render(status_text, false);
	CHECK(strstr(text, "NOT protected") && !strstr(text, "advice") && !strstr(text, "error ") && !strstr(text, "loss ") &&
	      !strstr(text, "fence ") && !strstr(text, "start "));
	free(text);
	return true;
}

static bool metrics_are_whole(void)
{
	static const char *const words[] = {
		"# HELP colofs_protected ",
		"# TYPE colofs_protected gauge\n",
		"colofs_protected 1\n",
		"colofs_mode{mode=\"unprotected\"} 0\ncolofs_mode{mode=\"primary\"} 1\n",
		"colofs_link_state{state=\"syncing\"} 1\n",
		"colofs_link_rtt_seconds 0.001234\n",
		"colofs_epoch_committed 18446744073709551615\n",
		"colofs_committed_age_seconds 3.200000\n",
		"colofs_image_dirty_bytes{image=\"q\\\"b\\\\n\\n\x01\"} 4096\n",
		"colofs_image_sync_done_bytes{image=\"q\\\"b\\\\n\\n\x01\"} 0\n",
		"# TYPE colofs_guest_reads_total counter\n",
		"# HELP colofs_commit_last_seconds Duration of the last commit\n",
		"colofs_commit_last_seconds 1.500001\n",
		"colofs_image_fdatasyncs_total 0\n",
		"colofs_journal_fdatasyncs_total 9\n",
		NULL,
	};
	char *text = render(status_metrics, true);

	CHECK(in_order(text, words));
	free(text);
	text = render(status_metrics, false);
	CHECK(!strstr(text, "committed_age"));
	free(text);
	return true;
}

int main(int argc, char **argv)
{
	char *text;

	if (argc < 2) {
		RUN(json_has_the_contracts_keys_in_order);
		RUN(json_nulls);
		RUN(json_escapes_names);
		RUN(text_shows_progress_and_advice);
		RUN(metrics_are_whole);
		return check_end();
	}
	text = render(!strcmp(argv[1], "json")   ? status_json
		      : !strcmp(argv[1], "text") ? status_text
						 : status_metrics,
		      argc == 2);
	fputs(text, stdout);
	free(text);
	return 0;
}
