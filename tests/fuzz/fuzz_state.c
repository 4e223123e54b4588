/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state file: input is what follows its header, whose length and sum are put right, after one byte that chooses the
 * role to start with. A node that takes it must live with it, stop, and start again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../repl/bytes.h"
#include "../../repl/state.h"
#include "../../repl/sum.h"
#include "host.h"

#define HEADER 24u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct state *s)
{
	static uint8_t buf[STATE_MAX];
	struct state t;
	int len = state_encode(s, buf, sizeof(buf));

	if (len < 0 || state_decode(&t, buf, (size_t)len) || t.image_count != s->image_count ||
	    t.epoch_high != s->epoch_high || t.overlay_off != s->overlay_off || t.role != s->role)
		abort();
	state_free(&t);
}

static void live(struct host *h)
{
	char err[512] = "";

	for (int life = 0; life < 2; life++) {
		if (host_boot(h, err, sizeof(err))) {
			if (!err[0] || life)
				abort();
			return;
		}
		host_settle(h);
		host_tick(h, 100);
		for (int i = 0; i < 100 && !h->ready; i++) {
			if (h->dialling) {
				h->dialling = false;
				node_dial_failed(h->node, "nobody is there");
			}
			host_tick(h, 100);
			host_settle(h);
		}
		if (!h->ready || !host_stop(h))
			abort();
		h->config.role = -1;
		host_kill(h);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct host h;
	struct state s;

	if (!size || size > 32u << 10)
		return 0;
	host_init(&h, 3, (int)(data[0] & 3) - 1);
	h.config.can_dial = data[0] & 4;
	h.config.start_alone = true; /* nobody is there to be asked */
	for (uint64_t id = 16; id < 18; id++)
		strcpy(host_file_new(&h, FILE_IMAGE, id)->name, id == 16 ? "disk" : "b");
	h.state_len = HEADER + size - 1;
	h.state = calloc(1, h.state_len + 1);
	memcpy(h.state + HEADER, data + 1, size - 1);
	struct putter p = putter_init(h.state, HEADER);

	put_u64(&p, 0x54536f666f6c6f63ull);
	put_u32(&p, 1);
	put_u32(&p, (uint32_t)size - 1);
	put_u64(&p, sum64(h.state + HEADER, size - 1));
	if (data[0] & 8) { /* the bare decoder, sum and all */
		(void)state_decode(&s, data + 1, size - 1);
		state_free(&s);
	}
	if (!state_decode(&s, h.state, h.state_len)) {
		again(&s);
		state_free(&s);
	}
	live(&h);
	host_exit(&h);
	return 0;
}
