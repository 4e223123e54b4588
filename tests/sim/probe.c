/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Probes: a node that has just started, or was just promoted, is read whole,
 * image by image, before its guest goes on. All images must be of one epoch.
 */
#include <errno.h>
#include <string.h>

#include "guest.h"
#include "peek.h"

void probe_free(struct sim *s, struct probe *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		pool_put(s, p->images[i].data, SLOT_BYTES + BLOCK);
	p->count = 0;
	p->running = false;
}

static void probe_next(struct sim *s, struct host *h);

static void probe_done(struct guest_io *g)
{
	struct slot *t = (struct slot *)g;
	struct sim *s = t->host->sim;
	struct host *h = t->host;
	struct probe *p = &s->guests->probe[h->index];
	struct probe_image *pi = &p->images[p->count - 1];

	if (h->state == HOST_DOWN)
		return;
	host_poll(s, h);
	image_close(h->node, t->image);
	if (g->error && h->faulted) {
		probe_free(s, p);
		h->stuck = true;
		world_moment(s, h, 0, UINT32_MAX);
		return;
	}
	if (g->error)
		violation(s, "host %d: image %s cannot be read: %s", h->index, pi->name, strerror(-g->error));
	if (g->len != pi->size && h->committed == p->epoch)
		violation(s, "host %d: image %s has %llu bytes, a read gives %llu", h->index, pi->name,
		          (unsigned long long)pi->size, (unsigned long long)g->len);
	probe_next(s, h);
}

/* The image after the last one read; the list may have changed meanwhile: then all over. */
static void probe_next(struct sim *s, struct host *h)
{
	struct probe *p = &s->guests->probe[h->index];
	struct slot *t = &p->slot;
	struct image *img = NULL;
	struct probe_image *pi;

	if (h->committed != p->epoch && ++p->restarts > 3) { /* commits come too fast: the twin's reads check them */
		probe_free(s, p);
		p->fn(s, h, NULL, 0);
		return;
	}
	if (h->committed != p->epoch) {
		probe_free(s, p);
		p->epoch = h->committed;
		p->running = true;
	}
	for (uint32_t i = 0; i <= p->count; i++)
		img = i && !img ? NULL : node_image_next(h->node, img);
	if (!img) {
		s->fig.probes++;
		p->running = false;
		p->fn(s, h, p->images, p->count);
		if (!p->running)
			probe_free(s, p);
		return;
	}
	if (p->count == MODEL_IMAGES * 2)
		violation(s, "host %d shows too many images", h->index);
	memset(t, 0, sizeof(*t));
	t->host = h;
	t->g.done = probe_done;
	pi = &p->images[p->count++];
	*pi = (struct probe_image){ .id = image_id(img), .size = image_size(img),
	                            .data = pool_get(s, SLOT_BYTES + BLOCK) };
	if (pi->size > SLOT_BYTES || strlen(image_name(img)) >= NAME_LEN)
		violation(s, "host %d: image %s has size %llu", h->index, image_name(img),
		          (unsigned long long)pi->size);
	strcpy(pi->name, image_name(img));
	int error = image_open(h->node, img);

	if (error == -EAGAIN && peek_parting(h->node)) { /* it is read when it is level again */
		probe_free(s, p);
		return;
	}
	if (error && h->faulted) {
		probe_free(s, p);
		h->stuck = true;
		world_moment(s, h, 0, UINT32_MAX);
		return;
	}
	if (error)
		violation(s, "host %d: image %s does not open", h->index, pi->name);
	t->image = img;
	t->g = (struct guest_io){ .op = GUEST_READ, .image = img, .len = SLOT_BYTES + BLOCK,
	                          .buf = pi->data, .done = probe_done };
	node_guest(h->node, &t->g);
}

void guest_probe(struct sim *s, struct host *h,
                 void (*fn)(struct sim *s, struct host *h, struct probe_image *img, uint32_t count))
{
	struct probe *p = &s->guests->probe[h->index];

	probe_free(s, p);
	p->running = true;
	p->restarts = 0;
	p->epoch = h->committed;
	p->fn = fn;
	probe_next(s, h);
}

bool guest_probing(struct sim *s, struct host *h)
{
	return s->guests->probe[h->index].running;
}
