/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a node in memory (paired.h) says of itself: its status, its events. */
#ifndef COLOFS_TESTS_LOOK_H
#define COLOFS_TESTS_LOOK_H

#include "paired.h"

static struct status st; /* as look() saw it */

/* Status as anybody would read it now. */
static inline const struct status *look(int at)
{
	status_free(&st);
	node_status(side[at].host.node, &st);
	return &st;
}

static inline bool advises(int at, const char *text)
{
	look(at);
	if (*text ? strstr(st.advice, text) != NULL : !st.advice[0])
		return true;
	printf("# advice: %s; reason: %s\n", st.advice, st.reason);
	return false;
}

/* How many lines of events have this text in them. */
static inline uint32_t lines(int at, const char *text)
{
	struct node *n = side[at].host.node;
	uint32_t count = 0;

	for (uint64_t i = 1; i < node_events_next(n); i++) {
		const char *line = node_event(n, i);
		size_t len = line ? strlen(line) : 0;

		if (len && (line[0] != '{' || strcmp(line + len - 2, "}\n")))
			printf("# not an object: %s\n", line);
		else if (line)
			count += strstr(line, text) != NULL;
	}
	return count;
}

/* How often the node has said this. */
static inline uint32_t events(int at, const char *event)
{
	char text[60];

	snprintf(text, sizeof(text), "\"event\": \"%s\"", event);
	return lines(at, text);
}

#endif
